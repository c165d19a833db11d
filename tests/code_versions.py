"""What code each task's result depends on, and its digest under the declared version.

`python -m tests.code_versions` records the present digests, after `code_version` was raised in
`tasks/graph.py`, or where a change of the code cannot change the result.
"""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path

from tasks import graph
from tasks.freshness import FreshTask

ROOT = Path(__file__).parent.parent
RECORDED = Path(__file__).with_suffix(".json")

_INSPECTED = (
    "config_text.py",
    "csv_blocks.py",
    "csv_records.py",
    "headers.py",
    "inspection.py",
    "proposals.py",
    "source_files.py",
    "time_column.py",
    "times.py",
    "parsing.py",
)
_STAGED = (
    *_INSPECTED,
    "audit.py",
    "batch.py",
    "failures.py",
    "keys.py",
    "losses.py",
    "quarantine.py",
    "repeated_hour.py",
    "staging.py",
)
_PAGES = ("templates/__init__.py", "templates/page.css", "templates/page.js")
_LOADED = ("star.py", "star_schema.py", "warehouse.py")

CODE: dict[type[FreshTask], tuple[str, ...]] = {
    graph.CheckSources: ("archive.py", *_INSPECTED),
    graph.CsvToParquet: _STAGED,
    graph.EnrichedLogs: ("enrichment.py", "log_numbers.py"),
    graph.LogActivity: ("activity.py",),
    graph.LogMeasures: ("activity.py", "profile.py", "sketches.py"),
    graph.ActivityReport: ("activity.py", "activity_report.py", "spreadsheet.py"),
    graph.SourceProfiles: ("profile.py", "sketches.py"),
    graph.ProfileReport: (
        "audit.py",
        "profile.py",
        "profile_report.py",
        "sketches.py",
        "spreadsheet.py",
    ),
    graph.LogInstanceChains: ("enrichment.py",),
    graph.SourceRelations: ("quality.py",),
    graph.LoadDimension: (*_LOADED, "enrichment.py"),
    graph.LoadFactLogs: _LOADED,
    graph.CheckWarehouse: ("audit.py", "reconciliation.py"),
    graph.SummaryReport: ("spreadsheet.py", "summaries.py"),
    graph.DataQualityReport: (
        "audit.py",
        "page_text.py",
        "quality.py",
        "templates/__init__.py",
        "templates/data_quality.md.j2",
    ),
    graph.SchemaChangeReport: (
        "audit.py",
        "schema_change.py",
        "templates/schema_change.md.j2",
        "templates/article.html.j2",
        *_PAGES,
    ),
    graph.ReportPage: (
        "charts.py",
        "diagrams.py",
        "overview.py",
        "page.py",
        "page_text.py",
        "quarantine.py",
        "templates/page.html.j2",
        *_PAGES,
    ),
}


def digest(files: tuple[str, ...]) -> str:
    """The digest of some files of `tasks/`, comments and docstrings of code aside."""
    whole = hashlib.sha256()
    for name in files:
        text = (ROOT / "tasks" / name).read_text(encoding="utf-8")
        whole.update(_bare(text).encode() if name.endswith(".py") else text.encode())
    return whole.hexdigest()[:16]


def _bare(text: str) -> str:
    """The lines that are code: the same whatever Python reads them."""
    ignored: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                ignored.update(range(value.lineno, (value.end_lineno or value.lineno) + 1))
    lines = (
        line.strip()
        for number, line in enumerate(text.splitlines(), start=1)
        if number not in ignored
    )
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def present() -> dict[str, list[object]]:
    """Task -> its declared code version and the digest of its code."""
    return {
        task.__name__: [task.code_version, digest(files)]
        for task, files in sorted(CODE.items(), key=lambda item: item[0].__name__)
    }


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(present(), indent=1) + "\n", encoding="utf-8")
