"""SIGKILL at random moments and at named steps, and runs at once: nothing is lost or mixed.

A kill ends all processes of a run. The moments are random: a seed is printed, `KILLS_SEED` in the
environment repeats it.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ALL_REPORTS, Project, make_project
from tests.once import made_once
from tests.processes import (
    PIPELINE,
    Started,
    Whole,
    assert_next_run_is_right,
    await_moment,
    remove_results,
    run_whole,
    start,
)
from tests.runs import add_partition, assert_tables_are_whole, new_random, soak
from tests.terminal import RUN
from tests.ui import LONGEST_WAIT_S, wait_for

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc"),
    pytest.mark.usefixtures("processes"),
]


class Version(NamedTuple):
    """One of two states of the source files, and a run of it from nothing."""

    data: Path
    whole: Whole


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> list[Version]:
    """Two versions that differ in two dimensions and in half of the files of log records."""
    return made_once(tmp_path_factory, "versions", make_versions)


def make_versions(folder: Path) -> list[Version]:
    old, new = (make_project(folder / name / "project", None) for name in "ab")
    old.passes("SampleData", "--scale", "0.005", "--seed", "7")
    log = old.data / "LOG_RCD_F.csv"
    header, *lines = log.read_text().splitlines(keepends=True)
    log.unlink()
    for at in range(0, len(lines), 1000):
        rejected = f"{at},x,,,\n"
        add_partition(old, f"{at:06}.csv", "".join([header, *lines[at : at + 1000], rejected]))
    shutil.copytree(old.data, new.data, dirs_exist_ok=True)
    for name, before, after in (
        ("APP_TYPE.csv", "Walk-in ", ""),
        ("LOG_INSTANCE.csv", ",2,180\n", ",2,60\n"),
        *((f"LOG_RCD_F/{at:06}.csv", ",OK\n", ",LATE\n") for at in range(0, len(lines), 2000)),
    ):
        text = (new.data / name).read_text()
        assert before in text, name
        (new.data / name).write_text(text.replace(before, after))
    return [Version(project.data, run_whole(project)) for project in (old, new)]


@pytest.fixture
def disturbed(versions: list[Version], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with the first version, run, and a $TMPDIR of its own."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return Project(
        Path(shutil.copytree(versions[0].data.parent, tmp_path / "project", symlinks=True))
    )


def use(project: Project, version: Version) -> None:
    shutil.copytree(version.data, project.data, dirs_exist_ok=True)


def assert_repaired(project: Project, version: Version) -> None:
    assert_next_run_is_right(project, version.whole)
    assert list((project.folder.parent / "temporary").iterdir()) == []


def await_end(started: Started) -> None:
    wait_for(lambda: started.left() == [], started.left)


def kill(started: Started) -> bool:
    """Kill a run; False if it has ended before."""
    sent = started.process.poll() is None and started.send(signal.SIGKILL, True, held=False)
    status = started.process.wait(LONGEST_WAIT_S)
    await_end(started)
    return sent and status == -signal.SIGKILL


@pytest.mark.parametrize("kills", [*(soak(20, id=f"20-{batch}") for batch in range(10))])
def test_kills_at_random_moments_lose_nothing(
    disturbed: Project, versions: list[Version], kills: int, figures: Callable[[str], None]
) -> None:
    chance, version, killed, rows, next_runs = new_random("KILLS_SEED"), 0, 0, 0, 0
    outputs = [one.whole.outputs for one in versions]
    goes_on = False
    while killed < kills:
        version = version if goes_on else 1 - version
        use(disturbed, versions[version])
        started = start(disturbed, [*PIPELINE, "--workers", chance.choice("12")])
        moment = await_moment(started, chance, versions[version].whole)
        was_killed = kill(started)
        killed += was_killed
        print(f"{moment} {was_killed}", flush=True)
        rows += assert_tables_are_whole(disturbed, outputs)
        goes_on = was_killed and chance.random() < 0.4
        if killed == kills or goes_on and chance.random() < 0.6:
            next_runs += 1
            assert_repaired(disturbed, versions[version])
            goes_on = False
        elif not goes_on and chance.random() < 0.2:
            remove_results(disturbed)
    figures(f"{kills} kills, {rows:,} rows compared, {next_runs} next runs")


# --- named steps -----------------------------------------------------------------------------

KILLED_AT = """
import importlib, os, random, signal, sys, threading, time
from luigi.cmdline import luigi_run
import tasks.graph

def kill():
    os.killpg(0, signal.SIGKILL)
    time.sleep(60)

def before(real, *args, **how):
    kill()

def after(real, *args, **how):
    real(*args, **how)
    kill()

def within(real, *args, **how):  # In the middle of what is to be written.
    *others, last = args
    if isinstance(last, str):
        real(*others, last[: len(last) // 2], **how)
        kill()
    def some():
        yield next(iter(last))
        kill()
    real(*others, some(), **how)

def during(real, *args, **how):  # By another thread, from the start of the call on.
    threading.Timer(random.random() ** 2 * {most_s}, kill).start()
    real(*args, **how)
    kill()

module, _, names = {where!r}.partition(":")
*owners, name = names.split(".")
owner = importlib.import_module(module)
for one in owners:
    owner = getattr(owner, one)
real, calls = getattr(owner, name), []

def call(*args, **how):
    calls.append(args)
    return {when}(real, *args, **how) if len(calls) == {nth} else real(*args, **how)

setattr(owner, name, call)
luigi_run(sys.argv[1:])
"""


class Step(NamedTuple):
    """A call of a function: the n-th of a run with one worker, and when in it the kill comes."""

    where: str
    when: str
    nth: int
    most_s: float = 0


RENAME, RECEIPT = "pathlib:Path.replace", "tasks.state:State.keep_receipt"
ROWS, COMMIT = (
    "tasks.warehouse.load:write_receipts",
    "tasks.warehouse.sqlite.transaction:SqliteTransaction.commit",
)
STEPS = {
    "between rename and receipt": Step(RECEIPT, "before", 1),
    "in the commit of facts": Step(COMMIT, "during", 3, 0.02),
}
MORE_STEPS = {
    "between rows and receipt of facts": Step(ROWS, "before", 3),
    "in the quarantine": Step("tasks.staging.audit:_write", "within", 1),
    "in a report": Step("tasks.reports.registry:Outputs.write_text", "within", 1),
    "before a rename": Step(RENAME, "before", 1),
    "between two renames": Step(RENAME, "after", 1),
    "after a receipt": Step(RECEIPT, "after", 2),
    "between rows and receipt of a dimension": Step(ROWS, "before", 1),
    "in the commit of a dimension": Step(COMMIT, "during", 1, 0.01),
    "between commit and the record of it": Step("tasks.graph.load:backdate_mtime", "before", 3),
    "between Parquet and quarantine": Step("tasks.staging.stage:write_quarantine", "before", 2),
    "in a report's table": Step("tasks.reports.registry:Outputs.write_table", "after", 1),
}


@pytest.mark.parametrize(
    "step",
    [
        *(pytest.param(step, id=name) for name, step in STEPS.items()),
        *(soak(step, id=name) for name, step in MORE_STEPS.items()),
        *(
            soak(step, id=f"{name} {again}")
            for name, step in (STEPS | MORE_STEPS).items()
            for again in range(10 if step.when == "during" else 0)
        ),
    ],
)
def test_a_kill_at_a_step_loses_nothing(
    disturbed: Project, versions: list[Version], step: Step, figures: Callable[[str], None]
) -> None:
    use(disturbed, versions[1])
    (disturbed.folder / "luigi").write_text(KILLED_AT.format(**step._asdict()))
    started = start(disturbed, [sys.executable, "luigi", *RUN, "--workers", "1"])
    assert started.process.wait(LONGEST_WAIT_S) == -signal.SIGKILL, started.err
    await_end(started)
    (disturbed.folder / "luigi").unlink()
    rows = assert_tables_are_whole(disturbed, [one.whole.outputs for one in versions])
    figures(f"{rows:,} rows compared")
    assert_repaired(disturbed, versions[1])


# --- runs at once ----------------------------------------------------------------------------

LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \d+ (DEBUG|INFO|WARNING|ERROR) \S+: ")


def assert_lines_are_whole(log: str) -> None:
    """Each line begins as lines do, but for those of Luigi's summary."""
    reported = [
        line
        for line in log.splitlines()
        if line and not line.startswith(("*", "    ", "=", "This "))
    ]
    assert [line for line in reported if not LOGGED.match(line)] == [
        line for line in reported if line.startswith(("Scheduled ", "Did not run "))
    ]


def test_two_runs_at_once_both_end_well_and_write_whole_lines(
    project: Project, ran: Project
) -> None:
    runs = [project.start(*ALL_REPORTS, stderr=subprocess.PIPE) for _ in range(2)]
    shown = [run.communicate(timeout=120)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], shown
    assert project.outputs() == ran.outputs()
    logs = [log.read_text() for log in project.log_files()]
    assert len(logs) == 2
    for log in logs:
        assert re.search(r": (\d+ tasks: |Everything is up to date)[^\n]*\n\Z", log)
    text = "".join(logs)
    assert text.count("Done scheduling tasks") == 2
    assert_lines_are_whole(text)


def run_at_once(project: Project, version: Version, other: Version, chance: random.Random) -> str:
    """Two or three runs; one may be stopped, the inputs may change meanwhile. What was done."""
    use(project, version)
    seconds, runs = version.whole.seconds, []
    for _ in range(chance.choice((2, 2, 3))):
        runs.append(start(project, PIPELINE))
        time.sleep(chance.random() * seconds / 2)
    number = chance.choice((0, signal.SIGKILL, signal.SIGTERM))
    stopped = chance.choice(runs) if number else None
    changed = chance.random() < 0.4
    time.sleep(chance.random() * seconds)
    if changed:
        use(project, other)
    if stopped is not None and stopped.process.poll() is None:
        stopped.send(number, whole_group=True, held=False)
    statuses = [run.process.wait(LONGEST_WAIT_S) for run in runs]
    for run, status in zip(runs, statuses, strict=True):
        await_end(run)
        assert "Traceback" not in run.err, run.err
        if run is not stopped:
            assert status in ((0, 30) if changed else (0,)), run.err
        # Luigi's log has a traceback for each task whose inputs changed while it ran.
        if not changed and (run is not stopped or number == signal.SIGTERM):
            assert_lines_are_whole(run.log)
    return f"{statuses} {'changed' if changed else 'same'} inputs"


@pytest.mark.parametrize("rounds", [*(soak(5, id=f"5-{batch}") for batch in range(4))])
def test_runs_at_once_one_of_which_may_be_stopped_end_well(
    disturbed: Project, versions: list[Version], rounds: int, figures: Callable[[str], None]
) -> None:
    chance, rows = new_random("KILLS_SEED"), 0
    outputs = [version.whole.outputs for version in versions]
    for at in range(1, rounds + 1):
        version, other = versions[at % 2], versions[1 - at % 2]
        done = run_at_once(disturbed, version, other, chance)
        print(done, flush=True)
        rows += assert_tables_are_whole(disturbed, outputs)
        changed = "changed" in done
        assert_repaired(disturbed, other if changed else version)
    figures(f"{rounds} rounds, {rows:,} rows compared")
