"""A Spark cluster: each call is a job with one task, which writes to the shared file system.

So a partition is stored with its receipt as soon as it is built, and Spark tries again where an
executor is lost. Nothing but what a function returns comes back to the driver.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tasks.core.errors import PipelineError
from tasks.core.progress import Advance
from tasks.core.stores import known_urls
from tasks.engines import remote
from tasks.engines.engine import Engine
from tasks.engines.outputs import Shared

_Result = TypeVar("_Result")

_JAVA = 17
_AT_ONCE = 64
_LINES, _LONGEST, _TAIL = 4, 300, 4_000
_CAUSE = re.compile(r"(?:Exception|Error): (?!.*(?:Exception|Error): )(.+)")
_ROOT = Path(__file__).parents[2]
_SETTINGS = {
    "spark.app.name": "controller logs",
    "spark.ui.showConsoleProgress": "false",
}
_LOG4J = """
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {log}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{yyyy-MM-dd HH:mm:ss,SSS}} %p %c{{1}}: %m%n%ex
"""

logger = logging.getLogger("pipeline")


class Spark(Engine):
    """The engine on a cluster; its session begins with the first call.

    Args:
        master: As Spark has it, such as `spark://host:7077`.
        options: Further settings of Spark.
        log: The file of Spark's own log.
        shares_folder: Whether the executors need the working folder.
    """

    threads = 1  # A task has one core.
    is_remote = True

    def __init__(self, master: str, options: Mapping[str, str], log: Path, shares_folder: bool):
        super().__init__()
        self._shares_folder = shares_folder
        self._master, self._options, self._log = master, options, log
        self._lock = threading.Lock()
        self._started: Any = None
        self._unusable: PipelineError | None = None
        self._broadcast: dict[int, Any] = {}

    @property
    def at_once(self) -> int:
        """Twice the cores of the cluster, so that none waits for the driver.

        At first executors are missing in that number; those that come later shall find work.
        """
        return max(_AT_ONCE, 2 * int(self._ask(lambda context: context.defaultParallelism)))

    @property
    def page(self) -> str | None:
        """The address of Spark's pages on this session."""
        return self._ask(lambda context: context.uiWebUrl)

    def call(
        self,
        function: Callable[..., _Result],
        *arguments: Any,
        out: Mapping[str, Path],
        advance: Advance,
        **named: Any,
    ) -> _Result:
        """What a function returns; see `Engine.call`.

        Raises:
            PipelineError: The function has raised it, or the cluster cannot do the work.
        """
        pickled = pickle.dumps((function, arguments, named))
        folder = str(Path.cwd()) if self._shares_folder else None
        call = pickle.dumps(
            remote.Call(folder, remote.versions(), pickled, tuple(out.values()), known_urls())
        )
        used = [one.number for one in arguments if isinstance(one, Shared)]
        broadcast = {number: self._broadcast[number] for number in used}

        def run(_: int) -> remote.Answer:
            # Pickled by value: nothing of the package is imported before its path is absolute.
            sys.path[:] = map(os.path.abspath, sys.path)
            from pyspark import TaskContext

            from tasks.engines.remote import answer

            task = TaskContext.get()
            shared = {number: one.value for number, one in broadcast.items()}
            return answer(pickle.loads(call), task.taskAttemptId() if task else 0, shared)  # noqa: S301

        (found,) = self._ask(lambda context: context.parallelize([0], 1).map(run).collect())
        if found.error is not None:
            raise found.error
        advance(*found.advanced)
        self._digests.update(found.digests)
        return found.result

    def share(self, value: Any) -> Shared:
        """A broadcast variable: each executor gets it once."""
        shared = self._ask(lambda context: context.broadcast(value))
        with self._lock:
            number = len(self._broadcast)
            self._broadcast[number] = shared
        return Shared(number)

    # --- the session -------------------------------------------------------------------------

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        """Something of the session; PipelineError if the cluster has ended it."""
        context = self._context()
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

        try:
            return question(context)
        except (Py4JError, PySparkException) as error:
            raise self._failure(error) from error

    def _context(self) -> Any:
        with self._lock:
            if self._unusable is not None:
                raise self._unusable
            if self._started is None:
                try:
                    with warnings.catch_warnings(action="ignore"):  # It has some about pandas 3.
                        self._started = self._start()
                except PipelineError as error:  # To try again takes seconds, for each task.
                    self._unusable = error
                    raise
        return self._started

    def _start(self) -> Any:
        try:
            from pyspark import SparkConf, SparkContext
            from pyspark.errors import PySparkException
            from pyspark.java_gateway import launch_gateway
        except ImportError as error:
            raise PipelineError(
                f"engine = spark needs pyspark: {error}.",
                remedy="Install it: pip install '.[spark]'",
            ) from error
        _check_java()
        from py4j.protocol import Py4JError

        self._log.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="controller-logs-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        log4j = folder / "log4j2.properties"
        log4j.write_text(_LOG4J.format(log=self._log.absolute()), encoding="utf-8")
        options = {**_SETTINGS, **self._options}
        # Else "python3"; the setting is read by spark-submit alone.
        given = os.environ.get("PYSPARK_PYTHON", sys.executable)
        os.environ["PYSPARK_PYTHON"] = options.get("spark.pyspark.python", given)
        java = options.get("spark.driver.extraJavaOptions", "")
        options["spark.driver.extraJavaOptions"] = f"-Dlog4j2.configurationFile={log4j} {java}"
        conf = SparkConf(loadDefaults=False).setMaster(self._master).setAll(list(options.items()))
        # Its handler of SIGINT is for interactive use.
        interrupted = signal.getsignal(signal.SIGINT)
        try:
            with self._log.open("ab") as output:
                gateway = launch_gateway(conf, {"stdout": output, "stderr": output})
            context = SparkContext(conf=conf, gateway=gateway)
            context.addPyFile(str(_package(folder)))
        except (PySparkException, Py4JError, OSError) as error:
            raise self._failure(error) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, interrupted)
        atexit.register(context.stop)
        logger.info("Spark runs the work on partitions: %s, %s", self._master, context.uiWebUrl)
        return context

    def _failure(self, error: Exception) -> PipelineError:
        """What Spark says, without the frames of Java and Python."""
        said = str(error)
        if "JAVA_GATEWAY_EXITED" in said:
            with contextlib.suppress(OSError):  # Spark has ended before it could answer.
                said = self._log.read_text(encoding="utf-8", errors="replace")[-_TAIL:] or said
        if "stopped SparkContext" in said:
            said = "The cluster does not answer, or has ended the session."
        causes = dict.fromkeys(cause.strip()[-_LONGEST:] for cause in _CAUSE.findall(said))
        return PipelineError(
            f"Spark ({self._master}) cannot do the work:",
            [one for one in causes if "Traceback" not in one][-_LINES:] or said.splitlines()[:1],
            f"Its log is {self._log}.",
        )


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    said = ""
    if java is not None and Path(java).exists():
        done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
        said = done.stderr.splitlines()[0] if done.stderr else ""
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < _JAVA:
        raise PipelineError(
            f"engine = spark needs Java {_JAVA} or later; found: {said or 'none'}.",
            remedy=f"On Debian: apt-get install openjdk-{_JAVA}-jre-headless. Or set JAVA_HOME.",
        )


def _package(folder: Path) -> Path:
    """This package for the executors, without the task graph: they need no Luigi."""
    path = folder / "controller_logs.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("config", "tasks"):
            for file in sorted((_ROOT / name).rglob("*.py")):
                inside = file.relative_to(_ROOT).as_posix()
                text = "" if inside == "tasks/__init__.py" else file.read_text(encoding="utf-8")
                archive.writestr(inside, text)
    return path
