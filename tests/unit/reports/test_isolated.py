"""Isolated records, and the order of records in their file."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from tasks.core.partition import Partition
from tasks.reports.holes import _are_jumps
from tasks.reports.isolated import count_isolated, log_extents
from tests.activity import SECOND, START, YEAR_1, YEAR_9999, Measure, Record

DAY = 86_400 * SECOND


def every(seconds: int, count: int, days: float = 0) -> list[Record]:
    return [(1, START + round(days * DAY) + at * seconds * SECOND) for at in range(count)]


@pytest.mark.parametrize(
    ("records", "found"),
    [
        (every(180, 2_000), []),
        ([*every(180, 2_000), (1, YEAR_9999)], [(1, 2_913_018)]),
        ([(2, YEAR_1), *every(180, 100), (1, YEAR_9999)], [(1, 2_913_022), (1, -739_037)]),
        ([*every(180, 2_000), *every(180, 20, 12)], [(20, 8)]),
        ([*every(180, 2_000, 12), *every(180, 20)], [(20, -12)]),
        ([*every(180, 2_000), *every(180, 1, 12), *every(180, 1, 19)], [(1, 7), (1, 8)]),
        ([*every(180, 2_000), *every(180, 21, 12)], []),  # More than a hundredth.
        ([*every(180, 2_000), *every(180, 20, 6)], []),  # Less than two days.
        ([*every(180, 2_000), *every(4_000, 20, 12)], []),  # Hardly farther than they are long.
        # Each is few enough, but together they are the log.
        (
            [
                *every(180, 2_000),
                *(one for at in range(9) for one in every(180, 20, 12 + 9 * at)),
            ],
            [(20, 9)],
        ),
        (every(86_400, 400), []),
        (every(5 * 86_400, 10), []),
    ],
)
def test_isolated_records_are_few_and_far_from_all_others(
    tmp_path: Path, records: list[Record], found: list[tuple[int, int]]
) -> None:
    hours = Measure(tmp_path, itertools.count())(("F", records)).hours
    extents, isolated = log_extents(hours)
    assert list(zip(isolated["record_count"], isolated["distance_days"], strict=True)) == found
    ((_, begin, end),) = extents.itertuples(index=False)
    apart = isolated["record_count"].sum()
    assert hours.query("hour >= @begin.floor('h') and hour <= @end")["records"].sum() == (
        len(records) - apart
    )


def test_isolated_records_are_counted_by_log_instance_however_many_there_are(
    tmp_path: Path,
) -> None:
    """Also at the ends of the calendar, and more of them than a SELECT has room for."""
    far = [(at % 3 + 2, START + (50 + 4 * at) * DAY) for at in range(1_100)]
    far += [(2, YEAR_1), (3, YEAR_1), (1, YEAR_9999)]
    records = [*every(30, 115_000), *far]
    hours = Measure(tmp_path, itertools.count())(("F", records), group_rows=50_000).hours
    _, isolated = log_extents(hours)
    measured = {Partition("LOG_RCD_F/0", tmp_path): {"days": tmp_path / "0" / "days"}}
    counts = count_isolated(measured, isolated)
    assert len(isolated) == 1_102
    assert counts.groupby("point_log_inst_id")["records"].sum().to_dict() == dict(
        Counter(key for key, _ in far)
    )
    assert counts.groupby("place")["records"].sum().tolist() == isolated["record_count"].tolist()


LOG = 10_000_000_000


@pytest.mark.parametrize(
    ("ids", "is_jump"),
    [
        ([1, 2, 3, 4], False),
        ([4, 3, 2, 1], False),  # The newest first.
        ([5, 6, 2, 3], True),
        ([None, 6, 2, 3], True),
        ([5, 6, 2, None], True),
        ([2, 1, 6, 5], True),
        ([None, 1, 2, None], False),
        ([LOG + 5, LOG + 6, 2, 3], False),  # Of another file.
    ],
)
def test_times_leap_where_the_file_goes_back(ids: list[int | None], is_jump: bool) -> None:
    names = ["id_earlier", "id_before", "id_after", "id_later"]
    rows = pd.DataFrame([ids], columns=names).astype("Int64")
    assert _are_jumps(rows).tolist() == [is_jump]
