"""The report page as people use it, in a real browser, opened from its file."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.conftest import Project

if TYPE_CHECKING:
    from playwright.sync_api import Page


WRAPPED = r"""all => all.filter(e => /^[-\d.,%: ]+$/.test(e.innerText) && e.checkVisibility())
    .filter(e => {
      const range = document.createRange();
      range.selectNodeContents(e);
      return range.getClientRects().length > 1;
    }).map(e => e.innerText)"""
"""Of cells that are numbers or times, those in several lines."""


A4_HEIGHT = 297 / 25.4 * 96  # Pixels.


class Opened:
    """A page in the browser, and what it said and asked for.

    Attributes:
        page: Playwright's page.
        said: Messages on its console, errors, dialogs.
        asked: Addresses that it asked for, aside from itself.
    """

    def __init__(self, page: Page, path: Path, color_scheme: Literal["light", "dark"] = "light"):
        self.page = page
        self.page.set_viewport_size({"width": 1200, "height": 900})
        self.page.emulate_media(color_scheme=color_scheme)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        assert self.asked.pop(0) == path.as_uri()

    def column(self, table: str, place: int) -> list[str]:
        """The texts of a column of a table, of the visible rows."""
        cells = self.page.locator(f"#{table} tbody tr:not([hidden]) td:nth-child({place})")
        return [text.strip() for text in cells.all_inner_texts()]

    def colour(self, of: str = "background-color") -> str:
        found: str = self.page.evaluate(f"getComputedStyle(document.body)['{of}']")
        return found

    def is_wider_than_the_window(self) -> bool:
        """Whether one has to scroll sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.fixture
def opened(page: Page, ran: Project) -> Iterator[Opened]:
    """The page of the miniature; fails at the end if it complained or asked for anything."""
    opened = Opened(page, ran.reports / "index.html")
    yield opened
    assert opened.said == opened.asked == []


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
    table = opened.page.locator("#table-gaps")
    names = [text.replace("\n", "") for text in table.locator("thead th").all_inner_texts()]
    for name in ("log_interval", "first_recorded_at"):
        place = names.index(name) + 1
        for _ in range(2):
            table.get_by_role("columnheader", name=name).get_by_role("button").click()
            texts = opened.column("table-gaps", place)
            assert "" not in texts[: len([text for text in texts if text])]
            if name == "log_interval":
                steps = [int(text) for text in texts]
                assert steps in (sorted(steps), sorted(steps, reverse=True))
                assert {60, 5400} <= set(steps)


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
    for name in ("unit_id", "app_instance_id", "app_type_id", "gaps"):
        table = opened.page.locator(f"#table-{name}")
        head = [text.strip("\n ") for text in table.locator("thead th").all_inner_texts()]
        assert ("missing" if name == "gaps" else "record_count") in head[1:3], head
        table.evaluate("e => { e.parentElement.scrollLeft = 150 }")
        lefts = table.evaluate(
            """e => [e.parentElement, e.rows[0].cells[0], e.rows[1].cells[0]]
                .map(one => one.getBoundingClientRect().left)"""
        )
        assert table.evaluate("e => e.parentElement.scrollLeft") == 150
        assert max(lefts) - min(lefts) <= 2


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
    """Also with more units than a page has room for."""
    text = ran.report("index.html")
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
    assert opened.page.locator(".chart .spare").count() > 0
    assert opened.page.locator(".chart .spare").first.is_visible()


@pytest.mark.parametrize("name", ["index.html", "schema_change.html"])
def test_on_a_phone_only_tables_and_charts_are_scrolled_sideways(
    page: Page, ran: Project, name: str
) -> None:
    opened = Opened(page, ran.reports / name)
    page.set_viewport_size({"width": 360, "height": 700})
    assert not opened.is_wider_than_the_window()


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


def overlapping(opened: Opened) -> list[str]:
    """Labels of one axis are beside each other, and those of the heat map; boxes of a diagram too.

    Returns:
        The texts of what overlaps.
    """
    found: list[str] = opened.page.evaluate(
        """() => {
          const found = [];
          const boxes = (all) => [...all].map(e => [e, e.getBoundingClientRect()]);
          const check = (all) => {
            const list = boxes(all);
            list.forEach(([a, r], i) => list.slice(i + 1).forEach(([b, s]) => {
              const apart = r.right <= s.left + 1 || s.right <= r.left + 1
                || r.bottom <= s.top + 2 || s.bottom <= r.top + 2;
              if (!apart) found.push(a.textContent + ' / ' + b.textContent);
            }));
          };
          for (const axis of document.querySelectorAll('.chart .axis')) {
            check([...axis.querySelectorAll('text')].filter(t => t.checkVisibility()));
          }
          check([...document.querySelectorAll('.heat thead span')]
            .filter(e => e.checkVisibility({ visibilityProperty: true })));
          for (const diagram of document.querySelectorAll('.diagram')) {
            check(diagram.querySelectorAll('.box rect'));
          }
          check(document.querySelectorAll('main > section'));
          return found;
        }"""
    )
    return found


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


@pytest.mark.parametrize("name", ["index.html", "schema_change.html"])
@pytest.mark.parametrize("width", [1200, 360])
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
