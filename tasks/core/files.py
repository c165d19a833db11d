"""Files: opened without waiting, temporary ones, whether a change would show in their stat, CSV.

CSV files are for people, who open them in a spreadsheet: no text of theirs is run as a formula.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import functools
import hashlib
import io
import itertools
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tasks.core.progress import Advance, no_progress
from tasks.core.stores import StorePath

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


_UNFINISHED = ".pipeline.tmp"
"""How the names of temporary files end; nobody else's do, as they are removed."""


class NotAFileError(OSError):
    """What is to be read is no regular file."""


def check_regular(path: str | Path, found: os.stat_result) -> None:
    """Raise NotAFileError if a path with this stat is no regular file."""
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise NotAFileError(errno.EINVAL, f"is {kind}, not a file", os.fspath(path))


def open_regular(path: str | Path, flags: int) -> int:
    """An opener for `open()` that takes regular files alone, and never waits as for a pipe."""
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        check_regular(path, os.fstat(handle))
    except OSError:
        os.close(handle)
        raise
    return handle


def open_for_reading(path: Path) -> io.BufferedReader:
    """A file for reading; OSError if it is no regular file: nothing is waited for."""
    if isinstance(path, StorePath):
        opened: io.BufferedReader = path.open("rb")
        return opened
    return open(path, "rb", opener=open_regular)  # noqa: PTH123  # Path's has no opener.


SHA256 = "sha256"


def sha256(path: Path, advance: Advance = no_progress) -> str:
    """The digest of a file's content."""
    with open_for_reading(path) as stream:
        return hashlib.file_digest(stream, SHA256).hexdigest()


def temporary_path(path: Path) -> Path:
    """Where a file is written before it is moved to its place, the same each time."""
    return path.with_name(f".{path.name}{_UNFINISHED}")


def remove_leftovers(staging: Path, reports: Path, locks: Path) -> None:
    """Remove the temporary files that killed runs left, unless a run is writing.

    Args:
        staging: A folder of files that runs wrote, also in folders in it.
        reports: Another one; folders in it are others'.
        locks: The folder of the lock files; a run holds one while it writes.
    """
    found = [*staging.rglob(f".*{_UNFINISHED}"), *reports.glob(f".*{_UNFINISHED}")]
    if not found:
        return
    with contextlib.ExitStack() as held, contextlib.suppress(Timeout):
        for lock in locks.glob("*.lock"):
            held.enter_context(FileLock(lock, timeout=0))
        for path in found:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for temporary files on the local disk, removed at the end.

    Those that killed processes left are removed when they are a day old.
    """
    with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-") as folder:
        _remove_old_scratch(Path(folder).parent)
        yield Path(folder)


@functools.cache  # Once in each process: partitions are many.
def _remove_old_scratch(place: Path) -> None:
    before = time.time() - _DAY_S
    for folder in place.glob(f"{_SCRATCH}[0-9]*-*"):
        # The times of a folder that was removed meanwhile, or is of someone else, are no matter.
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)


def create_database(path: Path) -> None:
    """Create the empty file of a database, if there is none, as the umask permits.

    The database's library gives the group no right to write. Who opens the file reports errors.
    """
    with contextlib.suppress(OSError):
        path.touch(exist_ok=False)


def set_aside(path: Path) -> Path:
    """Rename a damaged database, so that a new one is begun; the new name."""
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    for ending in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{ending}").rename(f"{aside}{ending}")
    return aside


_SCRATCH = "controller-logs-"
_DAY_S = 86_400

RACY_NS = 2_000_000_000
"""Some file systems store times to two seconds."""


def is_racy(mtime_ns: int, read_ns: int) -> bool:
    """Whether a file may have changed after it was read, and still have the same times.

    A file that changed just before it was read may change again within the same tick of the file
    system's clock: what was read of it must not be used again.
    """
    return mtime_ns + RACY_NS >= read_ns


def obstacle(path: Path) -> tuple[Path, OSError | None]:
    """What the system says if a file or its folder is written to, and of which of the two."""
    place = path.parent
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(bytes(16_384))
        place = path
        if os.path.lexists(path):
            path.open("r+b").close()
    except OSError as error:
        return place, error
    return place, None


def write_json(content: object, path: Path) -> None:
    """Write what JSON can hold."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8", newline="\n")


def read_json(path: Path) -> Any:
    """What a file of JSON holds."""
    return json.loads(path.read_text(encoding="utf-8"))


# --- CSV for people --------------------------------------------------------------------------

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def spreadsheet_text(value: object) -> object:
    """A value for a CSV file: text that a spreadsheet would run gets an apostrophe before it.

    Numbers stay numbers. The warehouse holds every text as it is.

    >>> spreadsheet_text("=1+1"), spreadsheet_text("-Fan"), spreadsheet_text("Fan")
    ("'=1+1", "'-Fan", 'Fan')
    >>> spreadsheet_text(-1)
    -1
    """
    if isinstance(value, str) and value.lstrip("'").startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value


def write_csv(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, object]],
    bom: bool | None = None,
) -> None:
    """Write rows for people and programs.

    Args:
        path: The file.
        columns: Its columns; other keys of the rows are left out.
        rows: What it holds.
        bom: Whether it begins with a byte order mark, without which Excel misreads UTF-8; None:
            only if there is a character beyond ASCII.
    """
    line = io.StringIO()
    # A field is quoted if it holds a character of the line's end.
    writer = csv.writer(line, lineterminator="\r\n")
    header = {name: name for name in columns}
    lines = []
    for row in itertools.chain([header], rows):
        writer.writerow([spreadsheet_text(row.get(name)) for name in columns])
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
        line.seek(0)
        line.truncate()
    text = "".join(lines)
    marked = not text.isascii() if bom is None else bom
    path.write_text(text, encoding="utf-8-sig" if marked else "utf-8", newline="")
