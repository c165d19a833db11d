"""Gaps: the records of each log instance against those to be expected."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.activity import RECORDS, SECOND, START, YEAR_1, YEAR_9999, Measure, Record, gaps
from tests.conftest import Project


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    return Measure(tmp_path, itertools.count())


def series(key: int, step_s: float, count: int, start_s: float = 0) -> list[Record]:
    return [(key, START + round((start_s + at * step_s) * SECOND)) for at in range(count)]


def gap(rows: list[dict], key: int) -> dict:
    (row,) = [row for row in rows if row["point_log_inst_id"] == key]
    return row


def test_missing_records_are_counted_from_the_declared_interval(measure: Measure) -> None:
    records = series(1, 180, 100)
    del records[20:50]
    row = gap(gaps(measure(("F", records))), 1)
    assert row == {
        "point_log_inst_id": 1,
        "unit_id": 7,
        "app_instance_id": 100,
        "app_type_id": 5,
        "log_interval": 180,
        "typical_step_s": 180,
        "share_as_declared": round(68 / 69, 6),
        "basis": "interval",
        "first_recorded_at": "2024-06-01 00:00:00",
        "last_recorded_at": "2024-06-01 04:57:00",
        "expected": 100,
        "actual": 70,
        "missing": 30,
        "missing_share": 0.3,
    }


def test_one_that_went_silent_is_measured_up_to_the_end_of_the_log(measure: Measure) -> None:
    records = sorted(series(1, 180, 100) + series(2, 60, 30), key=lambda record: record[1] or 0)
    rows = gaps(measure(("F", records)))
    assert [(row["point_log_inst_id"], row["missing"]) for row in rows] == [
        (2, 268),
        (1, 0),
        (3, None),
        (4, None),
    ]
    assert gap(rows, 2)["expected"] == 298


def test_one_whose_file_was_cut_off_is_measured_up_to_the_end_of_that_file(
    measure: Measure,
) -> None:
    rows = gaps(measure(("F", series(1, 180, 100)), ("B", series(2, 60, 600))))
    assert [(row["point_log_inst_id"], row["missing"]) for row in rows[:2]] == [(1, 0), (2, 0)]
    both = (("F", series(1, 180, 100)), ("B", series(1, 180, 20, 90) + series(2, 60, 600)))
    assert gap(gaps(measure(*both)), 1)["expected"] == 599 * 60 // 180 + 1


def test_an_interval_that_the_records_do_not_confirm_gives_way_to_the_typical_step(
    measure: Measure,
) -> None:
    rows = gaps(measure(("F", series(2, 300, 50)), ("F", series(3, 20, 60))))
    for key, step in ((2, 300), (3, 20)):
        row = gap(rows, key)
        assert (row["basis"], row["typical_step_s"]) == ("typical step", step)
    assert gap(rows, 2)["share_as_declared"] == 0
    assert gap(rows, 3)["share_as_declared"] is None
    assert gap(rows, 3)["missing"] == 14_700 // 20 + 1 - 60


def test_times_that_stray_a_little_are_as_declared(measure: Measure) -> None:
    stray = np.random.default_rng(3).uniform(-8, 8, 500)
    records = [(1, START + round((at * 180 + stray[at]) * SECOND)) for at in range(500)]
    row = gap(gaps(measure(("F", records))), 1)
    assert row["basis"] == "interval"
    assert row["share_as_declared"] > 0.8
    assert row["missing"] <= 1


def test_a_file_with_the_newest_first_is_judged_alike(measure: Measure) -> None:
    records = series(1, 180, 100)
    del records[10:20]
    rows = gaps(measure(("F", records)))
    assert gaps(measure(("F", records[::-1]))) == rows


@pytest.mark.parametrize(
    "records",
    [
        series(1, 180, 10),  # Nine steps.
        [(1, START + at**3 * SECOND) for at in range(200)],  # Changes of a state.
        [(1, START)] * 50,
        [(1, None)] * 50,
    ],
)
def test_what_cannot_be_judged_is_not_judged(measure: Measure, records: list[Record]) -> None:
    row = gap(gaps(measure(("F", records))), 1)
    assert (row["basis"], row["expected"], row["missing"]) == ("none", None, None)
    assert row["actual"] == len(records)


def test_the_worst_come_first_then_those_without_records_then_the_others(measure: Measure) -> None:
    records = series(2, 60, 20) + series(1, 180, 20) + [(4, START), (99, START)]
    rows = gaps(measure(("F", records)))
    assert [row["point_log_inst_id"] for row in rows] == [2, 1, 3, 4]
    assert [row["actual"] for row in rows] == [20, 20, 0, 1]


def test_one_wrong_clock_does_not_make_years_be_missing(measure: Measure) -> None:
    records = [record for key in range(1, 200) for record in series(key, 180, 20)]
    records += [(150, YEAR_9999), (151, YEAR_1)]
    rows = gaps(measure(("F", records)))
    assert [row["missing"] for row in rows] == [0, 0, 0, 0]


@pytest.mark.soak
def test_isolated_records_leave_the_end_of_the_log_where_it_was(measure: Measure) -> None:
    records = [record for key in range(1, 201) for record in series(key, 180, 120)]
    records += series(150, 180, 50, 120 * 180)  # Its clock is ahead.
    far = [record for key in range(1, 13) for record in series(key, 180, 17, 8 * 86_400)]
    before, after = (gaps(measure(("F", some))) for some in (records, records + far))
    for rows in before, after:
        assert gap(rows, 1)["expected"] == 120


@given(records=RECORDS, sort=st.booleans())
def test_every_log_instance_has_one_row(
    measure: Measure, records: list[Record], sort: bool
) -> None:
    rows = gaps(measure(("F", sorted(records, key=str) if sort else records)))
    assert sorted(row["point_log_inst_id"] for row in rows) == [1, 2, 3, 4]
    for row in rows:
        assert row["actual"] == sum(key == row["point_log_inst_id"] for key, _ in records)
        if row["basis"] != "none":
            assert row["missing"] == max(0, row["expected"] - row["actual"])


def test_times_far_apart_and_a_wrong_clock_go_through_a_run(project: Project) -> None:
    lines = [f"{at},1,2024-06-01 {at // 20:02}:{at % 20 * 3:02}:00,1,OK" for at in range(60)]
    lines += ["98,1,2262-04-11 23:47:16,1,OK", "99,3,1970-01-01 00:00:00,1,OK", "100,77,,1,OK"]
    header = "log_rcd_id,point_log_inst_id,log_time,log_value,status"
    text = "\n".join([header, *lines]) + "\n"
    (project.data / "LOG_RCD_F.csv").write_text(text, encoding="utf-8")
    project.passes("ActivityReport")
    rows = project.report("records_over_time.csv")
    assert [(row["bucket_start"], row["float_count"]) for row in rows] == [
        ("1970-01-01 00:00:00", "1"),
        ("2024-06-01 00:00:00", "60"),
        ("2262-04-01 00:00:00", "1"),
        ("", "1"),
    ]
    first, *_ = project.report("gaps.csv")
    assert (first["point_log_inst_id"], first["basis"], first["missing"]) == ("1", "interval", "0")
    found = project.report("isolated_records.csv")
    assert [(row["distance_days"], row["log_instances"]) for row in found] == [
        ("86877", "1"),
        ("-19875", "3"),
    ]
