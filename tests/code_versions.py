"""What code each task's result depends on, and its digest under the declared version.

`python -m tests.code_versions` records the present digests, after `code_version` was raised in
`tasks/graph`, or where a change of the code cannot change the result.
"""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path

from tasks import graph
from tasks.freshness.task import FreshTask

ROOT = Path(__file__).parent.parent
RECORDED = Path(__file__).with_suffix(".json")

_INSPECTED = (
    "core/config_text.py",
    "sources/csv_blocks.py",
    "sources/csv_records.py",
    "sources/header.py",
    "sources/inspection.py",
    "sources/proposals.py",
    "sources/files.py",
    "sources/time_column.py",
    "parsing/times.py",
    "parsing/numbers.py",
)
_STAGED = (
    *_INSPECTED,
    "staging/audit.py",
    "staging/batch.py",
    "staging/failures.py",
    "staging/keys.py",
    "staging/losses.py",
    "staging/quarantine.py",
    "staging/repeated_hour.py",
    "staging/stage.py",
)
_PAGES = (
    "reports/templates/__init__.py",
    "reports/templates/page.css",
    "reports/templates/page.js",
)
_LOADED = ("enrichment/star.py", "warehouse/tables.py", "warehouse/load.py")

CODE: dict[type[FreshTask], tuple[str, ...]] = {
    graph.CheckSources: ("sources/archive.py", *_INSPECTED),
    graph.CsvToParquet: _STAGED,
    graph.EnrichedLogs: ("enrichment/enrich.py", "enrichment/log_numbers.py"),
    graph.LogActivity: ("measures/activity.py",),
    graph.LogMeasures: ("measures/activity.py", "measures/profile.py", "measures/sketches.py"),
    graph.ActivityReport: (
        "measures/activity.py",
        "reports/activity_report.py",
        "core/spreadsheet.py",
    ),
    graph.SourceProfiles: ("measures/profile.py", "measures/sketches.py"),
    graph.ProfileReport: (
        "staging/audit.py",
        "measures/profile.py",
        "reports/profile_report.py",
        "measures/sketches.py",
        "core/spreadsheet.py",
    ),
    graph.LogInstanceChains: ("enrichment/enrich.py",),
    graph.SourceRelations: ("reports/quality.py",),
    graph.LoadDimension: (*_LOADED, "enrichment/enrich.py"),
    graph.LoadFactLogs: _LOADED,
    graph.CheckWarehouse: ("staging/audit.py", "warehouse/reconciliation.py"),
    graph.SummaryReport: ("core/spreadsheet.py", "reports/summaries.py"),
    graph.DataQualityReport: (
        "staging/audit.py",
        "core/text.py",
        "reports/quality.py",
        "reports/templates/__init__.py",
        "reports/templates/data_quality.md.j2",
    ),
    graph.SchemaChangeReport: (
        "staging/audit.py",
        "reports/schema_change.py",
        "reports/templates/schema_change.md.j2",
        "reports/templates/article.html.j2",
        *_PAGES,
    ),
    graph.ReportPage: (
        "reports/charts.py",
        "reports/diagrams.py",
        "reports/overview.py",
        "reports/page.py",
        "core/text.py",
        "staging/quarantine.py",
        "reports/templates/page.html.j2",
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
