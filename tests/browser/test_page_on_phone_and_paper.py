"""The page on a phone and on paper."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Project
from tests.opened_page import WRAPPED, Opened, overlapping
from tests.opened_page import opened as opened

if TYPE_CHECKING:
    from playwright.sync_api import Page

A4_HEIGHT = 297 / 25.4 * 96  # Pixels.


def test_it_is_printed_on_white_with_nothing_to_scroll(opened: Opened) -> None:
    opened.page.emulate_media(media="print", color_scheme="dark")
    assert opened.colour() == "rgb(255, 255, 255)"
    for name in (".top", ".find"):
        assert not opened.page.locator(name).first.is_visible()
    heights = opened.page.locator(".scroll.tall").evaluate_all(
        "all => all.map(e => [e.scrollHeight, e.clientHeight, getComputedStyle(e).overflowY])"
    )
    assert heights
    assert all(overflow == "visible" for _, _, overflow in heights)
    opened.page.set_viewport_size({"width": 700, "height": 1000})  # A4, less its margins.
    cut = opened.page.evaluate(
        "() => [...document.querySelectorAll('table, svg, p, li, pre')]"
        ".filter(e => e.getBoundingClientRect().right > 701).map(e => e.outerHTML.slice(0, 80))"
    )
    assert cut == []
    broken = opened.page.locator("td.n").evaluate_all(WRAPPED)
    assert broken == []
    tallest = opened.page.locator("svg").evaluate_all("all => all.map(e => e.clientHeight)")
    assert max(tallest) < 1000
    drawn = opened.page.locator(".bars i, .heat td, .shades i").evaluate_all(
        "all => all.map(e => getComputedStyle(e).printColorAdjust)"
    )
    assert set(drawn) == {"exact"}


def test_no_page_of_paper_is_nearly_blank(page: Page, ran: Project, tmp_path: Path) -> None:
    """Also with more units than a page has room for; the star needs most of a page, and is cut."""
    text = re.sub(r'<svg class="diagram".*?</svg>', "", ran.report("index.html"), flags=re.DOTALL)
    row = re.search(r'<tr><th scope="row">Unit 7</th>.*?</tr>\n', text)
    assert row is not None
    (tmp_path / "long.html").write_text(text.replace(row[0], row[0] * 120), encoding="utf-8")
    opened = Opened(page, tmp_path / "long.html")
    used = used_shares(opened.page.pdf(format="A4"))
    assert len(used) > 5
    assert min(used[:-1]) > 0.6, used


def used_shares(pdf: bytes) -> list[float]:
    """How far down each page of a PDF by Chromium the last text is, as a share of its height."""
    objects = dict(re.findall(rb"\n(\d+) 0 obj\n(.*?)\nendobj", pdf, re.DOTALL))
    used: list[float] = []
    for content in objects.values():
        if re.search(rb"/Type /Page\b", content):
            (number,) = re.findall(rb"/Contents (\d+) 0 R", content)
            stream = objects[number].partition(b"stream\n")[2].rpartition(b"\nendstream")[0]
            places = re.findall(rb"([-\d.]+) Tm", zlib.decompress(stream))
            # Places are in pixels from the top of the first page.
            lowest = max((float(y) for y in places), default=0)
            used.append(lowest / A4_HEIGHT - len(used))
    return used


def test_charts_fit_on_a_phone_and_their_letters_stay_legible(opened: Opened) -> None:
    opened.page.set_viewport_size({"width": 390, "height": 844})
    cut = opened.page.locator("figure .scroll").evaluate_all(
        "all => all.filter(e => e.scrollWidth > e.clientWidth).map(e => e.ariaLabel)"
    )
    assert cut == []
    axis = opened.page.locator(".chart .axis text").first
    assert axis.evaluate("e => e.getBoundingClientRect().height") > 10
    assert overlapping(opened) == []
    opened.page.set_viewport_size({"width": 1440, "height": 844})
    assert opened.page.locator("#time .chart .spare").count() > 0
    assert opened.page.locator("#time .chart .spare").first.is_visible()


@pytest.mark.parametrize("name", ["index.html", "schema_change.html"])
def test_on_a_phone_only_tables_and_charts_are_scrolled_sideways(
    page: Page, ran: Project, name: str
) -> None:
    opened = Opened(page, ran.reports / name)
    page.set_viewport_size({"width": 360, "height": 700})
    assert not opened.is_wider_than_the_window()


def test_a_long_name_of_a_point_does_not_widen_the_page(opened: Opened) -> None:
    opened.page.set_viewport_size({"width": 390, "height": 844})
    choice = opened.page.locator("select[data-figures=bands]")
    choice.evaluate("e => { e.options[0].text = 'Supply Air, Temp (Unit 34), '.repeat(6); }")
    assert choice.evaluate("e => e.getBoundingClientRect().right") <= 390
    assert not opened.is_wider_than_the_window()
