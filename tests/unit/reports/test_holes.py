"""Holes: the ends of log instances that went silent, and which holes are one."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.reports.activity_report import judge_instances
from tasks.reports.holes import _are_jumps, find_holes
from tasks.reports.isolated import log_extents
from tests.activity import LOG_INSTANCES, SECOND, START, Measure, Record


def series(key: int, step_s: int, count: int, start_s: int = 0) -> list[Record]:
    return [(key, START + (start_s + at * step_s) * SECOND) for at in range(count)]


def gaps_of(*rows: tuple[int, int, int]) -> pd.DataFrame:
    """Gaps: log instance, minutes of begin and end."""
    gaps = pd.DataFrame(rows, columns=["point_log_inst_id", "began_at", "ended_at"], dtype="int64")
    for name in ("began_at", "ended_at"):
        us = START + gaps[name] * 60 * SECOND
        gaps[name] = us.astype("datetime64[us]").dt.tz_localize("UTC")
    ids = dict.fromkeys(("id_earlier", "id_before", "id_after", "id_later"), pd.NA)
    gaps = gaps.assign(missing_count=1, **ids)
    return gaps.assign(is_jump=_are_jumps(gaps))


def holes(folder: Path, records: list[Record], gaps: pd.DataFrame) -> list[tuple]:
    activity = Measure(folder, itertools.count())(("F", records))
    extents, _ = log_extents(activity.hours)
    judged = judge_instances(activity, LOG_INSTANCES, extents, pd.Series([], dtype="int64"))
    columns = ["began_at", "ended_at", "missing_count", "note", "log_instances"]
    found = find_holes(gaps, judged, 3)[columns]
    return list(found.itertuples(index=False, name=None))


def test_one_that_went_silent_has_a_hole_to_the_end_of_the_log(tmp_path: Path) -> None:
    records = series(1, 180, 100) + series(2, 60, 30)
    hole = ("2024-06-01 00:29:00", "2024-06-01 04:57:00", 268, "no record since", "2")
    assert holes(tmp_path, records, gaps_of()) == [hole]
    (tmp_path / "later").mkdir()
    assert holes(tmp_path / "later", series(1, 180, 100) + series(2, 60, 295), gaps_of()) == []


def test_before_isolated_records_a_hole_ends_where_the_log_does_for_all_others(
    tmp_path: Path,
) -> None:
    """Not where the log of one whose clock was wrong for a while ends."""
    activity = Measure(tmp_path, itertools.count())(("F", series(1, 180, 400)))
    extents, _ = log_extents(activity.hours)
    judged = judge_instances(activity, LOG_INSTANCES, extents, pd.Series([], dtype="int64"))
    judged["log_end"] += pd.Timedelta(hours=30)
    gap = gaps_of((1, 399 * 3, 30 * 1440))
    assert find_holes(gap, judged, 3).empty


def test_without_records_there_are_no_holes(tmp_path: Path) -> None:
    assert holes(tmp_path, [], gaps_of()) == []


def test_holes_that_begin_or_end_more_than_a_step_apart_are_several(tmp_path: Path) -> None:
    records = series(1, 180, 100) + series(2, 60, 300) + series(4, 180, 100)
    gaps = gaps_of((1, 30, 60), (4, 33, 60), (2, 33, 61), (2, 100, 130), (1, 100, 134))
    assert [
        (begin[11:16], end[11:16], of) for begin, end, _, _, of in holes(tmp_path, records, gaps)
    ] == [
        ("00:33", "01:00", "1, 2, 4"),
        ("01:40", "02:10", "2"),
        ("01:40", "02:14", "1"),
    ]


def test_holes_are_merged_as_a_loop_over_pairs_does(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    began = random.integers(20, 60, 40)
    rows = [(1, int(at), int(at) + 40) for at in began]
    found = holes(tmp_path, series(1, 180, 100), gaps_of(*rows))
    groups: list[list[int]] = []
    for at in sorted(began.tolist()):
        if groups and at - groups[-1][0] <= 3:
            groups[-1].append(at)
        else:
            groups.append([at])
    expected = [(group[-1], group[0] + 40, len(group)) for group in groups]
    times = [(at_minute(one[0]), at_minute(one[1]), one[2]) for one in found]
    assert sorted(times) == expected


def at_minute(text: str) -> int:
    return int((pd.Timestamp(text) - pd.Timestamp("2024-06-01")).total_seconds()) // 60
