"""Runs that fail or are not alone: what there was stays; the next run repairs all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tasks.core.errors import PipelineError
from tasks.core.files import temporary_path
from tasks.core.partition import Partition
from tasks.enrichment import star
from tasks.graph import CsvToParquet, LoadFactLogs
from tasks.warehouse import collected
from tests.conftest import Project, unwrapped
from tests.runs import ALL
from tests.ui import luigid


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

    monkeypatch.setattr(collected, "facts", facts)
    with pytest.raises(PipelineError, match="its input changed while it was read: LOG_RCD_F"):
        LoadFactLogs().run()
    assert ran.facts() == before


def test_a_damaged_state_file_costs_a_rebuild_and_is_reported(ran: Project) -> None:
    before = ran.outputs()
    (ran.staging / "state.db").write_text("mine " * 1000)
    result = ran.passes("AllReports")
    message = "state.db cannot be used and is begun again (file is not a data"
    assert unwrapped(result.err).count(message) == 1
    # The warehouse stores the receipts of its loads itself.
    loads = {label for label in ALL if label.startswith("Load")}
    assert (set(result.built), set(result.unchanged)) == (ALL - loads, loads)
    assert ran.outputs() == before


def test_what_killed_runs_left_is_removed_and_nothing_else(ran: Project) -> None:
    ours = [temporary_path(ran.staging / "keys" / "gone.parquet")]
    ours.append(temporary_path(ran.reports / "index.html"))
    others = [ran.reports / ".index.html.tmp", ran.reports / "mine" / ours[1].name]
    others[1].parent.mkdir()
    for path in (*ours, *others):
        path.write_text("unfinished")
    with FileLock(ran.staging / ".locks" / "EnrichedLogs.lock"):
        ran.passes("AllReports")
    assert [path.exists() for path in (*ours, *others)] == [True] * 4
    ran.passes("AllReports")
    assert [path.exists() for path in (*ours, *others)] == [False, False, True, True]


@pytest.mark.soak
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
