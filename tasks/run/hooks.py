"""Commands of the operator's that are run when a run has ended."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import subprocess
import tempfile

logger = logging.getLogger("pipeline")

LIMIT_S = 60.0


def run_hook(setting: str, command: str, given: str, limit_s: float = LIMIT_S) -> None:
    """Run a command. If it fails, that is logged and changes nothing.

    The command is not shown: it may have a password or token in it.

    Args:
        setting: What luigi.cfg calls it.
        command: The command; no shell reads it.
        given: What it gets on its standard input.
        limit_s: It is killed, with what it has started, after so many seconds.
    """
    if not command:
        return
    # A run that the command starts is one of its own.
    environment = {name: text for name, text in os.environ.items() if name != "PIPELINE_RUN"}
    try:
        with tempfile.TemporaryFile() as said:  # A pipe would be waited for.
            process = subprocess.Popen(  # noqa: S603  # It is the operator's.
                # On Windows a command is a text, and a backslash no escape.
                command if os.name == "nt" else shlex.split(command),
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                env=environment,
                start_new_session=True,
            )
            try:
                process.communicate(given.encode("utf-8", "replace"), limit_s)
            except subprocess.TimeoutExpired:
                _kill(process)
                logger.warning("%s was killed after %g seconds", setting, limit_s)
                return
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be run: %s", setting, error)
        return
    if process.returncode:
        ended = f"ended with exit status {process.returncode}"
        logger.warning("%s", ": ".join([f"{setting} {ended}", *lines[-1:]]))


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
