"""What runs on an executor, here in this process; what is missing is named with the remedy."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import PipelineError
from tasks.core.progress import Advance
from tasks.engines import remote, spark
from tasks.engines.outputs import Shared
from tests.conftest import Project, unwrapped


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    return


def call(function: Any, *arguments: Any, out: tuple[Path, ...] = (), **other: Any) -> remote.Answer:
    pickled = pickle.dumps((function, arguments, {}))
    made = remote.Call(str(Path.cwd()), remote.versions(), pickled, out, {})
    return remote.answer(made._replace(**other), attempt=7, shared={2: "shared"})


def written(path: Path, text: str, advance: Advance) -> str:
    path.write_text(text)
    advance(3, 2)
    advance(1, 1)
    return path.name


def interrupted(path: Path, advance: Advance) -> None:
    path.write_text("half")
    raise PipelineError("a.csv:", ["line 3: no key"], "Fix the file.")


def broken(advance: Advance) -> None:
    raise KeyError("unexpected")


def full(advance: Advance) -> None:
    raise OSError(28, "No space left on device")


def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    found = call(written, Path("a.tmp"), Shared(2), out=(Path("a.tmp"),))
    digest = hashlib.sha256(b"shared").hexdigest()
    assert found == remote.Answer(".attempt7a.tmp", None, (4, 3), {Path("a.tmp"): digest})
    assert [path.name for path in tmp_path.iterdir()] == ["a.tmp"]
    assert Path("a.tmp").read_text() == "shared"


def test_what_failed_leaves_the_files_of_other_attempts(tmp_path: Path) -> None:
    Path("a.tmp").write_text("of another attempt")
    found = call(interrupted, Path("a.tmp"), out=(Path("a.tmp"),))
    assert isinstance(found.error, PipelineError)
    assert str(found.error) == "a.csv:\n  line 3: no key\nFix the file."
    assert [path.read_text() for path in tmp_path.iterdir()] == ["of another attempt"]


def test_errors_travel() -> None:
    found = pickle.loads(pickle.dumps(call(full).error))
    assert (type(found), found.errno) == (OSError, 28)
    found = pickle.loads(pickle.dumps(call(broken).error))
    assert "KeyError: 'unexpected'" in str(found)
    assert "in broken" in str(found)


def test_another_library_or_folder_is_an_error_that_says_so() -> None:
    other = remote.versions() | {"pyarrow": "1.2.3"}
    found = str(call(broken, versions=other).error)
    assert f"pyarrow {remote.versions()['pyarrow']}, the driver 1.2.3" in found
    assert "spark.archives" in found
    found = str(call(broken, folder="/nowhere").error)
    assert "does not see the folder /nowhere" in found
    assert "a file system that all executors share" in found


def test_the_package_of_the_executors_needs_no_luigi(tmp_path: Path) -> None:
    package = spark._package(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(package)!r});"
        " import tasks.staging.stage, tasks.enrichment.enrich, tasks.measures.activity,"
        " tasks.measures.profile, tasks.engines.remote as r;"
        " print(r.__file__, {'luigi', 'sqlalchemy', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{package}/tasks/engines/remote.py set()\n"


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({}, "engine = spark needs spark_master."),
        (
            {"PIPELINE_SPARK_MASTER": "local[1]", "JAVA_HOME": "/nowhere"},
            "engine = spark needs Java 17 or later; found: none.",
        ),
        (
            {"PIPELINE_SPARK_MASTER": "local[1]", "PYTHONPATH": "blocked"},
            "engine = spark needs pyspark",
        ),
    ],
)
def test_what_is_missing_is_named(project: Project, env: dict[str, str], message: str) -> None:
    (project.folder / "blocked").mkdir()
    (project.folder / "blocked" / "pyspark.py").write_text("raise ImportError('No pyspark')\n")
    done = project.fails("AllReports", env={"PIPELINE_ENGINE": "spark", **env})
    assert message in unwrapped(done.err)
    if "pyspark" in message:
        assert "pip install '.[spark]'" in done.err
    if "Java" in message:
        assert "apt-get install openjdk-17-jre-headless" in done.err


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "An error occurred while calling o1.x.\n: org.apache.spark.SparkException: Job aborted:"
            " Lost task 0.0 (executor 1): java.io.IOException: Cannot run program: error=2\n"
            "\tat java.base/java.lang.Thread.run(Thread.java:840)\n",
            "  Cannot run program: error=2",
        ),
        (
            ": org.apache.spark.api.python.PythonException: [PYTHON_EXCEPTION] From the worker:"
            " Traceback (most recent call last):\n  File x, line 1\n"
            "pyspark.errors.PySparkRuntimeError: [PYTHON_VERSION_MISMATCH] 3.12 than 3.11\n",
            "  [PYTHON_VERSION_MISMATCH] 3.12 than 3.11",
        ),
        (
            "IllegalStateException: Cannot call methods on a stopped SparkContext.\n",
            "  The cluster does not answer, or has ended the session.",
        ),
        ("[JAVA_GATEWAY_EXITED] Java gateway process exited.", "  Master must start with spark"),
    ],
)
def test_what_spark_says_is_shown_without_frames(said: str, shown: str) -> None:
    log = Path("spark.log")
    log.write_text("x\nException in thread main SparkException: Master must start with spark\n")
    error = spark.Spark("spark://host:7077", {}, log, shares_folder=True)._failure(
        RuntimeError(said)
    )
    assert str(error) == (
        f"Spark (spark://host:7077) cannot do the work:\n{shown}\nIts log is spark.log."
    )
