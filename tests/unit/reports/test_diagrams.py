"""The star as a diagram: boxes do not overlap, lines join the keys that they should."""

from __future__ import annotations

import itertools
from typing import Any
from xml.etree import ElementTree

from tasks.reports.charts import star
from tests.html_page import render_macro


def table(name: str, *columns: str, key: str, **references: str) -> dict[str, Any]:
    return {
        "name": name,
        "rows": 3,
        "columns": [{"name": column} for column in (key, *references, *columns)],
        "primary_key": [key],
        "references": references,
    }


TABLES = [
    table("fact_logs", "value", key="log_id", unit_id="dim_unit.unit_id"),
    table("dim_instance", key="instance_id", unit_id="dim_unit.unit_id", odd="elsewhere.id"),
    table("dim_unit", "name", key="unit_id", above="dim_unit.unit_id"),
]


def test_boxes_do_not_overlap_and_stay_inside() -> None:
    drawn = star(TABLES)
    frames = [box["frame"] for box in drawn["boxes"]]
    assert len(frames) == 3
    for one, other in itertools.combinations(frames, 2):
        apart = one[0] + one[2] <= other[0] or other[0] + other[2] <= one[0]
        assert apart or one[1] + one[3] <= other[1] or other[1] + other[3] <= one[1]
    for x, y, width, height in frames:
        assert 0 <= x <= x + width <= drawn["width"]
        assert 0 <= y <= y + height <= drawn["height"]


def test_lines_end_at_the_rows_of_their_keys() -> None:
    drawn = star(TABLES)
    lines = {text: path for path, text in drawn["lines"]}
    assert set(lines) == {
        "dim_unit.unit_id to fact_logs.unit_id",
        "dim_unit.unit_id to dim_instance.unit_id",
        "dim_unit.unit_id to dim_unit.above",
    }
    levels = {
        (box["title"].partition(" ")[0], text.rpartition(" ")[2]): y - 4
        for box in drawn["boxes"]
        for _, y, text in box["rows"]
    }
    for text, path in lines.items():
        ends = [tuple(end.split(".")) for end in text.split(" to ")]
        numbers = [float(n) for n in path.replace("M", "").replace("C", " ").split()]
        assert [numbers[1], numbers[-1]] == [levels[end] for end in ends]


def test_names_cannot_become_markup() -> None:
    drawn = star([table("<script>x</script>", '"><img src=x>', key="k")])
    root = ElementTree.fromstring(render_macro("charts.html.j2", "diagram", drawn, '"><script>'))
    assert {node.tag for node in root.iter()} == {"svg", "g", "rect", "text"}
