"""A Spark cluster on 127.0.0.1: a master and workers, each a process of its own.

`python -m tests.spark_cluster` starts one with two workers and shows its URL.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.servers import HOST, free_port

LONGEST_WAIT_S = 90
EXECUTOR_MEMORY = "600m"
BRIEF = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto"
"""For Java processes that live for seconds."""


def missing() -> str:
    """Why no cluster can be started; "" if one can."""
    if importlib.util.find_spec("pyspark") is None:
        return "pyspark is not installed: pip install '.[spark]'"
    if shutil.which("java") is None:
        return "Java is not installed; on Debian: apt-get install openjdk-17-jre-headless"
    return ""


class SparkCluster:
    """A running cluster, with one core for each worker.

    Args:
        workers: How many.
    """

    def __init__(self, workers: int = 2):
        self.folder = Path(tempfile.mkdtemp(prefix="spark-"))
        self.port = free_port()
        self.page = free_port()
        self.url = f"spark://{HOST}:{self.port}"
        self.workers: list[subprocess.Popen[bytes]] = []
        pages = ("--host", HOST, "--port", str(self.port), "--webui-port", str(self.page))
        self.master = self._begin("master.Master", *pages)
        try:
            self._wait(lambda: self._state() is not None, "the master")
            for _ in range(workers):
                self.add_worker()
            self._wait(lambda: len(self.alive()) == workers, "the workers")
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def add_worker(self) -> None:
        """Start one more."""
        work = self.folder / f"worker{len(self.workers)}"
        own = ("--host", HOST, "--webui-port", "0", "--cores", "1", "--memory", "1g")
        self.workers.append(self._begin("worker.Worker", *own, "--work-dir", str(work), self.url))

    def alive(self) -> list[dict[str, Any]]:
        """The workers that the master knows of."""
        return [one for one in (self._state() or {})["workers"] if one["state"] == "ALIVE"]

    def kill_worker(self, number: int) -> None:
        """Kill a worker and its executors."""
        process = self.workers[number]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """End all processes."""
        for process in (*self.workers, self.master):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _begin(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        import pyspark

        program = str(Path(pyspark.__file__).parent / "bin" / "spark-class")
        environment = {
            "PATH": os.environ["PATH"],
            "SPARK_LOCAL_IP": HOST,
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_DAEMON_JAVA_OPTS": BRIEF,
            "SPARK_WORKER_OPTS": "-Dspark.worker.timeout=10",
            "SPARK_MASTER_OPTS": "-Dspark.worker.timeout=10 -Dspark.master.rest.enabled=false",
        }
        log = (self.folder / f"{name}{len(self.workers)}.log").open("wb")
        with log:
            return subprocess.Popen(
                [program, f"org.apache.spark.deploy.{name}", *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _state(self) -> dict[str, Any] | None:
        address = f"http://{HOST}:{self.page}/json/"
        # At first no page is there, then one that is not JSON.
        with suppress(OSError, ValueError), urllib.request.urlopen(address) as page:
            return dict(json.load(page))
        return None

    def _wait(self, is_done: Any, what: str) -> None:
        until = time.monotonic() + LONGEST_WAIT_S
        while not is_done():
            if time.monotonic() > until or self.master.poll() is not None:
                logs = "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))
                raise RuntimeError(f"{what} of Spark does not start:\n{logs}")
            time.sleep(0.1)


def configuration(**options: str) -> str:
    """The lines of luigi.cfg for a cluster."""
    lines = {
        "spark.driver.host": HOST,
        "spark.driver.bindAddress": HOST,
        "spark.executor.memory": EXECUTOR_MEMORY,
        "spark.driver.extraJavaOptions": BRIEF,
        "spark.executor.extraJavaOptions": BRIEF,
        "spark.network.timeout": "30s",
        "spark.network.timeoutInterval": "10s",
        "spark.executor.heartbeatInterval": "5s",
        **options,
    }
    section = "\n".join(f"{name} = {value}" for name, value in lines.items())
    return f"\n[spark]\n{section}\n"


def main(arguments: Sequence[str]) -> None:
    """Start one, show its URL, and end it at Ctrl-C."""
    with SparkCluster(int(arguments[0]) if arguments else 2) as cluster:
        print(f"export SPARK_LOCAL_IP={HOST} PIPELINE_ENGINE=spark", flush=True)
        print(f"export PIPELINE_SPARK_MASTER={cluster.url}", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
