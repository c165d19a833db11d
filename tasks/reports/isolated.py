"""Isolated records: far before or after all others, since the clock of a controller was wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.core.arrow import read_parquet
from tasks.core.partition import Partition

_FAR = 10
_FAR_AT_LEAST_US = 2 * 86_400_000_000
_FEW = 0.01
_DAY_US = 86_400_000_000
_LISTED = 1_000

ISOLATED_COLUMNS = (
    "log_kind",
    "first_recorded_at",
    "last_recorded_at",
    "record_count",
    "distance_days",
    "note",
    "log_instance_count",
    "log_instances",
)


def log_extents(hours: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """When the log of each kind begins and ends, and which records are isolated.

    Isolated are at most a hundredth of the records of a kind before the others, and as many after
    them, or one of more than ten, if their distance to all others is two days or more, ten times
    their own extent, and ten times a distance that is usual between hours with records (the lower
    quartile of the others).

    Args:
        hours: As `Activity.hours`.

    Returns:
        log_kind, log_begin, log_end: a row per kind, without what is isolated. And the first five
        of ISOLATED_COLUMNS, a row per group of isolated records; `distance_days` is negative if
        they are before the others.
    """
    extents, isolated = [], []
    for kind, of_kind in hours.groupby("log_kind"):
        rows = of_kind.sort_values("hour", ignore_index=True)
        begin, end = 0, len(rows)
        while (found := _outermost(rows, begin, end)) is not None:
            begin, end, group, days = found
            isolated.append((kind, *_extent(group), group["records"].sum(), days))
        extents.append((kind, *_extent(rows[begin:end])))
    times = dict.fromkeys(("log_begin", "log_end"), hours["hour"].dtype)
    return (
        pd.DataFrame(extents, columns=["log_kind", *times]).astype(times),
        pd.DataFrame(isolated, columns=list(ISOLATED_COLUMNS[:5])),
    )


def _extent(hours: pd.DataFrame) -> tuple[pd.Timestamp, pd.Timestamp]:
    return hours["first_recorded_at"].min(), hours["last_recorded_at"].max()


def _outermost(
    hours: pd.DataFrame, begin: int, end: int
) -> tuple[int, int, pd.DataFrame, int] | None:
    """The isolated records at one end of some hours; None if there are none.

    Returns:
        First and last place of the other hours, the isolated ones, and their distance in days.
    """
    first, last = (
        hours[name].astype("int64").to_numpy() for name in ("first_recorded_at", "last_recorded_at")
    )
    counts = hours["records"].to_numpy()
    at = np.arange(begin + 1, end)  # Where the hours can be cut in two.
    if not len(at):
        return None
    distance = first[at] - last[at - 1]
    others = np.sort(distance)[:-1]
    usual = others[(len(others) - 1) // 4] if len(others) else 0
    before = np.cumsum(counts)[begin : end - 1]  # With those that were found to be isolated.
    after = counts.sum() - before
    few = max(counts.sum() * _FEW, counts.sum() > _FAR)
    is_far = distance >= max(_FAR_AT_LEAST_US, _FAR * usual)
    tails = is_far & (distance >= _FAR * (last[end - 1] - first[at])) & (after <= few)
    heads = is_far & (distance >= _FAR * (last[at - 1] - first[begin])) & (before <= few)
    if tails.any():
        cut = int(at[tails][0])
        return begin, cut, hours[cut:end], round(distance[tails][0] / _DAY_US)
    if heads.any():
        cut = int(at[heads][-1])
        return cut, end, hours[begin:cut], -round(distance[heads][-1] / _DAY_US)
    return None


def count_isolated(
    measured: Mapping[Partition, Mapping[str, Path]], isolated: pd.DataFrame
) -> pd.DataFrame:
    """Of each row, how many records each log instance has: place, point_log_inst_id, records.

    Isolated records are two days or more from all others, so no UTC day has records of two rows.

    Args:
        measured: As for `merge_activity`.
        isolated: As `log_extents` gives them; `place` counts its rows from 0.
    """
    found = [pd.DataFrame(columns=["place", "point_log_inst_id", "records"], dtype="int64")]
    for partition, files in measured.items():
        of_kind = isolated[isolated["log_kind"] == partition.kind]
        if len(of_kind):
            rows = read_parquet(files["days"]).to_pandas(date_as_object=False)
            at = _days_of(of_kind).get_indexer(rows.pop("day").astype("datetime64[us]"))
            found.append(rows[at >= 0].assign(place=of_kind.index.to_numpy()[at[at >= 0]]))
    return pd.concat(found, ignore_index=True)


def _days_of(isolated: pd.DataFrame) -> pd.IntervalIndex:
    """The UTC days of each row."""
    first, last = (
        isolated[name].dt.tz_localize(None).dt.floor("D").astype("datetime64[us]")
        for name in ("first_recorded_at", "last_recorded_at")
    )
    return pd.IntervalIndex.from_arrays(first, last, closed="both")


def describe_isolated(
    isolated: pd.DataFrame, counts: pd.DataFrame, jumps: pd.DataFrame
) -> pd.DataFrame:
    """Isolated records with what is known of them: ISOLATED_COLUMNS, times as text.

    `note` is "clock jump" if a clock jump leads to or from them, else empty.

    Args:
        isolated: As `log_extents` gives them.
        counts: As `count_isolated` gives them.
        jumps: Began_at and ended_at of clock jumps.
    """
    keys = counts.groupby("place")["point_log_inst_id"]
    ends = pd.concat([jumps["began_at"], jumps["ended_at"]])
    times = ("first_recorded_at", "last_recorded_at")
    ranges = isolated[list(times)].itertuples(index=False)
    described = isolated.assign(
        note=["clock jump" if ends.between(*one).any() else "" for one in ranges],
        log_instance_count=keys.nunique().reindex(isolated.index, fill_value=0),
        log_instances=keys.agg(listed).reindex(isolated.index, fill_value=""),
        **{name: [str(time.tz_localize(None)) for time in isolated[name]] for name in times},
    )
    return described[list(ISOLATED_COLUMNS)]


def listed(keys: Iterable[int], most: int = _LISTED) -> str:
    """Keys as text, so many at most.

    >>> listed([3, 1, 2, 2], most=2)
    '1, 2 and 1 more'
    """
    known = sorted(set(keys))
    more = f" and {len(known) - most:,} more" if len(known) > most else ""
    return ", ".join(map(str, known[:most])) + more
