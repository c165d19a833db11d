"""Days that are measured one by one and joined are those of all records in order."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from config.aggregates import Rules
from config.declarations import UNKNOWN
from tasks.measures.days import (
    RECORDS,
    Calendar,
    Intervals,
    join_days,
    measure_day,
    measure_days,
)

_BEGIN_S = 1_711_756_800  # Two days about the change to summer time in Berlin.
_VALUES = st.none() | st.sampled_from([0.0, 1.0, 1e308]) | st.floats(allow_nan=False)
_RECORD = st.tuples(
    st.sampled_from([UNKNOWN, 1, 2, 3]),
    st.integers(0, 5 * 48).map(lambda half_hours: _BEGIN_S + 1_800 * half_hours),
    _VALUES,
    st.booleans(),
    st.sampled_from(["", "OK", "alarm "]),
)
INTERVALS = Intervals(np.array([1, 2]), np.array([900, 40_000]))


def table(rows: list[tuple[Any, ...]]) -> pa.Table:
    keys, seconds, values, digital, statuses = zip(*rows, strict=True)
    times = pa.array([1_000_000 * one for one in seconds]).cast(pa.timestamp("us"))
    return pa.table([keys, times, values, digital, statuses], schema=RECORDS)


@given(st.lists(_RECORD, min_size=1, max_size=60), st.sampled_from(["UTC", "Europe/Berlin"]))
def test_days_are_the_same(rows: list[tuple[Any, ...]], zone: str) -> None:
    rules = Rules(zone, 3, ("ALARM",))
    rows.sort(key=lambda row: row[:2])

    def day(row: tuple[Any, ...]) -> int:
        return int(Calendar(zone).days(np.array([1_000_000 * row[1]]))[0])

    whole = measure_days(table(rows).to_batches(max_chunksize=7), rules, INTERVALS)
    days = [
        measure_day(table(list(of_day)), rules, INTERVALS)
        for _, of_day in groupby(sorted(rows, key=day), key=day)
    ]
    for one, other in zip(whole, join_days(days, rules, INTERVALS), strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_no_day_gives_no_row() -> None:
    rules = Rules("UTC", 3, ())
    for one, other in zip(
        measure_days([], rules, INTERVALS), join_days([], rules, INTERVALS), strict=True
    ):
        pd.testing.assert_frame_equal(one, other)
