"""The report page as people use it, in a real browser, opened from its file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.conftest import Project
from tests.opened_page import Opened, overlapping
from tests.opened_page import opened as opened
from tests.runs import soak

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_it_opens_and_the_first_screen_says_what_matters(opened: Opened) -> None:
    page = opened.page
    assert page.title() == "Controller logs: what the run found"
    heading = page.get_by_role("heading", level=1)
    assert heading.inner_text().startswith("13 log records loaded, and every row is accounted for")
    for name in ("rows-in", "facts", "quarantined", "unknown-unit", "checks", "assumptions"):
        box = page.locator(f"#{name}").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 900, name
    assert not opened.is_wider_than_the_window()


def test_light_and_dark(page: Page, ran: Project) -> None:
    dark = Opened(page, ran.reports / "index.html", "dark")
    colours = [dark.colour(), dark.colour("color")]
    assert colours[0] == "rgb(18, 23, 29)"
    assert dark.said == dark.asked == []
    light = Opened(page, ran.reports / "index.html")
    assert light.colour() == "rgb(255, 255, 255)"
    page.get_by_role("button", name="Dark").click()
    assert [light.colour(), light.colour("color")] == colours
    page.get_by_role("button", name="Light").click()
    assert light.colour() == "rgb(255, 255, 255)"
    assert light.said == light.asked == []


def contrast(one: str, other: str) -> float:
    """Contrast of two colours as WCAG defines it."""

    def luminance(colour: str) -> float:
        values = [int(value) / 255 for value in colour.removeprefix("rgb(").rstrip(")").split(",")]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in values]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(
    page: Page, ran: Project, scheme: Literal["light", "dark"]
) -> None:
    opened = Opened(page, ran.reports / "index.html", scheme)
    papers = [opened.colour()]
    papers.append(
        opened.page.locator(".figures li").first.evaluate(
            "e => getComputedStyle(e).backgroundColor"
        )
    )
    inks = [
        opened.page.locator(where).first.evaluate(f"e => getComputedStyle(e)['{of}']")
        for where, of in (
            ("h1", "color"),
            (".muted", "color"),
            (".good", "color"),
            (".bad", "color"),
            ("main a", "color"),
            (".chart .axis text", "fill"),
        )
    ]
    for paper in papers:
        for ink in inks:
            assert contrast(ink, paper) >= 4.5, (ink, paper)


def test_everything_can_be_reached_by_keyboard_and_has_a_name(opened: Opened) -> None:
    opened.page.keyboard.press("Tab")
    skip = opened.page.evaluate("document.activeElement.className")
    assert skip == "skip"
    nameless = opened.page.evaluate(
        """() => [...document.querySelectorAll('button, a[href], input, svg, [role=region]')]
            .filter(e => !(e.getAttribute('aria-label') || e.textContent.trim()
                           || e.closest('label')?.textContent.trim()))
            .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    unreachable = opened.page.evaluate(
        """() => [...document.querySelectorAll('.scroll')].filter(e => e.tabIndex < 0
            && (e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight)).length"""
    )
    assert unreachable == 0
    levels = opened.page.evaluate(
        "() => [...document.querySelectorAll('h1,h2,h3,h4')].map(e => Number(e.tagName[1]))"
    )
    names = opened.page.evaluate(
        "() => [...document.querySelectorAll('[role=region]')].map(e => e.ariaLabel)"
    )
    assert len(set(names)) == len(names)
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


def test_nothing_on_the_page_overlaps(opened: Opened) -> None:
    assert overlapping(opened) == []


def test_no_text_of_a_diagram_leaves_its_box(opened: Opened) -> None:
    outside = opened.page.evaluate(
        """() => [...document.querySelectorAll('.diagram .box')].flatMap(box => {
          const frame = box.querySelector('rect').getBoundingClientRect();
          return [...box.querySelectorAll('text')]
            .filter(t => t.getBoundingClientRect().right > frame.right)
            .map(t => t.textContent);
        })"""
    )
    assert outside == []


def test_a_link_to_a_section_shows_it(opened: Opened) -> None:
    opened.page.get_by_role("navigation").get_by_role("link", name="Trust").click()
    assert opened.page.evaluate("location.hash") == "#trust"
    top = opened.page.locator("#trust").evaluate("e => e.getBoundingClientRect().top")
    assert -5 < top < 200


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("index.html", 360),
        ("schema_change.html", 1200),
        soak("index.html", 1200),
        soak("schema_change.html", 360),
    ],
)
def test_hostile_values_run_nothing_and_break_nothing(
    page: Page, hostile: Project, name: str, width: int
) -> None:
    opened = Opened(page, hostile.reports / name)
    page.set_viewport_size({"width": width, "height": 900})
    for details in page.locator("details").all():
        details.evaluate("e => { e.open = true }")
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 1
    assert page.locator("main img").count() == 0
    assert page.locator("main h1").count() == 1
    assert not opened.is_wider_than_the_window()
    widest = page.locator("td").evaluate_all("all => Math.max(0, ...all.map(e => e.offsetWidth))")
    assert widest < 900
    if name == "index.html":
        page.locator('input[data-table="table-app_type_id"]').fill("<script>window")
        (shown,) = opened.column("table-app_type_id", 2)
        assert shown.startswith("<script>window.hacked = true</script>")
    assert opened.said == opened.asked == []


def test_a_script_that_got_into_a_page_would_not_run(
    page: Page, ran: Project, tmp_path: Path
) -> None:
    """The page's policy, beside the escaping."""
    text = ran.report("index.html")
    broken = tmp_path / "broken.html"
    inserted = (
        "<main><script>window.hacked = true</script><img src='x.png' onerror='window.hacked = 1'>"
        "<img src='http://127.0.0.1:9/x.png'>"
    )
    broken.write_text(text.replace("<main>", inserted, 1), encoding="utf-8")
    opened = Opened(page, broken)
    assert opened.page.evaluate("window.hacked") is None
    assert any("Content Security Policy" in message for message in opened.said)


def test_the_values_of_another_point_are_chosen(opened: Opened) -> None:
    figures = opened.page.locator("#bands > figure")
    names = figures.locator("figcaption").all_text_contents()
    assert len(names) > 2
    assert [figure.is_visible() for figure in figures.all()] == [True] + [False] * (len(names) - 1)
    chosen = names[2].rpartition(", ")[0]
    opened.page.locator("select[data-figures=bands]").select_option(chosen)
    shown = [at for at, figure in enumerate(figures.all()) if figure.is_visible()]
    assert shown == [2]


def test_runs_have_charts_beside_each_other_and_a_table(opened: Opened) -> None:
    charts = opened.page.locator(".runs > div")
    for width, lines in ((1440, 1), (390, 3)):
        opened.page.set_viewport_size({"width": width, "height": 900})
        tops = charts.evaluate_all("all => all.map(e => e.getBoundingClientRect().top)")
        assert (len(tops), len(set(tops))) == (5, lines)
    bar = opened.page.locator(".runs rect.succeeded").first
    assert bar.evaluate("e => e.getBoundingClientRect().height") > 40
    table = opened.page.locator("#runs")
    assert not table.is_visible()
    opened.page.locator("details:has(#runs) summary").click()
    assert table.locator("tbody tr").count() == 1
