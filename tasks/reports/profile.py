"""Profile of the sources: each column's type and values, the files of a source together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.declarations import Source, Type
from config.sources import SOURCES
from tasks.core.files import write_csv
from tasks.core.text import describe_reading, visible_lines
from tasks.reports.registry import Inputs, Json, Outputs, Report, Results

if TYPE_CHECKING:
    from tasks.measures.profile import ColumnProfile, SourceProfile
    from tasks.staging.audit import Audit

_FREQUENT = 10

CSV_COLUMNS = (
    "source",
    "column",
    "header",
    "origin",
    "type",
    "looks_like",
    "rows",
    "nulls",
    "empty",
    "distinct",
    "distinct_is_exact",
    "minimum",
    "maximum",
    "shortest",
    "longest",
    "most_frequent",
    "most_frequent_count",
    "most_frequent_is_exact",
)


def build(inputs: Inputs, outputs: Outputs) -> str:
    """Write the figures as JSON, source -> as `source_figures` gives it, and columns as CSV."""
    from tasks.measures.profile import merge_profiles
    from tasks.staging.audit import read_audit

    files: dict[str, list[Path]] = defaultdict(list)
    for key, path in inputs.paths["profiles"].items():
        files[key.partition(" ")[0].partition("/")[0]].append(path)
    sources = {
        name: source_figures(
            merge_profiles(of_source),
            SOURCES[name],
            read_audit(inputs.paths["audits"][name]),
        )
        for name, of_source in files.items()
    }
    outputs.write_json("figures", sources)
    rows = list(_csv_rows(sources))
    write_csv(outputs.paths["csv"], CSV_COLUMNS, rows, outputs.bom)
    return f"{len(rows):,} columns described"


def source_figures(profile: SourceProfile, source: Source, audit: Audit) -> dict[str, Any]:
    """The figures on a source: its grain, its rows, and each column.

    Declared columns come first, then those that are passed through as text, in the order of the
    file. Of a column:

    - name; header: its name in the file, None if the file does not have it; origin: "recognised",
      "carried" (passed through as text), "derived" (filled by staging) or "absent";
    - type: as declared, or text; looks_like: what the first rows look like, None of several
      columns that are joined;
    - rows, nulls, not_finite (numbers), empty (texts);
    - distinct; distinct_is_exact; distinct_error: the standard error of an estimate, as a share;
    - minimum, maximum: numbers, times as text, texts cut to 200 letters; None if there is none;
    - shortest, longest: letters of texts;
    - frequent: value and count of at most ten; frequent_is_exact; if not, the count is that or up
      to frequent_error more, and values that are not surely among the most frequent are left out;
    - histogram, of numbers and times: counts, and the edges of their bins, one more; those of
      times in seconds since 1970. None for texts and without a value.
    """
    declared = {column.name: column for column in source.columns}
    columns = []
    for name, found in profile.columns.items():
        header: str | None = name
        origin, kind = "carried", Type.TEXT
        looks_like = audit.observed_types.get(name)
        if name in declared:
            header, kind = audit.recognised.get(name), declared[name].type
            unread = "derived" if declared[name].derived else "absent"
            origin = unread if header is None else "recognised"
            taken = [] if header is None else audit.headers_of(name)
            looks_like = audit.observed_types.get(taken[0]) if len(taken) == 1 else None
        columns.append(
            {
                "name": name,
                "header": header,
                "origin": origin,
                "type": kind,
                "looks_like": looks_like,
                **_figures(found),
            }
        )
    return {"grain": source.grain, "rows": profile.rows, "columns": columns}


def _figures(profile: ColumnProfile) -> dict[str, Any]:
    from tasks.measures.sketches import DISTINCT_ERROR

    return {
        "rows": profile.rows,
        "nulls": profile.nulls,
        "not_finite": profile.not_finite,
        "empty": profile.empty,
        "distinct": profile.distinct_count,
        "distinct_is_exact": profile.distinct_exact,
        "distinct_error": 0.0 if profile.distinct_exact else round(DISTINCT_ERROR, 4),
        "minimum": _displayed(profile, profile.low),
        "maximum": _displayed(profile, profile.high),
        "shortest": profile.shortest,
        "longest": profile.longest,
        "frequent": [
            {"value": _displayed(profile, value), "count": count}
            for value, count in profile.frequent.top(_FREQUENT)
        ],
        "frequent_is_exact": profile.frequent.error == 0 and not profile.unique,
        "frequent_error": profile.frequent.error,
        "histogram": _histogram(profile),
    }


def _displayed(profile: ColumnProfile, value: Any) -> Any:
    import pandas as pd

    from tasks.measures.profile import SHOWN_LETTERS

    if value is None:
        return None
    if profile.kind is Type.TEXT:
        return value[:SHOWN_LETTERS]
    if profile.kind is Type.TIMESTAMP:
        return str(pd.Timestamp(value, unit="us"))
    return value


def _histogram(profile: ColumnProfile) -> dict[str, Any] | None:
    histogram = profile.histogram
    if histogram.exponent is None:
        return None
    edges = histogram.edges()
    if profile.kind is Type.TIMESTAMP:
        edges = [edge / 1_000_000 for edge in edges]
    return {"edges": edges, "counts": histogram.counts}


def _csv_rows(sources: Json) -> Iterator[dict[str, Any]]:
    for name, source in sources.items():
        for column in source["columns"]:
            first = column["frequent"][0] if column["frequent"] else {}
            yield {
                **column,
                "source": name,
                "column": column["name"],
                "most_frequent": first.get("value"),
                "most_frequent_count": first.get("count"),
                "most_frequent_is_exact": column["frequent_is_exact"],
            }


# --- its section of the page -----------------------------------------------------------------


def values(results: Results, overview: Json) -> dict[str, Any]:
    """The sources, each with its columns and how it was read."""
    profiles = results.json("profile")
    return {
        "profiles": [
            {
                "name": name,
                "audit": audit,
                "reading": list(describe_reading(audit)),
                "warnings": [visible_lines(warning) for warning in audit["warnings"]],
                "grain": profiles[name]["grain"],
                "columns": [
                    {**column, **_classes(column["histogram"], column["type"])}
                    for column in profiles[name]["columns"]
                ],
            }
            for name, audit in overview["sources"].items()
        ]
    }


def _classes(histogram: Json | None, kind: str) -> dict[str, Any]:
    """Where each class begins and the rows in it; what the classes are, in words."""
    if histogram is None:
        return {"classes": [], "spread": ""}
    edges, counts = histogram["edges"], histogram["counts"]
    starts = [_time(edge) for edge in edges[:-1]] if kind == Type.TIMESTAMP else edges[:-1]
    unit = " s" if kind == Type.TIMESTAMP else ""
    return {
        "classes": list(zip(starts, counts, strict=True)),
        "spread": f"{len(counts)} classes of width {edges[1] - edges[0]:,.12g}{unit}; "
        f"the fullest has {max(counts):,} rows",
    }


def _time(seconds: float) -> str:
    """A time in any year: a class may begin before the first one that Python knows."""
    import numpy as np

    moment = np.datetime64(int(seconds * 1_000_000), "us")
    return str(moment).replace("T", " ").removesuffix(".000000")


REPORT = Report(
    name="ProfileReport",
    summary="Each column of each source: type, values, how they are spread.",
    reads=("profiles", "audits"),
    build=build,
    anchor="profile",
    title="Profile",
    position=40,
    files={"figures": "profile.json", "csv": "profile.csv"},
    values=values,
    code_version=4,
)
