"""Charts: every value is drawn to scale, and nothing of the data becomes markup."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tasks.reports.charts import (
    SHADES,
    Bar,
    Step,
    draw_bars,
    draw_columns,
    draw_heat_map,
    draw_waterfall,
)

HOSTILE = "<script>alert(1)</script>&\"'\x00\u202e" + "long " * 100


def rectangles(svg: str, series: int = 0) -> list[tuple[float, float, float, float]]:
    """The marks of a series: x, y, width, height."""
    root = ElementTree.fromstring(svg)
    (group,) = [
        node
        for node in root.iter("g")
        if f"series serie-{series} " in node.get("class", "") + " "
        and node.find(".//rect") is not None
    ]
    return [
        (
            float(r.get("x", 0)),
            float(r.get("y", 0)),
            float(r.get("width", 0)),
            float(r.get("height", 0)),
        )
        for r in group.iter("rect")
    ]


def titles(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter("title")]


def test_bars_are_as_long_as_their_values_the_first_on_top() -> None:
    svg = draw_bars([Bar("Unit 7", 400), Bar("Unit 8", 100)], unit="log records", label="Largest")
    low, high = sorted(rectangles(svg), key=lambda r: r[1], reverse=True)
    assert high[2] == pytest.approx(4 * low[2], rel=0.01)
    assert titles(svg) == ["Unit 8: 100", "Unit 7: 400"]
    assert "log records" in svg
    assert 'aria-label="Largest"' in svg


def test_columns_stand_on_top_of_each_other() -> None:
    svg = draw_columns(
        ["00:00", "01:00"], {"B": [10, 20], "F": [30, 0]}, unit="records", axis="hour", label="x"
    )
    digital, floats = rectangles(svg, 0), rectangles(svg, 1)
    assert floats[0][3] == pytest.approx(3 * digital[0][3], abs=0.5)
    assert digital[1][3] == pytest.approx(2 * digital[0][3], abs=0.5)
    assert floats[0][1] + floats[0][3] == pytest.approx(digital[0][1], abs=0.5)
    assert titles(svg) == ["00:00, B: 10", "01:00, B: 20", "00:00, F: 30", "01:00, F: 0"]


def test_a_waterfall_goes_down_step_by_step() -> None:
    steps = [Step("in", 100, True), Step("lost", 30, False), Step("left", 70, True)]
    svg = draw_waterfall(steps, unit="records", label="x")
    levels, taken = rectangles(svg, 1), rectangles(svg, 2)
    assert levels[2][3] == pytest.approx(0.7 * levels[0][3], rel=0.02)
    assert taken[1][3] == pytest.approx(0.3 * levels[0][3], rel=0.02)
    assert taken[1][1] == pytest.approx(levels[0][1], abs=0.5)
    assert "not from 0" not in svg


def test_a_waterfall_of_small_losses_shows_them_and_says_where_it_begins() -> None:
    steps = [Step("in", 1_000_000, True), Step("lost", 500, False), Step("left", 999_500, True)]
    svg = draw_waterfall(steps, unit="records", label="x")
    assert rectangles(svg, 2)[1][3] > 50
    assert "records (not from 0)" in svg
    assert "999,000" in svg


def test_a_heat_map_has_a_cell_for_every_value_above_nothing() -> None:
    values = [[0, 1, 600], [300, 0, 9000]]
    svg = draw_heat_map(["a", "b"], ["1", "2", "3"], values, axis="day", highest=600, label="x")
    paths = ElementTree.fromstring(svg).iter("path")
    cells = {
        shade: path.get("d", "").count("M")
        for path in paths
        if (shade := path.get("class", "")).startswith("shade")
    }
    assert cells == {"shade-1": 1, f"shade-{SHADES}": 1, "shade-3": 1}
    assert svg.count(f"shade-{SHADES}") == 2


@pytest.mark.parametrize("count", [0, 1, 400])
def test_any_number_of_marks_is_drawn(count: int) -> None:
    labels = [f"x{at}" for at in range(count)]
    for svg in (
        draw_bars([Bar(label, 0) for label in labels[:12]], unit="u", label="x"),
        draw_columns(labels, {"B": [0] * count, "F": [0] * count}, unit="u", axis="a", label="x"),
        draw_heat_map(labels, ["1"], [[0]] * count, axis="a", highest=0, label="x"),
        draw_waterfall([], unit="u", label="x"),
    ):
        ElementTree.fromstring(svg)


def test_names_cannot_become_markup_and_are_cut() -> None:
    for svg in (
        draw_bars([Bar(HOSTILE, 3)], unit="u", label="x"),
        draw_columns([HOSTILE], {"B": [1]}, unit="u", axis="a", label="x"),
        draw_waterfall([Step(HOSTILE, 3, True)], unit="u", label="x"),
        draw_heat_map([HOSTILE], [HOSTILE], [[1]], axis="a", highest=1, label="x"),
    ):
        root = ElementTree.fromstring(svg)
        assert {node.tag for node in root.iter()} <= {"svg", "g", "rect", "path", "text", "title"}
        attributes = {name for node in root.iter() for name in node.attrib}
        assert not {name for name in attributes if name.startswith("on")}
        assert not attributes & {"href", "style", "id", "src"}
        texts = [node.text or "" for node in root.iter() if node.tag in ("text", "title")]
        assert any("<script>" in text for text in texts)
        assert all(len(text) < 220 for text in texts)
