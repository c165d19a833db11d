"""An SQLite file, opened to write; its errors with their cause and what to do.

SQLite's own messages often leave both open.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tasks.core.errors import PipelineError, advice

SHORT_WAIT_S = 5

PAGE_BYTES = 16_384
"""Page size of a new file; also what is written to find out whether there is room."""

_REMEDIES = {
    "locked": "Another program writes to it: try again when it is done.",
    "malformed": "The file is damaged: move it away and run again: all of it is made from the CSV "
    "files.",
    "not a database": "The file is damaged or no database: move it away and run again: all of it "
    "is made from the CSV files.",
}


@contextlib.contextmanager
def writing(path: Path, wait_s: float = SHORT_WAIT_S) -> Iterator[sqlite3.Connection]:
    """A connection of Python's SQLite that writes a little, and commits."""
    try:
        with closing(sqlite3.connect(path, timeout=wait_s)) as connection, connection:
            yield connection
    except sqlite3.Error as error:
        raise explained(f"The warehouse {path} cannot be opened:", path, error) from error


def explained(what: str, path: Path, error: Exception) -> PipelineError:
    """An error with its cause and remedy.

    To be called when all connections are closed: the file may be opened here, which drops locks.
    """
    message = str(error).partition("\nquery was:")[0]  # Which may be long, and hold any word.
    for words, remedy in _REMEDIES.items():
        if words in message:
            return PipelineError(what, [message], remedy)
    place, cause = _obstacle(path)
    if "disk is full" in message:  # It need not be any more.
        place, cause = path.parent, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if cause is None:
        return PipelineError(what, [message])
    return PipelineError(what, [message, f"{place}: {cause.strerror or cause}"], advice(cause))


def _obstacle(path: Path) -> tuple[Path, OSError | None]:
    """What the system says if the folder of the warehouse, or its file, is written to."""
    place = path.parent
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(bytes(PAGE_BYTES))
        place = path
        if os.path.lexists(path):
            path.open("r+b").close()
    except OSError as error:
        return place, error
    return place, None
