"""A real browser, headless: the system's Chromium, which Playwright drives."""

from __future__ import annotations

import os
import shutil
import urllib.parse
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LONGEST_WAIT_MS = 20_000


def chromium_program() -> str:
    """The path of the browser; skips the test if there is none, or fails it where `CI` is set."""
    for name in PROGRAMS:
        if (program := shutil.which(name)) is not None:
            return program
    reason = f"there is no browser ({', '.join(PROGRAMS)}); on Debian: apt-get install chromium"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser, started once."""
    program = chromium_program()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """An empty page of its own; fails at the end if it asked any other machine for anything."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(LONGEST_WAIT_MS)
    asked: list[str] = []

    def note(request: Request) -> None:
        here = urllib.parse.urlsplit(request.url).hostname in ("127.0.0.1", "localhost", None)
        # What the page's own policy forbids is not sent.
        if not here and request.failure != "csp":
            asked.append(request.url)

    context.on("requestfinished", note)
    context.on("requestfailed", note)
    yield context.new_page()
    context.close()
    assert asked == [], f"asked elsewhere: {asked}"
