"""Charts: every value is drawn to scale, and nothing of the data becomes markup."""

from __future__ import annotations

from xml.etree import ElementTree

import pandas as pd
import pytest

from tasks.reports.activity import _heat, deviation
from tasks.reports.charts import SHADES, WIDTH, band, columns, shade, waterfall
from tests.html_page import render_macro

HOSTILE = "<script>alert(1)</script>&\"'\x00\u202e" + "long " * 100


def draw_columns(labels: list[str], series: dict[str, list[int]]) -> str:
    return render_macro(
        "charts.html.j2", "columns", columns(labels, series), "records", "hour", "x"
    )


def rectangles(svg: str, series: int = 0) -> list[tuple[float, ...]]:
    """The marks of a series: x, y, width, height."""
    group = next(
        node
        for node in ElementTree.fromstring(svg).iter("g")
        if node.get("class") == f"series-{series}"
    )
    names = ("x", "y", "width", "height")
    return [tuple(float(r.get(name, 0)) for name in names) for r in group.iter("rect")]


def step(name: str, records: int, total: bool) -> dict[str, object]:
    return {"step": name, "records": records, "total": total}


def test_bars_are_as_long_as_their_values_the_first_on_top() -> None:
    html = render_macro("charts.html.j2", "bars", [("Unit 7", 400), ("Unit 8", 100)], "unit", "n")
    rows = ElementTree.fromstring(html).findall("tbody/tr")
    assert [[cell.text for cell in row[:2]] for row in rows] == [
        ["Unit 7", "400"],
        ["Unit 8", "100"],
    ]
    assert [row.find("td/i").get("style") for row in rows] == ["width:100.0%", "width:25.0%"]  # type: ignore[union-attr]


def test_bars_that_hardly_differ_become_a_sentence() -> None:
    alike = [("Unit 7", 102), ("Unit 8", 101), ("Unit 9", 100)]
    html = render_macro("charts.html.j2", "bars", alike, "unit", "log records", "units")
    text = ElementTree.fromstring(html).text
    assert text == "3 units have between 100 and 102 log records each: Unit 7, Unit 8, Unit 9."
    for values in ([100, 98], [0, 0], [5]):  # 2 % or more, nothing at all, a single one.
        items = [(f"Unit {at}", value) for at, value in enumerate(values)]
        assert "<table" in render_macro("charts.html.j2", "bars", items, "unit", "n", "units")


def test_units_that_deviate_from_their_own_typical_day_come_first() -> None:
    counts = pd.DataFrame(
        {"d1": [0, 5, 0], "d2": [1000, 10, 100], "d3": [1001, 0, 90], "d4": [1000, 10, 100]},
        index=[1, 2, 3],
    ).assign(d5=[3, 3, 3])
    assert deviation(counts).round(4).to_dict() == {1: 0.0003, 2: 0.3333, 3: 0.0333}


def test_days_without_any_record_are_not_typical_of_a_unit() -> None:
    days = {1: (40, 40, 40, 40), 2: (10, 10, 2, 10)}
    rows = pd.DataFrame(
        [
            (unit, f"2024-06-0{day} 00:00:00", "day", count)
            for unit, counts in days.items()
            for day, count in enumerate((5, *counts), start=1)
        ]
        + [(1, "2024-06-20 00:00:00", "day", 3)],
        columns=["unit_id", "bucket_start", "bucket", "record_count"],
    )
    heat = _heat(rows)
    assert len(heat["columns"]) == 20
    assert str(heat["body"]).index("Unit 2<") < str(heat["body"]).index("Unit 1<")


def test_columns_are_stacked_to_scale() -> None:
    svg = draw_columns(["00:00", "01:00"], {"B": [10, 20], "F": [30, 5]})
    digital, floats = rectangles(svg, 0), rectangles(svg, 1)
    assert floats[0][3] == pytest.approx(3 * digital[0][3], abs=0.5)
    assert digital[1][3] == pytest.approx(2 * digital[0][3], abs=0.5)
    assert floats[0][1] + floats[0][3] == pytest.approx(digital[0][1], abs=0.5)
    titles = [node.text for node in ElementTree.fromstring(svg).iter("title")]
    assert titles == ["00:00, B: 10", "01:00, B: 20", "00:00, F: 30", "01:00, F: 5"]


def test_a_waterfall_goes_down_step_by_step() -> None:
    chart = waterfall([step("in", 100, True), step("lost", 30, False), step("left", 70, True)])
    assert chart["floor"] == 0
    assert [bar[3:] for bar in chart["bars"]] == [(0, 1), (0.7, 0.3), (0, 0.7)]


def test_a_waterfall_of_small_losses_shows_them_and_says_where_it_begins() -> None:
    steps = [step("in", 1_000_000, True), step("lost", 500, False), step("left", 999_500, True)]
    chart = waterfall(steps)
    assert chart["bars"][1][4] == 0.5
    html = render_macro("charts.html.j2", "waterfall", chart, "step", "records")
    assert "The bars begin at 999,000, not at 0." in html
    assert "1,000,000" in html
    assert "\N{MINUS SIGN}500" in html
    nothing = waterfall([step("in", 5, True), step("lost", 0, False), step("left", 5, True)])
    html = render_macro("charts.html.j2", "waterfall", nothing, "step", "records")
    assert "\N{MINUS SIGN}" not in html


def test_the_highest_value_has_the_darkest_shade_and_nothing_has_none() -> None:
    assert [shade(value, 600) for value in (0, 1, 300, 600, 9000)] == [0, 1, 3, SHADES, SHADES]


@pytest.mark.parametrize("count", [0, 1, 400])
def test_any_number_of_marks_is_drawn(count: int) -> None:
    labels = [f"x{at}" for at in range(count)]
    for values in ([0] * count, [7] * count):
        bars = list(zip(labels, values, strict=True))
        ElementTree.fromstring(render_macro("charts.html.j2", "bars", bars, "what", "unit"))
        ElementTree.fromstring(draw_columns(labels, {"B": values, "F": values}))
    assert waterfall([]) == {"floor": 0, "bars": []}


def test_labels_of_an_axis_have_room() -> None:
    places = columns([f"2024-06-01 {at:04}" for at in range(400)], {"B": [1] * 400})["labels"]
    assert len(places) > 3
    assert places[1][0] - places[0][0] > 6 * len(places[0][1])


@pytest.mark.parametrize("count", [7, 13, 40])
def test_a_phone_has_room_for_the_dates_below_a_band(count: int) -> None:
    days = [f"2024-{6 + at // 30:02}-{1 + at % 30:02}" for at in range(count)]
    labels = band(days, [1.0] * count, [2.0] * count, [3.0] * count)["labels"]
    shown = [x for x, _, is_spare in labels if not is_spare]
    half = 10 * 12.6 / 2  # A date in letters of 23 units.
    assert shown
    assert shown[-1] + half <= WIDTH
    assert all(b - a > 2 * half for a, b in zip(shown, shown[1:], strict=False))


def test_names_cannot_become_markup_and_are_cut() -> None:
    chart = waterfall([step(HOSTILE, 3, True)])
    for markup in (
        render_macro("charts.html.j2", "bars", [(HOSTILE, 3)], "what", "unit"),
        render_macro("charts.html.j2", "waterfall", chart, "what", "unit"),
        draw_columns([HOSTILE], {"B": [1]}),
    ):
        root = ElementTree.fromstring(markup)
        assert "script" not in {node.tag for node in root.iter()}
        attributes = {name for node in root.iter() for name in node.attrib}
        assert not {name for name in attributes if name.startswith("on")}
        assert not attributes & {"href", "id", "src"}
        texts = [node.text or "" for node in root.iter()]
        assert any("<script>" in text for text in texts)
        assert all(len(text) < 220 for text in texts)
