"""Runs that fail, are killed or are not alone: what there was stays; the next run repairs all."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from tasks.core.errors import PipelineError
from tasks.core.partition import Partition
from tasks.enrichment import star
from tasks.graph import CsvToParquet, LoadFactLogs
from tasks.state import State
from tasks.warehouse import load
from tests.conftest import ALL_REPORTS, Project, make_project
from tests.runs import ALL, fresh_project, run_and_kill, run_here
from tests.ui import luigid


def test_a_crash_between_output_and_receipt_is_repaired(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran.edit("POINT.csv", "1007,105", "1007,100")

    monkeypatch.chdir(ran.folder)
    with monkeypatch.context() as patched:
        patched.setattr(State, "keep_receipt", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            CsvToParquet(table="POINT").run()
    assert CsvToParquet(table="POINT").complete() is False
    run_here(ran)
    assert ran.outputs() == fresh_project(ran).outputs()


def test_an_input_that_changes_while_it_is_read_fails_and_leaves_the_previous_output(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran.folder)
    before = ran.outputs()
    ran.edit("POINT.csv", "1007,105", "1007,100")
    real = CsvToParquet.build_partition

    def build_partition(
        self: CsvToParquet, partition: Partition, out: dict[str, Path], threads: int
    ) -> None:
        real(self, partition, out, threads)
        ran.edit("POINT.csv", "1007,100", "1007,102")

    monkeypatch.setattr(CsvToParquet, "build_partition", build_partition)
    with pytest.raises(PipelineError, match="its input changed while it was read: POINT.csv"):
        CsvToParquet(table="POINT").run()
    assert ran.outputs() == before
    assert CsvToParquet(table="POINT").complete() is False


def test_a_load_whose_input_changes_meanwhile_leaves_the_previous_rows(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran.folder)
    LoadFactLogs().forget()
    before = ran.facts()
    enriched = ran.staging / "enriched_logs" / "LOG_RCD_F.parquet"

    def facts(path: Path) -> Iterator[object]:
        yield from star.facts(path)
        if path.name == enriched.name:
            enriched.write_bytes(enriched.read_bytes() + b"x")

    monkeypatch.setattr(load, "facts", facts)
    with pytest.raises(PipelineError, match="its input changed while it was read: LOG_RCD_F"):
        LoadFactLogs().run()
    assert ran.facts() == before


def test_a_run_that_is_killed_leaves_a_whole_warehouse_and_the_next_run_does_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "killed", data=None)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    project.passes("SampleData", "--scale", "0.05", "--seed", "3")
    assert project.luigi("AllReports").status == 0
    before = project.facts()
    log = project.data / "LOG_RCD_F.csv"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:-1000]))
    whole = fresh_project(project)
    after = whole.facts()
    assert len(after) < len(before)

    for begun in (1, 2, 3, 4, 6, 8):
        run_and_kill(project, begun)
        assert project.facts() in (before, after)
        assert project.query("PRAGMA foreign_key_check") == []
        assert project.query("PRAGMA integrity_check") == [("ok",)]

    project.passes("AllReports")
    assert project.outputs() == whole.outputs()
    assert list(temporary.iterdir()) == []
    names = {path.relative_to(project.folder) for path in project.folder.rglob("*")}
    others = {path.relative_to(whole.folder) for path in whole.folder.rglob("*")}
    assert {path for path in names - others if path.parts[0] != "logs"} == set()


def test_a_damaged_state_file_costs_a_rebuild_and_is_reported(ran: Project) -> None:
    before = ran.outputs()
    (ran.staging / "state.db").write_text("mine " * 1000)
    result = ran.passes("AllReports")
    assert result.err.count("state.db cannot be used and is begun again (file is not a data") == 1
    # The warehouse stores the receipts of its loads itself.
    loads = {label for label in ALL if label.startswith("Load")}
    assert (set(result.built), set(result.unchanged)) == (ALL - loads, loads)
    assert ran.outputs() == before


LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \d+ (DEBUG|INFO|WARNING|ERROR) \S+: ")


def test_two_runs_at_once_both_end_well_and_write_whole_lines(
    project: Project, ran: Project
) -> None:
    runs = [project.start(*ALL_REPORTS, stderr=subprocess.PIPE) for _ in range(2)]
    shown = [run.communicate(timeout=120)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], shown
    assert project.outputs() == ran.outputs()
    for err in shown:
        assert re.search(r" INFO (\d+ tasks: |Everything is up to date)[^\n]*\n\Z", err)
    logs = project.log_files()
    assert len(logs) == 2
    lines = [line for log in logs for line in log.read_text().splitlines()]
    assert sum("Done scheduling tasks" in line for line in lines) == 2
    reported = [line for line in lines if line and not line.startswith(("*", "    ", "=", "This "))]
    assert [line for line in reported if not LOGGED.match(line)] == [
        line for line in reported if line.startswith(("Scheduled ", "Did not run "))
    ]


def test_a_change_right_after_a_run_is_seen_through_the_central_scheduler(ran: Project) -> None:
    with luigid(ran) as ui:
        command = ("luigi", "--module", "tasks", "AllReports", "--scheduler-url", ui.scheduler)
        ran.edit("LOG_RCD_F.csv", "1e2", "1e3")
        first = ran.run(*command)
        ran.edit("LOG_RCD_F.csv", "1e3", "1e4")
        second = ran.run(*command)
    assert (first.status, second.status) == (0, 0), first.log + second.log
    assert ran.facts()[9][7] == 1e4
    assert "LoadFactLogs" in second.ran
