"""Diagrams: boxes do not overlap, lines join what they should."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

from tasks.reports.diagrams import Box, Line, draw_boxes, rank, without_detours


def drawn(svg: str) -> tuple[dict[str, tuple[float, float, float, float]], dict[str, str]]:
    """Title of each box -> its rectangle; title of each line -> its path."""
    root = ElementTree.fromstring(svg)
    boxes = {}
    for group in root.iter("g"):
        rect, text = group.find("rect"), group.find("text")
        assert rect is not None
        assert text is not None
        x, y, width, height = (float(rect.get(n, 0)) for n in ("x", "y", "width", "height"))
        boxes[text.text or ""] = (x, y, width, height)
    lines = {(p.find("title").text or ""): p.get("d", "") for p in root.iter("path")}  # type: ignore[union-attr]
    return boxes, lines


def test_boxes_of_one_column_do_not_overlap_and_stay_inside() -> None:
    columns = [
        [Box(f"a{at}", f"a{at}", {"x": "row"}) for at in range(4)],
        [Box(f"b{at}", f"b{at}", {}) for at in range(9)],
    ]
    svg = draw_boxes(columns, [Line("a0", "b8"), Line("a3", "b0")], label="x")
    width, height = map(float, ElementTree.fromstring(svg).get("viewBox", "").split()[2:])
    boxes, lines = drawn(svg)
    assert len(boxes) == 13
    assert set(lines) == {"a0 to b8", "a3 to b0"}
    for one, other in itertools.combinations(boxes.values(), 2):
        apart = one[0] + one[2] <= other[0] or other[0] + other[2] <= one[0]
        assert apart or one[1] + one[3] <= other[1] or other[1] + other[3] <= one[1]
    for x, y, w, h in boxes.values():
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height


def test_a_line_that_skips_a_column_passes_between_its_boxes() -> None:
    columns = [
        [Box("a", "a", {})],
        [Box("b", "b", {"r": "r"}), Box("c", "c", {})],
        [Box("d", "d", {})],
    ]
    boxes, lines = drawn(draw_boxes(columns, [Line("a", "d")], label="x"))
    (path,) = lines.values()
    level = float(path.split("H")[0].split()[-1])  # Where it runs through the middle column.
    for name in ("b", "c"):
        _, y, _, height = boxes[name]
        assert not y < level < y + height


def test_lines_end_at_the_rows_that_they_name() -> None:
    one = Box("one", "one", {"k": "key", "v": "value"})
    two = Box("two", "two", {"w": "w", "fk": "key of one"})
    boxes, lines = drawn(draw_boxes([[one], [two]], [Line("one", "two", "k", "fk")], label="x"))
    numbers = lines["one.k to two.fk"].replace("M", "").replace("C", " ").split()
    begins, ends = float(numbers[1]), float(numbers[-1])
    assert boxes["one"][1] < begins < boxes["one"][1] + boxes["one"][3] / 2 + 5
    assert boxes["two"][1] + boxes["two"][3] / 2 < ends < boxes["two"][1] + boxes["two"][3]


def test_names_cannot_become_markup() -> None:
    box = Box("a", "<script>x</script>", {"r": '"><img src=x>'})
    root = ElementTree.fromstring(draw_boxes([[box]], [], label='"><script>'))
    assert {node.tag for node in root.iter()} == {"svg", "g", "rect", "text"}


def test_ranks_and_detours() -> None:
    parents = {"d": ["a", "b", "c"], "c": ["b"], "b": ["a"]}
    assert rank(list("abcd"), parents) == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert without_detours(parents) == {"d": ["c"], "c": ["b"], "b": ["a"]}


def test_what_goes_round_in_a_ring_still_has_a_place() -> None:
    assert rank(["a"], {"a": ["a"]}) == {"a": 1}
    assert set(rank(["a", "b", "c"], {"a": ["b"], "b": ["a"], "c": ["b"]})) == {"a", "b", "c"}
