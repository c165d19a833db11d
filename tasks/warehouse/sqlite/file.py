"""An SQLite file: the names in it, and writing to it; errors with their cause and what to do.

SQLite's own messages often leave both open. Needs no library, so that receipts are read at once.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tasks.core.errors import PipelineError, advice
from tasks.core.files import obstacle
from tasks.core.waiting import Limit, wait_for
from tasks.warehouse.receipts import row_triggers
from tasks.warehouse.shapes import Shape, shape

_Result = TypeVar("_Result")

PAGE_BYTES = 16_384
"""Page size of a new file."""

_QUERY = "\nquery was:"
"""What follows in a message of ADBC may be long, and hold any word."""

_DRIVER = re.compile(r"^[A-Z_]+: failed to [a-z ]+: ")
"""What precedes SQLite's own words in a message of ADBC."""

_REMEDIES = {
    "locked": "Another program writes to it: run again when it is done.",
    "malformed": "The file is damaged: move it away and run again: all of it is made from the CSV "
    "files.",
    "not a database": "The file is damaged or no database: move it away and run again: all of it "
    "is made from the CSV files.",
}


BEGIN = "BEGIN EXCLUSIVE"
"""Takes all locks at the beginning of what writes, so that nothing waits after that.

Without a write-ahead log, what writes has to wait for readers too.
"""


def wait_for_lock(path: Path, attempt: Callable[[float], _Result], wait: Limit) -> _Result:
    """`wait_for` what another program, or another run, has locked of the warehouse."""
    return wait_for(attempt, is_locked, f"another program is using the warehouse {path}", wait)


def is_locked(error: Exception) -> bool:
    """Whether another connection has locked the file; an error of Python's SQLite or of ADBC's."""
    return "database is locked" in str(error).partition(_QUERY)[0]


def is_absent_or_damaged(error: sqlite3.Error) -> bool:
    """Whether what is read is not in the file, or the file is no sound database.

    All other errors, such as a full disk, a lock, or a file that may not be read, leave open what
    is in the file.
    """
    absent = {sqlite3.SQLITE_ERROR}  # There is no such table.
    damaged = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in absent | damaged


def explained(what: str, path: Path, error: Exception) -> PipelineError:
    """An error with its cause and remedy.

    To be called when all connections are closed: the file may be opened here, which drops locks.
    """
    message = _DRIVER.sub("", str(error).partition(_QUERY)[0])
    for words, remedy in _REMEDIES.items():
        if words in message:
            return PipelineError(what, [message], remedy)
    place, cause = obstacle(path)
    if "disk is full" in message:  # It need not be any more.
        place, cause = path.parent, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if cause is None:
        return PipelineError(what, [message])
    return PipelineError(what, [message, f"{place}: {cause.strerror or cause}"], advice(cause))


# --- names and what is there -----------------------------------------------------------------

CACHE_KIB = 4_096
"""Page cache where pages are read or written in the order of the key."""

UPDATE_CACHE_KIB = 65_536
"""Page cache where pages all over a table are changed."""

Fetch = Callable[[str], list[tuple]]
"""Runs a statement and returns its rows."""


def live_shape(fetch: Fetch, table: str) -> Shape:
    """A table as it is; without columns if it does not exist."""
    columns = fetch(
        f"SELECT lower(name), type, NOT \"notnull\", pk FROM pragma_table_info('{table}')"
    )
    references = fetch(f'SELECT "from", "table", "to" FROM pragma_foreign_key_list(\'{table}\')')
    key = sorted((place, name) for name, *_, place in columns if place)
    return shape([tuple(column[:3]) for column in columns], [name for _, name in key], references)


def triggers(on: str) -> dict[str, str]:
    """The triggers on a table that invalidate receipts: name -> the statement that creates it."""
    return row_triggers(on, "BEGIN {} END")
