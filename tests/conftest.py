"""A project folder for each test, and the pipeline run in it as people run it."""

from __future__ import annotations

import csv
import functools
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from config.bookkeeping import ALL_TABLES, LOAD_RECEIPT
from tasks.run.settings import settings
from tasks.run.source_settings import source
from tests.chromium import chromium as chromium
from tests.chromium import page as page
from tests.databases import mariadb as mariadb
from tests.databases import mariadb_server as mariadb_server
from tests.databases import postgresql as postgresql
from tests.databases import postgresql_server as postgresql_server
from tests.forked import Forks
from tests.object_store import store as store
from tests.once import made_once
from tests.result import Result

for profile, examples in (("quick", 20), ("thorough", 1_500)):  # `make soak` is thorough.
    hypothesis_settings.register_profile(
        profile,
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
hypothesis_settings.load_profile("quick")

for number in (signal.SIGINT, signal.SIGHUP):
    # A shell starts what runs in the background, and nohup what it runs, with these ignored.
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

ROOT = Path(__file__).parent.parent
MINIATURE = Path(__file__).parent / "miniature"
ALL_REPORTS = ("luigi", "--module", "tasks", "AllReports", "--local-scheduler")


OF_THE_RUN = "index.html run.json schema_change.html schema_change.json schema_change.md".split()
KEPT_OF_RUNS = ("last_run.json", "history.csv", "header_history.json")


@dataclass
class Project:
    """A folder with source files, configuration and whatever runs have made there."""

    folder: Path
    one_process: ClassVar[bool] = True

    @property
    def data(self) -> Path:
        return self.folder / "take_home_data"

    @property
    def staging(self) -> Path:
        return self.folder / "staging"

    @property
    def reports(self) -> Path:
        return self.folder / "reports"

    @property
    def database(self) -> Path:
        return self.folder / "data_warehouse.db"

    @property
    def log_file(self) -> Path:
        return self.folder / "logs" / "pipeline.log"

    def run(self, *command: str, env: dict[str, str] | None = None, timeout: float = 300) -> Result:
        """Run a command in the folder, from the environment of the tests."""
        before = self.log_files()
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(env),
            capture_output=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
        )
        return self.result(done, before)

    def result(self, done: subprocess.CompletedProcess[str], before: set[Path]) -> Result:
        """How a command ended, before which there were these log files."""
        logs = sorted(self.log_files() - before)
        log = "".join([done.stderr, *(path.read_text(encoding="utf-8") for path in logs)])
        return Result(done.returncode, done.stdout, done.stderr, log)

    def log_files(self) -> set[Path]:
        """The log files, one of each run."""
        return set(self.log_file.parent.glob("pipeline-*.log"))

    @staticmethod
    def environment(more: dict[str, str] | None = None) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PIPELINE_", "PYTEST_"))
            and name not in ("CI", "NO_COLOR", "FORCE_COLOR")
        }
        bin_folder = str(Path(sys.executable).parent)
        return {
            **kept,
            "PATH": os.pathsep.join([bin_folder, kept.get("PATH", "")]),
            "PYTHONUTF8": "1",
            **(more or {}),
        }

    def luigi(self, *arguments: str, env: dict[str, str] | None = None) -> Result:
        """`luigi --module tasks ... --local-scheduler`, by default in one process."""
        command = ("luigi", "--module", "tasks", *arguments)
        if not self.one_process or "--workers" in arguments:
            return self.run(*command, "--local-scheduler", env=env)
        return self.forked(*command, "--workers", "1", "--local-scheduler", env=env)

    def forked(self, *command: str, env: dict[str, str] | None = None) -> Result:
        """The same as `run`, from a process that has imported the libraries."""
        environment = self.environment(env)
        more = {name: environment.pop(name) for name in env or () if name.startswith("PIPELINE_")}
        if environment != ENVIRONMENT:
            return self.run(*command, env=env)
        before = self.log_files()
        return self.result(forks().run(command, self.folder, more), before)

    def passes(self, *arguments: str, env: dict[str, str] | None = None) -> Result:
        """A run that has to end well."""
        result = self.luigi(*arguments, env=env)
        assert result.status == 0, result.log
        return result

    def fails(self, *arguments: str, env: dict[str, str] | None = None, status: int = 30) -> Result:
        """A run that has to fail, and to show no traceback."""
        result = self.luigi(*arguments, env=env)
        assert result.status == status, result.log
        assert "Traceback" not in result.err
        return result

    def configure(self, lines: str) -> None:
        """Put lines at the end of luigi.cfg."""
        with (self.folder / "luigi.cfg").open("a", encoding="utf-8") as stream:
            stream.write(f"\n{lines}\n")

    def tasks(self, *arguments: str, env: dict[str, str] | None = None) -> Result:
        """What `python -m tasks ...` does."""
        return self.forked("controller-logs", *arguments, env=env)

    def start(self, *command: str, **how: Any) -> subprocess.Popen[str]:
        """Start a command in the folder; what it writes is dropped unless told otherwise."""
        how = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **how}
        how.setdefault("env", self.environment())
        return subprocess.Popen(command, cwd=self.folder, encoding="utf-8", **how)

    def report(self, name: str) -> Any:
        """A report: the rows of a CSV file, the content of a JSON file, the text of any other."""
        path = self.reports / name
        if path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as stream:
                return list(csv.DictReader(stream))
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else text

    def query(self, sql: str) -> list[tuple]:
        """Ask the warehouse."""
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(sql).fetchall()

    def change(self, sql: str) -> None:
        """Change the warehouse by hand."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute(sql)

    def facts(self) -> list[tuple]:
        return self.query("SELECT * FROM fact_logs ORDER BY log_id")

    def outputs(self) -> dict[str, object]:
        """Everything that has to be the same however the project got there.

        Reports that tell of times and of the run before are left out, but for the figures.
        """
        files = {
            str(path.relative_to(self.folder)): path.read_bytes()
            for folder in (self.staging, self.reports)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
            and not {".receipts", ".locks"} & set(path.parts)
            and path.name not in (*OF_THE_RUN, *KEPT_OF_RUNS, ".gitkeep", "state.db")
            and not path.name.startswith("luigid")
        }
        return {**files, "figures": self.figures(), **self.tables()}

    def tables(self) -> dict[str, list[tuple]]:
        """The rows of each table that exists and that the pipeline loads."""
        existing = {name for (name,) in self.query("SELECT name FROM sqlite_schema")}
        return {
            name: self.query(f"SELECT * FROM {name} ORDER BY 1, 2")
            for name in ALL_TABLES
            if name in existing and name != LOAD_RECEIPT.name
        }

    def figures(self) -> dict[str, object] | None:
        """What the page tells of the data, if there is one; not of the run."""
        path = self.reports / "run.json"
        if not path.exists():
            return None
        figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for table in figures["tables"]:
            del table["size_bytes"]  # How many pages it needs depends on the loads before.
        told = ("run", "made_at", "since", "tasks", "schema_change")
        return {name: figure for name, figure in figures.items() if name not in told}

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text in a source file; it must be there once."""
        path = self.data / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        path.write_text(text.replace(old, new), encoding="utf-8", newline="")


ENVIRONMENT = Project.environment()


@functools.cache
def forks() -> Forks:
    """One for each process of pytest; ends with it."""
    return Forks(ENVIRONMENT)


def unwrapped(text: str) -> str:
    """What the console shows, a line for each line of the log."""
    return re.sub(r"\n {9}(?=\S)", " ", text)


def make_project(folder: Path, data: Path | None = MINIATURE) -> Project:
    """A project in an empty folder, configured as shipped."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "luigi.cfg", folder)
    (folder / "config").mkdir()
    shutil.copy(ROOT / "config" / "logging.cfg", folder / "config")
    (folder / "take_home_data").mkdir()
    if data is not None:
        for path in sorted([*data.rglob("*.csv"), *data.rglob("*.csv.gz")]):
            target = folder / "take_home_data" / path.relative_to(data)
            target.parent.mkdir(exist_ok=True)
            shutil.copy(path, target)
    return Project(folder)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs have as many processes as they have by default."""
    monkeypatch.setattr(Project, "one_process", False)


@pytest.fixture(autouse=True)
def _settings_of_the_test() -> Iterator[None]:
    """The settings are read once per process; each test has its own."""
    read_settings_again()
    yield
    read_settings_again()


def read_settings_again() -> None:
    settings.cache_clear()
    source.cache_clear()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with the miniature source files, not yet run."""
    return make_project(tmp_path / "project")


def run_once(folder: Path) -> Project:
    """A project with the miniature source files, run."""
    project = make_project(folder / "project")
    project.passes("AllReports")
    return project


@pytest.fixture(scope="session")
def _ran_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "ran", run_once).folder


@pytest.fixture
def ran(_ran_once: Path, tmp_path: Path) -> Project:
    """A project of the test's own in which everything has been run once."""
    return Project(Path(shutil.copytree(_ran_once, tmp_path / "ran")))


def with_sample(folder: Path, data: Path | None = None, scale: str = "0.02") -> Project:
    """A project with sample data where there is no other, run once; not to be changed."""
    project = make_project(folder / "project", data=data)
    project.passes("SampleData", "--scale", scale)
    project.passes("AllReports")
    return project


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with sample data that has been run; not to be changed."""
    return made_once(tmp_path_factory, "sample", with_sample)


@pytest.fixture(scope="session")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with facts of sample data in the size of the assignment; not to be changed."""

    def make(folder: Path) -> Project:
        project = make_project(folder / "project", data=None)
        project.passes("SampleData")
        project.passes("LoadFactLogs")
        return project

    return made_once(tmp_path_factory, "full", make)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with hostile values that has been run; not to be changed."""
    from tests.hostile import make_hostile

    def make(folder: Path) -> Project:
        project = make_project(folder / "project")
        make_hostile(project)
        project.passes("AllReports")
        return project

    return made_once(tmp_path_factory, "hostile", make)


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes what a test has counted, for the end of `make soak`."""
    return lambda counted: record_property("figures", counted)


def pytest_unconfigure() -> None:
    if forks.cache_info().currsize:
        forks().close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if terminalreporter.config.option.markexpr != "not soak":
        for report in terminalreporter.getreports("passed"):
            for _, counted in report.user_properties:
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {counted}")
