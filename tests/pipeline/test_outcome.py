"""How the last run ended: `last_run.json`, the first line of the page, `status`."""

from __future__ import annotations

import html
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tasks.run.hooks import run_hook
from tasks.run.outcome import Outcome, last_outcome
from tests.conftest import ALL_REPORTS, ROOT, Project, unwrapped
from tests.processes import PIPELINE, start
from tests.runs import soak
from tests.terminal import slowly
from tests.ui import LONGEST_WAIT_S, wait_for

SCHEMA = json.loads((ROOT / "docs" / "last_run.schema.json").read_text(encoding="utf-8"))
ENDLESS = "print('in it', flush=True, file=sys.stderr); time.sleep(600)"


def outcome(project: Project) -> dict[str, Any]:
    found = project.report("last_run.json")
    jsonschema.validate(found, SCHEMA)
    return dict(found)


def first_line(project: Project) -> str:
    """The line on the last run in the page, with the error; "" if it has none."""
    page = (project.reports / "index.html").read_text(encoding="utf-8")
    assert page.count("<!-- last run -->") == 1
    marked = page.partition("<!-- last run -->")[2].partition("<!-- end of last run -->")[0]
    return html.unescape(re.sub(r"<[^>]*>", "", marked))


def refuse(project: Project) -> None:
    """Have the next run fail."""
    project.edit("POINT.csv", "1007,105", "<b>,105")


def test_a_run_that_succeeds(ran: Project) -> None:
    found = outcome(ran)
    assert (found["status"], found["exit_code"], found["failures"]) == ("succeeded", 0, [])
    assert found["tasks"] == {"built": 31}
    assert found["began"] <= found["ended"]
    assert first_line(ran) == ""
    ran.passes("AllReports")
    assert outcome(ran)["tasks"] == {"fresh": 1}


@pytest.mark.usefixtures("processes")
def test_a_run_that_fails_is_named_on_the_page_until_one_succeeds(ran: Project) -> None:
    before = ran.outputs()
    refuse(ran)
    ran.fails("AllReports")
    found = outcome(ran)
    assert (found["status"], found["exit_code"]) == ("failed", 30)
    (failure,) = found["failures"]
    assert failure["task"] == "CsvToParquet:POINT"
    assert failure["error"].endswith("\nOr accept the loss, in [POINT]: max_rejected = 0.125")
    line = first_line(ran)
    assert line.startswith(
        f"The last run failed ({found['ended']}, exit status 30): CsvToParquet:POINT: POINT.csv: 1 "
    )
    assert " The figures below are of an earlier run." in line
    assert line.endswith("\nOr accept the loss, in [POINT]: max_rejected = 0.125")
    assert ran.tasks("status").out.splitlines()[-1] in line
    ran.passes("CsvToParquet", "--table", "APP_TYPE")  # The failure is still one.
    assert outcome(ran)["status"] == "succeeded"
    assert first_line(ran) == line

    ran.edit("POINT.csv", "<b>,105", "1007,105")
    result = ran.passes("AllReports")
    assert result.built == []  # The line is no change of the page.
    assert first_line(ran) == ""
    assert ran.outputs() == before
    assert "last run" not in ran.tasks("status").out


def test_an_error_cannot_break_the_page(ran: Project) -> None:
    ran.fails("AllReports", env={"PIPELINE_MAX_REJECTED": "<script>"}, status=35)
    page = (ran.reports / "index.html").read_text(encoding="utf-8")
    assert "max_rejected = &lt;script&gt; is not a share" in page


def test_a_run_that_cannot_be_scheduled(ran: Project) -> None:
    ran.fails("CsvToParquet", status=40)
    assert (outcome(ran)["status"], outcome(ran)["exit_code"]) == ("failed", 40)
    assert first_line(ran).startswith("The last run failed (")


@pytest.mark.parametrize("number", [signal.SIGTERM, soak(signal.SIGINT)])
def test_a_run_that_is_stopped(ran: Project, number: int) -> None:
    ran.edit("POINT.csv", "1007,105", "1007,101")
    started = start(ran, slowly(ran, ENDLESS))
    wait_for(lambda: "in it\n" in started.err, lambda: started.err)
    assert outcome(ran)["status"] == "running"
    assert "A run that began at " in ran.tasks("status").out
    started.send(number, whole_group=True, held=False)
    started.assert_stopped(number)
    found = outcome(ran)
    assert (found["status"], found["exit_code"]) == ("stopped", 128 + number)
    assert first_line(ran).startswith(f"The last run was stopped ({found['ended']}, exit status ")
    ran.passes("AllReports")
    assert first_line(ran) == ""


def test_a_run_that_is_killed_is_reported_by_the_next(ran: Project) -> None:
    ran.edit("POINT.csv", "1007,105", "1007,101")
    started = start(ran, slowly(ran, ENDLESS))
    wait_for(lambda: "in it\n" in started.err, lambda: started.err)
    started.send(signal.SIGKILL, whole_group=True, held=False)
    started.process.wait(LONGEST_WAIT_S)
    killed = f"was killed (process {started.process.pid})."
    assert ran.tasks("status").out.splitlines()[-1].endswith(killed)
    err = unwrapped(ran.passes("AllReports").err)
    assert re.search(rf"\d WARNING The run .*{re.escape(killed)} What it had not done", err)
    assert killed in ran.log_file.read_text()
    assert killed not in ran.passes("AllReports").err


def test_what_is_wrong_is_in_the_line_where_the_error_is_a_list(ran: Project) -> None:
    path = ran.data / "POINT.csv"
    path.write_text(path.read_text().replace("point_id", "number"))
    ran.fails("AllReports")
    assert "POINT" in first_line(ran).partition(" The figures below")[0]
    assert "number" in ran.tasks("status").out.splitlines()[-1]


def test_a_reader_that_ends_early_is_no_end_of_the_run(ran: Project) -> None:
    ran.run("bash", "-c", " ".join([*ALL_REPORTS, "2>&1 | true"]))
    assert outcome(ran)["status"] == "succeeded"


@pytest.mark.parametrize("odd", ["[]", '{"pid": "x"}', '{"pid": null}', '{"failures": [1]}', "x"])
def test_an_odd_file_says_nothing(tmp_path: Path, odd: str) -> None:
    known = Outcome("a", "running", 1, None, "2024-06-01T00:00:00Z", None, {}, [])
    path = tmp_path / "last_run.json"
    path.write_text(known.to_json())
    assert last_outcome(tmp_path) == known
    given = json.loads(odd) if odd.startswith("{") else {}
    path.write_text(json.dumps({**known._asdict(), **given}) if given else odd)
    assert last_outcome(tmp_path) is None


def test_a_file_that_cannot_be_written_or_read_is_no_failure(project: Project) -> None:
    (project.reports / "last_run.json").mkdir(parents=True)
    project.passes("CsvToParquet", "--table", "POINT")
    (project.reports / "last_run.json").rmdir()
    (project.reports / "last_run.json").write_text('{"status": 1}')
    assert project.tasks("status").status == 0
    project.passes("CsvToParquet", "--table", "POINT")
    assert outcome(project)["status"] == "succeeded"


def test_a_run_of_a_single_task_has_an_outcome_too(project: Project) -> None:
    project.passes("CsvToParquet", "--table", "POINT")
    assert outcome(project)["tasks"]["built"] == 2
    assert not (project.reports / "index.html").exists()


# --- the operator's commands -----------------------------------------------------------------


def hooks(project: Project, failed: str, succeeded: str = "tee succeeded.json") -> None:
    config = project.folder / "luigi.cfg"
    lines = f"on_failure = {failed}\non_success = {succeeded}\n"
    config.write_text(config.read_text().replace("[pipeline]\n", f"[pipeline]\n{lines}", 1))


def test_the_operators_commands_get_the_outcome(ran: Project) -> None:
    hooks(ran, """sh -c "cat > 'the failed.json'; exit 3" """)
    ran.passes("AllReports")
    assert (ran.folder / "succeeded.json").read_text() == (
        ran.reports / "last_run.json"
    ).read_text()
    refuse(ran)
    result = ran.fails("AllReports")
    assert "\nOr accept the loss, in [POINT]: max_rejected = 0.125\n" in result.err
    assert " WARNING on_failure ended with exit status 3\n" in result.err
    assert json.loads((ran.folder / "the failed.json").read_text()) == outcome(ran)


@pytest.mark.parametrize(
    ("command", "warning"),
    [
        ("no-such-program token=secret", "on_failure cannot be run: [Errno 2] "),
        ("sh -c 'echo no mail >&2; exit 3'", "on_failure ended with exit status 3: no mail"),
        ("sh -c 'x", "on_failure cannot be run: No closing quotation"),
    ],
)
def test_a_command_that_fails_is_reported(
    caplog: pytest.LogCaptureFixture, command: str, warning: str
) -> None:
    run_hook("on_failure", command, "")
    (message,) = caplog.messages
    assert message.startswith(warning)
    assert "secret" not in message


def test_a_command_that_does_not_end_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command = f"sh -c 'sleep 600 & echo $! > {tmp_path}/pid; wait; true'"
    run_hook("on_failure", command, "", limit_s=1)
    assert caplog.messages == ["on_failure was killed after 1 seconds"]
    wait_for(
        lambda: (
            not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/cmdline").exists()
            or not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/cmdline").read_bytes()
        )
    )


def test_what_a_command_leaves_running_is_not_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_hook("on_failure", "sh -c 'sleep 3 & exit 0'", "", limit_s=2)
    assert caplog.messages == []


def test_a_command_is_run_if_the_settings_cannot_be_used(ran: Project) -> None:
    hooks(ran, "touch failed.txt\nmisspelt = 1")
    ran.fails("AllReports", status=35)
    assert (ran.folder / "failed.txt").exists()


def test_a_signal_during_a_command_leaves_the_outcome(ran: Project) -> None:
    hooks(ran, """sh -c "echo in it > seen.txt; sleep 600" """)
    refuse(ran)
    started = start(ran, PIPELINE)
    wait_for((ran.folder / "seen.txt").exists, lambda: started.err)
    started.send(signal.SIGTERM, whole_group=True, held=False)
    assert started.process.wait(LONGEST_WAIT_S) == 143
    assert (outcome(ran)["status"], len(outcome(ran)["failures"])) == ("failed", 1)


STOPPED_IN_FORK = """
import os, threading

outcome = None

def stop():
    if outcome is not None:
        mark = lambda: mark_page(Path("reports"), outcome.stop(143))
        thread = threading.Thread(target=mark, daemon=True)
        thread.start()
        thread.join(10)
        os._exit(thread.is_alive())

os.register_at_fork(before=stop)  # Called last, since it is registered first.

from pathlib import Path
from tasks.run.marks import mark_page
from tasks.run.outcome import RunOutcome

outcome = RunOutcome(Path("reports"))
os.fork()
"""


def test_a_signal_during_a_fork_waits_for_nothing(ran: Project) -> None:
    assert ran.run(sys.executable, "-c", STOPPED_IN_FORK).status == 0
    assert outcome(ran)["exit_code"] == 143
    assert first_line(ran).startswith("The last run was stopped (")
