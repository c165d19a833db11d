"""Summaries: log instances and log records for each unit, application instance or type.

The records were counted while they were loaded (`log_instance_activity`); none is read again here.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from config.declarations import UNKNOWN
from config.warehouse import SUMMARY_LEVELS
from tasks.reports.registry import Inputs, Json, Outputs, Report, Results

if TYPE_CHECKING:
    import pandas as pd

COUNTS = "log_count, record_count, digital_count, float_count"
TIMES = ("first_recorded_at", "last_recorded_at")
COLUMNS = {
    "unit_id": f"unit_id, unit_name, {COUNTS}, app_instance_count",
    "app_instance_id": f"app_instance_id, {COUNTS}, unit_id, app_type_id, app_type_description",
    "app_type_id": (f"app_type_id, app_type_description, {COUNTS}, app_instance_count, unit_count"),
}
"""Level -> the columns of its summary, before the times; the first one is the key."""

NAMES = {
    "unit_id": "dim_unit USING (unit_id)",
    "app_instance_id": "dim_application_instance USING (app_instance_id)"
    " LEFT JOIN dim_application_type USING (app_type_id)",
    "app_type_id": "dim_application_type USING (app_type_id)",
}
"""Level -> the tables with the names of its keys."""

SUMMARY = """
WITH of_instance AS (
    SELECT point_log_inst_id,
        sum(record_count) AS records,
        sum(CASE log_kind WHEN 'B' THEN record_count ELSE 0 END) AS digital,
        sum(CASE log_kind WHEN 'F' THEN record_count ELSE 0 END) AS floating,
        min(first_recorded_at) AS first, max(last_recorded_at) AS last
    FROM log_instance_activity GROUP BY point_log_inst_id
), counts AS (
    SELECT log.{level},
        sum(CASE log.point_log_inst_id WHEN {unknown} THEN 0 ELSE 1 END) AS log_count,
        coalesce(sum(records), 0) AS record_count,
        coalesce(sum(digital), 0) AS digital_count,
        coalesce(sum(floating), 0) AS float_count,
        count(DISTINCT nullif(log.app_instance_id, {unknown})) AS app_instance_count,
        count(DISTINCT nullif(log.unit_id, {unknown})) AS unit_count,
        min(first) AS first_recorded_at, max(last) AS last_recorded_at
    FROM dim_log_instance AS log LEFT JOIN of_instance USING (point_log_inst_id)
    GROUP BY log.{level}
)
SELECT {columns}, first_recorded_at, last_recorded_at
FROM counts LEFT JOIN {names}
WHERE log_count > 0 OR record_count > 0
ORDER BY {level}
"""

SHOWN_LARGEST = 12
"""How many of the largest are shown by name."""

_CLASSES = 14
_LEVELS = {
    "unit_id": ("By unit (controller)", "units"),
    "app_instance_id": ("By application instance", "application instances"),
    "app_type_id": ("By application type", "application types"),
}


def build(inputs: Inputs, outputs: Outputs) -> str:
    """Write the summary of a level: a row per key that has a log instance or a log record."""
    level = inputs.level
    sql = SUMMARY.format(level=level, unknown=UNKNOWN, columns=COLUMNS[level], names=NAMES[level])
    rows = inputs.query(sql, times=TIMES)
    outputs.write_table(f"summary_by_{level}", rows)
    return f"{len(rows):,} rows"


def figures(results: Results) -> Json:
    """What each summary adds up to, what of it is unknown, and how the others are spread."""
    return {
        "summaries": {
            level: _totals(level, results.table(f"summary_by_{level}").to_pandas())
            for level in SUMMARY_LEVELS
        }
    }


def _totals(level: str, rows: pd.DataFrame) -> Json:
    counts = ["log_count", "record_count"]
    unknown = rows[level] == UNKNOWN
    known = rows[~unknown].sort_values(["record_count", level], ascending=[False, True])
    others = known["record_count"][SHOWN_LARGEST:].tolist()
    return {
        "csv": f"summary_by_{level}.csv",
        "rows": len(rows),
        **rows[counts].sum().to_dict(),
        "unknown": rows.loc[unknown, counts].sum().to_dict(),
        "largest": [
            {"key": row[level], "name": _name(row, level), "record_count": row["record_count"]}
            for row in known.head(SHOWN_LARGEST).to_dict("records")
        ],
        "others": [{"record_count": name, "members": n} for name, n in classify(others)],
    }


def _name(row: dict[Any, Any], level: str) -> str:
    """A key with the name that belongs to it."""
    match level:
        case "unit_id":
            return str(row["unit_name"])
        case "app_type_id":
            return f"{row['app_type_description']} ({row['app_type_id']})"
    return f"{row['app_instance_id']} {row['app_type_description']}"


def classify(values: Sequence[int]) -> list[tuple[str, int]]:
    """How many values are in which class; adjacent classes of one round width.

    >>> classify([3, 4, 12])
    [('3', 1), ('4', 1), ('5', 0), ('6', 0), ('7', 0), ('8', 0), ('9', 0), ('10', 0), ('11', 0), \
('12', 1)]
    >>> classify([0, 1999])[0], classify([0, 1999])[-1]
    (('0 to 199', 1), ('1,800 to 1,999', 1))
    """
    if not values:
        return []
    span = max(values) - min(values) + 1
    widths = (factor * 10**power for power in itertools.count() for factor in (1, 2, 5))
    width = next(width for width in widths if width * _CLASSES >= span)
    counts = Counter(value // width for value in values)
    return [
        (_class_name(at * width, width), counts[at]) for at in range(min(counts), max(counts) + 1)
    ]


def _class_name(first: int, width: int) -> str:
    return f"{first:,}" if width == 1 else f"{first:,} to {first + width - 1:,}"


def values(results: Results, overview: Json) -> dict[str, Any]:
    """The levels, each with its largest members and the classes of the others."""
    levels = []
    for level in SUMMARY_LEVELS:
        title, plural = _LEVELS[level]
        summary = overview["summaries"][level]
        classes = [(item["record_count"], item["members"]) for item in summary["others"]]
        levels.append(
            {
                "level": level,
                "title": title,
                "plural": plural,
                "bars": [(item["name"], item["record_count"]) for item in summary["largest"]],
                "rest": sum(members for _, members in classes),
                "classes": classes,
            }
        )
    return {"levels": levels}


REPORT = Report(
    name="SummaryReport",
    summary="Log instances and log records for each unit, application instance or type.",
    reads=("warehouse",),
    build=build,
    anchor="summaries",
    title="Summaries",
    position=10,
    tables=("summary_by_{level}",),
    leading=("unit_name", "app_type_description", "record_count"),
    figures=figures,
    values=values,
    levels=SUMMARY_LEVELS,
    page="index.html#summary-{level}",
    code_version=4,
)
