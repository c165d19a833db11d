"""`reports/index.html`: what a run found, in one file that loads nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from config.declarations import UNKNOWN, Type
from config.warehouse import FACT_LOGS, SUMMARY_LEVELS
from tasks.core.text import describe_reading, link_to, readable, visible_lines
from tasks.reports.charts import (
    SHADES,
    Bar,
    Step,
    draw_bars,
    draw_columns,
    draw_heat_map,
    draw_waterfall,
)
from tasks.reports.diagrams import Box, Line, draw_boxes, rank, without_detours
from tasks.reports.overview import LARGEST, Json, read_json, read_rows
from tasks.reports.templates import render_page

SHOWN_ROWS = 2_000
"""Rows of a table on the page; the CSV file beside it has all."""

SHOWN_UNITS = 150
"""Rows of the heat map."""

SHOWN_WARNINGS = 30
"""Warnings in the summary of them; below each source are all."""

_LEVELS = {
    "unit_id": ("By unit (controller)", "units"),
    "app_instance_id": ("By application instance", "application instances"),
    "app_type_id": ("By application type", "application types"),
}


def write_page(overview: Json, reports: Path, quarantine: Path, into: Path) -> None:
    """Write the page.

    Args:
        overview: The figures.
        reports: Folder of the other reports, where the page will be.
        quarantine: Folder of the rows that could not be read.
        into: The file to write.
    """
    text = render_page(
        "page.html.j2",
        o=overview,
        levels=[_level(reports, level, overview) for level in SUMMARY_LEVELS],
        over_time=_over_time(reports),
        heat=_heat(reports),
        gaps=_gaps(reports),
        waterfall=_waterfall(overview["waterfall"]),
        waterfall_rows=[(step["step"], step["records"]) for step in overview["waterfall"]],
        profiles=_profiles(reports, overview["sources"]),
        star=_star(overview["tables"]),
        lineage=_lineage(overview),
        quarantine=link_to(quarantine, reports),
        readable=readable,
        shown_warnings=SHOWN_WARNINGS,
        shades=SHADES,
    )
    # Names of files may hold anything.
    into.write_text(text, encoding="utf-8", errors="replace", newline="\n")


def _table_body(rows: Iterable[Mapping[str, str]]) -> Markup:
    """Rows of a CSV file as those of a table. There are too many for a template."""
    lines = []
    cells: list[tuple[str, Callable[[str], str]]] = []
    for row in rows:
        cells = cells or [(name, _cell(name)) for name in row]
        lines.append(f"<tr>{''.join([draw(row[name]) for name, draw in cells])}</tr>")
    return Markup("\n".join(lines))  # noqa: S704  # Each cell is escaped.


def _cell(column: str) -> Callable[[str], str]:
    """What makes the cells of a column."""
    if column.endswith(("_count", "expected", "actual", "missing")):
        return lambda text: f'<td class="n">{int(text):,}</td>' if text else '<td class="n"></td>'
    if column.endswith(("_id", "_interval", "_step_s")):
        return lambda text: f'<td class="n">{escape(text)}</td>'
    if column.endswith("_share") or column.startswith("share_"):
        return lambda text: (
            f'<td class="n">{float(text):.1%}</td>' if text else '<td class="n"></td>'
        )
    return lambda text: f"<td>{escape(readable(text))}</td>"


# --- summaries -------------------------------------------------------------------------------


def _level(reports: Path, level: str, overview: Json) -> dict[str, Any]:
    summary = overview["summaries"][level]
    rows = list(read_rows(reports / summary["csv"]))
    title, plural = _LEVELS[level]
    bars = [Bar(item["name"], item["record_count"]) for item in summary["largest"]]
    classes = [(item["record_count"], item["members"]) for item in summary["others"]]
    shown = rows
    if len(rows) > SHOWN_ROWS:
        shown = sorted(rows, key=lambda row: -int(row["record_count"]))[:SHOWN_ROWS]
    return {
        "level": level,
        "title": title,
        "plural": plural,
        "csv": summary["csv"],
        "total": len(rows),
        "header": list(rows[0]) if rows else [],
        "shown": len(shown),
        "body": _table_body(shown),
        "bars": bars,
        "bars_chart": draw_bars(
            bars, unit="log records", label=f"The {plural} with the most log records"
        ),
        "rest": sum(members for _, members in classes),
        "classes": classes,
        "classes_chart": draw_columns(
            [name.partition(" ")[0] for name, _ in classes],
            {plural: [count for _, count in classes]},
            unit=plural,
            axis="log records of one of them, from this number to below the next",
            label=f"How many of the other {plural} have how many log records",
            stacked=False,
        ),
    }


# --- time ------------------------------------------------------------------------------------


def _over_time(reports: Path) -> dict[str, Any]:
    rows = {
        row["bucket_start"]: (int(row["digital_count"]), int(row["float_count"]), row["bucket"])
        for row in read_rows(reports / "records_over_time.csv")
    }
    untimed = rows.pop("", None)
    bucket = next((of for _, _, of in rows.values()), "day")
    starts, uneven = fill_buckets(sorted(rows), bucket)
    counts = [rows.get(start, (0, 0))[:2] for start in starts]
    labels = [_bucket_name(start, bucket) for start in starts]
    table = [(start, *count) for start, count in zip(starts, counts, strict=True)]
    if untimed is not None:
        table.append(("without a time", *untimed[:2]))
    return {
        "bucket": bucket,
        "table": table,
        "uneven": uneven,
        "untimed": 0 if untimed is None else sum(untimed[:2]),
        "chart": draw_columns(
            labels,
            {
                "digital (B)": [digital for digital, _ in counts],
                "float (F)": [of_float for _, of_float in counts],
            },
            unit="log records",
            axis=f"{bucket} (UTC)",
            label=f"Log records per {bucket}, by kind",
            classes="by-kind",
        ),
    }


def fill_buckets(starts: Sequence[str], bucket: str) -> tuple[list[str], bool]:
    """The starts of buckets, with those between them in which nothing was recorded.

    As they are and True, if far too many lie between: then one clock was wrong.

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


_MOST_BUCKETS = 500


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


def _heat(reports: Path) -> dict[str, Any]:
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    bucket = "day"
    starts: set[str] = set()
    for row in read_rows(reports / "unit_days.csv"):
        counts[int(row["unit_id"])][row["bucket_start"]] = int(row["record_count"])
        starts.add(row["bucket_start"])
        bucket = row["bucket"]
    columns, uneven = fill_buckets(sorted(starts), bucket)
    largest = sorted(counts, key=lambda unit: -sum(counts[unit].values()))[:SHOWN_UNITS]
    units = sorted(largest)
    values = [[counts[unit].get(start, 0) for start in columns] for unit in units]
    names = ["Unknown" if unit == UNKNOWN else f"Unit {unit}" for unit in units]
    # What is unknown comes from many units and would leave no shades for the others.
    of_units = [row for unit, row in zip(units, values, strict=True) if unit != UNKNOWN]
    most = max(map(max, of_units or values), default=0)
    labels = [_bucket_name(start, bucket) for start in columns]
    return {
        "bucket": bucket,
        "units": len(units),
        "all_units": len(counts),
        "columns": labels,
        "table": [(name, *of_unit) for name, of_unit in zip(names, values, strict=True)],
        "most": most,
        "uneven": uneven,
        "chart": draw_heat_map(
            names,
            labels,
            values,
            axis=f"{bucket} (UTC)",
            highest=most,
            label=f"Log records of each unit, {bucket} by {bucket}",
        ),
    }


def _gaps(reports: Path) -> dict[str, Any]:
    rows: list[dict[str, str]] = []
    total = 0
    header: list[str] = []
    for row in read_rows(reports / "gaps.csv"):
        header = list(row)
        total += 1
        if len(rows) < SHOWN_ROWS:
            rows.append(row)
    worst = [
        Bar(f"{row['point_log_inst_id']} (unit {row['unit_id']})", int(row["missing"]))
        for row in rows[:LARGEST]
        if row["missing"] and int(row["missing"])
    ]
    return {
        "shown": len(rows),
        "body": _table_body(rows),
        "total": total,
        "header": header,
        "worst": worst,
        "chart": draw_bars(
            worst,
            unit="log records that are missing",
            label="The log instances that lack the most log records",
        ),
    }


# --- trust -----------------------------------------------------------------------------------


def _waterfall(steps: Sequence[Json]) -> Markup:
    return draw_waterfall(
        [Step(step["step"], step["records"], step["total"]) for step in steps],
        unit="log records",
        label="From the rows of the log files to the facts whose chain is whole",
    )


# --- profile ---------------------------------------------------------------------------------


def _profiles(reports: Path, sources: Json) -> list[dict[str, Any]]:
    """The sources, each with its columns."""
    profiles = read_json(reports / "profile.json")
    return [
        {
            "name": name,
            "audit": audit,
            "reading": list(describe_reading(audit)),
            "warnings": [visible_lines(warning) for warning in audit["warnings"]],
            "grain": profiles[name]["grain"],
            "columns": [
                {
                    **column,
                    "chart": _small_histogram(column["histogram"], column["type"]),
                    "classes": _classes(column["histogram"], column["type"]),
                }
                for column in profiles[name]["columns"]
            ],
        }
        for name, audit in sources.items()
    ]


def _classes(histogram: Json | None, kind: str) -> list[tuple[object, int]]:
    """Where each class of a histogram begins, and the rows in it."""
    if histogram is None:
        return []
    starts: list[object] = histogram["edges"][:-1]
    if kind == Type.TIMESTAMP:
        # Any year: a class may begin before the first one that Python knows.
        moments = (np.datetime64(int(edge * 1_000_000), "us") for edge in histogram["edges"][:-1])
        starts = [str(moment).replace("T", " ").removesuffix(".000000") for moment in moments]
    return list(zip(starts, histogram["counts"], strict=True))


def _small_histogram(histogram: Json | None, kind: str) -> Markup:
    """A histogram in the size of a word; what its classes are stands in its title."""
    if histogram is None:
        return Markup("")
    counts, edges = histogram["counts"], histogram["edges"]
    most = max(counts)
    step = 120 / len(counts)
    width = max(step - 0.6, 0.8)
    bars = "".join(
        f"M{at * step:.1f} 26h{width:.1f}v{-max(25 * count / most, 0.6):.1f}h{-width:.1f}z"
        for at, count in enumerate(counts)
        if count
    )
    unit = " s" if kind == Type.TIMESTAMP else ""
    label = (
        f"{len(counts)} classes of width {edges[1] - edges[0]:,.12g}{unit}; "
        f"the fullest has {most:,} rows"
    )
    return Markup(
        '<svg class="small" viewBox="0 0 120 26" role="img" aria-label="{label}">'
        '<title>{label}</title><path d="{bars}"/></svg>'
    ).format(label=label, bars=bars)


# --- star and lineage ------------------------------------------------------------------------


def _star(tables: Sequence[Json]) -> Markup:
    """The tables with their keys, drawn from the live schema."""
    names = {table["name"] for table in tables}
    parents = {
        # A column that someone has added may refer to anything.
        table["name"]: {target.partition(".")[0] for target in table["references"].values()} & names
        for table in tables
    }
    places = rank([table["name"] for table in tables], parents)
    columns: list[list[Box]] = [[] for _ in range(max(places.values()) + 1)]
    lines = []
    for table in tables:
        name = table["name"]
        rows = {
            column["name"]: _key_mark(column["name"], table) + column["name"]
            for column in table["columns"]
        }
        kind = "fact" if name == FACT_LOGS.name else "dimension"
        columns[places[name]].append(Box(name, f"{name} ({table['rows']:,})", rows, kind))
        for column, target in table["references"].items():
            parent, _, key = target.partition(".")
            if parent in parents[name] and parent != name:
                lines.append(Line(parent, name, key, column))
    return draw_boxes(columns, lines, label="The tables of the warehouse and their keys")


def _key_mark(column: str, table: Json) -> str:
    if column in table["primary_key"]:
        return "PK "
    return "FK " if column in table["references"] else ""


def _lineage(overview: Json) -> Markup:
    """From the source files to the reports, drawn from the task graph."""
    parents: dict[str, list[str]] = {}
    boxes: dict[str, Box] = {}
    for task in overview["lineage"]:
        name = task["task"]
        family, _, of = name.partition(":")
        if not task["comes_from"]:
            boxes[of] = Box(of, overview["sources"][of]["file"], {}, "file")
            parents[of] = []
        parents[name] = list(task["comes_from"]) or [of]
        boxes[name] = Box(name, task["makes"].rpartition("/")[2], {"": family})
    places = rank(list(boxes), parents)
    columns: list[list[Box]] = [[] for _ in range(max(places.values(), default=0) + 1)]
    for name, box in boxes.items():
        columns[places[name]].append(box)
    lines = [
        Line(parent, name)
        for name, own in without_detours(parents).items()
        for parent in own
        if parent in boxes
    ]
    return draw_boxes(columns, lines, label="From the source files to the reports")
