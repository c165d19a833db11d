"""Who is answered by `make ui`: its own pages and programs, but no page of another site."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.client import HTTPConnection
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.conftest import Project
from tests.ui import Ui, up

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAGE, API = "/static/visualiser/index.html", "/api/task_list"
ELSEWHERE = "http://evil.example"
NAVIGATION = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    with up(Project(tmp_path_factory.mktemp("project")), "--no-run") as ui:
        yield ui


def status(ui: Ui, method: str, path: str, headers: dict[str, str]) -> int:
    own = {name: text.format(port=ui.port) for name, text in headers.items()}
    with closing(HTTPConnection("127.0.0.1", ui.port, timeout=10)) as connection:
        connection.request(method, path, body=b"data={}" if method == "POST" else None, headers=own)
        return connection.getresponse().status


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", PAGE, {}),
        ("POST", API, {}),  # Of a worker.
        ("GET", API, {"Host": "localhost:{port}"}),
        ("GET", API, {"Host": "LOCALHOST"}),
        ("GET", API, {"Host": "127.0.0.1:9000"}),  # Through a tunnel.
        ("GET", API, {"Host": "[::1]:{port}"}),
        ("POST", API, {"Host": "localhost:9000", "Origin": "http://localhost:9000"}),
        ("GET", API, {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}),
        ("GET", PAGE, {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}),
        ("GET", PAGE, {**NAVIGATION, "Referer": f"{ELSEWHERE}/page"}),  # A link to the page.
        ("GET", PAGE, {**NAVIGATION, "Sec-Fetch-Dest": "document"}),
    ],
)
def test_own_requests_are_answered(ui: Ui, method: str, path: str, headers: dict[str, str]) -> None:
    assert status(ui, method, path, headers) == 200


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", PAGE, {"Host": "evil.example:{port}"}),
        ("GET", PAGE, {"Host": "127.0.0.1.evil.example"}),
        ("GET", API, {"Host": "[::2]"}),
        ("POST", API, {"Origin": ELSEWHERE}),
        ("POST", API, {"Origin": "null"}),
        ("POST", API, {"Origin": "http://127.0.0.1:9000"}),  # Another program's page.
        ("GET", API, {"Referer": f"{ELSEWHERE}/page"}),
        ("GET", API, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),
        ("GET", API, {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}),
        ("GET", API, NAVIGATION),
        ("GET", API + "?x", NAVIGATION),
        ("POST", PAGE, NAVIGATION),
        ("GET", PAGE, {**NAVIGATION, "Sec-Fetch-Dest": "iframe"}),
        ("GET", "/reports/index.html", {"Sec-Fetch-Site": "cross-site"}),
        ("GET", PAGE, {**NAVIGATION, "Host": "evil.example"}),
        ("PUT", API, {"Origin": ELSEWHERE}),
    ],
)
def test_requests_that_a_page_of_another_site_causes_are_rejected(
    ui: Ui, method: str, path: str, headers: dict[str, str]
) -> None:
    assert status(ui, method, path, headers) == 403


@pytest.fixture
def other_site(tmp_path: Path, ui: Ui) -> Iterator[str]:
    """A page that tries to change a task of the scheduler, in every way that a browser allows."""
    name = urlencode({"data": '{"task_id": "Victim", "worker": "w"}'})
    worker = urlencode({"data": '{"worker": "w"}'})
    disable = f"{ui.scheduler}/api/disable_worker?{worker}"
    add = f"{ui.scheduler}/api/add_task"
    (tmp_path / "index.html").write_text(
        f"""<img src="{add}?{name}"><iframe src="{ui.scheduler}{PAGE}"></iframe>
        <form method="post" action="{add}" target="inside">
        <input name="data" value='{{"task_id": "Form", "worker": "w"}}'></form>
        <iframe name="inside"></iframe><a href="{ui.scheduler}{PAGE}">the task list</a>
        <script>
        document.forms[0].submit();
        fetch("{add}", {{method: "POST", mode: "no-cors", body: new URLSearchParams(
            {{data: '{{"task_id": "Fetched", "worker": "w"}}'}})}});
        fetch("{disable}", {{mode: "no-cors"}});
        </script>"""
    )

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}/index.html"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_of_another_site_changes_nothing_in_a_browser(
    ui: Ui, other_site: str, page: Page
) -> None:
    answers: dict[str, int] = {}
    page.on("response", lambda answer: answers.update({answer.url: answer.status}))
    page.goto(other_site)
    page.wait_for_load_state("networkidle")
    own = {url: code for url, code in answers.items() if url.startswith(ui.scheduler)}
    assert len(own) >= 4
    assert set(own.values()) == {403}
    assert ui.ask("task_list") == {}
    assert ui.ask("worker_list") == []
    # A link is followed, and the page that it leads to works.
    page.click("a")
    page.wait_for_url(f"{ui.scheduler}{PAGE}*")
    page.wait_for_load_state("networkidle")
    assert answers[f"{ui.scheduler}{PAGE}"] == 200
    assert {code for url, code in answers.items() if f"{ui.scheduler}/api/" in url} >= {200}
