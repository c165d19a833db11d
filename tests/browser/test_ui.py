"""The pipeline in the central scheduler's pages, seen with a browser."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from filelock import FileLock
from luigi.task import flatten

from tasks.freshness.task import FreshTask, walk
from tasks.graph import AllReports, CsvToParquet, LoadFactLogs
from tests import chromium as browser
from tests.conftest import ROOT, Project
from tests.runs import soak
from tests.ui import Ui, is_free, luigid, started, up

if TYPE_CHECKING:
    from playwright.sync_api import Page

GRAPH = walk(AllReports())


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
    # Another address first, so that the list is loaded again.
    page.goto("about:blank")
    page.goto(f"{ui.address('task list')}#tab=tasks&length=100")
    page.wait_for_function("() => document.querySelectorAll('#taskTable tbody td').length > 1")
    page.wait_for_load_state("networkidle")
    found = page.eval_on_selector_all(
        "#taskTable tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
    )
    return [[text.strip() for text in row[:3]] for row in found]


def details(task: FreshTask) -> str:
    """What the task list shows of a task's parameters and resources."""
    parameters = [f"{name}={value}" for name, value in task.to_str_params().items()]
    resources = json.dumps(task.resources, separators=(",", ":"))
    return "\n".join([*parameters, resources] if task.resources else parameters)


def row_of(label: str) -> str:
    """The selector of a task's row in the task list."""
    family, *values = label.split(":")
    return f"#taskTable tbody tr:has-text('{family}')" + "".join(
        f":has-text('={value}')" for value in values
    )


@pytest.mark.soak
def test_every_task_is_shown_done_and_every_edge_drawn_with_four_workers(
    ran: Project, project: Project, page: Page
) -> None:
    with up(project, "--workers", "4") as ui:
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


def test_nodes_carry_parameters_and_pages_renew_themselves(ran: Project, page: Page) -> None:
    with up(ran) as ui:
        pages = [page, *(page.context.new_page() for _ in range(3))]
        graph, d3, listed, report = pages
        graph.goto(ui.address("graph"))
        names = "nodes => nodes.map(node => node.textContent)"
        graph.wait_for_selector("a.graph-node-a")
        labels = sorted(task.label.replace(":", " ") for task in GRAPH)
        assert sorted(graph.eval_on_selector_all("a.graph-node-a", names)) == labels
        d3.goto(f"{ui.address('graph')}&visType=d3")
        d3.wait_for_selector(".taskNode")
        assert sorted(d3.eval_on_selector_all(".taskNode .name", names)) == labels
        rows(listed, ui)
        report.goto(ui.address("reports"))
        report.focus("input[type=search]")
        report.evaluate("() => { window.before = true; }")
        where = "nodes => nodes.map(node => node.getAttribute('transform'))"
        places = graph.eval_on_selector_all("g.node", where)

        ran.edit("POINT.csv", "1007,105", "x,105")
        assert ui.run_again().status == 30
        failed = "a[data-task-status=FAILED]"
        assert graph.text_content(failed) == "CsvToParquet POINT"
        assert graph.eval_on_selector_all("g.node", where) == places
        d3.wait_for_selector(".node.FAILED")
        listed.wait_for_selector(f"{row_of('CsvToParquet:POINT')}:has-text('FAILED')")
        # Somebody types there: the page waits.
        assert report.evaluate("window.before")
        report.evaluate("document.activeElement.blur()")
        report.wait_for_selector(".last-run")
        assert report.evaluate("window.before") is None


def test_links_open_the_reports(ran: Project, page: Page) -> None:
    with up(ran) as ui:
        # Nothing had to run: Luigi by itself would show one task, and no link.
        links = {name: task["tracking_url"] for name, task in ui.ask("task_list").items()}
        reports = f"{ui.scheduler}/reports"
        assert links == {task.task_id: task.page() and f"{reports}/{task.page()}" for task in GRAPH}
        for url in set(filter(None, links.values())):
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert answer.status == 200
                place = url.partition("#")[2]
                assert not place or f'id="{place}"' in answer.read().decode()
        rows(page, ui)
        with page.context.expect_page() as opened:
            page.click(f"{row_of('CsvToParquet:POINT')} a[title='Track Progress']")
        opened.value.wait_for_load_state()
        assert opened.value.url == f"{reports}/index.html#source-POINT"
        assert "8 rows, 8 staged" in opened.value.inner_text("#source-POINT")

        # A run that does not know where the reports are served leaves the links.
        ran.edit("POINT.csv", "1007,105", "1007,104")
        assert ui.run_again().status == 0
        again = ui.ask("task_list")
        assert {name: task["tracking_url"] for name, task in again.items()} == links


@pytest.mark.soak
def test_a_failure_is_shown_with_its_remedy_and_can_be_enabled_again(
    ran: Project, page: Page
) -> None:
    point = CsvToParquet(table="POINT").task_id
    ran.edit("POINT.csv", "1007,105,", "<b>x</b>,105,")
    with up(ran) as ui:
        assert "Not all is done (exit status 30)" in ui.output
        listed = rows(page, ui)
        assert ["FAILED", "CsvToParquet", "table=POINT"] in listed
        assert [row[:2] for row in listed].count(["UPSTREAM_FAILED", "AllReports"]) == 1
        page.click(f"{row_of('CsvToParquet:POINT')} .showError")
        text = page.inner_text("#errorModal pre >> nth=0")
        assert text.startswith("POINT.csv: 1 of 8 rows cannot be read as declared; ")
        assert "\n  line 9: point_id is not an integer: '<b>x</b>':\n" in text
        assert page.eval_on_selector("#errorModal pre", "box => box.scrollWidth <= box.clientWidth")
        assert "max_rejected" in text
        assert "Traceback" not in text
        page.click("#errorModal .modal-footer button")
        page.wait_for_selector("#errorModal", state="hidden")

        page.click(f"{row_of('CsvToParquet:POINT')} .forgiveFailures")
        ui.wait_for(lambda: ui.statuses()[point] == "PENDING")
        # Forgiven is not forgotten: the third failure within an hour is the last.
        assert (ui.run_again().status, ui.statuses()[point]) == (30, "FAILED")
        assert (ui.run_again().status, ui.statuses()[point]) == (30, "DISABLED")
        ran.edit("POINT.csv", "<b>x</b>,105,", "1007,104,")
        refused = ui.run_again()
        assert (refused.status, refused.ran) == (25, [])
        assert "CsvToParquet:POINT failed too often within an hour and is disabled" in refused.log

        assert ["DISABLED", "CsvToParquet", "table=POINT"] in rows(page, ui)
        page.click(f"{row_of('CsvToParquet:POINT')} .re-enable-button")
        ui.wait_for(lambda: ui.statuses()[point] == "FAILED")
        assert ui.run_again().status == 0
        assert {row[0] for row in rows(page, ui)} == {"DONE"}
        assert ui.end(signal.SIGINT) == 30  # Of the command's own run.


@pytest.mark.soak
def test_after_the_file_is_fixed_it_just_runs_again(ran: Project) -> None:
    good = (ran.data / "POINT.csv").read_text()
    ran.edit("POINT.csv", "1007,105", "x,105")
    with up(ran) as ui:
        (ran.data / "POINT.csv").write_text(good)
        # Everything is as it was built: nothing runs, and no failure remains.
        again = ui.run_again()
        assert (again.status, again.ran) == (0, [])
        assert set(ui.statuses().values()) == {"DONE"}
        assert ran.tasks("forget", "SummaryReport:unit_id").status == 0
        assert ui.run_again().built == ["SummaryReport:unit_id"]


def test_a_configuration_that_cannot_be_used_is_shown_too(ran: Project) -> None:
    ran.configure("\n[POINT]\nmax_rejected = much")
    with up(ran) as ui:
        root = AllReports().task_id
        assert ui.statuses()[root] == "FAILED"
        text = json.loads(ui.ask("fetch_error", task_id=root)["error"])
        assert text.startswith("luigi.cfg: section [POINT]: max_rejected = much is not a share")
        assert ui.end(signal.SIGTERM) == 35


def test_plain_luigid_reads_the_projects_configuration(ran: Project) -> None:
    with luigid(ran) as ui:
        command = ("luigi", "--module", "tasks", "AllReports", "--scheduler-url", ui.scheduler)
        assert ran.run(*command).status == 0
        assert ui.statuses() == {task.task_id: "DONE" for task in GRAPH}
        assert ui.ask("resource_list") == [
            {"name": "warehouse", "num_total": 1, "num_used": 0, "num_consumer": 0, "running": {}}
        ]
    assert (ran.staging / "luigid.state").exists()


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize(
    ("number", "options"),
    [(signal.SIGINT, []), (signal.SIGTERM, ["--no-run"]), soak(signal.SIGHUP, ["--no-run"])],
)
def test_nothing_is_left_behind(ran: Project, number: signal.Signals, options: list[str]) -> None:
    before = {path for path in ran.folder.rglob("*") if "__pycache__" not in path.parts}
    with up(ran, *options) as ui:
        assert ui.processes() == [ui.process.pid]
        assert ui.end(number) == 0
        assert ui.processes() == []
        assert is_free(ui.port)
    left = {path for path in ran.folder.rglob("*") if "__pycache__" not in path.parts} - before
    names = {path.name for path in left if path.parent.name != "logs"}
    assert names == {"luigid.state", "luigid_history.db"}
    assert "Traceback" not in ui.output
    line = f"Stopped by {number.name}. What is done stays; run again to go on.\n"
    assert ui.output.endswith(f"\n{line}")
    assert ui.output.count("Stopped by ") == 1


@pytest.mark.soak
@needs_proc
def test_a_run_that_is_stopped_ends_with_the_command_and_starts_again(ran: Project) -> None:
    ran.edit("LOG_RCD_F.csv", "1e2", "1e3")
    lock = FileLock(ran.staging / ".locks" / "LoadFactLogs.lock")
    with lock, started(ran) as ui:
        ui.wait_for(lambda: "another run is at this task" in ui.output)
        (warehouse,) = ui.ask("resource_list")
        assert (warehouse["num_used"], warehouse["num_total"]) == (1, 1)
        assert list(warehouse["running"]) == [LoadFactLogs().task_id]
        assert ui.end(signal.SIGINT) == 130
        assert ui.processes() == []
        assert "Traceback" not in ui.output
        assert ui.output.count("Stopped by ") == 1
        assert ui.output.endswith("Stopped by SIGINT. What is done stays; run again to go on.\n")
    with up(ran) as ui:
        assert set(ui.statuses().values()) == {"DONE"}


@pytest.mark.soak
@needs_proc
def test_a_run_ends_when_the_command_is_killed(ran: Project) -> None:
    ran.edit("LOG_RCD_F.csv", "1e2", "1e3")
    with FileLock(ran.staging / ".locks" / "LoadFactLogs.lock"), started(ran) as ui:
        ui.wait_for(lambda: "another run is at this task" in ui.output)
        ui.end(signal.SIGKILL)
        ui.wait_for(lambda: ui.processes() == [])


def test_a_port_that_is_in_use_or_none_is_rejected(ran: Project) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        result = ran.tasks("ui", "--port", str(taken))
    assert result.status == 2
    assert f"127.0.0.1:{taken}: Address already in use." in result.log
    assert "Choose another port: --port\n" in result.log
    assert "Traceback" not in result.log
    result = ran.tasks("ui", "--port", "70000")
    assert (result.status, "70000" in result.log) == (2, True)


def test_an_invalid_address_of_the_reports_is_rejected(ran: Project) -> None:
    result = ran.fails("AllReports", env={"PIPELINE_REPORTS_URL": "javascript:alert(1)"}, status=35)
    assert "reports_url = javascript:alert(1) is no address of a web server" in result.log


@pytest.fixture(scope="module")
def server(_ran_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """The command without a run, and files that must not be served beside the others."""
    ran = Project(Path(shutil.copytree(_ran_once, tmp_path_factory.mktemp("served") / "project")))
    (ran.staging / "quarantine" / "Größe #1.csv").write_text("<script>")
    (ran.folder / "reports_of_others").mkdir()
    (ran.folder / "reports_of_others" / "secret.txt").write_text("secret")
    (ran.reports / "out").symlink_to(ran.folder / "reports_of_others")
    with up(ran, "--no-run") as ui:
        yield ui


def test_files_are_served_as_what_they_are(server: Ui) -> None:
    page = (server.project.reports / "index.html").read_text(encoding="utf-8")
    summary = (server.project.reports / "summary_by_unit_id.csv").read_text(encoding="utf-8")
    for path, kind, text in [
        ("/reports/", "html", page),
        ("/reports/index.html?x=1", "html", page),
        ("/reports/summary_by_unit_id.csv", "plain", summary),
        (f"/staging/quarantine/{quote('Größe #1.csv')}", "plain", "<script>"),
    ]:
        status, headers, content = server.get(path)
        script = (ROOT / "tasks" / "ui.js").read_text(encoding="utf-8")
        if kind == "html":
            # The report's policy stays, but for questions to this server.
            content = content.replace(f"<script>{script}</script>", "", 1)
            content = content.replace("content=\"connect-src 'self'; ", 'content="', 1)
        assert (status, content) == (200, text)
        assert headers["Content-Type"] == f"text/{kind}; charset=utf-8"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    r"""
    /reports/../reports_of_others/secret.txt /reports/%2e%2e/reports_of_others/secret.txt
    /reports/..%2freports_of_others/secret.txt /reports/..\reports_of_others/secret.txt
    /reports//etc/hostname /reports/out/secret.txt /reports_of_others/secret.txt
    /staging/quarantine/ /staging/quarantine/../luigid_history.db
    """.split(),
)
def test_nothing_but_the_folders_is_served(server: Ui, path: str) -> None:
    assert server.get(path)[0] in (403, 404)


@pytest.mark.parametrize("path", ["/reports/", "/static/visualiser/index.html", "/api/task_list"])
def test_only_this_machine_is_answered_and_no_other_is_asked(server: Ui, path: str) -> None:
    hosts = {"127.0.0.1": 200, f"localhost:{server.port}": 200, "127.0.0.1.evil.example": 403}
    for host, expected in hosts.items():
        status, headers, _ = server.get(path, host)
        assert status == expected
        assert status == 403 or headers["Content-Security-Policy"].startswith("default-src 'self' ")


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
