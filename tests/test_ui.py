"""The pipeline in the central scheduler's pages, seen with a browser."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from luigi.task import flatten

from tasks.core.errors import PipelineError
from tasks.freshness.task import FreshTask, walk
from tasks.graph import AllReports, CsvToParquet, LoadFactLogs
from tasks.ui.reports_server import find_file, serve_files
from tests import browser
from tests.conftest import Project, Result

if TYPE_CHECKING:
    from playwright.sync_api import Page

GRAPH = walk(AllReports())
MARK = "TEST_OF_UI"
LONGEST_WAIT_S = 60


# --- the command as people use it ------------------------------------------------------------


@dataclass
class Ui:
    """`python -m tasks ui` while it runs."""

    project: Project
    port: int
    reports_port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def scheduler(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def told(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def address(self, what: str) -> str:
        """An address that the command told."""
        found = re.findall(rf"^{what} +(http.*)$", self.told, flags=re.MULTILINE)
        assert found, self.told
        return str(found[-1])

    def ask(self, method: str, **arguments: object) -> Any:
        """An answer of the scheduler."""
        body = urllib.parse.urlencode({"data": json.dumps(arguments)}).encode()
        with urllib.request.urlopen(f"{self.scheduler}/api/{method}", body, timeout=10) as answer:
            return json.load(answer)["response"]

    def statuses(self) -> dict[str, str]:
        """Status of each task by its id."""
        return {name: task["status"] for name, task in self.ask("task_list").items()}

    def run_again(self) -> Result:
        """What the command says how to run again."""
        (command,) = re.findall(r"^To run again, in another terminal: (.*)$", self.told, re.M)
        return self.project.run(*command.split())

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(LONGEST_WAIT_S)

    def processes(self) -> list[int]:
        """All processes that came of the command and are there still."""
        mark = f"{MARK}={self.project.folder}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found

    def wait_for(self, what: Callable[[], object]) -> None:
        """Wait until something holds."""
        latest = time.monotonic() + LONGEST_WAIT_S
        while not what():
            assert time.monotonic() < latest, self.told
            time.sleep(0.05)


@contextmanager
def started(project: Project, unused_port: Callable[[], int], *arguments: str) -> Iterator[Ui]:
    """The command, just started; ended afterwards."""
    port, reports_port = unused_port(), unused_port()
    ports = ["--port", str(port), "--reports-port", str(reports_port)]
    log = project.folder.parent / "ui.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks", "ui", *ports, *arguments],
            cwd=project.folder,
            env=project.environment({MARK: str(project.folder)}),
            stdout=stream,
            stderr=stream,
        )
    ui = Ui(project, port, reports_port, process, log)
    try:
        yield ui
    finally:
        if process.poll() is None:
            ui.end(signal.SIGTERM)


@contextmanager
def up(project: Project, unused_port: Callable[[], int], *arguments: str) -> Iterator[Ui]:
    """The command after its run has ended."""
    with started(project, unused_port, *arguments) as ui:
        ui.wait_for(lambda: ui.process.poll() is not None or "Ctrl-C ends everything." in ui.told)
        assert ui.process.poll() is None, ui.told
        yield ui


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


# --- what the pages show ---------------------------------------------------------------------

EDGES = """() => {
  const at = {};
  for (const node of document.querySelectorAll("#graphPlaceholder a.graph-node-a")) {
    const place = node.parentElement.getAttribute("transform");
    at[place.match(/[0-9.]+/g).map(Number)] = node.dataset.taskId;
  }
  const number = (line, name) => Number(line.getAttribute(name));
  return [...document.querySelectorAll("#graphPlaceholder line.link")].map(line => [
    at[[number(line, "x1"), number(line, "y1")]], at[[number(line, "x2"), number(line, "y2")]]]);
}"""


def rows(page: Page, ui: Ui) -> list[list[str]]:
    """The task list: status, name and details of each task."""
    # Another address first, so that the list is asked for anew.
    page.goto("about:blank")
    page.goto(f"{ui.address('task list')}#tab=tasks&length=100")
    page.wait_for_function("() => document.querySelectorAll('#taskTable tbody td').length > 1")
    page.wait_for_load_state("networkidle")
    found = page.eval_on_selector_all(
        "#taskTable tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
    )
    return [[text.strip() for text in row[:3]] for row in found]


def details(task: FreshTask) -> str:
    """What the task list tells of a task's parameters and resources."""
    parameters = [f"{name}={value}" for name, value in task.to_str_params().items()]
    resources = json.dumps(task.resources, separators=(",", ":"))
    return "\n".join([*parameters, resources] if task.resources else parameters)


def shown(label: str) -> str:
    """The selector of a task's row in the task list."""
    family, *values = label.split(":")
    return f"#taskTable tbody tr:has-text('{family}')" + "".join(
        f":has-text('={value}')" for value in values
    )


@pytest.mark.soak
def test_every_task_is_shown_done_and_every_edge_drawn_with_four_workers(
    ran: Project, project: Project, page: Page, unused_port: Callable[[], int]
) -> None:
    with up(project, unused_port, "--workers", "4") as ui:
        listed = rows(page, ui)
        assert page.inner_text("#DONE_info .info-box-number") == str(len(GRAPH))
        assert sorted(listed) == sorted(["DONE", task.task_family, details(task)] for task in GRAPH)

        page.goto(ui.address("graph"))
        page.wait_for_function(
            f"() => document.querySelectorAll('a.graph-node-a').length == {len(GRAPH)}"
        )
        drawn = page.evaluate(EDGES)
        required = [
            (task.task_id, one.task_id) for task in GRAPH for one in flatten(task.requires())
        ]
        assert sorted(map(tuple, drawn)) == sorted(required)

        page.goto(ui.address("history"))
        assert page.locator("tbody tr:has-text('LoadFactLogs'):has-text('DONE')").count() > 0

    assert project.outputs() == ran.outputs()


def test_links_open_the_reports(ran: Project, page: Page, unused_port: Callable[[], int]) -> None:
    with up(ran, unused_port) as ui:
        # Nothing had to run: without more ado Luigi would show one task, and no link.
        told = ui.ask("task_list")
        reports = f"http://127.0.0.1:{ui.reports_port}"
        assert {name: task["tracking_url"] for name, task in told.items()} == {
            task.task_id: task.page() and f"{reports}/{task.page()}" for task in GRAPH
        }
        for url in {task["tracking_url"] for task in told.values() if task["tracking_url"]}:
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert answer.status == 200
                place = url.partition("#")[2]
                assert not place or f'id="{place}"' in answer.read().decode()
        rows(page, ui)
        with page.context.expect_page() as opened:
            page.click(f"{shown('CsvToParquet:POINT')} a[title='Track Progress']")
        opened.value.wait_for_load_state()
        assert opened.value.url == f"{reports}/index.html#source-POINT"
        assert "8 rows, 8 staged" in opened.value.inner_text("#source-POINT")

        # A run that knows nothing of the reports leaves the links.
        ran.edit("POINT.csv", "1007,105", "1007,104")
        assert ui.run_again().status == 0
        again = ui.ask("task_list")
        assert {name: task["tracking_url"] for name, task in again.items()} == {
            name: task["tracking_url"] for name, task in told.items()
        }


def test_a_failure_is_shown_with_what_to_mend_and_can_be_enabled_again(
    ran: Project, page: Page, unused_port: Callable[[], int]
) -> None:
    point = CsvToParquet(table="POINT").task_id
    ran.edit("POINT.csv", "1007,105,", "<b>x</b>,105,")
    with up(ran, unused_port) as ui:
        assert "Not all is done (exit status 30)" in ui.told
        listed = rows(page, ui)
        assert ["FAILED", "CsvToParquet", "table=POINT"] in listed
        assert [row[:2] for row in listed].count(["UPSTREAM_FAILED", "AllReports"]) == 1
        page.click(f"{shown('CsvToParquet:POINT')} .showError")
        told = page.inner_text("#errorModal pre >> nth=0")
        assert told.startswith("POINT.csv: 1 of 8 rows cannot be read as declared; ")
        assert "\n  line 9: point_id is not an integer: '<b>x</b>':\n" in told
        assert page.eval_on_selector("#errorModal pre", "box => box.scrollWidth <= box.clientWidth")
        assert "max_rejected" in told
        assert "Traceback" not in told
        page.click("#errorModal .modal-footer button")
        page.wait_for_selector("#errorModal", state="hidden")

        page.click(f"{shown('CsvToParquet:POINT')} .forgiveFailures")
        ui.wait_for(lambda: ui.statuses()[point] == "PENDING")
        # Forgiven is not forgotten: the third failure within an hour is the last.
        assert (ui.run_again().status, ui.statuses()[point]) == (30, "FAILED")
        assert (ui.run_again().status, ui.statuses()[point]) == (30, "DISABLED")
        ran.edit("POINT.csv", "<b>x</b>,105,", "1007,104,")
        refused = ui.run_again()
        assert (refused.status, refused.ran) == (25, [])
        assert "CsvToParquet:POINT failed too often within an hour and is disabled" in refused.log

        assert ["DISABLED", "CsvToParquet", "table=POINT"] in rows(page, ui)
        page.click(f"{shown('CsvToParquet:POINT')} .re-enable-button")
        ui.wait_for(lambda: ui.statuses()[point] == "FAILED")
        assert ui.run_again().status == 0
        assert {row[0] for row in rows(page, ui)} == {"DONE"}
        assert ui.end(signal.SIGINT) == 30  # Of the command's own run.


def test_after_mending_the_file_it_just_runs_again(
    ran: Project, unused_port: Callable[[], int]
) -> None:
    good = (ran.data / "POINT.csv").read_text()
    ran.edit("POINT.csv", "1007,105", "x,105")
    with up(ran, unused_port) as ui:
        (ran.data / "POINT.csv").write_text(good)
        # All is as it was built: nothing runs, and no failure is left standing.
        again = ui.run_again()
        assert (again.status, again.ran) == (0, [])
        assert set(ui.statuses().values()) == {"DONE"}
        assert ran.tasks("forget", "SummaryReport:unit_id").status == 0
        assert ui.run_again().built == ["SummaryReport:unit_id"]


def test_a_configuration_that_cannot_be_used_is_shown_too(
    ran: Project, unused_port: Callable[[], int]
) -> None:
    with (ran.folder / "luigi.cfg").open("a") as stream:
        stream.write("\n[POINT]\nmax_rejected = much\n")
    with up(ran, unused_port) as ui:
        root = AllReports().task_id
        assert ui.statuses()[root] == "FAILED"
        told = json.loads(ui.ask("fetch_error", task_id=root)["error"])
        assert told.startswith("luigi.cfg: section [POINT]: max_rejected = much is not a share")
        assert ui.end(signal.SIGTERM) == 35


def test_plain_luigid_reads_the_projects_configuration(
    ran: Project, unused_port: Callable[[], int]
) -> None:
    port = unused_port()
    server = subprocess.Popen(
        ["luigid", "--address", "127.0.0.1", "--port", str(port)],
        cwd=ran.folder,
        env=ran.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ui = Ui(ran, port, 0, server, Path(os.devnull))
    try:
        ui.wait_for(lambda: not is_free(port))
        assert ran.run("luigi", "--module", "tasks", "AllReports", "--scheduler-url", ui.scheduler)
        assert ui.statuses() == {task.task_id: "DONE" for task in GRAPH}
        assert ui.ask("resource_list") == [
            {"name": "warehouse", "num_total": 1, "num_used": 0, "num_consumer": 0, "running": {}}
        ]
    finally:
        ui.end(signal.SIGTERM)
    assert (ran.staging / "luigid.state").exists()


# --- how it ends -----------------------------------------------------------------------------

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize(
    ("number", "options"),
    [(signal.SIGINT, []), (signal.SIGTERM, ["--no-run"]), (signal.SIGHUP, ["--no-run"])],
)
def test_nothing_is_left_behind(
    ran: Project, unused_port: Callable[[], int], number: signal.Signals, options: list[str]
) -> None:
    before = {path for path in ran.folder.rglob("*") if "__pycache__" not in path.parts}
    with up(ran, unused_port, *options) as ui:
        assert len(ui.processes()) == 2
        assert ui.end(number) == 0
        assert ui.processes() == []
        assert is_free(ui.port)
        assert is_free(ui.reports_port)
    left = {path for path in ran.folder.rglob("*") if "__pycache__" not in path.parts} - before
    assert {path.name for path in left} == {"luigid.state", "luigid_history.db"}
    assert "Traceback" not in ui.told


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_ends_with_the_command_and_starts_again(
    ran: Project, unused_port: Callable[[], int], number: signal.Signals
) -> None:
    ran.edit("LOG_RCD_F.csv", "1e2", "1e3")
    lock = FileLock(ran.staging / ".receipts" / "LoadFactLogs.lock")
    with lock, started(ran, unused_port) as ui:
        ui.wait_for(lambda: "another run is at this task" in ui.told)
        (warehouse,) = ui.ask("resource_list")
        assert (warehouse["num_used"], warehouse["num_total"]) == (1, 1)
        assert list(warehouse["running"]) == [LoadFactLogs().task_id]
        ui.end(number)
        ui.wait_for(lambda: ui.processes() == [])
    with started(ran, unused_port) as ui:
        ui.wait_for(lambda: "Loaded fact_logs" in ui.told)


@pytest.mark.parametrize("option", ["--port", "--reports-port"])
def test_a_port_that_is_in_use_is_told(
    ran: Project, unused_port: Callable[[], int], option: str
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        other = {"--port", "--reports-port"} - {option}
        result = ran.tasks("ui", option, str(taken), *other, str(unused_port()))
    assert result.status == 2
    assert f"127.0.0.1:{taken}: Address already in use." in result.log
    assert f"Choose another port: {option}\n" in result.log
    assert "Traceback" not in result.log


def test_no_port_is_refused(ran: Project) -> None:
    result = ran.tasks("ui", "--port", "70000")
    assert result.status == 2
    assert "70000" in result.log


def test_an_address_of_reports_that_is_none_is_refused(ran: Project) -> None:
    result = ran.luigi("AllReports", env={"PIPELINE_REPORTS_URL": "javascript:alert(1)"})
    assert result.status == 35
    assert "reports_url = javascript:alert(1) is no address of a web server" in result.log


# --- the server of the reports ---------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "secret.txt").write_text("secret")
    reports, quarantine = tmp_path / "reports", tmp_path / "quarantine"
    for folder in (reports, quarantine, tmp_path / "reports_of_others"):
        folder.mkdir()
        (folder / "POINT.csv").write_text("<script>")
    (reports / "index.html").write_text("<h1>Größe</h1>", encoding="utf-8")
    (reports / ".index.html.tmp").write_text("half")
    (reports / "out").symlink_to(tmp_path)
    return {"/": reports, "/quarantine/": quarantine, "/logs/": tmp_path / "logs"}


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/quarantine/../../secret.txt",
        "/quarantine/%2e%2e/%2e%2e/secret.txt",
        "/..\\secret.txt",
        "/out/secret.txt",
        "/../reports_of_others/POINT.csv",
        "//secret.txt",
        "/.index.html.tmp",
        "/index.html%00",
        "/logs/",
        "/quarantine",
        "index.html",
        "",
    ],
)
def test_nothing_but_the_folders_is_served(folders: dict[str, Path], path: str) -> None:
    found = find_file(folders, path)
    assert found is None, found


@pytest.mark.parametrize(
    ("path", "status", "content_type", "content"),
    [
        ("/", 200, "text/html; charset=utf-8", "<h1>Größe</h1>"),
        ("/index.html?x=1", 200, "text/html; charset=utf-8", "<h1>Größe</h1>"),
        ("/POINT.csv", 200, "text/plain; charset=utf-8", "<script>"),
        ("/quarantine/POINT.csv", 200, "text/plain; charset=utf-8", "<script>"),
        ("/quarantine/", 200, "text/html; charset=utf-8", '<a href="POINT.csv">POINT.csv</a>'),
        ("/../secret.txt", 404, "text/html;charset=utf-8", "404"),
        ("/logs/x.log", 404, "text/html;charset=utf-8", "404"),
    ],
)
def test_files_are_served_as_what_they_are(
    folders: dict[str, Path],
    unused_port: Callable[[], int],
    path: str,
    status: int,
    content_type: str,
    content: str,
) -> None:
    port = unused_port()
    with serve_files(folders, port):
        for method in ("GET", "HEAD"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request(method, path)
            answer = connection.getresponse()
            assert (answer.status, answer.headers["Content-Type"]) == (status, content_type)
            if status == 200:
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
            body = answer.read().decode()
            assert (content in body) if method == "GET" else (body == "")
            connection.close()


def test_two_servers_cannot_have_one_port(
    folders: dict[str, Path], unused_port: Callable[[], int]
) -> None:
    port = unused_port()
    with (
        serve_files(folders, port),
        pytest.raises(PipelineError, match=f"{port}: Address already in use"),
        serve_files(folders, port),
    ):
        pass


def test_a_missing_browser_skips_and_fails_where_it_must_not_be_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="there is no browser"):
        browser.chromium_program()
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="there is no browser"):
        browser.chromium_program()
