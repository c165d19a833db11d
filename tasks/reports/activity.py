"""Activity of the log: records over time, units by day, holes, and isolated records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from config.declarations import UNKNOWN
from tasks.core.partition import Partition
from tasks.core.text import count_of
from tasks.reports.charts import SHADES, columns, every_label, shade
from tasks.reports.registry import Inputs, Json, Outputs, Report, Results

if TYPE_CHECKING:
    import pandas as pd

SHOWN_UNITS = 150
"""Rows of the heat map."""

SHOWN_LARGEST = 12
_HEAT_WIDTH, _PHONE_WIDTH = 860, 280
"""Pixels that the heat map has at least, on a desk and on a phone."""

_SHOWN_WORST = 5
_LONG_HOURS = 3
_KINDS = {"B": "digital", "F": "float"}
_MOST_BUCKETS = 500


def build(inputs: Inputs, outputs: Outputs) -> str:
    """Write the tables."""
    from tasks.core.arrow import read_parquet
    from tasks.measures.activity import merge_activity
    from tasks.reports import activity_report, holes, isolated

    measured: dict[Partition, dict[str, Path]] = defaultdict(dict)
    for key, path in inputs.paths["activity"].items():
        partition, _, name = key.rpartition(" ")
        measured[Partition(partition, Path(partition))][name] = path
    instances = read_parquet(inputs.paths["log instances"]["chains"])
    activity = merge_activity(measured, instances)
    extents, groups = isolated.log_extents(activity.hours)
    counts = isolated.count_isolated(measured, groups)
    apart = counts.groupby("point_log_inst_id")["records"].sum()
    judged = activity_report.judge_instances(activity, instances, extents, apart)
    gaps = holes.read_gaps(inputs.query, inputs.warehouse.no_time)
    tables = {
        "holes": holes.find_holes(gaps, judged, inputs.max_gap),
        "isolated_records": isolated.describe_isolated(groups, counts, gaps[gaps["is_jump"]]),
        "gaps": activity_report.gaps(judged),
        "records_over_time": activity_report.records_over_time(activity),
        "unit_days": activity_report.unit_days(activity),
    }
    for name, table in tables.items():
        outputs.write_table(name, table)
    return f"{int(judged['missing'].sum()):,} log records found missing"


def figures(results: Results) -> Json:
    """How many log instances were judged, and what they lack."""
    gaps = results.table("gaps").to_pandas()
    judged = gaps[gaps["expected"].notna()]
    lacking = judged[judged["missing"].fillna(0) > 0]
    sums = {name: int(judged[name].fillna(0).sum()) for name in ("expected", "actual", "missing")}
    return {
        "gaps": {
            "log_instances": len(gaps),
            "judged": len(judged),
            "silent": int((gaps["actual"] == 0).sum()),
            **sums,
            "with_gaps": len(lacking),
            "worst": lacking["point_log_inst_id"].head(_SHOWN_WORST).tolist(),
            "holes": results.table("holes").num_rows,
            "isolated": sum(results.table("isolated_records")["record_count"].to_pylist()),
            "csv": "gaps.csv",
        }
    }


def values(results: Results, overview: Json) -> dict[str, Any]:
    """Records over time, the heat map of the units, the largest holes, isolated records."""
    holes = results.table("holes").slice(0, SHOWN_LARGEST).to_pylist()
    return {
        "over_time": _over_time(results.table("records_over_time").to_pandas()),
        "heat": _heat(results.table("unit_days").to_pandas()),
        "shades": SHADES,
        "largest": [(_describe_hole(hole), hole["missing_count"]) for hole in holes],
        "irregular": results.table("gaps")["basis"].to_pylist().count("typical step"),
        "isolated": [
            {**row, "kind": _KINDS[row["log_kind"]], "away": _describe_distance(row)}
            for row in results.table("isolated_records").to_pylist()
        ],
    }


def _describe_hole(hole: Json) -> str:
    """A hole in a few words.

    >>> hole = {"log_instance_count": 46, "gap_hours": 24.04, "began_at": "2024-05-31 05:00:40"}
    >>> _describe_hole(hole)
    '46 log instances, 24 h from 05-31 05:00'
    """
    of, hours = hole["log_instance_count"], hole["gap_hours"]
    lasting = f"{hours:,.0f} h" if hours >= _LONG_HOURS else f"{60 * hours:.0f} min"
    return f"{count_of(of, 'log instance')}, {lasting} from {hole['began_at'][5:16]}"


def _describe_distance(row: Json) -> str:
    """How far isolated records are from the others.

    >>> _describe_distance({"distance_days": -8})
    '8 days before all others'
    """
    days = row["distance_days"]
    return f"{count_of(abs(days), 'day')} {'before' if days < 0 else 'after'} all others"


def _over_time(rows: pd.DataFrame) -> dict[str, Any]:
    counts = ["digital_count", "float_count"]
    untimed = rows[rows["bucket_start"] == ""]
    timed = rows[rows["bucket_start"] != ""].set_index("bucket_start")
    bucket = timed["bucket"].iloc[0] if len(timed) else "day"
    starts, uneven = fill_buckets(sorted(timed.index), bucket)
    filled = timed[counts].reindex(starts, fill_value=0).astype("int64")
    table = [(start, *of) for start, of in zip(starts, filled.to_numpy().tolist(), strict=True)]
    if len(untimed):
        table.append(("without a time", *untimed[counts].iloc[0].tolist()))
    return {
        "bucket": bucket,
        "table": table,
        "uneven": uneven,
        "untimed": int(untimed[counts].to_numpy().sum()),
        "chart": columns(
            [_bucket_name(start, bucket) for start in starts],
            {
                "digital (B)": filled["digital_count"].tolist(),
                "float (F)": filled["float_count"].tolist(),
            },
        ),
    }


def fill_buckets(starts: Sequence[str], bucket: str) -> tuple[list[str], bool]:
    """The starts of buckets, with those between them in which nothing was recorded.

    As they are and True, if far too many are between: then one clock was wrong.

    >>> fill_buckets(["2024-01-01 00:00:00", "2024-03-01 00:00:00"], "month")
    (['2024-01-01 00:00:00', '2024-02-01 00:00:00', '2024-03-01 00:00:00'], False)
    """
    filled: list[str] = []
    for start in starts:
        while filled and (following := _following(filled[-1], bucket)) < start:
            filled.append(following)
            if len(filled) > _MOST_BUCKETS:
                return list(starts), True
        filled.append(start)
    return filled, False


def _following(start: str, bucket: str) -> str:
    moment = datetime.fromisoformat(start)
    if bucket == "month":
        moment = (moment.replace(day=1) + timedelta(days=32)).replace(day=1)
    else:
        moment += {"hour": timedelta(hours=1), "week": timedelta(weeks=1)}.get(
            bucket, timedelta(days=1)
        )
    return moment.isoformat(" ")


def _bucket_name(start: str, bucket: str) -> str:
    """The start of a bucket as a short label."""
    return {"hour": start[5:16], "month": start[:7]}.get(bucket, start[:10])


def _heat(rows: pd.DataFrame) -> dict[str, Any]:
    """A row per unit, those that deviate most first; a column per bucket."""
    bucket = rows["bucket"].iloc[0] if len(rows) else "day"
    starts, uneven = fill_buckets(sorted(set(rows["bucket_start"])), bucket)
    counts = rows.pivot_table("record_count", "unit_id", "bucket_start", "sum", fill_value=0)
    # Times without any record, such as those up to isolated ones, are not typical of a unit.
    order = deviation(counts).sort_values(ascending=False, kind="stable").index
    counts = counts.reindex(columns=starts, fill_value=0).astype("int64")
    shown = counts.loc[order[:SHOWN_UNITS]]
    # What is unknown comes from many units and would leave no shades for the others.
    known = shown.drop(index=UNKNOWN, errors="ignore")
    most = int((known if len(known) else shown).to_numpy().max(initial=0))
    labels = [_bucket_name(start, bucket) for start in starts]
    return {
        "bucket": bucket,
        "units": len(shown),
        "all_units": len(counts),
        "most": most,
        "uneven": uneven,
        "columns": labels,
        "labelled": [every_label(len(labels), width) for width in (_HEAT_WIDTH, _PHONE_WIDTH)],
        "body": _heat_body(shown, most),
    }


def deviation(counts: pd.DataFrame) -> pd.Series:
    """How far the buckets of each unit are from its own median, on average, as a share of that.

    The first and the last bucket, which may be cut, are left out if there are others between.

    Args:
        counts: One row per unit, one column per bucket.
    """
    whole = counts.iloc[:, 1:-1] if counts.shape[1] > 2 else counts
    typical = whole.median(axis=1)
    return whole.sub(typical, axis=0).abs().mean(axis=1) / typical.clip(lower=1)


def _heat_body(counts: pd.DataFrame, most: int) -> Markup:
    """The rows of the heat map. There are too many cells for a template."""
    lines = []
    for unit, row in zip(counts.index.tolist(), counts.to_numpy().tolist(), strict=True):
        name = "Unknown" if unit == UNKNOWN else f"Unit {unit}"
        cells = "".join(
            f'<td class="shade-{shade(n, most)}">{n:,}</td>' if n else "<td>0</td>" for n in row
        )
        lines.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
    return Markup("\n".join(lines))  # noqa: S704  # Nothing but numbers.


REPORT = Report(
    name="ActivityReport",
    summary="Records over time, units by day, holes, and what each log instance lacks.",
    reads=("activity", "log instances", "warehouse", "max gap"),
    build=build,
    anchor="time",
    title="Time",
    position=20,
    tables=("holes", "isolated_records", "gaps", "records_over_time", "unit_days"),
    leading=("ended_at", "gap_hours", "log_instance_count", "missing_count", "note"),
    figures=figures,
    values=values,
    code_version=6,
)
