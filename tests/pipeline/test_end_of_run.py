"""What a person sees of a run at its end: failures, warnings, the log files."""

from __future__ import annotations

import re
import subprocess
import time

import pytest
from luigi.task import flatten

from tasks.freshness.task import walk
from tasks.graph import AllReports
from tasks.run.logs import KEPT
from tests.conftest import Project
from tests.runs import soak
from tests.terminal import RUN, on_terminal, slowly, spawning, without_warnings
from tests.ui import find_unused_port

GRAPH = walk(AllReports())
BEHIND_POINT = {"CsvToParquet:POINT"}
for task in GRAPH:  # Requirements first.
    if any(required.label in BEHIND_POINT for required in flatten(task.requires())):
        BEHIND_POINT.add(task.label)
NOT_RUN = len(BEHIND_POINT) - 1
BUILT = len(GRAPH) - 1 - NOT_RUN

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


@pytest.mark.usefixtures("processes")
def test_an_error_is_the_last_thing_in_full_and_once(project: Project) -> None:
    project.edit("POINT.csv", "1007,105", "x,105")
    result = project.fails("AllReports")
    assert result.err.endswith(f"\n\n{REFUSED}")
    assert result.err.count("cannot be read as declared") == 1
    assert not (project.staging / "POINT.parquet").exists()
    assert not project.database.exists()
    assert re.search(r"^\d\d:\d\d:\d\d ERROR CsvToParquet:POINT failed$", result.err, re.MULTILINE)
    counts = f"{len(GRAPH)} tasks: {BUILT} built, 1 failed, {NOT_RUN} did not run"
    assert re.search(rf" INFO {counts}\. It took \d+\.\d s\.\n", result.err)


def test_an_error_is_the_last_thing_on_a_terminal(project: Project) -> None:
    project.edit("POINT.csv", "1007,105", "x,105")
    seen = on_terminal(project, slowly(project, "pass"), columns=200)
    assert seen.status == 30
    assert "\n".join(seen.lines).endswith(f"\n\n{REFUSED.rstrip()}")


@pytest.mark.parametrize("workers", [soak("1"), "2"])
def test_an_unexpected_error_is_shown_in_a_line_and_its_traceback_is_in_the_log(
    project: Project, workers: str
) -> None:
    result = project.run(*slowly(project, "1 / 0"), "--workers", workers)
    assert result.status == 30
    (log,) = project.log_files()
    assert result.err.endswith(
        "CsvToParquet:POINT\nZeroDivisionError: division by zero\n"
        f"The traceback is in {log.relative_to(project.folder)}.\n"
    )
    assert result.err.count("division by zero") == 1
    assert "Traceback" not in result.err
    assert 'luigi", line 13, in build_partition\n    1 / 0\n' in result.log


@pytest.mark.soak
def test_a_failure_in_a_process_that_was_spawned_is_reported_last(project: Project) -> None:
    project.edit("POINT.csv", "1007,105", "x,105")
    result = project.run(*spawning(project), "--workers", "2")
    assert result.status == 30
    assert result.err.endswith(f"\n\n{REFUSED}")


def test_a_failure_that_cannot_be_recorded_is_reported_at_once(project: Project) -> None:
    command = slowly(project, "os.environ['PIPELINE_STAGING_DIR'] = '/dev/null'; 1 / 0")
    result = project.run(*command)
    assert result.status == 30
    assert "ZeroDivisionError: division by zero" in result.err


def test_without_a_log_the_traceback_is_shown(project: Project) -> None:
    (project.folder / "logs").write_text("a file where a folder should be")
    result = project.run(*slowly(project, "1 / 0"))
    assert result.status == 30
    assert result.err.endswith("ZeroDivisionError: division by zero\n")
    assert result.err.count("Traceback (most recent call last)") == 1


def test_a_task_whose_process_is_killed_is_reported(project: Project) -> None:
    result = project.run(*slowly(project, "os.kill(os.getpid(), signal.SIGKILL)"), "--workers", "2")
    assert result.status == 30
    assert result.err.endswith(
        f"\n1 task failed; {NOT_RUN} did not run because of it:\n\nCsvToParquet:POINT\n"
        "Task CsvToParquet:POINT died unexpectedly with exit code -9 (SIGKILL).\n"
        "Was there too little memory? Nothing was replaced; run again.\n"
    )


def test_a_task_that_cannot_be_scheduled_is_reported_last(ran: Project) -> None:
    result = ran.fails("AllReports", env={"PIPELINE_MAX_REJECTED": "x"}, status=35)
    assert result.err.endswith(
        "\n1 task failed:\n\nAllReports\n"
        "luigi.cfg: section [pipeline]: max_rejected = x is not a share: a number from 0 to 1, "
        "such as 0.01.\n"
    )
    assert result.err.count("is not a share") == 1


def test_wrong_arguments_are_reported(project: Project) -> None:
    result = project.fails("CsvToParquet", status=40)
    assert "requires the 'table' parameter to be set" in result.err.splitlines()[-2]


def core_setting(project: Project, line: str) -> None:
    path = project.folder / "luigi.cfg"
    path.write_text(path.read_text().replace("[core]", f"[core]\n{line}"))


def test_a_scheduler_that_does_not_exist_is_reported(project: Project) -> None:
    core_setting(project, "rpc-retry-attempts = 1")
    port = str(find_unused_port())
    result = project.run("luigi", *RUN[:-1], "--scheduler-port", port)
    assert result.status == 40
    assert "Traceback" not in result.err
    assert "Logging error" not in result.err
    assert f"'http://localhost:{port}'" in result.err.splitlines()[-2]


def test_what_a_file_holds_moves_no_cursor(project: Project) -> None:
    project.edit("POINT.csv", "point_id", "\x1b[2Jpoint")
    result = project.fails("AllReports")
    assert "point" in result.err
    assert "\x1b" not in result.err


def test_a_run_ends_with_its_warnings_whose_lines_can_be_pasted(project: Project) -> None:
    log = project.data / "LOG_RCD_F.csv"
    rows = [f"1;2024-06-02 00:0{n}:30;2024-06-01 00:0{n}:00;{n}" for n in range(9)]
    log.write_text("\n".join(["point_log_inst_id;created_at;sample_time;value", *rows, ""]))
    result = project.passes("AllReports")
    lines = (
        "[LOG_RCD_F]\n"  # At the edge, so that they can be copied.
        "recorded_at = sample_time\n"
    )
    assert (
        "\nWarnings\n"
        "  Lines of a section that luigi.cfg has already belong below its name there.\n"
        "  LOG_RCD_B: 1 of 5 values are sentinels in place of a number (20.0%,\n"
        "     max_sentinels is 5.0%): NO DATA (1)\n"
        "  LOG_RCD_F: recorded_at was guessed from created_at, which is named like the\n"
        f"     time at which the row was written:\n{lines}\nWhere everything is\n"
    ) in result.out
    project.configure(lines)
    without_warnings(project)
    result = project.passes("AllReports")
    assert "Warnings" not in result.out
    assert project.report("run.json")["warnings"] == []
    assert 'class="warnings"' not in project.report("index.html")
    ((first,),) = project.query("SELECT min(recorded_at) FROM fact_logs WHERE log_kind = 'F'")
    assert first == "2024-06-01 00:00:00.000000"


def test_a_warning_moves_no_cursor_on_the_console(project: Project) -> None:
    log = project.data / "LOG_RCD_F.csv"
    log.write_text(
        "point_log_inst_id,created\x1b[2J,value\n1,2024-06-01 00:00,1\n1,2024-06-01 00:01,2\n"
    )
    project.configure("[LOG_RCD_B]\nmax_sentinels = 1")
    result = project.passes("AllReports")
    assert "LOG_RCD_F: no column was recognised as recorded_at" in result.out
    assert "\x1b" not in result.out + result.err


def test_the_log_has_luigis_lines_and_ours(project: Project) -> None:
    result = project.passes("CsvToParquet", "--table", "POINT")
    text = project.log_file.read_text()
    assert "running   CsvToParquet:POINT" in text
    assert "===== Luigi Execution Summary =====" in text
    assert "INFO pipeline: Staged POINT: 8 rows, 3 columns" in text
    assert "running" not in result.err


def test_the_logs_folder_can_be_elsewhere(project: Project) -> None:
    project.passes("CheckSources", env={"PIPELINE_LOGS_DIR": "elsewhere/mine"})
    assert (project.folder / "elsewhere" / "mine" / "pipeline.log").exists()
    assert not project.log_file.exists()


@pytest.mark.usefixtures("processes")
def test_a_log_that_cannot_be_written_is_reported_once_and_stops_nothing(project: Project) -> None:
    (project.folder / "logs").write_text("a file where a folder should be")
    result = project.passes("AllReports")
    assert result.err.count("The log cannot be written, the run goes on without: ") == 1


def test_each_run_has_a_log_of_its_own_and_the_newest_ones_are_kept(project: Project) -> None:
    folder = project.log_file.parent
    folder.mkdir()
    old = [folder / f"pipeline-20240601T0000{second:02}Z-1.log" for second in range(KEPT)]
    for path in old:
        path.write_text("old")
    (folder / "mine.log").write_text("mine")
    assert project.luigi("CheckSources").status == 0
    (newest,) = project.log_files() - set(old)
    assert sorted(folder.iterdir()) == [folder / "mine.log", *old[1:], newest, project.log_file]
    assert project.log_file.read_text() == newest.read_text() != ""


def test_the_central_scheduler_does_not_write_into_the_log_of_the_runs(project: Project) -> None:
    core_setting(project, "logging_conf_file = config/logging.cfg")
    command = ("luigid", "--address", "127.0.0.1", "--state-path", "state", "--port")
    server = project.start(*command, str(find_unused_port()), stderr=subprocess.PIPE)
    time.sleep(2)
    server.terminate()
    _, err = server.communicate(timeout=20)
    assert "Traceback" not in err
    assert not project.log_file.exists()
