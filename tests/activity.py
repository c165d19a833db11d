"""Records measured as partitions of the log."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tasks.core.partition import Partition
from tasks.measures.activity import Activity, measure_activity, merge_activity
from tasks.parsing.numbers import INSTANT
from tasks.reports import activity_report
from tasks.reports.isolated import log_extents

SECOND = 1_000_000
START = 1_717_200_000 * SECOND  # 2024-06-01 00:00 UTC, a Saturday.
YEAR_1, YEAR_9999 = -62_135_596_800 * SECOND, 253_402_300_799 * SECOND

LOG_INSTANCES = pa.table(
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
    """Measures records as partitions of the log, each in a folder of its own."""

    folder: Path
    numbers: itertools.count

    def __call__(self, *partitions: tuple[str, Sequence[Record]], group_rows: int = 7) -> Activity:
        measured = {}
        for kind, records in partitions:
            folder = self.folder / str(next(self.numbers))
            folder.mkdir()
            table = pa.table(
                {
                    "point_log_inst_id": pa.array([key for key, _ in records], pa.int64()),
                    "recorded_at": pa.array([time for _, time in records], INSTANT),
                }
            )
            pq.write_table(table, folder / "staged.parquet", row_group_size=group_rows)
            out = {name: folder / name for name in ("days", "hours", "steps", "instances")}
            assert measure_activity(folder / "staged.parquet", out) == len(records)
            measured[Partition(f"LOG_RCD_{kind}/{folder.name}", folder)] = out
        return merge_activity(measured, LOG_INSTANCES)


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return pa.Table.from_pandas(frame, preserve_index=False).to_pylist()


def gaps(activity: Activity) -> list[dict[str, Any]]:
    extents, _ = log_extents(activity.hours)
    no_counts = pd.Series([], dtype="int64")
    judged = activity_report.judge_instances(activity, LOG_INSTANCES, extents, no_counts)
    return rows_of(activity_report.gaps(judged))


TIMES = st.one_of(
    st.none(),
    st.integers(0, 400).map(lambda step: START + step * 60 * SECOND),
    st.integers(START, START + 3 * 10**13),
    st.sampled_from([YEAR_1, YEAR_9999, 0, -1, 9_223_372_036 * SECOND]),
)
KEYS = st.one_of(st.integers(1, 6), st.sampled_from([-1, 0, -(2**63), 2**63 - 1]))
RECORDS = st.lists(st.tuples(KEYS, TIMES), max_size=60)
