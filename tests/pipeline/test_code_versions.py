"""A task's declared code version changes with the code that its result depends on."""

from __future__ import annotations

import json

import pytest

from tests.code_versions import RECORDED, code_of, present, tasks_with_results


def test_code_that_changed_has_a_new_version_or_was_recorded_as_making_no_difference() -> None:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    changed = {
        name: (recorded.get(name), now)
        for name, now in present().items()
        if recorded.get(name) != now
    }
    assert changed == {}, (
        "The code of these tasks changed. Does the same input give another result now? Raise their "
        "code_version in tasks/graph. Then record: python -m tests.code_versions"
    )


@pytest.mark.parametrize(
    ("task", "module"),
    [
        ("CsvToParquet", "tasks.parsing.times"),
        ("CsvToParquet", "config.sources"),
        ("LoadFactLogs", "tasks.enrichment.star"),
        ("SchemaChangeReport", "tasks.warehouse.sqlite.file"),  # The triggers that it lists.
        ("ReportPage", "tasks.reports.schema_change"),  # The columns of the tables.
        ("ReportPage", "tasks.core.files"),
    ],
)
def test_a_module_that_is_imported_far_below_counts(task: str, module: str) -> None:
    assert module in code_of(tasks_with_results()[task])[0]


def test_a_function_beside_the_task_counts() -> None:
    assert "def staged_rows(" in code_of(tasks_with_results()["LogActivity"])[1]
