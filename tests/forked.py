"""Commands started from a process in which the libraries are imported already.

This script reads requests from its standard input, a line of JSON each, and answers each with the
exit status of the command. The process of a command is forked, and imports the pipeline's own
modules itself. What was imported before are libraries only.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, cast

LIBRARIES = """
    adbc_driver_sqlite.dbapi filelock jinja2 jsonschema luigi
    markdown_it multiprocessing.queues multiprocessing.synchronize numpy.ma pandas
    pandas.core.reshape.reshape pyarrow.acero pyarrow.compute pyarrow.csv pyarrow.dataset
    pyarrow.pandas_compat pyarrow.parquet rich.console rich.progress sqlalchemy
    sqlalchemy.dialects.mysql sqlalchemy.dialects.postgresql sqlalchemy.dialects.sqlite
""".split()

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent


class Forks:
    """The process that forks; its commands have the same environment but for PIPELINE_."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=HERE,  # There is no luigi.cfg.
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def close(self) -> None:
        cast("IO[str]", self.process.stdin).close()
        self.process.wait()

    def run(
        self, command: tuple[str, ...], folder: Path, more: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of the interpreter's folder, and wait for its end.

        Raises:
            EOFError: If the process that forks has ended.
        """
        with tempfile.TemporaryDirectory() as outputs:
            written = [f"{outputs}/out", f"{outputs}/err"]
            mask = os.umask(0)
            os.umask(mask)
            request = {
                "command": command,
                "folder": str(folder),
                "written": written,
                "mask": mask,
                "more": more,
            }
            print(json.dumps(request), file=self.process.stdin, flush=True)
            answer = cast("IO[str]", self.process.stdout).readline()
            if not answer:
                raise EOFError("the process that forks has ended")
            texts = [Path(path).read_text(encoding="utf-8") for path in written]
        return subprocess.CompletedProcess(command, int(answer), *texts)


def serve() -> None:
    """Fork a process for each request; in it, return from here once the command has ended."""
    sys.path[0] = str(BIN)
    runpy.run_path(str(HERE.parent / "tasks" / "core" / "memory.py"))["configure_arrow"]()
    for library in LIBRARIES:
        __import__(library)
    gc.collect()
    gc.freeze()
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        forked = os.fork()
        if not forked:
            become(**request)
            return
        _, status = os.waitpid(forked, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def become(
    command: list[str], folder: str, written: list[str], mask: int, more: dict[str, str]
) -> None:
    """Run the script as if this process had been started for it."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for number, path in enumerate(written, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, number)
        os.close(file)
    signal.alarm(300)  # Ends it if it waits for ever.
    os.environ.update(more)
    os.chdir(folder)
    os.umask(mask)
    sys.modules["luigi.configuration"].LuigiConfigParser._instance = None  # Read from the folder.
    script = str(BIN / command[0])
    sys.argv = [script, *command[1:]]
    sys.orig_argv = [sys.executable, *sys.argv]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    serve()
