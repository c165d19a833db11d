"""Figures on the log's activity: records over time, units by day, records missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from config.sources import LOG_KINDS
from tasks.measures.activity import Activity

_HOURLY = pd.Timedelta(days=7)
_DAILY = pd.Timedelta(days=400)
_DAILY_MAP = pd.Timedelta(days=120)
_WEEKLY_MAP = pd.Timedelta(days=120 * 7)

_FEWEST_STEPS = 10
"""A log instance with fewer steps is not judged."""

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


def records_over_time(activity: Activity) -> pd.DataFrame:
    """Log records by kind in each hour if they span a week at most, else each day or month.

    Grain: one row per bucket with a record, in order, and a last one with an empty `bucket_start`
    for records without a time, if there are any. Columns: bucket_start, bucket, digital_count,
    float_count. Days up to 400, else months. `bucket_start` is UTC, such as 2024-06-01 13:00:00.
    """
    span = _span(activity)
    bucket = "hour" if span <= _HOURLY else "day" if span <= _DAILY else "month"
    hours = activity.hours.assign(bucket_start=_bucket_starts(activity.hours["hour"], bucket))
    counts = hours.pivot_table("records", "bucket_start", "log_kind", aggfunc="sum")
    counts = counts.reindex(columns=list(LOG_KINDS)).reset_index()
    counts.insert(1, "bucket", bucket)
    counts["bucket_start"] = _texts(counts["bucket_start"])
    untimed = activity.instances.groupby("log_kind")["untimed"].sum()
    if untimed.sum():
        counts.loc[len(counts)] = {"bucket_start": "", "bucket": "no time", **untimed}
    counts = counts.rename(columns={"B": "digital_count", "F": "float_count"})
    return counts.fillna(0).astype({"digital_count": "int64", "float_count": "int64"})


def unit_days(activity: Activity) -> pd.DataFrame:
    """Log records of each unit on each day; each week or month if there are more than 120.

    Grain: one row per unit and bucket with a record, sorted by both. Columns: unit_id,
    bucket_start, bucket, record_count. Weeks begin on Monday. Records without a unit are of unit
    -1; those without a time are left out.
    """
    span = _span(activity)
    bucket = "day" if span <= _DAILY_MAP else "week" if span <= _WEEKLY_MAP else "month"
    days = activity.unit_days
    starts = pd.Series(_bucket_starts(days["day"], bucket), name="bucket_start")
    counts = days.groupby(["unit_id", starts])["records"].sum().reset_index(name="record_count")
    counts.insert(2, "bucket", bucket)
    return counts.assign(bucket_start=_texts(counts["bucket_start"]))


def _span(activity: Activity) -> pd.Timedelta:
    """From the first record to the last; 0 without a record with a time."""
    of = activity.instances
    span = of["last_recorded_at"].max() - of["first_recorded_at"].min()
    return pd.Timedelta(0) if pd.isna(span) else span


def _bucket_starts(times: pd.Series, bucket: str) -> np.ndarray:
    """The start of the hour, day, week or month of each time."""
    unit = {"hour": "h", "day": "D", "week": "W", "month": "M"}[bucket]
    # The weeks of numpy begin on Thursday.
    shift = np.timedelta64(3 if bucket == "week" else 0, "D")
    starts = (times.to_numpy("datetime64[us]") + shift).astype(f"datetime64[{unit}]")
    return starts.astype("datetime64[us]") - shift


def _texts(times: pd.Series) -> pd.Series:
    """Times as text, such as 2024-06-01 13:00:00; with fractions of a second if there are any."""
    return times.dt.tz_localize(None).dropna().map(str).astype("str").reindex(times.index)


def gaps(judged: pd.DataFrame) -> pd.DataFrame:
    """The records of each log instance against those to be expected.

    Grain: one row per log instance of LOG_INSTANCE. Columns: GAP_COLUMNS; null where a log instance
    cannot be judged. Times are texts.

    Sorted: the most missing first, then by key; then those without any record; then those that
    cannot be judged.

    Args:
        judged: As `judge_instances` gives them.
    """
    rows = judged.assign(
        first_recorded_at=_texts(judged["first_recorded_at"]),
        last_recorded_at=_texts(judged["last_recorded_at"]),
        group=np.select([judged["actual"] == 0, judged["missing"].isna()], [1, 2], 0),
    ).reset_index()
    rows = rows.sort_values(
        ["group", "missing", "point_log_inst_id"], ascending=[True, False, True]
    )
    whole = dict.fromkeys(("typical_step_s", "expected", "actual", "missing"), "Int64")
    return rows[list(GAP_COLUMNS)].astype(whole)


def judge_instances(
    activity: Activity, log_instances: pa.Table, extents: pd.DataFrame, apart: pd.Series
) -> pd.DataFrame:
    """The step of each log instance, and its records against those to be expected.

    Grain: one row per log instance of LOG_INSTANCE, by key. Columns: those of GAP_COLUMNS, times as
    such; `step_s`, the seconds between two records, null where a log instance cannot be judged;
    `log_begin` and `log_end`, first and last record of its kind that is not isolated; `end`, of
    all but the last hundredth of the log instances.

    `basis` is where the step between two records comes from: "interval", the declared one, where at
    least half of the steps are within a tenth of it (`share_as_declared`); "typical step", where
    they are not but one length makes up at least half of all; "none" where the log instance cannot
    be judged (it records changes, or has fewer than ten steps). Lengths are in whole seconds; a
    step back in time counts as one forward, for files with the newest first.

    `expected` are the records at that step from the log instance's first record to the end of the
    log of its kind (digital or float), so that one that went silent shows, and one whose file was
    cut off does not. Isolated records are left out of account, and where a log begins and ends, a
    hundredth of the log instances, whose clocks may have been wrong. `missing` are those beyond
    `actual`, which counts all records.

    Args:
        activity: What is measured of the log records.
        log_instances: As `resolve_log_instances` gives them.
        extents: As `log_extents` gives them.
        apart: By log instance: how many of its records are isolated.
    """
    rows = _instances(activity, log_instances, extents)
    enough = rows["steps"] >= _FEWEST_STEPS
    by_interval = enough & (rows["near"] >= _MOST * rows["steps"])
    by_typical = enough & (rows["typical_steps"] >= _MOST * rows["steps"])
    step_s = rows["typical_step_s"].where(by_typical).mask(by_interval, rows["log_interval"])
    first, begin = rows["first_recorded_at"], rows["begin"]
    lasting = rows["end"] - first.where(first > begin, begin)
    expected = (lasting // pd.to_timedelta(step_s, unit="s") + 1).clip(lower=0)
    actual = rows["records"].fillna(0)
    in_log = actual - apart.reindex(rows.index, fill_value=0)
    missing = (expected - in_log).clip(lower=0)
    return rows.assign(
        step_s=step_s,
        share_as_declared=_rounded(rows["near"] / rows["steps"]),
        basis=np.select([by_interval, by_typical], ["interval", "typical step"], "none"),
        expected=expected,
        actual=actual,
        missing=missing,
        missing_share=_rounded((missing / expected).mask(expected == 0, 0.0)),
    )


def _instances(activity: Activity, log_instances: pa.Table, extents: pd.DataFrame) -> pd.DataFrame:
    columns = [name for name in GAP_COLUMNS if name in log_instances.column_names]
    rows = log_instances.select(columns).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    rows = rows.set_index("point_log_inst_id")
    return rows.join(_by_instance(activity, extents)).join(_steps(activity, rows["log_interval"]))


def _rounded(shares: pd.Series) -> pd.Series:
    return shares.map(lambda share: round(share, 6))  # Unlike Series.round, of the exact value.


def _by_instance(activity: Activity, extents: pd.DataFrame) -> pd.DataFrame:
    """What is known of each log instance, and when the log of its kind begins and ends.

    Of records of both kinds: when the first of both logs begins, and the last one ends.
    """
    timed = activity.instances.dropna(subset="first_recorded_at").reset_index(drop=True)
    spans = timed.merge(extents, on="log_kind", validate="m:1")
    spans = spans.assign(begin=spans["log_begin"], end=spans["log_end"])
    for _, of_kind in spans.groupby("log_kind"):
        # Of one with isolated records it is not known where the others begin or end.
        begins = of_kind["first_recorded_at"][of_kind["first_recorded_at"] >= of_kind["log_begin"]]
        ends = of_kind["last_recorded_at"][of_kind["last_recorded_at"] <= of_kind["log_end"]]
        if len(begins):
            spans.loc[of_kind.index, "begin"] = _outermost(begins.sort_values())
        if len(ends):
            spans.loc[of_kind.index, "end"] = _outermost(ends.sort_values(ascending=False))
    earliest = dict.fromkeys(("first_recorded_at", "begin", "log_begin"), "min")
    latest = dict.fromkeys(("last_recorded_at", "end", "log_end"), "max")
    counts = activity.instances.groupby("point_log_inst_id")[["records", "steps"]].sum()
    return counts.join(spans.groupby("point_log_inst_id").agg({**earliest, **latest}))


def _outermost(times: pd.Series) -> pd.Timestamp:
    """The first of some times but for the share of outlying ones."""
    return times.iloc[int(len(times) * _OUTLYING)]


def _steps(activity: Activity, intervals: pd.Series) -> pd.DataFrame:
    """The most frequent step of each log instance, and how many are near its interval.

    Args:
        activity: What is measured of the log records.
        intervals: The declared interval of each log instance, in seconds.
    """
    steps = activity.steps.join(intervals, on="point_log_inst_id")
    # Sorted by length: of equally frequent steps, the shortest.
    typical = steps.loc[steps.groupby("point_log_inst_id")["steps"].idxmax()]
    declared = steps[steps["log_interval"] > 0]
    stray = (declared["step_s"] - declared["log_interval"]).abs()
    near = declared["steps"].where(stray <= _NEAR * declared["log_interval"], 0)
    return (
        typical.set_index("point_log_inst_id")
        .rename(columns={"step_s": "typical_step_s", "steps": "typical_steps"})
        .drop(columns="log_interval")
        .assign(near=near.groupby(declared["point_log_inst_id"]).sum())
    )
