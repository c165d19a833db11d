"""Figures on the log's activity: records over time, units by day, and gaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.core.arrow import read_parquet
from tasks.core.spreadsheet import write_csv
from tasks.measures.activity import DAY_US, Activity, PartActivity, add_up, merge_activity

_DAILY_DAYS = 400
_DAILY_MAP_DAYS = 120
_WEEKLY_MAP_DAYS = 120 * 7

_FEWEST_STEPS = 10
"""With fewer steps, nothing is said of a log instance."""

_NEAR = 0.1
_MOST = 0.5
_OUTLYING = 0.01
"""The log begins and ends where all but this share of its log instances do: a clock that was wrong
once would otherwise make records of years be missing."""

GAP_COLUMNS = (
    "point_log_inst_id",
    "unit_id",
    "app_instance_id",
    "app_type_id",
    "log_interval",
    "typical_step_s",
    "share_as_declared",
    "basis",
    "first_recorded_at",
    "last_recorded_at",
    "expected",
    "actual",
    "missing",
    "missing_share",
)
OVER_TIME_COLUMNS = ("bucket_start", "bucket", "digital_count", "float_count")
UNIT_COLUMNS = ("unit_id", "bucket_start", "bucket", "record_count")


def records_over_time(activity: Activity) -> list[dict[str, Any]]:
    """Log records by kind in each hour if they span a week at most, else each day or month.

    Grain: one row per bucket with a record, in order, and a last one with an empty `bucket_start`
    for records without a time, if there are any. Columns: OVER_TIME_COLUMNS. Days up to 400, else
    months. `bucket_start` is UTC, such as 2024-06-01 13:00:00.
    """
    bucket, counts = "hour", activity.hourly
    if counts is None:
        assert activity.span_us is not None
        span_us = activity.span_us[1] - activity.span_us[0]
        bucket = "day" if span_us <= _DAILY_DAYS * DAY_US else "month"
        counts = {}
        for kind, (_, days, records) in activity.daily.items():
            found = add_up(_bucket_starts(days, bucket), records)
            counts[kind] = Counter(dict(zip(*(part.tolist() for part in found), strict=True)))
    seconds = 3_600 if bucket == "hour" else 86_400
    rows = [
        {
            "bucket_start": _time_text(start * seconds * 1_000_000),
            "bucket": bucket,
            "digital_count": counts["B"][start],
            "float_count": counts["F"][start],
        }
        for start in sorted({*counts["B"], *counts["F"]})
    ]
    if any(activity.untimed.values()):
        untimed = activity.untimed
        none = {"bucket_start": "", "bucket": "no time"}
        rows.append({**none, "digital_count": untimed["B"], "float_count": untimed["F"]})
    return rows


def unit_days(activity: Activity) -> list[dict[str, Any]]:
    """Log records of each unit on each day; each week or month if there are more than 120.

    Grain: one row per unit and bucket with a record, sorted by unit and bucket. Columns:
    UNIT_COLUMNS. Weeks begin on Monday. Records without a unit are of unit -1; those without a
    time are left out.
    """
    if activity.span_us is None:
        return []
    span_us = activity.span_us[1] - activity.span_us[0]
    bucket = "month"
    if span_us <= _DAILY_MAP_DAYS * DAY_US:
        bucket = "day"
    elif span_us <= _WEEKLY_MAP_DAYS * DAY_US:
        bucket = "week"
    units, days, records = (
        np.concatenate(parts) for parts in zip(*activity.daily.values(), strict=True)
    )
    counted = add_up(units, _bucket_starts(days, bucket), records)
    texts = {day: _time_text(day * DAY_US) for day in np.unique(counted[1]).tolist()}
    return [
        {"unit_id": unit, "bucket_start": texts[day], "bucket": bucket, "record_count": count}
        for unit, day, count in zip(*(column.tolist() for column in counted), strict=True)
    ]


def _bucket_starts(days: np.ndarray, bucket: str) -> np.ndarray:
    """The first day of the day, week or month of each day; counted since 1970, a Thursday."""
    if bucket == "week":
        return (days + 3) // 7 * 7 - 3
    if bucket == "month":
        months = days.astype("datetime64[D]").astype("datetime64[M]")
        return months.astype("datetime64[D]").astype(np.int64)
    return days


def _time_text(moment_us: int) -> str:
    """A time, as fine as it is.

    >>> _time_text(0), _time_text(250_000)
    ('1970-01-01 00:00:00', '1970-01-01 00:00:00.250000')
    """
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment_us)
    return str(moment.replace(tzinfo=None))


def gaps(activity: Activity, chains: pa.Table) -> list[dict[str, Any]]:
    """Records that are there of each log instance against those that should be.

    Grain: one row per log instance of LOG_INSTANCE. Columns: GAP_COLUMNS; None where nothing can
    be said.

    `basis` tells where the step between two records comes from: "interval", the declared one,
    where at least half of the steps are within a tenth of it (`share_as_declared`); "typical
    step", where they are not but one length makes up at least half of all; "none" where the log
    instance cannot be judged (it records changes, or has fewer than ten steps). Lengths are in
    whole seconds; a step back in time counts as one forward, for files with the newest first.

    `expected` are the records at that step from the log instance's first record to the end of the
    log of its kind (digital or float), so that one that went silent shows, and one whose file was
    cut off does not. Where a log begins and ends, a hundredth of the log instances, whose clocks
    may have been wrong, is left out of account. `missing` are those beyond `actual`.

    Sorted: the most missing first, then by key; then those without any record; then those that
    cannot be judged.
    """
    of = activity.instances
    place = {key: row for row, key in enumerate(of["point_log_inst_id"].tolist())}
    columns = [name for name in GAP_COLUMNS if name in chains.column_names]
    spans = _log_spans(activity)
    rows = []
    for chain in chains.select(columns).to_pylist():
        row = {**dict.fromkeys(GAP_COLUMNS), **chain, "basis": "none", "actual": 0}
        at = place.get(chain["point_log_inst_id"])
        if at is not None:
            seen = {name: int(values[at]) for name, values in of.items()}
            span = spans.get(chain["point_log_inst_id"], (0, 0))
            row.update(_compare(seen, _steps_of(activity, chain), chain["log_interval"], span))
        rows.append(row)
    return sorted(rows, key=_worst_first)


def _worst_first(row: Mapping[str, Any]) -> tuple[int, int, int]:
    group = 2 if row["missing"] is None else 0
    if row["actual"] == 0:
        group = 1
    return group, -(row["missing"] or 0), row["point_log_inst_id"]


def _log_spans(activity: Activity) -> dict[int, tuple[int, int]]:
    """Log instance -> when the log of its kind began and ended, microseconds since 1970.

    If it has records of both kinds, that of both together.
    """
    spans: dict[int, tuple[int, int]] = {}
    for keys, firsts, lasts in activity.lasting.values():
        if len(keys) == 0:
            continue
        # Whatever a few clocks said.
        outlying = int(len(keys) * _OUTLYING)
        begin = int(np.sort(firsts)[outlying])
        end = int(np.sort(lasts)[len(keys) - 1 - outlying])
        for key in keys.tolist():
            before = spans.get(key, (begin, end))
            spans[key] = (min(begin, before[0]), max(end, before[1]))
    return spans


def _steps_of(activity: Activity, chain: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of a log instance's steps, and how many there are of each."""
    keys, lengths, counts = activity.steps
    key = chain["point_log_inst_id"]
    start, end = (int(np.searchsorted(keys, key, side)) for side in ("left", "right"))
    return lengths[start:end], counts[start:end]


def _compare(
    seen: Mapping[str, int],
    steps: tuple[np.ndarray, np.ndarray],
    interval: int | None,
    span: tuple[int, int],
) -> dict[str, Any]:
    """What `gaps` tells of a log instance with a record, beside its keys."""
    found: dict[str, Any] = {"actual": seen["records"]}
    if seen["untimed"] == seen["records"]:
        return found
    found["first_recorded_at"] = _time_text(seen["first_us"])
    found["last_recorded_at"] = _time_text(seen["last_us"])
    lengths, counts = steps
    step = None
    if len(lengths):
        most = int(np.argmax(counts))  # The shortest, of equally frequent ones.
        found["typical_step_s"] = int(lengths[most])
        if counts[most] >= _MOST * seen["steps"] >= _MOST * _FEWEST_STEPS:
            step, found["basis"] = int(lengths[most]), "typical step"
        if interval is not None and interval > 0:
            near = int(counts[np.abs(lengths - interval) <= _NEAR * interval].sum())
            found["share_as_declared"] = near / seen["steps"]
            if near >= _MOST * seen["steps"] >= _MOST * _FEWEST_STEPS:
                step, found["basis"] = interval, "interval"
    if step is not None:
        start, end = max(seen["first_us"], span[0]), span[1]
        expected = max(0, (end - start) // (step * 1_000_000) + 1)
        missing = max(0, expected - seen["records"])
        share = missing / expected if expected else 0.0
        found.update(expected=expected, missing=missing, missing_share=share)
    return found


def write_activity_report(
    parts: Sequence[PartActivity],
    chains: Path,
    gap_file: Path,
    over_time_file: Path,
    unit_file: Path,
    bom: bool | None = None,
) -> int:
    """Write the figures as CSV and return how many records are missing.

    Args:
        parts: What was measured of each part of the log records.
        chains: The log instances with their chains.
        gap_file: CSV file to write, as `gaps` has it.
        over_time_file: CSV file to write, as `records_over_time` has it.
        unit_file: CSV file to write, as `unit_days` has it.
        bom: As for `write_csv`.
    """
    log_instances = read_parquet(chains)
    activity = merge_activity(parts, log_instances)
    found = gaps(activity, log_instances)
    rounded = [{**row, **{name: _share(row[name]) for name in _SHARES}} for row in found]
    write_csv(gap_file, GAP_COLUMNS, rounded, bom)
    write_csv(over_time_file, OVER_TIME_COLUMNS, records_over_time(activity), bom)
    write_csv(unit_file, UNIT_COLUMNS, unit_days(activity), bom)
    return sum(row["missing"] or 0 for row in found)


_SHARES = ("share_as_declared", "missing_share")


def _share(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
