"""Activity of the log, against what pandas makes of the same records."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.measures import activity
from tasks.measures.activity import Activity
from tasks.reports import activity_report
from tests.activity import (
    LOG_INSTANCES,
    RECORDS,
    SECOND,
    START,
    Measure,
    Record,
    gaps,
    rows_of,
)


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    return Measure(tmp_path, itertools.count())


def records_over_time(activity: Activity) -> list[dict[str, Any]]:
    return rows_of(activity_report.records_over_time(activity))


def unit_days(activity: Activity) -> list[dict[str, Any]]:
    return rows_of(activity_report.unit_days(activity))


def frame_of(*partitions: tuple[str, Sequence[Record]]) -> pd.DataFrame:
    rows = [
        (kind, number, key, time)
        for number, (kind, records) in enumerate(partitions)
        for key, time in records
    ]
    frame = pd.DataFrame(rows, columns=["kind", "partition", "key", "us"])
    frame["us"] = frame["us"].astype("Int64")
    units = dict(
        zip(
            LOG_INSTANCES["point_log_inst_id"].to_pylist(),
            LOG_INSTANCES["unit_id"].to_pylist(),
            strict=True,
        )
    )
    frame["unit"] = frame["key"].map(units).fillna(-1).astype(int)
    return frame


def text(moment_us: int) -> str:
    return str(np.datetime64(moment_us, "us").astype("datetime64[s]")).replace("T", " ")


def expected_over_time(frame: pd.DataFrame) -> tuple[str, list[tuple[str, int, int]]]:
    timed = frame.dropna()
    span = 0 if timed.empty else timed["us"].max() - timed["us"].min()
    day = 86_400 * SECOND
    if span <= 7 * day:
        bucket, starts = "hour", timed["us"] // (3_600 * SECOND) * (3_600 * SECOND)
    elif span <= 400 * day:
        bucket, starts = "day", timed["us"] // day * day
    else:
        moments = timed["us"].to_numpy(np.int64).astype("datetime64[us]")
        months = moments.astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)
        bucket, starts = "month", pd.Series(months, timed.index)
    counts = timed.groupby([starts, "kind"]).size().unstack(fill_value=0)
    counts = counts.reindex(columns=["B", "F"], fill_value=0).sort_index()
    return bucket, [
        (text(int(start)), int(b), int(f))
        for start, b, f in zip(counts.index, counts["B"], counts["F"], strict=True)
    ]


@given(digital=RECORDS, floats=RECORDS, more=RECORDS)
def test_records_over_time_are_those_that_pandas_counts(
    measure: Measure, digital: list[Record], floats: list[Record], more: list[Record]
) -> None:
    partitions = [("B", digital), ("F", floats), ("F", more)]
    frame = frame_of(*partitions)
    rows = records_over_time(measure(*partitions))
    untimed = frame[frame["us"].isna()].groupby("kind").size().to_dict()
    if untimed:
        last = rows.pop()
        assert (last["bucket_start"], last["bucket"]) == ("", "no time")
        assert (last["digital_count"], last["float_count"]) == (
            untimed.get("B", 0),
            untimed.get("F", 0),
        )
    bucket, expected = expected_over_time(frame)
    found = [(row["bucket_start"], row["digital_count"], row["float_count"]) for row in rows]
    assert found == expected
    assert all(row["bucket"] == bucket for row in rows)


@given(digital=RECORDS, floats=RECORDS)
def test_unit_days_add_up_to_all_records_with_a_time(
    measure: Measure, digital: list[Record], floats: list[Record]
) -> None:
    partitions = [("B", digital), ("F", floats)]
    timed = frame_of(*partitions).dropna()
    rows = unit_days(measure(*partitions))
    by_unit = pd.DataFrame(rows, columns=["unit_id", "bucket_start", "bucket", "record_count"])
    assert by_unit.groupby("unit_id")["record_count"].sum().to_dict() == (
        timed.groupby("unit").size().to_dict()
    )
    keys = [(row["unit_id"], row["bucket_start"]) for row in rows]
    assert len(set(keys)) == len(keys)
    if rows and rows[0]["bucket"] == "day":
        days = timed.groupby(["unit", timed["us"] // (86_400 * SECOND)]).size()
        assert [row["record_count"] for row in rows] == days.tolist()


@pytest.mark.parametrize(
    ("days", "bucket", "starts"),
    [
        (120, "day", ["2024-06-01", "2024-09-29"]),
        (121, "week", ["2024-05-27", "2024-09-30"]),  # Mondays.
        (900, "month", ["2024-06-01", "2026-11-01"]),
    ],
)
def test_units_are_counted_by_day_week_or_month(
    measure: Measure, days: int, bucket: str, starts: list[str]
) -> None:
    records = [(1, START), (1, START + days * 86_400 * SECOND)]
    rows = unit_days(measure(("F", records)))
    assert [(row["bucket"], row["bucket_start"]) for row in rows] == [
        (bucket, f"{start} 00:00:00") for start in starts
    ]


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        (7 * 86_400, "hour"),
        (7 * 86_400 + 1, "day"),
        (400 * 86_400, "day"),
        (400 * 86_400 + 1, "month"),
    ],
)
@pytest.mark.parametrize("offset", [0, 1, 1800, 3599])
@pytest.mark.parametrize("partitions", [1, 2])
def test_the_bucket_follows_the_range(
    measure: Measure, seconds: int, bucket: str, offset: int, partitions: int
) -> None:
    first = START + offset * SECOND
    records: list[Record] = [(1, first), (1, first + seconds * SECOND)]
    split = [("F", records)] if partitions == 1 else [("F", records[:1]), ("F", records[1:])]
    rows = records_over_time(measure(*split))
    assert [row["bucket"] for row in rows] == [bucket, bucket]


def expected_steps(frame: pd.DataFrame) -> dict[int, dict[int, int]]:
    timed = frame.dropna()
    found: dict[int, dict[int, int]] = {}
    for (_, key), times in timed.groupby(["partition", "key"])["us"]:
        moments = times.to_list()
        for one, two in itertools.pairwise(moments):
            if one != two:
                step = max(1, (abs(two - one) + 500_000) // SECOND)
                steps = found.setdefault(key, {})
                steps[step] = steps.get(step, 0) + 1
    return found


@given(digital=RECORDS, floats=RECORDS, group_rows=st.integers(1, 70))
def test_instances_and_steps_are_those_that_pandas_finds(
    measure: Measure, digital: list[Record], floats: list[Record], group_rows: int
) -> None:
    partitions = [("B", digital), ("F", floats)]
    frame = frame_of(*partitions)
    found = measure(*partitions, group_rows=group_rows)
    of_kinds = found.instances.set_index(["log_kind", "point_log_inst_id"])
    assert len(of_kinds) == len(frame.groupby(["kind", "key"]))
    for key, mine in frame.groupby(["kind", "key"]):
        of = of_kinds.loc[key]
        timed = mine.dropna()
        assert (of["records"], of["untimed"]) == (len(mine), len(mine) - len(timed))
        if len(timed):
            assert of["first_recorded_at"] == pd.Timestamp(timed["us"].min(), unit="us", tz="UTC")
            assert of["last_recorded_at"] == pd.Timestamp(timed["us"].max(), unit="us", tz="UTC")
        assert of["steps"] == timed.groupby("partition")["us"].diff().notna().sum()
    steps: dict[int, dict[int, int]] = {}
    for key, step, count in found.steps.itertuples(index=False):
        steps.setdefault(key, {})[step] = count
    assert steps == {
        key: dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:32])
        for key, counts in expected_steps(frame).items()
    }


def test_a_step_over_the_border_of_two_row_groups_counts(measure: Measure) -> None:
    records = [(1 + at % 3, START + at * 20 * SECOND) for at in range(100)]
    found = measure(("F", records), group_rows=10)
    assert found.instances["steps"].tolist() == [33, 32, 32]
    assert found.steps.to_numpy().tolist() == [[1, 60, 33], [2, 60, 32], [3, 60, 32]]


def test_many_rows_are_added_up_in_between(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(1)
    keys = random.integers(1, 40, 3_000).tolist()
    times = (START + random.integers(0, 50, 3_000) * 86_400 * SECOND).tolist()
    records = list(zip(keys, times, strict=True))
    whole = measure(("F", records))
    monkeypatch.setattr(activity, "_MANY_ROWS", 100)
    assert_same(measure(("F", records), group_rows=70), whole)


def assert_same(one: Activity, other: Activity) -> None:
    for name, frame in vars(one).items():
        pd.testing.assert_frame_equal(frame, getattr(other, name))


def test_what_is_kept_of_the_steps_stays_small(measure: Measure) -> None:
    steps = np.random.default_rng(2).integers(1, 10**6, 400_000)
    steps[::3] = 60
    times = (START + np.cumsum(steps) * SECOND).tolist()
    found = measure(("F", [(1, time) for time in times]), group_rows=50_000)
    assert len(found.steps) == 32
    counts = dict(zip(found.steps["step_s"], found.steps["steps"], strict=True))
    assert counts[60] == int((steps[1:] == 60).sum())


@pytest.mark.parametrize("records", [[], [(1, None)], [(9, None), (9, None)]])
def test_a_log_without_a_time_has_no_activity_but_its_records(
    measure: Measure, records: list[Record]
) -> None:
    found = measure(("B", records), ("F", []))
    rows = records_over_time(found)
    assert [row["digital_count"] for row in rows] == ([len(records)] if records else [])
    assert unit_days(found) == []
    assert all(row["basis"] == "none" and row["missing"] is None for row in gaps(found))


@given(records=RECORDS, cut=st.integers(0, 60))
def test_partitions_add_up_to_the_whole(measure: Measure, records: list[Record], cut: int) -> None:
    whole = measure(("F", records))
    partitions = measure(("F", records[:cut]), ("F", records[cut:]))
    assert records_over_time(partitions) == records_over_time(whole)
    assert unit_days(partitions) == unit_days(whole)
    columns = ["records", "untimed", "first_recorded_at", "last_recorded_at"]
    pd.testing.assert_frame_equal(partitions.instances[columns], whole.instances[columns])
