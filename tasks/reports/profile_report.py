"""Figures on the sources' columns: as JSON for programs and the page, as CSV for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from config.declarations import Source, Type
from tasks.core.spreadsheet import write_csv
from tasks.measures.profile import ColumnProfile, SourceProfile, merge_profiles
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
    """What is told of a source: its rows, and each column.

    Declared columns come first, then those carried as text in the order of the file. Of a column:

    - name; header: its name in the file, None if the file does not have it; origin: "recognised",
      "carried" (as text) or "absent";
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
        "minimum": _shown(profile, profile.low),
        "maximum": _shown(profile, profile.high),
        "shortest": profile.shortest,
        "longest": profile.longest,
        "frequent": [
            {"value": _shown(profile, value), "count": count}
            for value, count in profile.frequent.top(_FREQUENT)
        ],
        "frequent_is_exact": profile.frequent.error == 0 and not profile.unique,
        "frequent_error": profile.frequent.error,
        "histogram": _histogram(profile),
    }


def _shown(profile: ColumnProfile, value: Any) -> Any:
    if value is None or profile.kind is not Type.TIMESTAMP:
        return value
    fine = "us" if value % 1_000_000 else "s"
    return str(np.datetime64(value, "us").astype(f"datetime64[{fine}]")).replace("T", " ")


def _histogram(profile: ColumnProfile) -> dict[str, Any] | None:
    if profile.bins.exponent is None:
        return None
    unit = 1_000_000 if profile.kind is Type.TIMESTAMP else 1
    edges = [edge if unit == 1 else edge / unit for edge in profile.bins.edges()]
    return {"edges": edges, "counts": profile.bins.counts.tolist()}


def write_profile_report(
    parts: Mapping[str, Sequence[Path]],
    sources: Mapping[str, Source],
    audits: Mapping[str, Path],
    json_file: Path,
    csv_file: Path,
    bom: bool | None = None,
) -> int:
    """Write the profiles of all sources and return the number of their columns.

    Args:
        parts: Source -> the profiles of its staged files.
        sources: Source -> its declaration.
        audits: Source -> the audit of its staging.
        json_file: JSON file to write: source -> as `source_figures` gives it.
        csv_file: CSV file to write: one row per source and column, CSV_COLUMNS.
        bom: As for `write_csv`.
    """
    figures = {
        name: source_figures(
            merge_profiles(parts[name]),
            sources[name],
            Audit.from_json(audits[name].read_text(encoding="utf-8")),
        )
        for name in parts
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
