"""What a person sees of a run: on a terminal, in a pipe, in the log files."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyte
import pytest
from luigi.task import flatten

from tasks.freshness.task import walk
from tasks.graph import AllReports
from tasks.run.logs import KEPT, MAX_BYTES, put_aside
from tests.conftest import Project

GRAPH = walk(AllReports())
BEHIND_POINT = {"CsvToParquet:POINT"}
for task in GRAPH:  # Requirements first.
    if any(required.label in BEHIND_POINT for required in flatten(task.requires())):
        BEHIND_POINT.add(task.label)
NOT_RUN = len(BEHIND_POINT) - 1
BUILT = len(GRAPH) - 1 - NOT_RUN

LINES, COLUMNS = 60, 100

SLOW = """
import logging, os, signal, sys, time
from luigi.cmdline import luigi_run
from tasks.graph import CsvToParquet

logger = logging.getLogger('pipeline')
real = CsvToParquet.build_part

def build_part(self, part, out, threads):
    if self.table == "POINT":
        time.sleep(0.2)  # Not everything is shown that is told in between.
        self.progress.advance(self.part_size(part) // 2, 4)
        {slow}
    real(self, part, out, threads)

CsvToParquet.build_part = build_part
luigi_run(sys.argv[1:])
"""
RUN = ("--module", "tasks", "AllReports", "--local-scheduler")
WAIT = "time.sleep(2.5)"


def without_warnings(project: Project) -> None:
    """Accept the sentinels of the miniature files, of which runs warn otherwise."""
    with (project.folder / "luigi.cfg").open("a", encoding="utf-8") as stream:
        stream.write("[source defaults]\nmax_sentinels = 0.2\n")


def slowly(project: Project, slow: str = WAIT) -> list[str]:
    """A command that runs everything, with something done in the middle of staging POINT."""
    (project.folder / "slow.py").write_text(SLOW.format(slow=slow))
    return [sys.executable, "slow.py", *RUN]


@dataclass
class Seen:
    """What a command showed on a terminal.

    Attributes:
        status: Its exit status, as `subprocess` has it.
        raw: All that it wrote.
        screens: The lines on the screen, again and again while it ran.
        lines: All lines that stand there at the end.
        cursor_is_hidden: At the end.
    """

    status: int
    raw: bytes
    screens: list[list[str]]
    lines: list[str]
    cursor_is_hidden: bool

    @property
    def bars(self) -> list[str]:
        """All that stood on the screen with a bar in it."""
        return [line for lines in self.screens for line in lines if "━" in line]


def on_terminal(
    project: Project,
    command: list[str],
    environment: Mapping[str, str] | None = None,
    *,
    interrupt_at: str = "",
    columns: int = COLUMNS,
) -> Seen:
    """Run a command on a terminal.

    Args:
        project: Where.
        command: What.
        environment: What else stands in the environment.
        interrupt_at: Ctrl-C is pressed when this is on the screen.
        columns: How wide the terminal is.
    """
    screen = pyte.HistoryScreen(columns, LINES, history=100_000)
    stream = pyte.ByteStream(screen)
    settings = project.environment({"TERM": "xterm-256color", **(environment or {})})
    process, ours = pty.fork()
    if process == 0:
        os.chdir(project.folder)
        os.execvpe(command[0], command, settings)
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    raw, screens, interrupted = b"", [[""]], False
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.05)[0]:
            try:
                read = os.read(ours, 65_536)
            except OSError:  # Nobody has it open any more.
                break
            if not read:
                break
            raw += read
            stream.feed(read)
            screens.append([line.rstrip() for line in screen.display if line.strip()])
        if interrupt_at and not interrupted and any(interrupt_at in line for line in screens[-1]):
            os.write(ours, b"\x03")
            interrupted = True
    os.close(ours)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    above = ["".join(row[x].data for x in range(columns)).rstrip() for row in screen.history.top]
    lines = [*above, *(line.rstrip() for line in screen.display)]
    while lines and not lines[-1]:
        lines.pop()
    return Seen(status, raw, screens, lines, screen.cursor.hidden)


# --- on a terminal ---------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_takes_long_has_a_bar_that_is_gone_at_the_end(project: Project, workers: str) -> None:
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
    assert seen.lines[tables - 2].endswith(f"INFO {len(GRAPH)} tasks: {len(GRAPH)} built.")
    assert seen.lines[-1] == "  logs        logs/"
    loaded = [line.split()[3] for line in seen.lines[:tables] if " Loaded " in line]
    assert len(loaded) == len(set(loaded)) == 12


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


def test_with_colour_there_is_some(project: Project) -> None:
    seen = on_terminal(project, slowly(project), {"NO_COLOR": ""})
    assert re.findall(rb"\x1b\[[0-9;]*m", seen.raw) != []


@pytest.mark.parametrize(
    "environment", [{"CI": "true"}, pytest.param({"TERM": "dumb"}, marks=pytest.mark.soak)]
)
def test_where_no_cursor_can_be_moved_lines_are_plain(
    project: Project, environment: dict[str, str]
) -> None:
    seen = on_terminal(project, slowly(project), environment)
    assert seen.status == 0
    assert b"\x1b" not in seen.raw
    assert "Loaded POINT: 8 rows, 3 columns" in "\n".join(seen.lines)


@pytest.mark.soak
def test_lines_of_several_processes_are_not_torn(project: Project) -> None:
    # Far longer than what a system writes to a pipe in one piece.
    chatter = (
        "[logger.warning('%s', chr(10).join(f'{mark} line {line} ' + 'xyz' * 100"
        " for line in range(40))) for turn in range(10) for mark in [f'{self.table}.{turn}']]"
    )
    command = slowly(project, f"time.sleep(1.2); {chatter}; time.sleep(0.5)")
    script = project.folder / "slow.py"
    script.write_text(script.read_text().replace('if self.table == "POINT"', "if True"))
    seen = on_terminal(project, [*command, "--workers", "4"], columns=400)
    assert seen.status == 0
    told = [line for line in seen.lines if "xyz" in line]
    pattern = re.compile(rf"(?:\d\d:\d\d:\d\d WARNING )?(\w+\.\d+) line (\d+) {'xyz' * 100}")
    found = [match.groups() for line in told if (match := pattern.fullmatch(line))]
    assert len(found) == len(told) == 7 * 10 * 40
    for first in range(0, len(found), 40):  # The lines of each text stand together.
        mark = found[first][0]
        assert found[first : first + 40] == [(mark, str(line)) for line in range(40)]


def test_what_a_task_writes_itself_stands_above_the_bars(project: Project) -> None:
    seen = on_terminal(project, slowly(project, f"{WAIT}; print('my own line', file=sys.stderr)"))
    assert seen.status == 0
    assert "my own line" in seen.lines


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_interruption_leaves_the_terminal_as_it_was(
    project: Project, tmp_path: Path, workers: str
) -> None:
    (tmp_path / "tmp").mkdir()
    seen = on_terminal(
        project,
        [*slowly(project, "time.sleep(10)"), "--workers", workers],
        {"TMPDIR": str(tmp_path / "tmp")},
        interrupt_at="staging, 4 rows",
    )
    assert seen.status != 0
    text = "\n".join(seen.lines)
    assert "Traceback" not in text
    assert "WARNING Interrupted. What is done stays; the next run does the rest." in text
    assert "━" not in text
    assert not seen.cursor_is_hidden
    assert list((tmp_path / "tmp").glob("pipeline-*")) == []
    assert project.luigi("AllReports").status == 0


def test_the_process_of_a_task_says_nothing_of_an_interruption(project: Project) -> None:
    (project.folder / "interrupted.py").write_text(
        "import multiprocessing, sys, types\n"
        "from tasks.run.terminal import RunningTask\n"
        "def work():\n"
        "    with RunningTask(types.SimpleNamespace(task='POINT')):\n"
        "        raise KeyboardInterrupt\n"
        "process = multiprocessing.get_context('fork').Process(target=work)\n"
        "process.start()\n"
        "process.join()\n"
        "sys.exit(process.exitcode)\n"
    )
    result = project.run(sys.executable, "interrupted.py")
    assert (result.status, result.err) == (130, "")


# --- failures --------------------------------------------------------------------------------

REFUSED = f"""\
1 task failed; {NOT_RUN} did not run because of it:

CsvToParquet:POINT
POINT.csv: 1 of 8 rows cannot be read as declared; at most 1.0% may be rejected. Nothing was \
replaced.
  1 x point_id is not an integer
  the first of them:
  line 9: point_id is not an integer: 'x': 'x,105,01.08'
Fix the file.
Or accept the loss, in [POINT]: max_rejected = 0.125
"""


def test_an_error_is_the_last_thing_in_full_and_once(project: Project, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    project.edit("POINT.csv", "1007,105", "x,105")
    result = project.luigi("AllReports", env={"TMPDIR": str(tmp_path / "tmp")})
    assert result.status == 30
    assert result.err.endswith(f"\n\n{REFUSED}")
    assert result.err.count("cannot be read as declared") == 1
    assert re.search(r"^\d\d:\d\d:\d\d ERROR CsvToParquet:POINT failed$", result.err, re.MULTILINE)
    assert (
        f"INFO {len(GRAPH)} tasks: {BUILT} built, 1 failed, {NOT_RUN} did not run.\n" in result.err
    )
    assert list((tmp_path / "tmp").glob("pipeline-*")) == []


def test_an_error_is_the_last_thing_on_a_terminal(project: Project) -> None:
    project.edit("POINT.csv", "1007,105", "x,105")
    seen = on_terminal(project, slowly(project), columns=200)
    assert seen.status == 30
    assert "\n".join(seen.lines).endswith(f"\n\n{REFUSED.rstrip()}")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_unexpected_error_is_told_in_a_line_and_its_traceback_is_in_the_log(
    project: Project, workers: str
) -> None:
    result = project.run(*slowly(project, "1 / 0"), "--workers", workers)
    assert result.status == 30
    assert result.err.endswith(
        "CsvToParquet:POINT\nZeroDivisionError: division by zero\n"
        "The traceback is in logs/pipeline.log.\n"
    )
    assert result.err.count("division by zero") == 1
    assert "Traceback" not in result.err
    assert 'slow.py", line 13, in build_part\n    1 / 0\n' in result.log


def test_a_failure_in_a_process_that_was_spawned_is_told_last(project: Project) -> None:
    project.edit("POINT.csv", "1007,105", "x,105")
    (project.folder / "spawn.py").write_text(
        "import multiprocessing, sys\n"
        "from luigi.cmdline import luigi_run\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.set_start_method('spawn')\n"
        "    luigi_run(sys.argv[1:])\n"
    )
    result = project.run(sys.executable, "spawn.py", *RUN, "--workers", "2")
    assert result.status == 30
    assert result.err.endswith(f"\n\n{REFUSED}")


def test_without_room_for_notes_a_failure_is_told_at_once(project: Project) -> None:
    command = slowly(project, "os.environ['PIPELINE_OUTCOME'] = '/dev/full'; 1 / 0")
    result = project.run(*command)
    assert result.status == 30
    assert "ZeroDivisionError: division by zero" in result.err


def test_without_a_log_the_traceback_is_shown(project: Project) -> None:
    (project.folder / "logs").write_text("a file where a folder should be")
    result = project.run(*slowly(project, "1 / 0"))
    assert result.status == 30
    assert result.err.endswith("ZeroDivisionError: division by zero\n")
    assert result.err.count("Traceback (most recent call last)") == 1


def test_a_task_whose_process_is_killed_is_told(project: Project) -> None:
    result = project.run(*slowly(project, "os.kill(os.getpid(), signal.SIGKILL)"), "--workers", "2")
    assert result.status == 30
    assert result.err.endswith(
        f"\n1 task failed; {NOT_RUN} did not run because of it:\n\nCsvToParquet:POINT\n"
        "Task CsvToParquet:POINT died unexpectedly with exit code -9 (SIGKILL).\n"
        "Was there too little memory? Nothing was replaced; run again.\n"
    )


def test_a_task_that_cannot_be_scheduled_is_told_last(ran: Project) -> None:
    result = ran.luigi("AllReports", env={"PIPELINE_MAX_REJECTED": "x"})
    assert result.status == 35
    assert result.err.endswith(
        "\n1 task failed:\n\nAllReports\n"
        "luigi.cfg: section [pipeline]: max_rejected = x is not a share: a number from 0 to 1, "
        "such as 0.01.\n"
    )
    assert result.err.count("is not a share") == 1


def test_wrong_arguments_are_told(project: Project) -> None:
    result = project.luigi("CsvToParquet")
    assert result.status == 40
    assert "requires the 'table' parameter to be set" in result.err.splitlines()[-2]


def test_a_scheduler_that_is_not_there_is_told(project: Project, unused_port: object) -> None:
    assert callable(unused_port)
    config = project.folder / "luigi.cfg"
    text = config.read_text().replace("[core]", "[core]\nrpc-retry-attempts = 1")
    config.write_text(text)
    port = str(unused_port())
    result = project.run("luigi", *RUN[:-1], "--scheduler-port", port)
    assert result.status == 40
    assert "Traceback" not in result.err
    assert "Logging error" not in result.err
    assert f"'http://localhost:{port}'" in result.err.splitlines()[-2]


def test_what_a_file_holds_moves_no_cursor(project: Project) -> None:
    project.edit("POINT.csv", "point_id", "\x1b[2Jpoint")
    result = project.luigi("AllReports")
    assert result.status == 30
    assert "point" in result.err
    assert "\x1b" not in result.err


# --- in a pipe -------------------------------------------------------------------------------


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


# --- warnings --------------------------------------------------------------------------------


def test_a_run_ends_with_its_warnings_whose_lines_can_be_pasted(project: Project) -> None:
    log = project.data / "LOG_RCD_F.csv"
    rows = [f"1;2024-06-02 00:0{n}:30;2024-06-01 00:0{n}:00;{n}" for n in range(9)]
    log.write_text("\n".join(["point_log_inst_id;created_at;sample_time;value", *rows, ""]))
    result = project.luigi("AllReports")
    assert result.status == 0, result.err
    lines = (
        "[LOG_RCD_F]\n"  # At the edge, so that they can be copied.
        "recorded_at = sample_time\n"
    )
    assert result.out.endswith(
        "\n  logs        logs/\n"
        "\n"
        "Warnings\n"
        "  Lines of a section that luigi.cfg has already belong below its name there.\n"
        "  LOG_RCD_B: 1 of 5 values are sentinels in place of a number (20.0%, max_sentinels is "
        "5.0%): NO\n"
        "     DATA (1)\n"
        "  LOG_RCD_F: recorded_at was guessed from created_at, which is named like the time at "
        "which the row\n"
        "     was written:\n" + lines
    )
    with (project.folder / "luigi.cfg").open("a", encoding="utf-8") as stream:
        stream.write(lines)
    without_warnings(project)
    result = project.luigi("AllReports")
    assert result.status == 0, result.err
    assert result.out.endswith("\n  logs        logs/\n")
    ((first,),) = project.query("SELECT min(recorded_at) FROM fact_logs WHERE log_kind = 'F'")
    assert first == "2024-06-01 00:00:00.000000"


def test_a_warning_moves_no_cursor_on_the_console(project: Project) -> None:
    log = project.data / "LOG_RCD_F.csv"
    log.write_text(
        "point_log_inst_id,created\x1b[2J,value\n1,2024-06-01 00:00,1\n1,2024-06-01 00:01,2\n"
    )
    with (project.folder / "luigi.cfg").open("a", encoding="utf-8") as stream:
        stream.write("[LOG_RCD_B]\nmax_sentinels = 1\n")
    result = project.luigi("AllReports")
    assert result.status == 0, result.err
    assert "LOG_RCD_F: no column was recognised as recorded_at" in result.out
    assert "\x1b" not in result.out + result.err


# --- in logs/ --------------------------------------------------------------------------------

LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \d+ (DEBUG|INFO|WARNING|ERROR) \S+: ")


def test_the_log_has_luigis_lines_and_ours(project: Project) -> None:
    result = project.luigi("CsvToParquet", "--table", "POINT")
    assert result.status == 0
    text = project.log_file.read_text()
    assert "running   CsvToParquet:POINT" in text
    assert "===== Luigi Execution Summary =====" in text
    assert "INFO pipeline: Loaded POINT: 8 rows, 3 columns" in text
    assert "running" not in result.err


def test_two_runs_at_once_write_whole_lines(project: Project) -> None:
    runs = [
        subprocess.Popen(
            ["luigi", "--module", "tasks", "EnrichedLogs", "--local-scheduler"],
            cwd=project.folder,
            env=project.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    shown = [run.communicate(timeout=120)[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], shown
    for err in shown:
        summary = err.splitlines()[-1].split(" INFO ")[1]
        assert re.match(r"\d+ tasks: |Everything is up to date", summary)
    lines = project.log_file.read_text().splitlines()
    assert sum("Done scheduling tasks" in line for line in lines) == 2
    told = [line for line in lines if line and not line.startswith(("*", "    ", "=", "This "))]
    assert [line for line in told if not LOGGED.match(line)] == [
        line for line in told if line.startswith(("Scheduled ", "Did not run "))
    ]


def test_the_logs_folder_can_be_elsewhere(project: Project) -> None:
    result = project.luigi("CheckSources", env={"PIPELINE_LOGS_DIR": "elsewhere/mine"})
    assert result.status == 0
    assert (project.folder / "elsewhere" / "mine" / "pipeline.log").exists()
    assert not project.log_file.exists()


def test_a_log_that_cannot_be_written_is_told_once_and_stops_nothing(project: Project) -> None:
    (project.folder / "logs").write_text("a file where a folder should be")
    result = project.luigi("AllReports")
    assert result.status == 0
    assert result.err.count("The log cannot be written, the run goes on without: ") == 1


def test_a_large_log_is_put_aside_when_a_run_starts(project: Project) -> None:
    project.log_file.parent.mkdir()
    project.log_file.write_bytes(b"x" * (MAX_BYTES + 1))
    assert project.luigi("CheckSources").status == 0
    assert project.log_file.with_name("pipeline.log.1").stat().st_size == MAX_BYTES + 1
    assert 0 < project.log_file.stat().st_size < MAX_BYTES


def test_so_many_old_logs_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.log"
    for turn in range(KEPT + 3):
        path.write_bytes(b"%03d" % turn + b"x" * MAX_BYTES)
        put_aside(path)
    kept = {old.name: old.read_bytes()[:3] for old in tmp_path.glob("pipeline.log.*")}
    assert kept == {f"pipeline.log.{age}": b"%03d" % (KEPT + 3 - age) for age in range(1, KEPT + 1)}
    path.write_bytes(b"small")
    put_aside(path)
    assert path.read_bytes() == b"small"


def test_the_central_scheduler_does_not_write_into_the_log_of_the_runs(
    project: Project, unused_port: object
) -> None:
    assert callable(unused_port)
    config = project.folder / "luigi.cfg"
    logging = "[core]\nlogging_conf_file = config/logging.cfg"
    config.write_text(config.read_text().replace("[core]", logging))
    server = subprocess.Popen(
        ["luigid", "--address", "127.0.0.1", "--port", str(unused_port()), "--state-path", "state"],
        cwd=project.folder,
        env=project.environment(),
        stderr=subprocess.PIPE,
    )
    time.sleep(2)
    server.terminate()
    _, err = server.communicate(timeout=20)
    assert b"Traceback" not in err
    assert not project.log_file.exists()
