"""`python -m tasks explore`: the warehouse in Datasette, read-only, for this machine alone."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import pytest

from config.bookkeeping import LOAD_RECEIPT
from config.warehouse import DIMENSIONS
from tasks.explore import FACETS, LABELS, Question
from tests.conftest import Project
from tests.queries import QUESTIONS, ask
from tests.runs import soak
from tests.ui import LONGEST_WAIT_S, MARK, find_unused_port, marked

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("datasette")


class Explored(NamedTuple):
    """The command while it runs."""

    project: Project
    port: int
    process: subprocess.Popen[str]

    def get(self, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
        """Status and content of an answer."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def json(self, path: str) -> Any:
        """The answer for a path below the database's."""
        status, text = self.get(f"/data_warehouse{path}")
        assert status == 200, text
        return json.loads(text)

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Exit status, and what was written after the address."""
        self.process.send_signal(number)
        written = self.process.communicate(timeout=LONGEST_WAIT_S)
        return self.process.returncode, "".join(written)


@contextmanager
def exploring(project: Project) -> Iterator[Explored]:
    port = find_unused_port()
    process = project.start(
        *(sys.executable, "-m", "tasks", "explore", "--port", str(port)),
        env=project.environment({MARK: str(project.folder)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline()
        assert address == f"warehouse  http://127.0.0.1:{port}/data_warehouse\n"
        yield Explored(project, port, process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=LONGEST_WAIT_S)


@pytest.fixture(scope="module")
def explored(_ran_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explored]:
    folder = tmp_path_factory.mktemp("explored") / "project"
    with exploring(Project(Path(shutil.copytree(_ran_once, folder)))) as explored:
        yield explored


def test_each_question_is_a_query_with_the_answer_of_the_warehouse(explored: Explored) -> None:
    listed = explored.json(".json")["queries"]
    assert [query["title"] for query in listed] == [question.title for question in QUESTIONS]
    assert_answers(explored, [one for one in QUESTIONS if "low_limit" not in one.sql])


def assert_answers(explored: Explored, questions: Iterable[Question]) -> None:
    for question in questions:
        answer = explored.json(f"/{question.name}.json?_shape=arrays")
        expected = ask(explored.project.database, question.sql)
        assert answer["columns"] == expected.columns
        assert [tuple(row) for row in answer["rows"]] == expected.rows, question.title


def test_tables_and_columns_have_the_descriptions_of_the_dictionary(explored: Explored) -> None:
    status, text = explored.get("/-/metadata.json")
    tables = json.loads(text)["databases"]["data_warehouse"]["tables"]
    dictionary = explored.project.query("SELECT * FROM data_dictionary")
    for table, column, _, description in dictionary:
        shown = tables[table]["columns"][column] if column else tables[table]["description"]
        assert shown.rstrip(".").lower() == description.rstrip(".").lower()
    assert "io_address" in tables["dim_point"]["columns"]
    hidden = [table["name"] for table in explored.json(".json")["tables"] if table["hidden"]]
    assert hidden == [LOAD_RECEIPT.name]


@pytest.mark.parametrize("table", FACETS)
def test_rows_come_with_the_counts_of_some_columns(explored: Explored, table: str) -> None:
    answer = explored.json(f"/{table}.json")
    assert answer["facet_results"].keys() == set(FACETS[table])
    assert answer["suggested_facets"] == []


@pytest.mark.soak
def test_two_million_facts_are_counted_within_the_time_limit(full_size: Project) -> None:
    with exploring(full_size) as explored:
        assert_answers(explored, QUESTIONS)
        for table, columns in FACETS.items():
            assert explored.json(f"/{table}.json")["facet_results"].keys() == set(columns), table


def test_keys_are_shown_by_the_names_of_dimensions(explored: Explored) -> None:
    assert LABELS.keys() == DIMENSIONS.keys()
    facts = "/fact_logs.json?_shape=objects&_labels=on&log_id=10000000001"
    (row,) = explored.json(facts)["rows"]
    assert {name: shown["label"] for name, shown in row.items() if isinstance(shown, dict)} == {
        "unit_id": "Unit 7",
        "app_instance_id": "Case 1",
        "app_type_id": "Dairy Case",
        "point_id": "Point 1000",
        "point_log_inst_id": "Point 1000 (Unit 7)",
    }


def test_rows_are_on_the_first_screen(explored: Explored, page: Page) -> None:
    page.goto(f"http://127.0.0.1:{explored.port}/data_warehouse")
    page.click("text=fact_logs >> nth=0")
    first = page.locator("table.rows-and-columns tbody tr").first.bounding_box()
    assert first is not None
    assert first["y"] + first["height"] < 900
    assert page.inner_text("dl.column-descriptions dt >> nth=0") == "log_id"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("DELETE FROM fact_logs", "Statement must be a SELECT"),
        ("WITH x AS (SELECT 1) DELETE FROM fact_logs", "attempt to write a readonly database"),
        soak("PRAGMA journal_mode = DELETE", "Statement must be a SELECT"),
    ],
)
def test_nothing_can_be_written(explored: Explored, sql: str, message: str) -> None:
    status, text = explored.get(f"/data_warehouse.json?sql={quote(sql)}")
    assert status == 400
    assert message in text
    assert explored.project.query("SELECT count(*) FROM fact_logs") == [(13,)]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("evil.example", 403),
        ("LOCALHOST:9000", 200),
        ("[::1]:8001", 200),
        soak("evil.example:8001", 403),
        soak("127.0.0.1.evil.example", 403),
    ],
)
def test_requests_to_another_name_are_rejected(
    explored: Explored, host: str, expected: int
) -> None:
    assert explored.get("/", host)[0] == expected


def test_it_shows_what_later_runs_load(ran: Project) -> None:
    value = "/fact_logs.json?_shape=arrays&log_id=10000000002"
    with exploring(ran) as explored:
        assert 4.75 in explored.json(value)["rows"][0]
        ran.edit("LOG_RCD_F.csv", ",4.75,", ",4.8,")
        ran.passes("LoadFactLogs")
        assert 4.8 in explored.json(value)["rows"][0]
    assert left_behind(ran) == ([], ["data_warehouse.db"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, soak(signal.SIGHUP)])
def test_a_signal_ends_it_and_nothing_is_left(ran: Project, number: signal.Signals) -> None:
    with exploring(ran) as explored:
        explored.json("/v_logs.json")
        assert explored.get("/data_warehouse?sql=SELEKT")[0] == 400
        assert explored.end(number) == (0, "")
    assert left_behind(ran) == ([], ["data_warehouse.db"])


@pytest.mark.soak
def test_nothing_is_left_of_a_query_that_takes_long(ran: Project) -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    slow = quote(f"{numbers} SELECT count(*) FROM n, fact_logs")
    with (
        exploring(ran) as explored,
        closing(HTTPConnection("127.0.0.1", explored.port)) as connection,
    ):
        for table in FACETS:  # So that each of its threads has a connection.
            explored.json(f"/{table}.json")
        connection.request("GET", f"/data_warehouse.json?sql={slow}")
        time.sleep(0.5)
        assert explored.end(signal.SIGTERM) == (0, "")
    assert left_behind(ran) == ([], ["data_warehouse.db"])


def left_behind(project: Project) -> tuple[list[int], list[str]]:
    """Processes, and files of the database."""
    files = sorted(path.name for path in project.folder.glob("data_warehouse.db*"))
    return marked(f"{MARK}={project.folder}".encode()), files


def test_without_a_warehouse_it_says_how_to_load_it(project: Project) -> None:
    result = project.tasks("explore")
    assert result.status == 2
    assert result.err == (
        "The warehouse data_warehouse.db has no tables yet.\n"
        "Load them: luigi --module tasks AllReports --local-scheduler\n"
    )


def test_without_datasette_it_says_how_to_install_it(ran: Project, tmp_path: Path) -> None:
    (tmp_path / "datasette.py").write_text("raise ImportError(\"No module named 'datasette'\")")
    command = (sys.executable, "-m", "tasks", "explore")
    result = ran.run(*command, env={"PYTHONPATH": str(tmp_path)})
    assert result.status == 2
    assert result.err == (
        "Datasette is not installed: No module named 'datasette'.\nInstall it in this environment: "
        "python -m pip install --require-hashes -r requirements-explore.lock\n"
    )


def test_a_port_in_use_is_reported(ran: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = ran.tasks("explore", "--port", str(port))
    assert result.status == 2
    assert f"cannot be served at 127.0.0.1:{port}: Address already in use" in result.err
    assert result.err.endswith("Choose another port: --port\n")
