"""Holes and isolated records, from made-up files to the page, against plain Python."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import Project, make_project
from tests.html_page import Page
from tests.once import made_once

START = datetime(2024, 6, 1)
STEP = timedelta(minutes=3)
UNITS = {71: (11, 12, 13, 14), 72: (21, 22, 23, 24), 73: (31, 32, 33, 34)}
"""Unit -> its log instances; all others have one, with digital records."""

STEPS = 1_800
OFF = range(400, 408)
"""Steps in which all of unit 71 was off."""

LEAP = range(500, 520)
"""Steps in which the clock of unit 74 was ten hours behind the begin of the log."""

Row = tuple[int, datetime]


def floats() -> Iterator[Row]:
    """Every three minutes, in the order of time; at last 200 records dated eight days later."""
    for at in range(STEPS):
        for unit, keys in UNITS.items():
            for key in keys:
                is_off = (unit == 71 and at in OFF) or (key == 21 and 900 <= at < 904)
                if not is_off:
                    # Instances log in turn; the units lie a minute apart.
                    yield key, START + at * STEP + timedelta(seconds=key)


def far() -> Iterator[Row]:
    keys = [key for keys in UNITS.values() for key in keys]
    for at in range(200):
        step = (STEPS + at // 12) * STEP + timedelta(days=8)
        yield keys[at % 12], START + step + timedelta(seconds=keys[at % 12])


def digitals() -> Iterator[Row]:
    """Of unit 74, whose clock was wrong for a while: times leap, and the file goes on."""
    for at in range(STEPS):
        wrong = timedelta(hours=35) if at in LEAP else timedelta(0)
        yield 41, START + at * STEP - wrong


def write(project: Project, name: str, header: str, rows: Iterator[tuple] | list[tuple]) -> None:
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    (project.data / f"{name}.csv").write_text("\n".join(lines) + "\n")


def make_sources(project: Project, records: list[Row]) -> None:
    keys = {**UNITS, 74: (41,)}
    pairs = [(unit, key) for unit, ones in keys.items() for key in ones]
    write(project, "APP_TYPE", "app_type_id,description", [(1, "Case")])
    refs = [(unit, 1, unit) for unit in keys]
    write(project, "APP_TYPE_REF", "app_type_ref_id,app_type_id,unit_id", refs)
    write(project, "APP_INSTANCE", "app_instance_id,app_type_ref_id", [(u, u) for u in keys])
    write(project, "POINT", "point_id,app_instance_id", [(key, unit) for unit, key in pairs])
    instances = [(key, key, 180) for _, key in pairs]
    write(project, "LOG_INSTANCE", "point_log_inst_id,point_id,log_interval", instances)
    header = "point_log_inst_id,log_time,log_value"
    write(project, "LOG_RCD_F", header, ((key, time, 4.5) for key, time in records))
    write(project, "LOG_RCD_B", header, ((key, time, 1) for key, time in digitals()))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    def make(folder: Path) -> Project:
        project = make_project(folder / "project", None)
        make_sources(project, [*floats(), *far()])
        project.passes("AllReports")
        return project

    return made_once(tmp_path_factory, "holes", make)


HOLES = [
    # Alone: the file goes on where the times leap.
    ("2024-05-31 14:57:00", "2024-06-01 00:00:00", "9.05", "1", "180", "clock jump", "74", "41"),
    # From the last record of any of the four to the first one.
    (
        *("2024-06-01 19:57:14", "2024-06-01 20:24:11", "0.45", "4", "32"),
        *("all log instances of unit 71 at once: off, or the clock was set", "71"),
        "11, 12, 13, 14",
    ),
    ("2024-06-02 00:57:00", "2024-06-02 02:00:00", "1.05", "1", "20", "", "74", "41"),
    ("2024-06-02 20:57:21", "2024-06-02 21:12:21", "0.25", "1", "4", "", "72", "21"),
]


def test_equal_holes_are_one_and_a_clock_jump_is_named(made: Project) -> None:
    assert [tuple(row.values()) for row in made.report("holes.csv")] == HOLES


def test_holes_are_those_of_the_warehouse(made: Project) -> None:
    near = "FROM v_gaps WHERE gap_seconds < 2 * 86400"  # Those that lead to the isolated records.
    ((gaps, missing),) = made.query(f"SELECT count(*), sum(missing_count) {near}")
    rows = made.report("holes.csv")
    assert sum(int(row["log_instance_count"]) for row in rows) == gaps
    assert sum(int(row["missing_count"]) for row in rows) == missing
    of_one = made.query(f"SELECT began_at, ended_at {near} AND point_log_inst_id = 21")
    assert of_one == [HOLES[-1][:2]]


def test_records_far_from_all_others_do_not_make_others_missing(made: Project) -> None:
    rows = {row["point_log_inst_id"]: int(row["missing"]) for row in made.report("gaps.csv")}
    del rows["41"]  # Its clock was wrong.
    assert rows == {**dict.fromkeys(rows, 0), **dict.fromkeys(("11", "12", "13", "14"), 8), "21": 4}
    assert sum(rows.values()) == 36
    (isolated,) = made.report("isolated_records.csv")
    assert isolated == {
        "log_kind": "F",
        "first_recorded_at": "2024-06-12 18:00:11",
        "last_recorded_at": "2024-06-12 18:48:24",
        "record_count": "200",
        "distance_days": "8",
        "note": "",
        "log_instance_count": "12",
        "log_instances": "11, 12, 13, 14, 21, 22, 23, 24, 31, 32, 33, 34",
    }


def test_the_page_describes_holes_in_words(made: Project) -> None:
    page = Page(made.reports / "index.html")
    assert page.texts["isolated"].strip() == (
        "200 float records 8 days after all others: of 12 log instances, "
        "from 2024-06-12 18:00:11 to 2024-06-12 18:48:24."
    )
    assert "4 log instances, 27 min from 06-01 19:57" in page.text
    assert "1 log instance, 9 h from 05-31 14:57" in page.text
    shown = page.rows("table-holes")
    for column in made.report("holes.csv")[0]:
        assert [row[column] for row in shown] == [
            row[column] for row in made.report("holes.csv")
        ], column
    gaps = made.report("run.json")["gaps"]
    assert (gaps["holes"], gaps["isolated"], gaps["missing"]) == (4, 200, 236)
    (missing,) = (v for v in made.report("run.json")["verdicts"] if v["name"] == "missing")
    assert missing["figures"] == f"236 of {gaps['expected']:,} expected log records missing."
