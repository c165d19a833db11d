"""Facts in the lake: what is derived from them is what it is with facts in the warehouse."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from config.aggregates import AGGREGATES
from config.bookkeeping import LOG_INSTANCE_ACTIVITY
from config.warehouse import DIMENSIONS, FACT_LOGS
from tests.conftest import ALL_REPORTS, Project, make_project
from tests.runs import add_partition, soak

IN_LAKE = {"PIPELINE_FACTS": "lake"}
SAME = (*DIMENSIONS, *AGGREGATES, LOG_INSTANCE_ACTIVITY.name)
"""Tables that are the same wherever the facts are."""


def records(number: int, count: int, begin_day: int = 0) -> str:
    """Records of some days, without order; B and F, some of them without a time or a value."""
    chance = random.Random(number)
    lines = ["log_rcd_id,point_log_inst_id,log_time,log_value,status"]
    for at in range(count):
        day = begin_day + chance.randrange(4)
        minute = chance.randrange(1440)
        when = f"2024-03-{day + 28:02} " if day < 4 else f"2024-04-{day - 3:02} "
        when = "" if at % 97 == 5 else f"{when}{minute // 60:02}:{minute % 60:02}:00"
        value = "" if at % 31 == 7 else repr(chance.gauss(20, 3)) if number % 2 else str(at % 2)
        lines.append(
            f"{at},{chance.randrange(1, 9)},{when},{value},{chance.choice(['OK', 'ALARM'])}"
        )
    return "\n".join(lines) + "\n"


def several_files(folder: Path) -> Project:
    project = make_project(folder / "project")
    for number in range(3):
        add_partition(project, f"{number}.csv", records(number * 2 + 1, 400, number * 2))
        source = "LOG_RCD_B"
        add_partition(project, f"{number}.csv", records(number * 2, 300, number * 2), source)
    return project


def facts(project: Project) -> set[tuple]:
    """The rows that the manifest lists."""
    lake = project.folder / "lake"
    found = [
        pq.read_table(lake / one["path"], partitioning=None).to_pylist()
        for one in json.loads((lake / "manifest.json").read_text())["files"]
    ]
    return {tuple(row.values()) for rows in found for row in rows}


@pytest.mark.parametrize("zone", [soak("UTC"), "Europe/Berlin"])
def test_what_is_derived_is_the_same(tmp_path: Path, zone: str) -> None:
    project = several_files(tmp_path)
    days = {"PIPELINE_REPORT_TIMEZONE": zone}
    project.passes("LoadFactLogs", env=days)
    loaded = {name: project.query(f"SELECT * FROM {name} ORDER BY 1, 2, 3") for name in SAME}
    rows = project.query("SELECT count(*) FROM fact_logs")
    columns = ", ".join(column.name for column in FACT_LOGS.columns)
    texts = {
        (*row[:6], row[6] or None, *row[7:])
        for row in project.query(f"SELECT {columns} FROM fact_logs")
    }
    project.passes("LoadFactLogs", env={**days, **IN_LAKE})
    in_lake = {name: project.query(f"SELECT * FROM {name} ORDER BY 1, 2, 3") for name in SAME}
    assert in_lake == loaded
    assert project.query("SELECT count(*) FROM fact_logs") == [(0,)]
    found = facts(project)
    assert [(len(found),)] == rows
    assert {(row[0], *row[7:]) for row in found} == {(row[0], *row[7:]) for row in texts}


def test_without_records_and_without_times(tmp_path: Path) -> None:
    header = "log_rcd_id,point_log_inst_id,log_time,log_value,status\n"
    project = make_project(tmp_path / "project")
    for source in ("LOG_RCD_B", "LOG_RCD_F"):
        (project.data / f"{source}.csv").write_text(header)
    project.passes("AllReports", env=IN_LAKE)
    assert facts(project) == set()
    add_partition(project, "some name=1%.csv", header + "1,1,,3,OK\n2,1,,4,OK\n")
    project.passes("LoadFactLogs", env=IN_LAKE)
    assert [row[6:8] for row in sorted(facts(project))] == [(None, 3.0), (None, 4.0)]
    assert project.query("SELECT count(*) FROM fact_log_days") == [(0,)]
    (project.data / "LOG_RCD_F" / "some name=1%.csv").unlink()
    project.passes("LoadFactLogs", env=IN_LAKE)
    assert facts(project) == set()


@pytest.mark.soak
def test_a_file_of_many_days_needs_few_open_files(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    header = "log_rcd_id,point_log_inst_id,log_time,log_value,status\n"
    times = (datetime(2010, 1, 1) + timedelta(days=number) for number in range(1_100))
    rows = (f"{number},1,{time},20.5,OK\n" for number, time in enumerate(times))
    add_partition(project, "all.csv", header + "".join(rows))
    command = ["bash", "-c", f"ulimit -n 1024; exec {' '.join(ALL_REPORTS)}"]
    assert project.run(*command, env=IN_LAKE).status == 0
    days = "SELECT count(DISTINCT day) FROM fact_log_days WHERE day < '2020'"
    assert project.query(days) == [(1_100,)]


@pytest.mark.soak
def test_a_member_that_vanishes_goes_with_what_refers_to_it(tmp_path: Path) -> None:
    lose_a_log_instance(several_files(tmp_path), {})


def lose_a_log_instance(project: Project, more: dict[str, str]) -> None:
    """Run, remove a log instance that has records, and run again."""
    env = {**IN_LAKE, **more}
    project.passes("AllReports", env=env)
    path = project.data / "LOG_INSTANCE.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("1,")))
    assert len(path.read_text()) < len("".join(lines))
    project.passes("AllReports", env=env)
    assert "Everything is up to date" in project.passes("AllReports", env=env).log
    if not more:
        keys = project.query("SELECT point_log_inst_id FROM dim_log_instance")
        assert (1,) not in keys
        assert project.query("PRAGMA foreign_key_check") == []
        assert project.query("SELECT count(*) FROM v_point_day") == project.query(
            "SELECT count(*) FROM fact_log_days"
        )


def lake_files(project: Project) -> dict[str, bytes]:
    """Path -> content of all files that the manifest lists."""
    lake = project.folder / "lake"
    listed = json.loads((lake / "manifest.json").read_text())["files"]
    return {one["path"]: (lake / one["path"]).read_bytes() for one in listed}


def test_only_days_that_changed_are_built_and_replaced_files_stay_for_a_time(
    tmp_path: Path,
) -> None:
    project = several_files(tmp_path)
    project.passes("CheckWarehouse", env=IN_LAKE)
    before = lake_files(project)
    measured = {path: path.stat().st_ino for path in project.staging.glob("lake/days/days/*")}
    counts = {path: path.stat().st_ino for path in project.staging.glob("audit/facts/*/*.json")}
    move_records(project, "2024-03-30 ", "2024-03-31 ")

    project.passes("CheckWarehouse", env=IN_LAKE)
    after = lake_files(project)
    changed = {path.split("/")[1] for path in before.keys() ^ after.keys()}
    assert changed == {"day=2024-03-30", "day=2024-03-31"}
    again = {path: path.stat().st_ino for path in project.staging.glob("lake/days/days/*")}
    built = {path.stem for path in again if again[path] != measured[path]}
    assert built == {"2024-03-30", "2024-03-31"}
    counted = [path for path in counts if counts[path] != path.stat().st_ino]
    assert [path.name for path in counted] == ["1.json"]
    # Readers of the manifest before still find what it lists.
    for path in before:
        assert (project.folder / "lake" / path).read_bytes() == before[path]
    assert project.query("SELECT sum(record_count) FROM fact_log_days") == [
        (sum(row[6] is not None for row in facts(project)),)
    ]

    move_records(project, "2024-04-01 ", "2024-04-02 ")
    project.passes("CheckWarehouse", env={**IN_LAKE, "PIPELINE_LAKE_GRACE_S": "0"})
    left = {str(path.relative_to(project.folder / "lake")) for path in lake_paths(project)}
    assert left == {*lake_files(project), "manifest.json"}


def move_records(project: Project, day: str, to: str) -> None:
    path = project.data / "LOG_RCD_F" / "1.csv"
    path.write_text(path.read_text().replace(day, to))


def lake_paths(project: Project) -> list[Path]:
    return [path for path in (project.folder / "lake").rglob("*") if path.is_file()]


@pytest.mark.parametrize("damage", ["file", soak("manifest"), soak("all")])
def test_what_others_change_in_the_lake_is_made_again(tmp_path: Path, damage: str) -> None:
    project = several_files(tmp_path)
    project.passes("LoadFactLogs", env=IN_LAKE)
    before = lake_files(project)
    manifest = project.folder / "lake" / "manifest.json"
    match damage:
        case "file":
            (project.folder / "lake" / min(before)).write_bytes(b"")
        case "manifest":
            manifest.write_text("{}")
        case "all":
            for path in lake_paths(project):
                path.unlink()
    shown = project.tasks("status", "--stale", env=IN_LAKE).out
    assert "LakeFacts" in shown
    assert "lake" in shown
    project.passes("LoadFactLogs", env=IN_LAKE)
    assert lake_files(project) == before
    assert not project.passes("LoadFactLogs", env=IN_LAKE).built
