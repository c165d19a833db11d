"""Log records that arrive in parts: each is staged, enriched and loaded by itself."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from config.warehouse import PARTITION_ROWS
from tasks.core.partition import partition_ids
from tasks.enrichment import star
from tasks.freshness.partitioned import PartitionedTask
from tasks.graph import CheckWarehouse, CsvToParquet, EnrichedLogs, LogActivity, SourceProfiles
from tasks.warehouse import collected
from tests.conftest import Project, run_once
from tests.once import made_once
from tests.runs import add_partition, fresh_project, run_here, soak

HEADER = "log_rcd_id,point_log_inst_id,log_time,log_value,status\n"
MARCH = HEADER + "1,1,2024-03-01 00:00:00,1.5,OK\n2,2,2024-03-01 00:03:00,2.5,OK\n"
APRIL = HEADER + "1,1,2024-04-01 00:00:00,3.5,OK\n2,77,2024-04-01 00:03:00,ERROR,\n"


@pytest.fixture(scope="session")
def _parted_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> Project:
        project = run_once(folder)
        add_partition(project, "2024-03.csv", MARCH)
        add_partition(project, "2024-04.csv.gz", APRIL)
        project.passes("AllReports")
        return project

    return made_once(tmp_path_factory, "parted", make).folder


@pytest.fixture
def parted(_parted_once: Path, tmp_path: Path) -> Project:
    """A project with a file of float records and two parts beside it, run once."""
    return Project(Path(shutil.copytree(_parted_once, tmp_path / "ran", symlinks=True)))


@pytest.fixture
def without_parts(_ran_once: Path) -> Project:
    """The same project before the parts came; not to be changed."""
    return Project(_ran_once)


@pytest.fixture
def built_parts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which parts are built from now on, with the task that builds each."""
    built: list[str] = []
    counted = (CheckWarehouse, LogActivity, SourceProfiles)
    for task in (CsvToParquet, EnrichedLogs, *counted):

        def build_partition(
            self: PartitionedTask,
            *arguments: object,
            real: Callable[..., None] = task.build_partition,
        ) -> None:
            built.append(f"{self.task_family} {arguments[0].name}")  # type: ignore[attr-defined]
            real(self, *arguments)

        monkeypatch.setattr(task, "build_partition", build_partition)

    def facts(enriched: Path) -> object:
        _, _, partition = enriched.with_suffix("").as_posix().rpartition("enriched_logs/")
        built.append(f"LoadFactLogs {partition}")
        return star.facts(enriched)

    monkeypatch.setattr(collected, "facts", facts)
    return built


def test_parts_that_came_later_give_what_a_run_from_nothing_gives(parted: Project) -> None:
    assert parted.outputs() == fresh_project(parted).outputs()


def test_files_and_folders_hold_the_records_together(parted: Project) -> None:
    counts = dict(parted.query("SELECT partition_id, count(*) FROM fact_logs GROUP BY 1"))
    numbers = partition_ids(["LOG_RCD_F/2024-03", "LOG_RCD_F/2024-04"])
    assert counts == {0: 5, 1: 8, **dict.fromkeys(numbers.values(), 2)}
    assert parted.query(
        "SELECT point_log_inst_id, recorded_at, value_text, status, log_kind FROM fact_logs"
        f" WHERE partition_id = {numbers['LOG_RCD_F/2024-04']} ORDER BY log_id"
    ) == [
        (1, "2024-04-01 00:00:00.000000", None, "OK", "F"),
        (-1, "2024-04-01 00:03:00.000000", "ERROR", None, "F"),
    ]
    figures = parted.report("data_quality.json")["sources"]
    assert figures["LOG_RCD_F"]["rows"] == figures["LOG_RCD_F"]["staged"] == 12
    assert figures["LOG_RCD_F"]["file"] == "LOG_RCD_F (3 files)"
    rows = {row["unit_id"]: row for row in parted.report("summary_by_unit_id.csv")}
    assert rows["7"]["record_count"] == "8"
    assert rows["7"]["first_recorded_at"] == "2024-03-01 00:00:00"


@pytest.mark.soak
def test_a_source_may_come_as_a_folder_alone(ran: Project) -> None:
    text = (ran.data / "LOG_RCD_B.csv").read_text()
    (ran.data / "LOG_RCD_B.csv").unlink()
    add_partition(ran, "all.csv", text, "LOG_RCD_B")
    ran.passes("AllReports")
    assert ran.query("SELECT count(*) FROM fact_logs WHERE log_kind = 'B'") == [(5,)]
    assert ran.outputs() == fresh_project(ran).outputs()


def test_a_new_part_is_the_only_one_that_is_built(parted: Project, built_parts: list[str]) -> None:
    before = parted.facts()
    add_partition(parted, "2024-05.csv", MARCH.replace("2024-03", "2024-05"))
    run_here(parted)
    assert built_parts == [
        "CsvToParquet LOG_RCD_F/2024-05",
        "EnrichedLogs LOG_RCD_F/2024-05",
        "LoadFactLogs LOG_RCD_F/2024-05",
        "CheckWarehouse LOG_RCD_F/2024-05",
        "LogActivity LOG_RCD_F/2024-05",
        "SourceProfiles LOG_RCD_F/2024-05",
    ]
    assert set(before) < set(parted.facts())


def test_a_changed_part_replaces_its_facts_alone(parted: Project, built_parts: list[str]) -> None:
    before = parted.facts()
    add_partition(parted, "2024-03.csv", MARCH.replace("2,2,", "2,3,") + "3,1,2024-03-02,9,OK\n")
    run_here(parted)
    part = "LOG_RCD_F/2024-03"
    assert {name.partition(" ")[2] for name in built_parts} == {part}
    number = partition_ids(["LOG_RCD_F/2024-03"])["LOG_RCD_F/2024-03"]
    others = [row for row in before if row[0] // PARTITION_ROWS != number]
    assert [row for row in parted.facts() if row[0] // PARTITION_ROWS != number] == others
    assert len(parted.facts()) == len(before) + 1
    assert parted.outputs() == fresh_project(parted).outputs()


def test_removed_parts_take_their_facts_and_files_along(
    parted: Project, built_parts: list[str], without_parts: Project
) -> None:
    for removed, left in (("2024-03.*", 15), ("2024-04.*", 13)):
        for path in (parted.data / "LOG_RCD_F").glob(removed):
            path.unlink()
        run_here(parted)
        assert built_parts == []
        assert len(parted.facts()) == left
        assert [path for path in parted.staging.rglob(f"*{removed}")] == []
    assert parted.outputs() == without_parts.outputs()


def test_a_packed_part_is_the_same_part(parted: Project, built_parts: list[str]) -> None:
    before = parted.facts()
    (parted.data / "LOG_RCD_F" / "2024-03.csv").unlink()
    add_partition(parted, "2024-03.csv.gz", MARCH)
    run_here(parted)
    assert built_parts == ["CsvToParquet LOG_RCD_F/2024-03"]  # Its rows turn out to be the same.
    assert parted.facts() == before


def test_touched_parts_run_nothing(parted: Project) -> None:
    for path in (parted.data / "LOG_RCD_F").iterdir():
        path.touch()
    assert parted.passes("AllReports").ran == []


@pytest.mark.parametrize(
    "folder",
    ". enriched_logs audit/facts audit/parts activity/days activity/hours activity/instances "
    "profiles".split(),
)
def test_an_output_of_a_part_that_is_gone_is_made_again_alone(
    parted: Project, built_parts: list[str], folder: str
) -> None:
    before = parted.outputs()
    (path,) = (parted.staging / folder / "LOG_RCD_F").glob("2024-03.*")
    path.unlink()
    run_here(parted)
    assert len(built_parts) == 1
    assert built_parts[0].endswith(" LOG_RCD_F/2024-03")
    assert parted.outputs() == before


def test_facts_of_one_part_that_someone_changed_are_loaded_again_alone(
    parted: Project, built_parts: list[str]
) -> None:
    before = parted.outputs()
    number = partition_ids(["LOG_RCD_F/2024-03"])["LOG_RCD_F/2024-03"]
    parted.change(f"DELETE FROM fact_logs WHERE log_id = {number * PARTITION_ROWS + 1}")
    run_here(parted)
    assert built_parts == ["LoadFactLogs LOG_RCD_F/2024-03", "CheckWarehouse LOG_RCD_F/2024-03"]
    assert parted.outputs() == before


def test_facts_that_belong_to_no_part_are_removed(parted: Project) -> None:
    before = parted.facts()
    parted.change(
        "INSERT INTO fact_logs (log_id, unit_id, app_instance_id, app_type_id, point_id,"
        " point_log_inst_id, recorded_at, log_kind, partition_id)"
        " VALUES (990000000001, -1, -1, -1, -1, -1, '', 'F', 99)"
    )
    run_here(parted)
    assert parted.facts() == before


def without_triggers(table: str) -> list[str]:
    events = ("insert", "update", "delete")
    return [f"DROP TRIGGER {table}_{event}_invalidates_receipt" for event in events]


@pytest.mark.parametrize(
    "statements",
    [
        soak([*without_triggers("fact_logs"), "UPDATE fact_logs SET value = 999"]),
        soak(["DROP TABLE load_receipt"]),
        soak(
            [
                *without_triggers("log_instance_activity"),
                "UPDATE log_instance_activity SET record_count = 500",
            ]
        ),
        soak(["DROP TABLE log_instance_activity"]),
        soak(["DELETE FROM load_receipt WHERE partition_name = 'LOG_RCD_F'"]),
        soak(["UPDATE load_receipt SET row_count = row_count + 5 WHERE partition_name <> ''"]),
        soak(
            [
                "CREATE TABLE other AS SELECT * FROM dim_unit",
                "DROP TABLE dim_unit",
                # Not renamed: SQLite refuses that while a view refers to a table that is missing.
                "CREATE TABLE dim_unit AS SELECT * FROM other",
                "UPDATE dim_unit SET unit_name = 'mine'",
            ]
        ),
    ],
)
def test_what_somebody_changed_unseen_is_loaded_again_though_another_table_is_loaded_first(
    parted: Project, statements: list[str]
) -> None:
    for statement in statements:
        parted.change(statement)
    parted.edit("APP_TYPE.csv", "3,Suction Group", "3,Pump")
    parted.passes("AllReports")
    assert parted.outputs() == fresh_project(parted).outputs()
    assert parted.query(
        "SELECT sum(row_count) FROM load_receipt"
        " WHERE table_name = 'fact_logs' AND partition_name = ''"
    ) == [(17,)]


@pytest.mark.soak
def test_what_a_removed_part_left_goes_though_its_receipt_is_gone(parted: Project) -> None:
    (parted.staging / "state.db").unlink()
    (parted.data / "LOG_RCD_F" / "2024-03.csv").unlink()
    (parted.data / "LOG_RCD_F.csv").rename(parted.data / "LOG_RCD_F" / "main.csv")
    assert parted.luigi("AllReports").status == 0
    assert parted.outputs() == fresh_project(parted).outputs()


def test_a_part_with_an_unreadable_name_or_behind_a_dead_link_is_reported(parted: Project) -> None:
    folder = os.fsencode(parted.data / "LOG_RCD_F")
    with open(folder + b"/x\xff.csv", "w") as stream:  # noqa: PTH123  # Paths are text.
        stream.write(MARCH)
    (parted.data / "LOG_RCD_F" / "dead.csv").symlink_to("nowhere.csv")
    result = parted.fails("AllReports")
    assert "'x\\udcff.csv': the name is not UTF-8: rename it." in result.log
    assert "  LOG_RCD_F/dead.csv is a link that leads nowhere\n" in result.log
    assert len(parted.facts()) == 17


@pytest.mark.soak
def test_a_changed_chain_reaches_the_facts_of_every_part(parted: Project) -> None:
    parted.edit("LOG_INSTANCE.csv", "2,1001,2,180", "2,1002,2,180")
    run_here(parted)
    assert parted.outputs() == fresh_project(parted).outputs()


def test_a_part_that_cannot_be_read_is_reported_by_its_name_and_leaves_the_warehouse(
    parted: Project,
) -> None:
    before = parted.facts()
    add_partition(parted, "2024-05.csv", HEADER + "1,x,2024-05-01 00:00:00,1,OK\n")
    result = parted.fails("AllReports")
    assert "LOG_RCD_F/2024-05.csv: 1 of 1 rows cannot be read as declared" in result.log
    assert parted.facts() == before
    add_partition(parted, "2024-05.csv", MARCH.replace("2024-03", "2024-05"))
    parted.passes("AllReports")
    assert len(parted.facts()) == len(before) + 2


def test_every_part_is_checked_before_anything_is_touched(parted: Project) -> None:
    add_partition(parted, "2024-05.csv", "time,value\n")
    add_partition(parted, "2024-06.csv", "")
    add_partition(parted, "2024-04.csv", APRIL)
    result = parted.fails("AllReports")
    assert (
        "  LOG_RCD_F/2024-04.csv and LOG_RCD_F/2024-04.csv.gz exist both: keep one of them\n"
        "  LOG_RCD_F/2024-05.csv: column 'point_log_inst_id' is missing; "
        "the file has: time, value\n"
        "  LOG_RCD_F/2024-06.csv is empty: it has no header.\n"
    ) in result.log
    assert len(parted.facts()) == 17


def test_quarantined_rows_name_the_file_of_their_part(parted: Project) -> None:
    parted.configure("[LOG_RCD_F]\nmax_rejected = 0.5")
    add_partition(parted, "2024-05.csv", MARCH + "3,x,2024-05-01 00:00:00,1,OK\n")
    assert parted.luigi("AllReports").status == 0
    with (parted.staging / "quarantine" / "LOG_RCD_F" / "2024-05.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert (row["file"], row["line"]) == ("LOG_RCD_F/2024-05.csv", "4")


def test_parts_may_have_different_columns(parted: Project) -> None:
    add_partition(parted, "2024-05.csv", "point_log_inst_id,log_time,site\n1,2024-05-01,Bern\n")
    assert parted.luigi("AllReports").status == 0
    figures = parted.report("data_quality.json")
    assert "site" in figures["sources"]["LOG_RCD_F"]["header"]
    assert {item["source"] for item in figures["unmapped"]} == {"POINT"}
    assert figures["sources"]["LOG_RCD_F"]["nulls"]["value"] == 3  # A word in two of them.
    text = "value is missing in 1 of 4 files, and NULL there: LOG_RCD_F/2024-05.csv"
    assert text in figures["sources"]["LOG_RCD_F"]["warnings"]
    report = parted.report("schema_change.md")
    assert "- LOG_RCD_F\n  - new: site, passed through staging as text in 1 of 4 files" in report


def test_names_that_make_the_same_number_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.core.partition._IDS", 7)
    names = ["LOG_RCD_B", "LOG_RCD_F", *(f"LOG_RCD_F/{day}" for day in range(5))]
    numbers = partition_ids(names)
    assert sorted(numbers.values()) == list(range(7))
    assert numbers == partition_ids(reversed(names))
