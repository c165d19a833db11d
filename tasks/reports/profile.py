"""Profile of the sources: each column's type and values."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from config.declarations import Type
from config.sources import SOURCES
from tasks.core.text import describe_reading, visible_lines
from tasks.reports.registry import Report
from tasks.reports.results import Inputs, Json, Outputs, Results


def build(inputs: Inputs, outputs: Outputs) -> str:
    """Write the figures as JSON, and a row per column as CSV."""
    from tasks.reports.profile_report import write_profile_report

    profiles: dict[str, list[Path]] = defaultdict(list)
    for key, path in inputs.paths["profiles"].items():
        profiles[key.partition(" ")[0].partition("/")[0]].append(path)
    columns = write_profile_report(
        profiles,
        SOURCES,
        inputs.paths["audits"],
        outputs.paths["figures"],
        outputs.paths["csv"],
        bom=outputs.bom,
    )
    return f"{columns:,} columns described"


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
                    {**column, **_histogram(column["histogram"], column["type"])}
                    for column in profiles[name]["columns"]
                ],
            }
            for name, audit in overview["sources"].items()
        ]
    }


def _histogram(histogram: Json | None, kind: str) -> dict[str, Any]:
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
