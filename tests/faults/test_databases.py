"""A database that is locked, damaged or absent: each has its message, and what is lost is built.

`test_obstacles.py` has those that are on a full or read-only disk, `test_waits.py` the waits.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from tests.conftest import ALL_REPORTS, Project, unwrapped
from tests.locks import LOCKS, in_use
from tests.runs import soak

Command = tuple[str, ...]
Outcome = tuple[int, str]
"""Exit status and message."""

STATUS, VERIFY = ("controller-logs", "status"), ("controller-logs", "verify")
FORGET = ("controller-logs", "forget", "LoadFactLogs")
RUN = (*ALL_REPORTS, "--workers", "1")
WAREHOUSE, STATE = "data_warehouse.db", "staging/state.db"

IN_USE = (
    "Another program is using the warehouse data_warehouse.db; waited for 0.2 s.\n"
    "Run again when it is done. To wait longer, set max_wait_s in luigi.cfg, section [pipeline].\n"
)
LOCKED = (
    "Another program has locked staging/state.db; waited for 0.1 s.\n"
    "Run again when it is done. To wait longer, set max_state_wait_s in luigi.cfg, section "
    "[pipeline].\n"
)
NO_DATABASE = (
    "The warehouse data_warehouse.db cannot be opened:\n  file is not a database\n"
    "The file is damaged or no database: move it away and run again: all of it is made from the "
    "CSV files.\n"
)
MALFORMED = (
    "The warehouse data_warehouse.db cannot be opened:\n  database disk image is malformed\n"
    "The file is damaged: move it away and run again: all of it is made from the CSV files.\n"
)
REPAIR = " differ. To have it built again: python -m tasks verify --repair\n"
RENAMED = "data_warehouse.db is damaged and was renamed to data_warehouse.db.damaged-"
NO_RECORD = "staging/state.db: has no record of what was built\n"


def begun_again(why: str) -> str:
    return (
        f"staging/state.db cannot be used and is begun again ({why}); what it recorded is built "
        "again.\n"
    )


def stale(task: str, why: str) -> str:
    return f"{task:<40}stale: {why}\n"


@contextmanager
def locked(file: Path) -> Iterator[None]:
    with in_use(file, *LOCKS):
        yield


def changes(change: Callable[[Path], object]) -> Callable[[Path], AbstractContextManager[None]]:
    @contextmanager
    def changed(file: Path) -> Iterator[None]:
        for ending in ("-wal", "-shm"):
            Path(f"{file}{ending}").unlink(missing_ok=True)
        change(file)
        yield

    return changed


@changes
def text(file: Path) -> None:
    file.write_text("garbage " * 3000)


@changes
def half(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


@changes
def catalog(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:100] + b"\xff" * 100 + content[200:])


@changes
def absent(file: Path) -> None:
    file.unlink()


def without(table: str) -> Callable[[Path], AbstractContextManager[None]]:
    @changes
    def drop(file: Path) -> None:
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(f"DROP TABLE {table}")

    return drop


NOT_BUILT = stale("ReportPage", "no receipt: never built, or forgotten")
FORGOTTEN = (0, "forgotten: LoadFactLogs\n")


def damaged(message: str) -> dict[Command, Outcome]:
    return {
        STATUS: (0, stale("LoadFactLogs", "data_warehouse.db is damaged, or no database")),
        VERIFY: (1, f"data_warehouse.db: is damaged, or no database\n103 checked, 1{REPAIR}"),
        FORGET: (2, message),
        RUN: (0, RENAMED),
    }


def without_record(why: str) -> dict[Command, Outcome]:
    return {
        STATUS: (0, NOT_BUILT + begun_again(why)),
        VERIFY: (1, NO_RECORD + begun_again(why)),
        FORGET: FORGOTTEN,
        RUN: (0, begun_again(why)),
    }


@pytest.mark.parametrize(
    ("name", "obstacle", "outcomes"),
    [
        pytest.param(
            WAREHOUSE,
            locked,
            {
                STATUS: (2, IN_USE),
                VERIFY: (2, IN_USE),
                FORGET: (2, IN_USE),
                RUN: (35, IN_USE),
            },
            id="warehouse locked",
        ),
        pytest.param(WAREHOUSE, text, damaged(NO_DATABASE), id="warehouse text"),
        soak(WAREHOUSE, half, damaged(MALFORMED), id="warehouse cut in half"),
        soak(WAREHOUSE, catalog, damaged(MALFORMED), id="warehouse bad catalog"),
        pytest.param(
            WAREHOUSE,
            absent,
            {
                STATUS: (0, stale("LoadFactLogs", "data_warehouse.db does not exist")),
                VERIFY: (1, f"data_warehouse.db: is missing\n103 checked, 1{REPAIR}"),
                FORGET: FORGOTTEN,
                RUN: (
                    0,
                    "data_warehouse.db does not exist any more; all tables are loaded again\n",
                ),
            },
            id="warehouse absent",
        ),
        pytest.param(
            WAREHOUSE,
            without("dim_unit"),
            {
                STATUS: (
                    0,
                    stale(
                        "LoadDimension:dim_unit", "the table does not exist in data_warehouse.db"
                    ),
                ),
                VERIFY: (1, f"data_warehouse.db: dim_unit: is missing\n103 checked, 1{REPAIR}"),
                FORGET: FORGOTTEN,
                RUN: (0, "Loaded dim_unit: 4 rows\n"),
            },
            id="warehouse without a table",
        ),
        pytest.param(
            STATE,
            locked,
            {
                STATUS: (2, LOCKED),
                VERIFY: (2, LOCKED),
                FORGET: (2, LOCKED),
                RUN: (35, LOCKED),
            },
            id="state locked",
        ),
        soak(STATE, text, without_record("file is not a database"), id="state text"),
        soak(
            STATE,
            catalog,
            without_record("database disk image is malformed"),
            id="state bad catalog",
        ),
        pytest.param(
            STATE,
            absent,
            {
                STATUS: (0, NOT_BUILT),
                VERIFY: (1, NO_RECORD),
                FORGET: FORGOTTEN,
                RUN: (0, "31 tasks: 26 built, 5 found nothing new. "),
            },
            id="state absent",
        ),
        soak(
            STATE,
            without("receipt"),
            without_record("no such table: receipt"),
            id="state without a table",
        ),
    ],
)
def test_each_kind_has_its_message_and_nothing_is_lost(
    ran: Project,
    name: str,
    obstacle: Callable[[Path], AbstractContextManager[None]],
    outcomes: dict[Command, Outcome],
) -> None:
    before = ran.outputs()
    file, kept = ran.folder / name, ran.folder.parent / "kept.db"
    shutil.copy(file, kept)
    limits = {"PIPELINE_MAX_WAIT_S": "0.2", "PIPELINE_MAX_STATE_WAIT_S": "0.1"}
    for command, (expected, message) in outcomes.items():
        shutil.copy(kept, file)
        with obstacle(file):
            result = ran.forked(*command, env=limits)
        assert result.status == expected, result.log
        assert "Traceback" not in result.err
        for line in message.splitlines(keepends=True):
            assert line.removesuffix("\n") in result.out + unwrapped(result.err)
        if expected in (2, 35):
            assert result.err.endswith(message)
    ran.passes("AllReports")
    assert ran.outputs() == before
