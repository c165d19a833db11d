"""gh-ost, where it is installed; and its worker, which waits for a copy that lags behind."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.declarations import Type
from tasks.core.errors import PipelineError
from tasks.schema_change.change import AddColumn
from tasks.schema_change.gh_ost import GhOst, LaggingWorker
from tasks.schema_change.live import Copy
from tasks.schema_change.open import open_database
from tasks.schema_change.plan import GH_OST, TOOL, TOOLS
from tasks.schema_change.rehearsal import PASSED
from tasks.schema_change.worker import Pace
from tests.conftest import Project, unwrapped
from tests.databases import started
from tests.schema_change.live import Live
from tests.servers import MariaDB, Server, children

CHANGE = AddColumn("t", "q", Type.INTEGER, 7)
ARGUMENTS = (
    *("--table", "t", "--column", "q", "--type", "integer", "--default", "7"),
    *("--strategy", GH_OST),
)
REHEARSAL = ("SchemaChangeRehearsal", *ARGUMENTS, "--seconds", "0.5", "--writes-per-s", "100")


@pytest.fixture(scope="module")
def _server() -> Iterator[Server]:
    """gh-ost needs performance_schema, which costs the other tests time."""
    with started(MariaDB, ("--performance-schema=ON",)) as server:
        yield server


@pytest.fixture
def observed(_server: Server) -> Iterator[str]:
    with _server.create_database() as url:
        yield url


needs_gh_ost = pytest.mark.skipif(
    shutil.which(GhOst.program) is None, reason="gh-ost is not installed: no package has it"
)


def test_without_it_the_reports_have_its_command_and_what_is_missing(
    mariadb: str, project: Project
) -> None:
    live = Live(mariadb)
    live.run("create table p (a int primary key)")
    live.run("create table t (a int primary key, foreign key (a) references p (a))")
    live.run("insert into p values (1), (2)", "insert into t values (1), (2)")
    env = {"PIPELINE_WAREHOUSE_URL": mariadb}
    project.passes("SchemaChangePlan", *ARGUMENTS[:-2], env=env)
    plan = (project.reports / "schema_change/plan_t_q.md").read_text(encoding="utf-8")
    assert "| a table without foreign keys | 1 of it, 0 to it | **in the way** |" in plan
    assert "| a binary log by rows | ROW | ok |" in plan
    assert "touch gh-ost.postpone && gh-ost --host=" in plan
    failed = unwrapped(project.fails(*REHEARSAL, env=env).err)
    assert "S1, gh-ost, cannot change t:" in failed
    assert "It needs a table without foreign keys; now: 1 of it, 0 to it." in failed
    assert "strategy shadow" in failed


class Replica(threading.Thread):
    """Changes rows of `t` without a pause, and each a moment later in `t_copy`, until `stop`."""

    def __init__(self, live: Live):
        super().__init__()
        self.live, self.keys = live, live.run("select a, b from t order by a, b")
        self.ends = threading.Event()

    def run(self) -> None:
        late: list[str] = []
        with self.live.engine.connect() as connection:
            for number in itertools.count():
                if not self.ends.is_set():
                    a, b = self.keys[number * 7 % len(self.keys)]
                    set_x = f"set x = {number} where a = {a} and b = '{b}'"
                    connection.exec_driver_sql(f"update t {set_x}")
                    late.append(f"update t_copy {set_x}")
                elif not late:
                    return
                if len(late) > 10 or self.ends.is_set():
                    connection.exec_driver_sql(late.pop(0))
                time.sleep(0.002)

    def stop(self) -> None:
        self.ends.set()
        self.join()


@pytest.mark.parametrize("pace", [Pace(rows=300, seconds=0, rest=0), Pace()])
def test_a_copy_that_lags_behind_is_waited_for(
    mariadb: str, pace: Pace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LaggingWorker, "lag_s", 5)
    live = Live(mariadb)
    live.create(rows=500)
    live.run("create table t_copy as select * from t", "alter table t_copy add primary key (a, b)")
    database = open_database(mariadb)
    database.logs_keys = False
    copy = Copy.of(database.describe("t"), "t", "t_copy", "")
    replica = Replica(live)
    replica.start()
    time.sleep(0.2)  # From now on ten changes are missing at any time.
    try:
        LaggingWorker(database, "t", pace).verify(copy)
    finally:
        replica.stop()

    monkeypatch.setattr(LaggingWorker, "lag_s", 0.2)
    live.run("update t_copy set note = 'wrong' order by a, b limit 1")
    with pytest.raises(PipelineError, match="The copy of t differs from the table"):
        LaggingWorker(database, "t", pace).verify(copy)
    database.close()


@needs_gh_ost
def test_a_rehearsal_and_the_change(observed: str, project: Project) -> None:
    live = Live(observed)
    live.create(rows=2_500)
    rows, before = live.rows(), live.catalog()
    env = {"PIPELINE_WAREHOUSE_URL": observed}
    project.passes("SchemaChangePlan", *ARGUMENTS[:-2], env=env)
    done = project.passes(*REHEARSAL, env=env)
    assert "rows lost, resurrected, stale" in done.log
    result = project.report("schema_change/rehearsal_t_q.gh-ost.json")
    assert (result["verdict"], result["problems"]) == (PASSED, [])
    assert result["ledger"]["keys"] > 1_000
    assert result["copied_rows"] >= 2_400
    assert (live.rows(), live.catalog()) == (rows, before)
    page = (project.reports / "schema_change/rehearsal_t_q.html").read_text(encoding="utf-8")
    assert "gh-ost: passed" in page
    assert "not run" not in page

    project.passes("SchemaChangeApply", *ARGUMENTS, "--yes", env=env)
    assert live.rows() == rows
    assert live.run("select distinct q from t") == [(7,)]
    assert {name for (name, *_) in live.run("show tables")} == {"t", "_t_del"}


@needs_gh_ost
def test_one_corrupted_value_is_noticed(observed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LaggingWorker, "lag_s", 1)
    live = Live(observed)
    live.create(rows=500)
    before = live.catalog()

    def corrupt(phase: str) -> None:
        if phase == "verifying":
            live.run("update _t_gho set x = 0.25 order by a, b limit 1")

    database = open_database(observed)
    with pytest.raises(PipelineError, match="The copy of t differs from the table"):
        GhOst(database, CHANGE, corrupt).run()
    database.close()
    assert live.catalog() == before


@needs_gh_ost
def test_what_a_killed_one_left_is_removed(observed: str) -> None:
    live = Live(observed)
    live.create(rows=500)
    before, rows = live.catalog(), live.rows()
    database = open_database(observed)

    class Left(GhOst):
        def clean(self) -> None:
            """Leaves all as the killed process did."""

    def kill() -> None:
        (process,) = [one for one in children(os.getpid()) if is_gh_ost(one)]
        os.kill(process, signal.SIGKILL)
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)

    with pytest.raises(PipelineError, match="exit status -9"):
        Left(database, CHANGE, lambda phase: None).run(kill)
    assert {name for (name, *_) in live.run("show tables")} >= {"t", "_t_gho", "_t_ghc"}
    live.run("create table _t_del (id int) comment 'ghost-cut-over-sentry'")
    tool = GhOst(database, CHANGE, lambda phase: None)
    tool.clean()
    assert live.catalog() == before
    tool.run()
    database.close()
    assert live.rows() == rows
    assert live.run("select distinct q from t") == [(7,)]


@pytest.mark.parametrize("strategy", [TOOL, GH_OST])
@pytest.mark.parametrize("which", ["old", "new"])
def test_a_table_with_the_name_of_one_of_its_own_is_left_alone(
    mariadb: str, strategy: str, which: str
) -> None:
    live = Live(mariadb)
    live.create(rows=1)
    database = open_database(mariadb)
    tool = TOOLS[strategy](database, CHANGE, lambda phase: None)
    name = getattr(tool, which)
    live.run(f"create table {name} (other int)")
    before = live.catalog()
    with pytest.raises(PipelineError, match=f"{name} exists"):
        tool.run()
    database.close()
    assert live.catalog() == before


def is_gh_ost(process: int) -> bool:
    return Path(f"/proc/{process}/exe").resolve().name == GhOst.program
