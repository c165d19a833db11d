"""A report page, opened from its file in a real browser."""

from __future__ import annotations

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
