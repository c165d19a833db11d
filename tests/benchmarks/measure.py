"""Runs a command as people run it, and measures all processes of its tree together."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Measured:
    """What a run of a command took.

    Attributes:
        wall: Seconds from start to end.
        cpu: Seconds of all processors, user and system.
        peak: MiB, all processes of the tree together, shared pages counted once.
    """

    wall: float
    cpu: float
    peak: float


def measure(command: Sequence[str], folder: Path, log: Path | None = None) -> Measured:
    """Run a command in a folder. Python keeps what it compiled, as it does by default.

    Raises:
        subprocess.CalledProcessError: It did not exit with 0.
    """
    environment = {**os.environ}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with (log or Path("/dev/null")).open("ab") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=output, env=environment
        )
        sampler = _Sampler(process.pid)
        sampler.start()
        cpu_before = _children_cpu()
        status = process.wait()
        wall = time.perf_counter() - start
        sampler.stop()
    if status:
        raise subprocess.CalledProcessError(status, command)
    return Measured(wall, _children_cpu() - cpu_before, sampler.peak / 2**20)


def _children_cpu() -> float:
    times = psutil.Process().cpu_times()
    return float(times.children_user + times.children_system)


class _Sampler(threading.Thread):
    """Looks at the memory of a process and its descendants again and again."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self._pid = pid
        self._done = threading.Event()
        self.peak = 0

    def run(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self.peak = max(self.peak, _memory_of_tree(self._pid))

    def stop(self) -> None:
        self._done.set()
        self.join()


def _memory_of_tree(pid: int) -> int:
    """Bytes of a process and its descendants; pages that they share are counted once."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for process in tree:
        try:
            if len(tree) == 1:
                total += process.memory_info().rss
            else:
                total += process.memory_full_info().pss
        except psutil.Error:
            continue  # It has ended.
    return total
