"""What a person sees of a run while it lasts: on a terminal, in a pipe."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path

import pytest

from tasks.freshness.task import walk
from tasks.graph import AllReports
from tasks.run.terminal import Terminal
from tests.conftest import Project, unwrapped
from tests.terminal import RUN, STAGING, WAIT, on_terminal, slowly, without_warnings

pytestmark = pytest.mark.usefixtures("processes")


@pytest.mark.soak
@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_takes_long_has_a_bar_that_is_removed_at_the_end(
    project: Project, workers: str
) -> None:
    without_warnings(project)
    seen = on_terminal(project, [*slowly(project), "--workers", workers])
    assert seen.status == 0, seen.lines
    assert any("CsvToParquet:POINT" in bar and "staging, 4 rows" in bar for bar in seen.bars)
    assert any(re.search(r"\b5\d%", bar) for bar in seen.bars)
    assert not any("━" in line for line in seen.lines)
    assert not seen.cursor_is_hidden
    assert b"\x1b[?25l" not in seen.raw  # Who would show it if the run is killed?
    tables = seen.lines.index("Source files")
    assert seen.lines[tables - 1] == ""
    for line in seen.lines[: tables - 1]:
        assert re.match(r"\d\d:\d\d:\d\d INFO \S", line), line
    every = len(walk(AllReports()))
    assert seen.lines[-3].startswith(f"{every} tasks: {every} built. It took ")
    assert seen.lines[-1] == "The page with the details: reports/index.html"
    loaded = [
        line.split()[3] for line in seen.lines[:tables] if re.search(" (Staged|Loaded) ", line)
    ]
    assert len(loaded) == len(set(loaded)) == 13


def test_a_run_with_nothing_to_do_shows_no_bars_and_loads_nothing_for_them(ran: Project) -> None:
    seen = on_terminal(ran, ["luigi", *RUN], {"PYTHONPROFILEIMPORTTIME": "1"})
    assert seen.status == 0
    assert any("Everything is up to date." in line for line in seen.lines)
    assert any("import time:" in line and "tasks.run.terminal" in line for line in seen.lines)
    assert not any(re.search(r"import time:.*\|\s*rich\b", line) for line in seen.lines)
    assert b"\x1b" not in seen.raw


@pytest.mark.soak
def test_without_colour_bars_still_move(project: Project) -> None:
    seen = on_terminal(project, slowly(project), {"NO_COLOR": "1"})
    assert seen.status == 0
    assert seen.bars
    assert re.findall(rb"\x1b\[[0-9;]*m", seen.raw) == []


@pytest.mark.soak
def test_with_colour_there_is_some(project: Project) -> None:
    seen = on_terminal(project, slowly(project, run=STAGING), {"NO_COLOR": ""})
    assert re.findall(rb"\x1b\[[0-9;]*m", seen.raw) != []


@pytest.mark.parametrize(
    "environment", [{"CI": "true"}, pytest.param({"TERM": "dumb"}, marks=pytest.mark.soak)]
)
def test_where_no_cursor_can_be_moved_lines_are_plain(
    project: Project, environment: dict[str, str]
) -> None:
    seen = on_terminal(project, slowly(project, run=STAGING), environment)
    assert seen.status == 0
    assert b"\x1b" not in seen.raw
    assert "Staged POINT: 8 rows, 3 columns" in "\n".join(seen.lines)


@pytest.mark.soak
def test_lines_of_several_processes_are_not_torn(project: Project) -> None:
    # Far longer than what a system writes to a pipe in one piece.
    chatter = (
        "[logger.warning('%s', chr(10).join(f'{mark} line {line} ' + 'xyz' * 100"
        " for line in range(40))) for turn in range(10) for mark in [f'{self.table}.{turn}']]"
    )
    command = slowly(project, f"time.sleep(1.2); {chatter}; time.sleep(0.5)")
    script = project.folder / "luigi"
    script.write_text(script.read_text().replace('if self.table == "POINT"', "if True"))
    seen = on_terminal(project, [*command, "--workers", "4"], columns=400)
    assert seen.status == 0
    lines = unwrapped("\n".join(seen.lines)).splitlines()
    reported = [line for line in lines if "xyz" in line]
    pattern = re.compile(rf"(?:\d\d:\d\d:\d\d WARNING )?(\w+\.\d+) line (\d+) {'xyz' * 100}")
    found = [match.groups() for line in reported if (match := pattern.fullmatch(line))]
    assert len(found) == len(reported) == 7 * 10 * 40
    for first in range(0, len(found), 40):  # The lines of each text are together.
        mark = found[first][0]
        assert found[first : first + 40] == [(mark, str(line)) for line in range(40)]


@pytest.mark.soak
def test_what_a_task_writes_itself_is_above_the_bars(project: Project) -> None:
    slow = f"{WAIT}; print('my own line', file=sys.stderr)"
    seen = on_terminal(project, slowly(project, slow, STAGING))
    assert seen.status == 0
    assert "my own line" in seen.lines


@pytest.mark.soak
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_interruption_leaves_the_terminal_as_it_was(project: Project, workers: str) -> None:
    command = [*slowly(project, "time.sleep(600)"), "--workers", workers]
    seen = on_terminal(project, command, interrupt_at="staging, 4 rows")
    assert seen.status == 130
    assert seen.lines[-1] == "Stopped by SIGINT. What is done stays; run again to go on."
    text = "\n".join(seen.lines)
    assert "Traceback" not in text
    assert "failed" not in text
    assert "━" not in text
    assert not seen.cursor_is_hidden
    assert project.luigi("AllReports").status == 0


def test_no_line_is_lost_however_long_or_late(tmp_path: Path) -> None:
    path = tmp_path / "shown"
    long = "x" * 300_000
    with path.open("w", encoding="utf-8") as stream:
        terminal = Terminal(stream)
        terminal.write("not ")
        terminal.write(f"torn\n{long}\n")
        terminal.finish()
        terminal.write("late\n")
    assert sorted(path.read_text().splitlines()) == sorted(["not torn", long, "late"])


def test_a_bar_never_waits_for_the_terminal() -> None:
    reader, writer = os.pipe()  # Until it is read it is full after 64 kB, as if Ctrl-S was pressed.
    with os.fdopen(reader) as screen, os.fdopen(writer, "w") as stream:
        terminal = Terminal(stream)
        for _ in range(10):
            terminal.write(f"{'x' * 10_000}\n")
        begun = time.monotonic()
        for number in range(1_000):
            terminal.show_bar("POINT", "staging", number, 1_000)
        assert time.monotonic() - begun < 1
        reading = threading.Thread(target=screen.read)
        reading.start()
        terminal.finish()
        stream.close()
        reading.join()


def test_in_a_pipe_there_are_plain_lines(project: Project) -> None:
    without_warnings(project)
    result = project.run(*slowly(project), env={"FORCE_COLOR": "1", "TERM": "xterm-256color"})
    assert result.status == 0
    for text in (result.out, result.err):
        assert "\x1b" not in text
        assert "\r" not in text
    for line in result.err.splitlines():
        assert re.match(r"\d\d:\d\d:\d\d INFO \S", line), line
    assert "Luigi" not in result.err
    assert result.out.count("Source files") == 1
