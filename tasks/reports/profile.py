"""Profile of the sources: each column's type and values, the files of a source together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.declarations import Source, Type
from config.sources import SOURCES
from tasks.core.files import write_csv
from tasks.core.text import describe_reading, visible_lines
from tasks.reports.registry import Inputs, Json, Outputs, Report, Results

if TYPE_CHECKING:
    from tasks.measures.profile import ColumnProfile, SourceProfile
    from tasks.measures.sketches import Histogram
    from tasks.staging.audit import Audit

_FREQUENT = 10

QUANTILES = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}
"""Name -> the share of the values that a quantile has at or below it."""

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
    "read_as",
    "minimum",
    "maximum",
    "mean",
    *QUANTILES,
    "quantile_error",
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
    - read_as: "number" or "timestamp" for texts of which at least 95 % are read as such, blanks
      aside, and at most 16 different ones are not; not_read: rows with one of those. None and 0
      else. What follows is then that of the numbers or times;
    - minimum, maximum: numbers, times as text, texts cut to 200 letters; None if there is none;
    - mean, and quantiles: QUANTILES -> the smallest value that so many do not exceed; None for
      texts; quantile_error: how far a quantile may be from that, of times in seconds. 0: exact,
      as of up to 4,096 distinct values;
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

    reading = profile.reading
    return {
        "rows": profile.rows,
        "nulls": profile.nulls,
        "not_finite": profile.not_finite,
        "empty": profile.empty,
        "distinct": profile.distinct_count,
        "distinct_is_exact": profile.distinct_exact,
        "distinct_error": 0.0 if profile.distinct_exact else round(DISTINCT_ERROR, 4),
        "read_as": None if reading is None else reading.kind,
        "not_read": 0 if reading is None else reading.others,
        **_spread(profile),
        "shortest": profile.shortest,
        "longest": profile.longest,
        "frequent": [
            {"value": _displayed(profile.kind, value), "count": count}
            for value, count in profile.frequent.top(_FREQUENT)
        ],
        "frequent_is_exact": profile.frequent.error == 0 and not profile.unique,
        "frequent_error": profile.frequent.error,
    }


def _spread(profile: ColumnProfile) -> dict[str, Any]:
    """Minimum, maximum, and of numbers and times mean, quantiles and histogram."""
    kind, numbers, frequent = profile.kind, profile.numbers, profile.frequent
    if profile.reading is not None:
        kind, numbers, frequent = (
            profile.reading.kind,
            profile.reading.numbers,
            profile.reading.frequent,
        )
    is_time = kind is Type.TIMESTAMP
    low, high = (profile.low, profile.high) if kind is Type.TEXT else (numbers.low, numbers.high)
    mean = numbers.mean
    error = numbers.quantile_error(frequent)
    return {
        "minimum": _displayed(kind, low),
        "maximum": _displayed(kind, high),
        "mean": _displayed(kind, round(mean) if is_time and mean is not None else mean),
        "quantiles": {
            name: _displayed(kind, numbers.quantile(share, frequent) if numbers.count else None)
            for name, share in QUANTILES.items()
        },
        "quantile_error": error / 1_000_000 if is_time else error,
        "histogram": _histogram(kind, numbers.histogram.coarser()),
    }


def _displayed(kind: Type, value: Any) -> Any:
    import pandas as pd

    from tasks.measures.profile import SHOWN_LETTERS

    if value is None:
        return None
    if kind is Type.TEXT:
        return value[:SHOWN_LETTERS]
    if kind is Type.TIMESTAMP:
        return str(pd.Timestamp(value, unit="us"))
    return value


def _histogram(kind: Type, histogram: Histogram) -> dict[str, Any] | None:
    if histogram.exponent is None:
        return None
    edges = histogram.edges()
    if kind is Type.TIMESTAMP:
        edges = [edge / 1_000_000 for edge in edges]
    return {"edges": edges, "counts": histogram.counts}


def _csv_rows(sources: Json) -> Iterator[dict[str, Any]]:
    for name, source in sources.items():
        for column in source["columns"]:
            first = column["frequent"][0] if column["frequent"] else {}
            yield {
                **column,
                **column["quantiles"],
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
                "columns": [{**column, **_shown(column)} for column in profiles[name]["columns"]],
            }
            for name, audit in overview["sources"].items()
        ]
    }


def _shown(column: Json) -> dict[str, Any]:
    """What the page shows of a column's values, in words: range, quantiles, classes."""
    ends = [("min", column["minimum"]), ("mean", column["mean"]), ("max", column["maximum"])]
    is_time = (column["read_as"] or column["type"]) == Type.TIMESTAMP
    found = {
        "range": _named(ends, is_time),
        "quantiles": _named(column["quantiles"].items(), is_time),
    }
    if column["histogram"] is None:
        return {**found, "classes": [], "spread": ""}
    edges, counts = column["histogram"]["edges"], column["histogram"]["counts"]
    starts = [_time(edge) for edge in edges[:-1]] if is_time else edges[:-1]
    unit = " s" if is_time else ""
    return {
        **found,
        "error": f"{_short(column['quantile_error'])}{unit}",
        "classes": list(zip(starts, counts, strict=True)),
        "spread": f"{len(counts)} classes of width {edges[1] - edges[0]:,.12g}{unit}; "
        f"the fullest has {max(counts):,} rows",
    }


def _named(values: Iterable[tuple[str, Any]], is_time: bool) -> list[tuple[str, str]]:
    """Names and values as text, times to the second; without those that there are not."""
    named = [(name, value) for name, value in values if value is not None]
    if is_time:
        return [(name, value.partition(".")[0]) for name, value in named]
    return [(name, value if isinstance(value, str) else _short(value)) for name, value in named]


def _short(number: float) -> str:
    """A number in six digits; whole and large ones in all of the whole part.

    >>> _short(1000035), _short(-3.14159265), _short(421985.64), _short(1e-9)
    ('1000035', '-3.14159', '421986', '1e-09')
    """
    is_plain = 100_000 <= abs(number) < 1e15 or number == int(number)
    return f"{number:.0f}" if is_plain and abs(number) < 1e15 else f"{number:.6g}"


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
    code_version=5,
)
