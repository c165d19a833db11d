"""Activity of the log, against what pandas makes of the same records."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.measures import activity
from tasks.measures.activity import (
    Activity,
    PartActivity,
    add_parts,
    measure_activity,
    merge_activity,
)
from tasks.parsing.numbers import INSTANT
from tasks.reports.activity_report import gaps, records_over_time, unit_days
from tests.conftest import Project

SECOND = 1_000_000
START = 1_717_200_000 * SECOND  # 2024-06-01 00:00 UTC, a Saturday.
YEAR_1, YEAR_9999 = -62_135_596_800 * SECOND, 253_402_300_799 * SECOND

CHAINS = pa.table(
    {
        "point_log_inst_id": [1, 2, 3, 4],
        "point_id": [10, 20, 30, 40],
        "app_instance_id": [100, 101, 102, -1],
        "app_type_id": [5, 6, 5, -1],
        "unit_id": [7, 7, 8, -1],
        "log_interval": pa.array([180, 60, None, 180], pa.int64()),
    }
)

Record = tuple[int, int | None]


class Measure(NamedTuple):
    """Measures records as parts of the log, each in a folder of its own."""

    folder: Path
    numbers: itertools.count

    def __call__(self, *parts: tuple[str, Sequence[Record]], group_rows: int = 7) -> Activity:
        return merge_activity([self.part(*part, group_rows) for part in parts], CHAINS)

    def part(self, kind: str, records: Sequence[Record], group_rows: int) -> PartActivity:
        folder = self.folder / str(next(self.numbers))
        folder.mkdir()
        table = pa.table(
            {
                "point_log_inst_id": pa.array([key for key, _ in records], pa.int64()),
                "recorded_at": pa.array([time for _, time in records], INSTANT),
            }
        )
        pq.write_table(table, folder / "staged.parquet", row_group_size=group_rows)
        part = PartActivity(kind, *(folder / name for name in ("days", "instances", "hours")))
        assert measure_activity(folder / "staged.parquet", *part[1:]) == len(records)
        return part


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    return Measure(tmp_path, itertools.count())


TIMES = st.one_of(
    st.none(),
    st.integers(0, 400).map(lambda step: START + step * 60 * SECOND),
    st.integers(START, START + 3 * 10**13),
    st.sampled_from([YEAR_1, YEAR_9999, 0, -1, 9_223_372_036 * SECOND]),
)
KEYS = st.one_of(st.integers(1, 6), st.sampled_from([-1, 0, -(2**63), 2**63 - 1]))
RECORDS = st.lists(st.tuples(KEYS, TIMES), max_size=60)
SHARED = hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def frame_of(*parts: tuple[str, Sequence[Record]]) -> pd.DataFrame:
    rows = [
        (kind, number, key, time)
        for number, (kind, records) in enumerate(parts)
        for key, time in records
    ]
    frame = pd.DataFrame(rows, columns=["kind", "part", "key", "us"])
    frame["us"] = frame["us"].astype("Int64")
    units = dict(
        zip(CHAINS["point_log_inst_id"].to_pylist(), CHAINS["unit_id"].to_pylist(), strict=True)
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


@SHARED
@given(digital=RECORDS, floats=RECORDS, more=RECORDS)
def test_records_over_time_are_those_that_pandas_counts(
    measure: Measure, digital: list[Record], floats: list[Record], more: list[Record]
) -> None:
    parts = [("B", digital), ("F", floats), ("F", more)]
    frame = frame_of(*parts)
    rows = records_over_time(measure(*parts))
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


@SHARED
@given(digital=RECORDS, floats=RECORDS)
def test_unit_days_add_up_to_all_records_with_a_time(
    measure: Measure, digital: list[Record], floats: list[Record]
) -> None:
    parts = [("B", digital), ("F", floats)]
    timed = frame_of(*parts).dropna()
    rows = unit_days(measure(*parts))
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
def test_units_are_told_by_day_week_or_month(
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
@pytest.mark.parametrize("parts", [1, 2])
def test_the_bucket_follows_the_range(
    measure: Measure, seconds: int, bucket: str, offset: int, parts: int
) -> None:
    first = START + offset * SECOND
    records: list[Record] = [(1, first), (1, first + seconds * SECOND)]
    split = [("F", records)] if parts == 1 else [("F", records[:1]), ("F", records[1:])]
    rows = records_over_time(measure(*split))
    assert [row["bucket"] for row in rows] == [bucket, bucket]


# --- instances and steps ---------------------------------------------------------------------


def expected_steps(frame: pd.DataFrame) -> dict[int, dict[int, int]]:
    timed = frame.dropna()
    found: dict[int, dict[int, int]] = {}
    for (_, key), times in timed.groupby(["part", "key"])["us"]:
        moments = times.to_list()
        for one, two in itertools.pairwise(moments):
            if one != two:
                step = max(1, (abs(two - one) + 500_000) // SECOND)
                steps = found.setdefault(key, {})
                steps[step] = steps.get(step, 0) + 1
    return found


@SHARED
@given(digital=RECORDS, floats=RECORDS, group_rows=st.integers(1, 70))
def test_instances_and_steps_are_those_that_pandas_finds(
    measure: Measure, digital: list[Record], floats: list[Record], group_rows: int
) -> None:
    parts = [("B", digital), ("F", floats)]
    frame = frame_of(*parts)
    found = measure(*parts, group_rows=group_rows)
    assert found.instances["point_log_inst_id"].tolist() == sorted(frame["key"].unique())
    for row, key in enumerate(found.instances["point_log_inst_id"].tolist()):
        mine = frame[frame["key"] == key]
        timed = mine.dropna()
        of = {name: int(values[row]) for name, values in found.instances.items()}
        assert (of["records"], of["untimed"]) == (len(mine), len(mine) - len(timed))
        if len(timed):
            assert of["first_us"] == timed["us"].min()
            assert of["last_us"] == timed["us"].max()
        diffs = timed.groupby("part")["us"].diff().dropna()
        assert of["steps"] == len(diffs)
        assert of["backward"] == int((diffs < 0).sum())
        assert of["repeated"] == int((diffs == 0).sum())
    steps: dict[int, dict[int, int]] = {}
    for key, step, count in zip(*(column.tolist() for column in found.steps), strict=True):
        steps.setdefault(key, {})[step] = count
    assert steps == {
        key: dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:32])
        for key, counts in expected_steps(frame).items()
    }


def test_a_step_over_the_border_of_two_batches_counts(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [(1 + at % 3, START + at * 20 * SECOND) for at in range(100)]
    monkeypatch.setattr(activity, "_BATCH_ROWS", 10)
    found = measure(("F", records), group_rows=100)
    assert found.instances["steps"].tolist() == [33, 32, 32]
    assert [column.tolist() for column in found.steps] == [[1, 2, 3], [60] * 3, [33, 32, 32]]


def test_many_log_instances_and_days_are_written_in_between(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(1)
    keys = random.integers(1, 40, 3_000).tolist()
    times = (START + random.integers(0, 50, 3_000) * 86_400 * SECOND).tolist()
    records = list(zip(keys, times, strict=True))
    whole = measure(("F", records))
    monkeypatch.setattr(activity, "_BATCH_ROWS", 100)
    monkeypatch.setattr(activity, "_MOST_DAYS", 300)
    part = measure.part("F", records, 3_000)
    assert pq.read_metadata(part.days).num_row_groups > 3
    pieces = merge_activity([part], CHAINS)
    assert unit_days(pieces) == unit_days(whole)
    assert records_over_time(pieces) == records_over_time(whole)


def test_what_is_kept_of_the_steps_stays_small(measure: Measure) -> None:
    steps = np.random.default_rng(2).integers(1, 10**6, 200_000)
    steps[::3] = 60
    times = (START + np.cumsum(steps) * SECOND).tolist()
    found = measure(("F", [(1, time) for time in times]), group_rows=200_000)
    assert len(found.steps[0]) == 32
    counts = dict(zip(found.steps[1].tolist(), found.steps[2].tolist(), strict=True))
    assert counts[60] == int((steps[1:] == 60).sum())


@pytest.mark.parametrize("records", [[], [(1, None)], [(9, None), (9, None)]])
def test_a_log_without_a_time_has_no_activity_but_its_records(
    measure: Measure, records: list[Record]
) -> None:
    found = measure(("B", records), ("F", []))
    rows = records_over_time(found)
    assert [row["digital_count"] for row in rows] == ([len(records)] if records else [])
    assert unit_days(found) == []
    assert all(row["basis"] == "none" and row["missing"] is None for row in gaps(found, CHAINS))


@SHARED
@given(records=RECORDS, cut=st.integers(0, 60))
def test_parts_add_up_to_the_whole(measure: Measure, records: list[Record], cut: int) -> None:
    whole = measure(("F", records))
    parts = measure(("F", records[:cut]), ("F", records[cut:]))
    assert records_over_time(parts) == records_over_time(whole)
    assert unit_days(parts) == unit_days(whole)
    for name in ("records", "untimed", "first_us", "last_us"):
        assert parts.instances[name].tolist() == whole.instances[name].tolist()


@SHARED
@given(files=st.lists(RECORDS, min_size=2, max_size=5), cut=st.integers(1, 4))
def test_groups_of_files_add_up_to_the_whole(
    measure: Measure, files: list[list[Record]], cut: int
) -> None:
    parts = [measure.part("F", records, 7) for records in files]
    groups = []
    for members in (parts[:cut], parts[cut:]):
        if members:
            folder = measure.folder / str(next(measure.numbers))
            folder.mkdir()
            group = PartActivity("F", *(folder / name for name in ("days", "instances", "hours")))
            add_parts(members, *group[1:])
            groups.append(group)
    one, other = (merge_activity(each, CHAINS) for each in (parts, groups))
    assert records_over_time(one) == records_over_time(other)
    assert unit_days(one) == unit_days(other)
    assert gaps(one, CHAINS) == gaps(other, CHAINS)
    for name, values in one.instances.items():
        assert other.instances[name].tolist() == values.tolist()


# --- gaps ------------------------------------------------------------------------------------


def series(key: int, step_s: float, count: int, start_s: float = 0) -> list[Record]:
    return [(key, START + round((start_s + at * step_s) * SECOND)) for at in range(count)]


def gap(rows: list[dict], key: int) -> dict:
    (row,) = [row for row in rows if row["point_log_inst_id"] == key]
    return row


def test_missing_records_are_counted_from_the_declared_interval(measure: Measure) -> None:
    records = series(1, 180, 100)
    del records[20:50]
    row = gap(gaps(measure(("F", records)), CHAINS), 1)
    assert row == {
        "point_log_inst_id": 1,
        "unit_id": 7,
        "app_instance_id": 100,
        "app_type_id": 5,
        "log_interval": 180,
        "typical_step_s": 180,
        "share_as_declared": 68 / 69,
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
    rows = gaps(measure(("F", records)), CHAINS)
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
    rows = gaps(measure(("F", series(1, 180, 100)), ("B", series(2, 60, 600))), CHAINS)
    assert [(row["point_log_inst_id"], row["missing"]) for row in rows[:2]] == [(1, 0), (2, 0)]
    both = (("F", series(1, 180, 100)), ("B", series(1, 180, 20, 90) + series(2, 60, 600)))
    assert gap(gaps(measure(*both), CHAINS), 1)["expected"] == 599 * 60 // 180 + 1


def test_an_interval_that_the_records_do_not_bear_out_gives_way_to_the_typical_step(
    measure: Measure,
) -> None:
    rows = gaps(measure(("F", series(2, 300, 50)), ("F", series(3, 20, 60))), CHAINS)
    for key, step in ((2, 300), (3, 20)):
        row = gap(rows, key)
        assert (row["basis"], row["typical_step_s"]) == ("typical step", step)
    assert gap(rows, 2)["share_as_declared"] == 0
    assert gap(rows, 3)["share_as_declared"] is None
    assert gap(rows, 3)["missing"] == 14_700 // 20 + 1 - 60


def test_times_that_stray_a_little_are_as_declared(measure: Measure) -> None:
    stray = np.random.default_rng(3).uniform(-8, 8, 500)
    records = [(1, START + round((at * 180 + stray[at]) * SECOND)) for at in range(500)]
    row = gap(gaps(measure(("F", records)), CHAINS), 1)
    assert row["basis"] == "interval"
    assert row["share_as_declared"] > 0.8
    assert row["missing"] <= 1


def test_a_file_with_the_newest_first_is_judged_alike(measure: Measure) -> None:
    records = series(1, 180, 100)
    del records[10:20]
    rows = gaps(measure(("F", records)), CHAINS)
    assert gaps(measure(("F", records[::-1])), CHAINS) == rows


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
    row = gap(gaps(measure(("F", records)), CHAINS), 1)
    assert (row["basis"], row["expected"], row["missing"]) == ("none", None, None)
    assert row["actual"] == len(records)


def test_the_worst_come_first_then_those_without_records_then_the_others(measure: Measure) -> None:
    records = series(2, 60, 20) + series(1, 180, 20) + [(4, START), (99, START)]
    rows = gaps(measure(("F", records)), CHAINS)
    assert [row["point_log_inst_id"] for row in rows] == [2, 1, 3, 4]
    assert [row["actual"] for row in rows] == [20, 20, 0, 1]


def test_one_wrong_clock_does_not_make_years_be_missing(measure: Measure) -> None:
    records = [record for key in range(1, 200) for record in series(key, 180, 20)]
    records += [(150, YEAR_9999), (151, YEAR_1)]
    rows = gaps(measure(("F", records)), CHAINS)
    assert [row["missing"] for row in rows] == [0, 0, 0, 0]


@SHARED
@given(records=RECORDS, sort=st.booleans())
def test_every_log_instance_is_told_of_once(
    measure: Measure, records: list[Record], sort: bool
) -> None:
    rows = gaps(measure(("F", sorted(records, key=str) if sort else records)), CHAINS)
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
    result = project.luigi("ActivityReport")
    assert result.status == 0, result.log
    with (project.reports / "records_over_time.csv").open(encoding="utf-8-sig") as stream:
        over_time = [(row["bucket_start"], row["float_count"]) for row in csv.DictReader(stream)]
    assert over_time == [
        ("1970-01-01 00:00:00", "1"),
        ("2024-06-01 00:00:00", "60"),
        ("2262-04-01 00:00:00", "1"),
        ("", "1"),
    ]
    with (project.reports / "gaps.csv").open(encoding="utf-8-sig") as stream:
        first = next(csv.DictReader(stream))
    # With few log instances, all that they tell is believed.
    assert (first["point_log_inst_id"], first["basis"]) == ("1", "interval")
    assert int(first["missing"]) > 40_000_000
