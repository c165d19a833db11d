"""Figures on the sources' columns: as JSON for programs and the page, as CSV for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from config.declarations import Source, Type
from tasks.core.spreadsheet import write_csv
from tasks.measures.profile import SHOWN_LETTERS, ColumnProfile, SourceProfile, merge_profiles
from tasks.measures.sketches import DISTINCT_ERROR
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


def source_figures(profile: SourceProfile, source: Source, audit: Audit) -> dict[str, Any]:
    """The figures on a source: its grain, its rows, and each column.

    Declared columns come first, then those that are passed through as text, in the order of the
    file. Of a column:

    - name; header: its name in the file, None if the file does not have it; origin: "recognised",
      "carried" (passed through as text) or "absent";
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
            origin = "absent" if header is None else "recognised"
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


def write_profile_report(
    profiles: Mapping[str, Sequence[Path]],
    sources: Mapping[str, Source],
    audits: Mapping[str, Path],
    json_file: Path,
    csv_file: Path,
    bom: bool | None = None,
) -> int:
    """Write the profiles of all sources and return the number of their columns.

    Args:
        profiles: Source -> the profiles of its staged files.
        sources: Source -> its declaration.
        audits: Source -> the audit of its staging.
        json_file: JSON file to write: source -> as `source_figures` gives it.
        csv_file: CSV file to write: one row per source and column, CSV_COLUMNS.
        bom: As for `write_csv`.
    """
    figures = {
        name: source_figures(
            merge_profiles(profiles[name]),
            sources[name],
            Audit.from_json(audits[name].read_text(encoding="utf-8")),
        )
        for name in profiles
    }
    text = json.dumps(figures, ensure_ascii=False, indent=1, allow_nan=False)
    json_file.write_text(text + "\n", encoding="utf-8", newline="\n")
    rows = list(_csv_rows(figures))
    write_csv(csv_file, CSV_COLUMNS, rows, bom)
    return len(rows)


def _csv_rows(figures: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, source in figures.items():
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
