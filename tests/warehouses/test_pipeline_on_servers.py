"""The whole pipeline with a warehouse on a server: the results of SQLite, and nothing secret."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from config.bookkeeping import ALL_TABLES
from config.views import VIEWS
from config.warehouse import FACT_LOGS
from tasks.core.errors import PipelineError
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.server import ServerWarehouse
from tests.conftest import Project, make_project
from tests.hostile import SETTINGS_OF_BROKEN_ROWS, add_broken_rows, make_hostile
from tests.lake.test_lake import IN_LAKE, lose_a_log_instance, several_files
from tests.once import made_once
from tests.runs import add_partition, soak
from tests.servers import Server
from tests.warehouses.stars import NOON, change, dump, fact, load_dimensions, load_facts, rows_of

SERVERS = ["postgresql", "mariadb"]


@pytest.fixture(params=SERVERS)
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database on a server."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with hostile values and broken rows that has been run; not to be changed."""
    return made_once(tmp_path_factory, "dirty", make_dirty)


def make_dirty(folder: Path) -> Project:
    project = make_project(folder / "project")
    make_hostile(project)
    add_broken_rows(project.data)
    header, *rows = (project.data / "LOG_RCD_B.csv").read_text(encoding="utf-8").splitlines()
    add_partition(project, "more.csv.gz", "\n".join([header, *rows[:20], ""]), "LOG_RCD_B")
    project.configure("\n".join(SETTINGS_OF_BROKEN_ROWS))
    project.passes("AllReports")
    return project


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("url", ["postgresql", soak("mariadb")], indirect=True)
def test_reports_and_digests_are_those_of_sqlite(dirty: Project, url: str, tmp_path: Path) -> None:
    project = Project(Path(shutil.copytree(dirty.folder, tmp_path / "project")))
    for path in project.reports.glob("*.csv"):
        path.unlink()
    env = {"PIPELINE_WAREHOUSE_URL": url}
    result = project.passes("AllReports", env=env)
    assert {"LoadFactLogs", "CheckWarehouse"} <= set(result.built)
    for path in sorted(dirty.reports.glob("*.csv")):
        if path.name != "history.csv":
            assert (project.reports / path.name).read_bytes() == path.read_bytes(), path.name
    digests = "SELECT table_name, partition_name, rows_digest FROM load_receipt ORDER BY 1, 2"
    with closing(sqlite3.connect(dirty.database)) as connection:
        assert rows_of(url, digests) == connection.execute(digests).fetchall()
    assert not project.passes("AllReports", env=env).built
    for command in ("verify", "status"):
        answer = project.tasks(command, env=env)
        assert answer.status == 0, answer.log
        assert "stale" not in answer.out
    change(url, *(f"DROP VIEW {name}" for name in VIEWS))
    change(url, f"DROP TABLE {', '.join(reversed(ALL_TABLES))}")
    assert project.tasks("verify", env=env).status == 1
    password = str(sa.make_url(url).password)
    assert not any(password.encode() in path.read_bytes() for path in files(project.folder))


@pytest.mark.soak
def test_with_facts_in_the_lake_reports_are_those_of_sqlite(url: str, tmp_path: Path) -> None:
    project = several_files(tmp_path)
    project.passes("AllReports", env=IN_LAKE)
    names = [path.name for path in project.reports.glob("*.csv") if path.name != "history.csv"]
    expected = {name: (project.reports / name).read_bytes() for name in names}
    env = {**IN_LAKE, "PIPELINE_WAREHOUSE_URL": url}
    assert "LoadFactLogs" in project.passes("AllReports", env=env).built
    assert {name: (project.reports / name).read_bytes() for name in names} == expected
    digests = "SELECT table_name, partition_name, rows_digest FROM load_receipt ORDER BY 1, 2"
    assert rows_of(url, digests) == project.query(digests)
    assert "Everything is up to date" in project.passes("AllReports", env=env).log
    assert project.tasks("verify", env=env).status == 0
    lose_a_log_instance(project, {"PIPELINE_WAREHOUSE_URL": url})


def test_nothing_that_a_failing_run_writes_is_secret(ran: Project, url: str) -> None:
    wrong = sa.make_url(url).set(password="TOPSECRET").render_as_string(hide_password=False)
    env = {"PIPELINE_WAREHOUSE_URL": wrong}
    place = wrong.rpartition("@")[2]
    run, where = ran.luigi("AllReports", env=env), ran.tasks("where", env=env)
    failed = [run, *(ran.tasks(command, env=env) for command in ("status", "verify"))]
    assert all(one.status != 0 and place in one.out + one.err for one in failed)
    for one in (*failed, where):
        assert "TOPSECRET" not in one.out + one.log
        assert "Traceback" not in one.err
    assert not any(b"TOPSECRET" in path.read_bytes() for path in files(ran.folder))


@pytest.mark.parametrize("kind", SERVERS)
def test_a_killed_server_has_the_previous_rows(kind: str, request: pytest.FixtureRequest) -> None:
    url = str(request.getfixturevalue(kind))
    server: Server = request.getfixturevalue(f"{kind}_server")
    load_dimensions(url)
    load_facts(url, fact(1, 7, NOON))
    before = dump(url)
    place = url.rpartition("@")[2]
    with pytest.raises(PipelineError) as failed:
        load_facts(url, fact(2, 8, NOON), receipt="2", before_commit=server.kill)
    assert place in str(failed.value)
    with pytest.raises(PipelineError, match=place):
        open_warehouse(url).receipts()
    server.restart()
    assert dump(url) == before
    assert load_facts(url, fact(2, 8, NOON), receipt="2") == (["LOG_RCD_F"], 1)
    assert open_warehouse(url).changed_loads() == []


LARGE = {
    "postgresql": "SELECT n FROM generate_series(1, 20000000) AS n",
    "mariadb": "SELECT seq AS n FROM seq_1_to_20000000",
}


@pytest.mark.parametrize("kind", SERVERS)
def test_a_connection_that_is_lost_while_rows_are_compared_is_no_change(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, server = str(request.getfixturevalue(kind)), request.getfixturevalue(f"{kind}_server")
    module = f"tasks.warehouse.{kind}.warehouse"
    monkeypatch.setattr(f"{module}.loaded_query", lambda *_: LARGE[kind])
    monkeypatch.setattr(f"{module}.as_declared", lambda batch, _: batch)
    found = open_warehouse(url)
    assert isinstance(found, ServerWarehouse)

    def compare() -> None:
        with found.rows() as rows:
            batches = rows(FACT_LOGS)
            next(iter(batches))
            server.kill()
            list(batches)

    with pytest.raises(PipelineError, match="127.0.0.1(.|\n)*then run again"):
        compare()
