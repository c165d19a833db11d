"""How past runs ended: `reports/history.csv` and `python -m tasks history`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.run.history import KEPT_RUNS, PastRun, keep_interrupted, keep_run, read_history
from tasks.run.outcome import Outcome
from tests.conftest import Project
from tests.html_page import Page
from tests.result import Result

NO_PROCESS = (1 << 31) - 1


def outcome(status: str, run: str = "a") -> Outcome:
    began, ended = "2024-06-01T12:00:00Z", None if status == "running" else "2024-06-01T13:00:05Z"
    return Outcome(run, status, NO_PROCESS, 0, began, ended, {"built": 2, "failed": 1}, [])


def widest(result: Result) -> int:
    return max(map(len, result.out.splitlines()))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reports folder in the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports").mkdir()
    return Path("reports")


def test_a_run_of_everything_has_a_line_with_the_figures_of_the_data(ran: Project) -> None:
    ran.passes("AllReports")
    ran.passes("CsvToParquet", "--table", "POINT")  # Not everything.
    built, fresh = read_history(ran.reports)
    assert (built.status, built.built, built.unchanged, built.failed) == ("succeeded", 31, 0, 0)
    assert built.seconds is not None
    assert fresh.seconds is not None
    assert 0 < fresh.seconds < built.seconds
    assert (fresh.status, fresh.built, fresh.began >= built.began) == ("succeeded", 0, True)
    facts, unknown = ran.query("SELECT count(*), sum(unit_id = -1) FROM fact_logs")[0]
    assert fresh[7:] == (facts, 0, round(unknown / facts, 6), 1)
    assert fresh[7:] == built[7:]
    assert [row["run"] for row in ran.report("history.csv")] == [built.run, fresh.run]
    shown = ran.tasks("history")
    assert widest(shown) <= 80
    *_, line = (line for line in shown.out.splitlines() if " succeeded " in line)
    figures = f"{fresh.seconds} succeeded 0/0/0 13 0 30.8% 1"
    assert line.split() == [*fresh.began[:16].split("T"), *figures.split()]


def test_runs_that_failed_or_were_killed_have_lines_without_figures(ran: Project) -> None:
    (ran.reports / "last_run.json").write_text(outcome("running").to_json())
    assert " killed\n" in ran.tasks("history").out
    ran.edit("POINT.csv", "1007,105", "x,105")
    ran.fails("AllReports")
    _, killed, failed = read_history(ran.reports)
    assert killed == PastRun("a", "2024-06-01T12:00:00Z", None, "killed")
    assert (failed.status, failed.failed, failed[7:]) == ("failed", 1, (None, None, None, None))
    assert [row["status"] for row in ran.report("history.csv")] == ["succeeded", "killed", "failed"]


def test_the_page_has_charts_of_the_runs_and_is_up_to_date(ran: Project) -> None:
    assert len(Page(ran.reports / "index.html").rows("runs")) == 1
    ran.edit("POINT.csv", "1007,105", "x,105")
    ran.fails("AllReports")
    ran.edit("POINT.csv", "x,105", "1007,105")
    assert ran.passes("AllReports").built == []
    assert ran.tasks("status", "-q").status == 0
    page = Page(ran.reports / "index.html")
    rows = page.rows("runs")
    runs = read_history(ran.reports)[::-1]
    assert [row["status"] for row in rows] == ["succeeded", "failed", "succeeded"]
    for row, run in zip(rows, runs, strict=True):
        assert row["began (UTC)"] == run.began[:16].replace("T", " ")
        assert row["Seconds"] == str(run.seconds)
    figures = ["13", "0", "30.77%", "1"]
    assert [list(row.values())[2:-1] for row in rows] == [figures, [""] * 4, figures]
    *charts, seconds = re.findall(r'<svg viewBox="0 0 240 48".*?</svg>', page.text, re.DOTALL)
    assert len(charts) == 4
    heights = re.compile(r'class="(\w+)" x="(\S+)" .*? height="([\d.]+)"')
    assert heights.findall(charts[0]) == [
        ("succeeded", "0", "48.0"),
        ("failed", "8", "3.0"),
        ("succeeded", "16", "48.0"),
    ]
    durations = [run.seconds or 0 for run in runs[::-1]]
    drawn = [float(height) for _, _, height in heights.findall(seconds)]
    expected = [48 * duration / max(durations) for duration in durations]
    assert drawn == pytest.approx([max(expected[0], 0), max(expected[1], 3), expected[2]], abs=0.06)


def test_the_charts_have_the_newest_runs(ran: Project) -> None:
    (first,) = read_history(ran.reports)
    lines = [f"{n},{first.began},1.0,succeeded,1,0,0,{n},0,0.0,0" for n in range(40)]
    path = ran.reports / "history.csv"
    path.write_text("\n".join([path.read_text().splitlines()[0], *lines]) + "\n")
    ran.passes("AllReports")
    page = Page(ran.reports / "index.html")
    rows = page.rows("runs")
    assert [row["Log records"] for row in rows] == ["13", *map(str, range(39, 10, -1))]
    assert "The newest 30 of 41 runs, the oldest first." in page.text


def test_a_run_that_was_stopped_is_in_the_history_at_once(here: Path) -> None:
    (here / "last_run.json").write_text(outcome("stopped").to_json())
    stopped = PastRun("a", "2024-06-01T12:00:00Z", 3605.0, "stopped")
    assert read_history(here) == [stopped]
    keep_interrupted(here, outcome("stopped"))
    (here / "last_run.json").unlink()
    assert read_history(here) == [stopped]


def test_a_file_that_is_missing_or_damaged_is_begun_again_and_nothing_is_built(
    ran: Project,
) -> None:
    path = ran.reports / "history.csv"
    whole = path.read_bytes()
    path.write_bytes(b"\x00\xff\n" + whole)
    assert ran.passes("AllReports").built == []
    (run,) = read_history(ran.reports)
    assert (run.status, run.built, run.log_records) == ("succeeded", 0, 13)
    path.unlink()
    assert ran.tasks("status", "-q").status == 0
    (ran.reports / "last_run.json").unlink()
    assert ran.tasks("history").out == "No run is recorded yet.\n"


@pytest.mark.parametrize("odd", ["\x00", "succeeded,,", ",nan", ",-1", ",1,2,3,x", ",1\n\n\x1b"])
def test_lines_that_cannot_be_read_are_left_out(here: Path, odd: str) -> None:
    keep_run(here, outcome("failed"), 1.26)
    path = here / "history.csv"
    path.write_text(f"{path.read_text()}b,2024-06-01T12:00:00Z{odd}\n")
    keep_run(here, outcome("failed", "c"), 0)
    first, last = read_history(here)
    assert first == PastRun("a", "2024-06-01T12:00:00Z", 1.3, "failed", 2, 0, 1)
    assert last == first._replace(run="c", seconds=0.0)
    assert len(path.read_text().splitlines()) == 3


def test_the_oldest_runs_are_removed(here: Path) -> None:
    keep_run(here, outcome("failed", "0"), 1)
    path = here / "history.csv"
    line = path.read_text().splitlines()[1]
    more = "".join(f"{number}{line[1:]}\n" for number in range(1, KEPT_RUNS + 10))
    path.write_text(path.read_text() + more)
    keep_run(here, outcome("failed", "last"), 1)
    runs = [run.run for run in read_history(here)]
    assert (len(runs), runs[0], runs[-1]) == (KEPT_RUNS, "11", "last")


def test_a_folder_that_cannot_be_written_to_is_no_error(here: Path) -> None:
    (here / "history.csv").mkdir()
    keep_run(here, outcome("failed"), 1)
    assert read_history(here) == []
    keep_run(here / "missing", outcome("failed"), 1)


WRITER = """
import sys
from pathlib import Path
from tasks.run.history import keep_run
from tasks.run.outcome import Outcome

for number in range(40):
    run = f"{sys.argv[1]}{number}"
    keep_run(Path("reports"), Outcome(run, "failed", 1, 1, "2024-06-01", "2024-06-01", {}, []), 1)
"""


def test_no_line_is_lost_if_runs_end_at_once_and_readers_see_whole_files(here: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, name]) for name in "xyz"]
    seen = [0]
    while any(writer.poll() is None for writer in writers):
        seen.append(len(read_history(here)))
    assert seen == sorted(seen)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(read_history(here)) == 120
