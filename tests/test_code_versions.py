"""A task's declared code version moves with its code."""

from __future__ import annotations

import json

from tasks.freshness.task import Milestone, walk
from tasks.graph import AllReports
from tests.code_versions import CODE, RECORDED, present


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


def test_every_task_that_builds_something_is_watched() -> None:
    building = {type(task) for task in walk(AllReports()) if not isinstance(task, Milestone)}
    assert building == set(CODE)
