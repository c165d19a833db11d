"""The table in `tasks/graph/__init__.py` is the graph."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

from luigi.task import flatten

from tasks import graph
from tasks.freshness.task import walk


def documented_graph() -> dict[str, tuple[int, set[str]]]:
    """Task -> how many there are, and what they require, by the table in `tasks/graph`."""
    _, _, heading, *lines = str(graph.__doc__).splitlines()
    first, second = heading.index("requires"), heading.index("makes")
    found: dict[str, tuple[int, set[str]]] = {}
    for line in itertools.takewhile(str.strip, lines):
        name, _, count = line[:first].strip().partition(" ")
        required = set(line[first:second].split())
        if required == {"each", "report"}:
            required = {one for one in found if one.endswith("Report")}
        found[name] = (int(count.strip("()") or 1), required)
    return found


def test_the_graph_on_one_screen_is_the_graph() -> None:
    count: Counter[str] = Counter()
    required: dict[str, set[str]] = defaultdict(set)
    for task in walk(graph.AllReports()):
        count[task.task_family] += 1
        required[task.task_family] |= {one.task_family for one in flatten(task.requires())}
    assert documented_graph() == {name: (count[name], required[name]) for name in count}
