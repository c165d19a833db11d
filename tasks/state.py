"""`staging/state.db`: what earlier runs recorded. Digests of files, receipts of builds, task runs.

Nothing in it is a source of truth: a lost file costs a rebuild, never a wrong result. So a file
that is damaged, or of another version, is removed and begun again. Each call opens a connection and
closes it; none is open when a process is forked. Two runs at once share the file.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from filelock import FileLock

from tasks.core.errors import PipelineError, advice
from tasks.core.files import create_database, obstacle
from tasks.core.waiting import STATE_FILE, Limit, wait_for

_Result = TypeVar("_Result")

FORMAT = 1
"""Version of the tables and of what they mean, also of receipts that are stored elsewhere."""

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS file_digest (
    path TEXT NOT NULL,
    what TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    found_ns INTEGER NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (path, what)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS receipt (
    task TEXT NOT NULL,
    partition TEXT NOT NULL,
    code INTEGER NOT NULL,
    declarations TEXT NOT NULL,
    inputs TEXT NOT NULL,
    outputs TEXT NOT NULL,
    PRIMARY KEY (task, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS task_run (
    number INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    task TEXT NOT NULL,
    status TEXT NOT NULL,
    started_at TEXT NOT NULL,
    seconds REAL NOT NULL,
    why TEXT NOT NULL,
    UNIQUE (run, task)
);
CREATE INDEX IF NOT EXISTS task_run_of_task ON task_run (task);
PRAGMA user_version = {FORMAT};
COMMIT;
"""

_KEPT_TASK_RUNS = 10_000
"""A full run records about thirty."""

_UNUSABLE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR}
"""No database, a damaged one, one with other tables."""

_REMOVED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR}
"""Another process has removed an unusable file that was open; or what the names say."""

_TRIES = 5

logger = logging.getLogger("pipeline")


class FileDigest(NamedTuple):
    """Something that was computed from a file's content, and the file's stat before that.

    Attributes:
        size: Bytes.
        mtime_ns: Time of the last change of the content.
        ctime_ns: Time of the last change of the inode, which no program can set.
        inode: Number of the inode; its lower 63 bits.
        found_ns: When it was computed, nanoseconds since 1970.
        content: What was computed, such as a SHA-256.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    found_ns: int
    content: str


@dataclass(frozen=True)
class Receipt:
    """What a task's output was built from.

    Attributes:
        code: The task's declared code version.
        declarations: Name -> digest of each parameter, setting or declaration that it used.
        inputs: Name -> digest of what it read.
        outputs: Name -> digest of what it made.
    """

    code: int
    declarations: Mapping[str, str]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    def to_json(self) -> str:
        """The receipt as text; equal receipts give equal text."""
        return json.dumps({**asdict(self), "format": FORMAT}, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Receipt | None:
        """The receipt in a text; None if it holds none of this format."""
        try:
            content = json.loads(text)
            valid = content.pop("format", None) == FORMAT
            receipt = Receipt(**content)
        except (ValueError, TypeError, AttributeError):
            return None
        maps = (receipt.declarations, receipt.inputs, receipt.outputs)
        return receipt if valid and all(isinstance(item, dict) for item in maps) else None


PENDING, RUNNING = "pending", "running"
FRESH, BUILT, UNCHANGED = "fresh", "built", "unchanged"
FAILED, UNSCHEDULED = "failed", "unscheduled"


class TaskRun(NamedTuple):
    """What became of a task in a run.

    Attributes:
        run: Name of the run.
        task: Label of the task; "" for an error outside of any task.
        status: PENDING (has to run), RUNNING, FRESH (had not to run), BUILT, UNCHANGED (ran and
            found its inputs unchanged), FAILED, UNSCHEDULED (`complete` or `requires` failed).
        started_at: When the task began to run, such as 2024-06-01 12:00:00 (UTC); "" if it did not,
            or if that was recorded before.
        seconds: How long it ran.
        why: The error, with its traceback if it is not a PipelineError.
    """

    run: str
    task: str
    status: str
    started_at: str = ""
    seconds: float = 0.0
    why: str = ""


def current_run() -> str:
    """The name of the run: when it began (UTC), and its process.

    The environment carries it to the processes of its tasks, however they are started.
    """
    name = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}-{os.getpid()}"
    return os.environ.setdefault("PIPELINE_RUN", name)


class State:
    """The state file of a staging folder. Any process may use one at any time.

    All methods raise PipelineError if the file cannot be read or written; it says what to do.

    Args:
        path: The file. It is created by the first call that writes.
        wait: How long a call waits for another process that writes.
    """

    def __init__(self, path: Path, wait: Limit = STATE_FILE):
        self.path = path
        self._wait = wait

    # --- digests

    def digests(self) -> dict[tuple[str, str], FileDigest]:
        """(path, what was computed) -> the last result; paths as `storable` returns them."""
        rows = self._read(f"SELECT path, what, {', '.join(FileDigest._fields)} FROM file_digest")
        return {(path, what): FileDigest(*found) for path, what, *found in rows}

    def keep_digests(self, digests: Mapping[tuple[str, str], FileDigest]) -> None:
        """Store digests, each in place of the one before."""
        rows = [(*key, *found) for key, found in digests.items()]
        self._write("INSERT OR REPLACE INTO file_digest VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    # --- receipts

    def task_receipts(self) -> dict[str, Receipt]:
        """Task -> receipt of its last build as a whole; without damaged ones."""
        rows = self._read("SELECT * FROM receipt WHERE partition = ''")
        return {row[0]: receipt for row in rows if (receipt := _receipt_in(row))}

    def receipts(self, task: str) -> dict[str, Receipt]:
        """Partition -> receipt of its last build; without damaged ones."""
        rows = self._read("SELECT * FROM receipt WHERE task = ? AND partition <> ''", task)
        return {row[1]: receipt for row in rows if (receipt := _receipt_in(row))}

    def keep_receipt(self, task: str, partition: str, receipt: Receipt) -> None:
        """Store a receipt in place of the one before."""
        maps = (receipt.declarations, receipt.inputs, receipt.outputs)
        row = (task, partition, receipt.code, *(json.dumps(one, sort_keys=True) for one in maps))
        self._write("INSERT OR REPLACE INTO receipt VALUES (?, ?, ?, ?, ?, ?)", [row])

    def forget(self, task: str, partitions: Collection[str] | None = None) -> None:
        """Remove the receipts of some partitions, or of the task and all its partitions."""
        if partitions is None:
            self._write("DELETE FROM receipt WHERE task = ?", [(task,)])
        else:
            rows = [(task, partition) for partition in partitions]
            self._write("DELETE FROM receipt WHERE task = ? AND partition = ?", rows)

    # --- task runs

    def record(self, task_run: TaskRun) -> None:
        """Store what became of a task so far, in place of what was stored for the same run."""
        row = task_run._replace(task=storable(task_run.task), why=storable(task_run.why))

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO task_run (run, task, status, started_at, seconds, why)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (run, task) DO UPDATE SET"
                " status = excluded.status, started_at = max(started_at, excluded.started_at),"
                " seconds = excluded.seconds, why = excluded.why",
                row,
            )
            connection.execute(
                "DELETE FROM task_run WHERE number <= (SELECT max(number) FROM task_run) - ?",
                (_KEPT_TASK_RUNS,),
            )

        self._use(work)

    def task_runs(self, run: str) -> list[TaskRun]:
        """What became of the tasks of a run, in the order in which they were first recorded."""
        sql = f"SELECT {', '.join(TaskRun._fields)} FROM task_run WHERE run = ? ORDER BY number"
        return [TaskRun(*row) for row in self._read(sql, run)]

    def last_runs(self, *statuses: str) -> dict[str, TaskRun]:
        """Task -> the last of its runs that has one of these statuses."""
        marks = ", ".join("?" * len(statuses))
        sql = f"SELECT {', '.join(TaskRun._fields)}, max(number) FROM task_run"
        rows = self._read(f"{sql} WHERE status IN ({marks}) GROUP BY task", *statuses)
        return {row[1]: TaskRun(*row[:-1]) for row in rows}

    # --- connections

    def is_sound(self) -> bool:
        """Whether SQLite's own check finds nothing. A file that it cannot read is removed."""
        return self._read("PRAGMA integrity_check(1)") in ([], [("ok",)])

    def _read(self, sql: str, *values: object) -> list[tuple]:
        if not self.path.exists() or not self.path.stat().st_size:
            return []
        return self._use(lambda connection: connection.execute(sql, values).fetchall())

    def _write(self, sql: str, rows: Iterable[tuple]) -> None:
        kept = list(rows)
        if kept:
            self._use(lambda connection: connection.executemany(sql, kept))

    def _use(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Do something with the file, if need be with a new one; again if it was locked."""

        def attempt(wait_s: float) -> _Result:
            try:
                return self._connected(work, wait_s)
            except sqlite3.DatabaseError as error:
                if _code(error) not in _UNUSABLE | _REMOVED:
                    raise
                return self._begun_again(work, wait_s)

        obstacle = f"another program has locked {self.path}"
        try:
            return wait_for(attempt, _is_locked, obstacle, self._wait)
        except (sqlite3.Error, OSError) as error:
            raise self._explained(error) from error

    def _begun_again(self, work: Callable[[sqlite3.Connection], _Result], wait_s: float) -> _Result:
        """Do something with a new file, unless another process has made the new one meanwhile."""
        locks = self.path.with_name(".locks")
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{self.path.name}.lock"):
            for _ in range(_TRIES):
                try:
                    return self._connected(work, wait_s)
                except sqlite3.DatabaseError as error:
                    if _code(error) in _UNUSABLE:
                        self._remove(str(error))
                    # Who has the removed file open may take the new one's journal for its own.
                    elif _code(error) not in _REMOVED:
                        raise
            return self._connected(work, wait_s)

    def _connected(self, work: Callable[[sqlite3.Connection], _Result], wait_s: float) -> _Result:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        create_database(self.path)
        with closing(sqlite3.connect(self.path, timeout=wait_s)) as connection, connection:
            # Whole after a crash of the program; after one of the machine it need not be.
            connection.execute("PRAGMA synchronous = OFF")
            # In one statement: between two, another process may have created the tables.
            ((version, tables),) = connection.execute(
                "SELECT user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_user_version"
            )
            if version != FORMAT:
                self._create(connection, version, tables)
            return work(connection)

    def _create(self, connection: sqlite3.Connection, version: int, tables: int) -> None:
        if tables:
            error = sqlite3.DatabaseError(f"its format is {version}, not {FORMAT}")
            error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
            raise error
        connection.executescript(_SCHEMA)
        receipts = self.path.parent / ".receipts"
        if (receipts / "digests.jsonl").exists():
            logger.warning("Receipts of an earlier version are removed: everything is built again.")
            shutil.rmtree(receipts, ignore_errors=True)

    def _remove(self, why: str) -> None:
        logger.warning(
            "%s cannot be used and is begun again (%s); what it recorded is built again.",
            self.path,
            why,
        )
        for ending in ("", "-journal"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)

    def _explained(self, error: Exception) -> PipelineError:
        """An error with its cause, which SQLite's own words often leave open."""
        cause = error if isinstance(error, OSError) else obstacle(self.path)[1]
        number = cause.errno if cause else None
        if _code(error) == sqlite3.SQLITE_FULL:  # It need not be full any more.
            number = errno.ENOSPC
        if number:
            error = OSError(number, os.strerror(number), os.fspath(self.path))
        what = f"{self.path} cannot be read or written: {error}."
        return PipelineError(what, remedy=advice(error) if isinstance(error, OSError) else "")


def storable(text: str | os.PathLike[str]) -> str:
    r"""A text without what UTF-8 cannot express: undecodable bytes in names of files.

    >>> storable("x\udcff.csv")
    'x\\udcff.csv'
    """
    return os.fspath(text).encode("utf-8", "backslashreplace").decode("utf-8")


def _receipt_in(row: tuple) -> Receipt | None:
    """The receipt in a row of the table; None if somebody damaged it."""
    _, _, code, *maps = row
    try:
        declarations, inputs, outputs = (json.loads(text) for text in maps)
    except (ValueError, TypeError):
        return None
    return Receipt(code, declarations, inputs, outputs)


def _code(error: Exception) -> int:
    """SQLite's primary result code; 0 if the error is none of SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_locked(error: Exception) -> bool:
    return _code(error) == sqlite3.SQLITE_BUSY
