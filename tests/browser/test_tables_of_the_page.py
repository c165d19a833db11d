"""The page's tables in a real browser: order, search, columns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conftest import Project
from tests.opened_page import WRAPPED, Opened
from tests.opened_page import opened as opened

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_a_table_is_sorted_by_a_click_and_by_the_keyboard(opened: Opened) -> None:
    table = opened.page.locator("#table-unit_id")
    head = table.get_by_role("columnheader", name="record_count")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"  # Numbers: the largest first.
    assert opened.column("table-unit_id", 3) == ["5", "4", "3", "1"]
    assert opened.column("table-unit_id", 1) == ["7", "-1", "8", "9"]
    head.get_by_role("button").focus()
    opened.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert opened.column("table-unit_id", 3) == ["1", "3", "4", "5"]
    other = table.get_by_role("columnheader", name="unit_name")
    other.get_by_role("button").click()
    assert other.get_attribute("aria-sort") == "ascending"
    assert opened.column("table-unit_id", 2) == ["Unit 7", "Unit 8", "Unit 9", "Unknown"]
    assert head.get_attribute("aria-sort") is None


def test_numbers_are_sorted_as_numbers_and_empty_cells_come_last(opened: Opened) -> None:
    table = opened.page.locator("#table-app_instance_id")
    names = [text.replace("\n", "") for text in table.locator("thead th").all_inner_texts()]
    for name in ("unit_id", "first_recorded_at"):
        place = names.index(name) + 1
        for _ in range(2):
            table.get_by_role("columnheader", name=name).get_by_role("button").click()
            texts = opened.column("table-app_instance_id", place)
            assert "" not in texts[: len([text for text in texts if text])]
            if name == "unit_id":
                keys = [int(text) for text in texts]
                assert keys in (sorted(keys), sorted(keys, reverse=True))
                assert {-1, 7} <= set(keys)


def test_a_table_is_searched(opened: Opened) -> None:
    find = opened.page.locator('input[data-table="table-app_type_id"]')
    count = opened.page.locator('output[data-table="table-app_type_id"]')
    assert count.inner_text() == "4 of 4 rows"
    find.fill("fan COND")
    assert opened.column("table-app_type_id", 2) == ["Fan, Condenser"]
    assert count.inner_text() == "1 of 4 rows"
    find.fill("ondenser")  # Not where a word begins.
    assert opened.column("table-app_type_id", 2) == []
    find.fill("nothing like that")
    assert opened.column("table-app_type_id", 2) == []
    find.fill("")
    assert count.inner_text() == "4 of 4 rows"


def test_a_number_is_found_with_or_without_commas_but_not_by_its_end(
    page: Page, ran: Project, tmp_path: Path
) -> None:
    text = ran.report("index.html")
    changed = tmp_path / "changed.html"
    changed.write_text(
        re.sub(r'(<td>Unit 7</td><td class="n">)5<', r"\g<1>31,160<", text), encoding="utf-8"
    )
    opened = Opened(page, changed)
    find = page.locator('input[data-table="table-unit_id"]')
    for typed, units in {
        "31,160": ["7"],
        "31160": ["7"],
        "311": ["7"],
        "160": [],
        "t 7": [],
    }.items():
        find.fill(typed)
        assert opened.column("table-unit_id", 1) == units, typed


def test_numbers_and_times_are_in_one_line_and_all_columns_are_seen_at_1440_pixels(
    opened: Opened,
) -> None:
    opened.page.set_viewport_size({"width": 1440, "height": 900})
    outside = opened.page.locator(".scroll tr:first-child > :not(.t)").evaluate_all(
        """all => all.filter(e => e.checkVisibility()).filter(e =>
            e.getBoundingClientRect().right > e.closest('.scroll').getBoundingClientRect().right)
            .map(e => e.innerText)"""
    )
    assert outside == []  # Times to the microsecond may be: they come last.
    for width in (1440, 390):
        opened.page.set_viewport_size({"width": width, "height": 900})
        assert opened.page.locator("tbody td").evaluate_all(WRAPPED) == []


def test_the_first_column_stays_in_sight_and_the_measure_is_beside_it(opened: Opened) -> None:
    opened.page.set_viewport_size({"width": 390, "height": 800})
    for name in ("unit_id", "app_instance_id", "app_type_id", "holes"):
        table = opened.page.locator(f"#table-{name}")
        head = [text.strip("\n ") for text in table.locator("thead th").all_inner_texts()]
        assert ("gap_hours" if name == "holes" else "record_count") in head[1:3], head
        table.evaluate("e => { e.parentElement.scrollLeft = 150 }")
        lefts = table.evaluate(
            """e => [e.parentElement, e.rows[0].cells[0], e.rows[1].cells[0]]
                .map(one => one.getBoundingClientRect().left)"""
        )
        assert table.evaluate("e => e.parentElement.scrollLeft") == 150
        assert max(lefts) - min(lefts) <= 2
