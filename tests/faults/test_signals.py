"""SIGINT, SIGTERM and SIGHUP: one line, the exit status, nothing left, and the next run is right.

The moments are random. A seed is printed; `SIGNALS_SEED` in the environment repeats it.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.run.signals import NUMBERS, STOPS_WITH_STDIN
from tests.conftest import Project, make_project
from tests.once import made_once
from tests.processes import (
    PIPELINE,
    Started,
    Whole,
    assert_next_run_is_right,
    await_moment,
    is_caught,
    line_of,
    remove_results,
    run_whole,
    start,
)
from tests.runs import new_random, soak
from tests.terminal import RUN, slowly
from tests.ui import LONGEST_WAIT_S, find_unused_port, wait_for

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc"),
    pytest.mark.usefixtures("processes"),
]

ENDLESS = (  # In C, without a return to the interpreter.
    "print('in C', file=sys.stderr, flush=True); import sqlite3; "
    "sqlite3.connect(':memory:').execute('WITH RECURSIVE n(x) AS "
    "(SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n')"
)

# --- the handler -----------------------------------------------------------------------------

SHOWN = """
import signal, sys, threading
before = sys.exit, threading.active_count()
{before}
import tasks
numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
names = [getattr(signal.getsignal(number), "__name__", str(signal.getsignal(number)))
         for number in numbers]
print(*names, (sys.exit, threading.active_count()) == before)
"""


@pytest.mark.parametrize(
    ("program", "before", "shown"),
    [
        ("luigi", "", "_hold _hold _hold False"),
        ("controller-logs", "", "_hold _hold _hold False"),
        ("other", "", "default_int_handler 0 0 True"),
        ("luigid", "", "default_int_handler 0 0 True"),
        ("luigi", "signal.signal(signal.SIGHUP, signal.SIG_IGN)", "_hold _hold 1 False"),
    ],
)
def test_the_one_side_effect_of_an_import_is_the_handler_in_our_programs_alone(
    project: Project, program: str, before: str, shown: str
) -> None:
    (project.folder / program).write_text(SHOWN.format(before=before))
    result = project.run(sys.executable, program)
    assert (result.status, result.out, result.err) == (0, f"{shown}\n", "")


def test_python_m_tasks_has_the_handler_too(project: Project) -> None:
    started = start_ui(project, "--no-run")
    assert [is_caught(started.process.pid, number) for number in NUMBERS] == [True] * 3
    assert started.send(signal.SIGTERM, whole_group=False, held=False)
    assert started.process.wait(LONGEST_WAIT_S) in (0, 143)
    assert started.err == f"{line_of(signal.SIGTERM)}\n"


@pytest.mark.parametrize("workers", [soak("1"), "2"])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_task_that_stays_in_a_library_is_stopped_too(
    project: Project, number: int, workers: str
) -> None:
    started = start(project, [*slowly(project, ENDLESS), "--workers", workers])
    wait_for(lambda: "in C\n" in started.err, lambda: started.err)
    started.send(number, whole_group=False, held=False)
    started.assert_stopped(number)
    assert started.log.endswith(f" WARNING pipeline: {line_of(number)}\n")


STOPPED_IN_IMPORT = """
import _imp, os, signal, sys, time
from luigi.cmdline import luigi_run
from tasks.run import signals
import tasks.graph.events

def stop():
    _imp.acquire_lock()  # As in the import of a library.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)

tasks.graph.events._load_packages = stop
{more}
luigi_run(sys.argv[1:])
"""
IMPORTS = "signals._ACTIONS_S = 1; signals.before_stop(lambda number: __import__('this'))"


@pytest.mark.parametrize("more", ["", IMPORTS])
def test_a_run_that_imports_a_library_is_stopped_too(ran: Project, more: str) -> None:
    ran.edit("LOG_RCD_F.csv", "1e2", "1e3")
    (ran.folder / "luigi").write_text(STOPPED_IN_IMPORT.format(more=more))
    started = start(ran, [sys.executable, "luigi", *RUN])
    began = time.monotonic()
    started.assert_stopped(signal.SIGTERM)
    assert time.monotonic() - began < 8
    if not more:
        assert ran.report("last_run.json")["status"] == "stopped"
        assert "The last run was stopped" in ran.report("index.html")


def test_processes_that_a_task_has_started_are_ended_too(project: Project) -> None:
    nested = "import subprocess; subprocess.Popen(['sleep', '600']).wait()"
    started = start(project, slowly(project, nested))
    wait_for(lambda: len(started.left()) > 2, lambda: started.err)
    started.send(signal.SIGTERM, whole_group=False, held=False)
    started.assert_stopped(signal.SIGTERM)


def test_many_signals_are_as_one(project: Project) -> None:
    started = start(project, slowly(project, ENDLESS))
    wait_for(lambda: "in C\n" in started.err, lambda: started.err)
    os.kill(started.process.pid, signal.SIGSTOP)
    for number in NUMBERS * 3:
        os.killpg(started.process.pid, number)
    os.kill(started.process.pid, signal.SIGCONT)
    started.process.wait(LONGEST_WAIT_S)
    (number,) = (one for one in NUMBERS if started.err.endswith(f"{line_of(one)}\n"))
    started.assert_stopped(number)


def test_what_is_ignored_at_the_start_stays_ignored(project: Project) -> None:
    started = start(project, slowly(project, ENDLESS), ignored=signal.SIGHUP)
    wait_for(lambda: "in C\n" in started.err, lambda: started.err)
    started.send(signal.SIGHUP, whole_group=True, held=False)
    started.send(signal.SIGTERM, whole_group=True, held=False)
    started.assert_stopped(signal.SIGTERM)


def test_a_run_is_stopped_by_the_end_of_its_standard_input_if_it_was_told_so(
    project: Project,
) -> None:
    started = start(project, PIPELINE, more={STOPS_WITH_STDIN: "1"})
    started.assert_stopped(signal.SIGTERM)


def test_a_task_that_was_stopped_is_no_failure(project: Project) -> None:
    started = start(project, slowly(project, ENDLESS))
    wait_for(lambda: "in C\n" in started.err, lambda: started.err)
    started.send(signal.SIGINT, whole_group=True, held=False)
    started.assert_stopped(signal.SIGINT)
    status = project.tasks("status")
    assert status.status == 0
    assert "CsvToParquet:POINT" in status.out
    assert "failed" not in status.out
    result = project.luigi("AllReports")
    assert result.status == 0, result.log


@pytest.mark.parametrize(("error", "status"), [("sys.exit(7)", 7), ("1 / 0", 1), ("pass", 0)])
def test_the_exit_status_of_a_program_is_its_own(project: Project, error: str, status: int) -> None:
    text = f"import sys, tasks\nprint('out')\nprint('err', file=sys.stderr)\n{error}\n"
    (project.folder / "luigi").write_text(text)
    result = project.run(sys.executable, "luigi")
    assert (result.status, result.out, result.err[:4]) == (status, "out\n", "err\n")
    assert result.err.count("Traceback") == (status == 1)


# --- random moments --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return made_once(
        tmp_path_factory, "whole", lambda folder: run_whole(make_project(folder / "project"))
    )


def stop_once(project: Project, chance: random.Random, whole: Whole) -> bool:
    """Start a run and stop it at a random moment; False if it has ended before."""
    number = chance.choice(NUMBERS)
    whole_group, held = chance.random() < 0.5, chance.random() < 0.5
    started = start(project, [*PIPELINE, "--workers", chance.choice("12")])
    moment = await_moment(started, chance, whole)
    sent = started.process.poll() is None and started.send(number, whole_group, held)
    status = started.process.wait(LONGEST_WAIT_S)
    name, to = signal.Signals(number).name, "group" if whole_group else "first"
    print(f"{name} {to} {'held' if held else 'plain'} {moment} {sent} {status}", flush=True)
    if status == 0 and not (sent and held):  # It ended just before the signal.
        assert "Stopped by " not in started.err
        return False
    started.assert_stopped(number)
    return True


def stop_often(project: Project, whole: Whole, count: int) -> None:
    chance, stopped = new_random("SIGNALS_SEED"), 0
    for _ in range(5 * count):
        if stop_once(project, chance, whole):
            stopped += 1
            if stopped == count:
                break
            if chance.random() < 0.5:  # Else the next one goes on with what is left.
                remove_results(project)
        else:
            remove_results(project)
    assert stopped == count
    assert_next_run_is_right(project, whole)


def test_a_signal_at_any_moment_stops_a_run(project: Project, whole: Whole) -> None:
    stop_often(project, whole, 1)


@pytest.mark.soak
@pytest.mark.parametrize("batch", range(10))
def test_two_hundred_signals_stop_runs(
    project: Project, whole: Whole, batch: int, figures: Callable[[str], None]
) -> None:
    stop_often(project, whole, 20)
    figures("20 signals")


# --- with the scheduler's pages --------------------------------------------------------------


def start_ui(project: Project, *options: str) -> Started:
    command = [sys.executable, "-m", "tasks", "ui", "--port", str(find_unused_port()), *options]
    started = start(project, command)
    wait_for(started.handles_signals)
    return started


def stop_ui(project: Project, number: int, seconds: float) -> int:
    """Stop `python -m tasks ui` so long after its import of `tasks`; its exit status."""
    remove_results(project)
    started = start_ui(project)
    time.sleep(seconds)
    started.send(number, whole_group=False, held=True)
    status = started.process.wait(LONGEST_WAIT_S)
    err = started.err
    assert err.splitlines()[-1] == line_of(number), err
    assert err.count("Stopped by ") == 1, err
    assert "Traceback" not in err, err
    assert started.left() == []
    return status


@pytest.mark.parametrize("number", NUMBERS)
def test_the_pages_are_stopped_while_they_start(project: Project, number: int) -> None:
    assert stop_ui(project, number, 0) in (0, 128 + number)


@pytest.mark.soak
@pytest.mark.parametrize("batch", range(3))
def test_the_pages_are_stopped_at_any_moment(project: Project, whole: Whole, batch: int) -> None:
    chance = new_random("SIGNALS_SEED")
    for _ in range(10):
        number, seconds = chance.choice(NUMBERS), chance.random() * 2 * whole.seconds
        status = stop_ui(project, number, seconds)
        print(f"{signal.Signals(number).name} {seconds:.2f} {status}", flush=True)
        assert status in (0, 128 + number)
    assert_next_run_is_right(project, whole)
