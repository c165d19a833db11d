"""Files: opened without waiting, and whether a later change would show in their stat."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


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


RACY_NS = 2_000_000_000
"""Some file systems store times to two seconds."""


def is_racy(mtime_ns: int, read_ns: int) -> bool:
    """Whether a file may have changed after it was read, and still have the same times.

    A file that changed just before it was read may change again within the same tick of the file
    system's clock: what was read of it must not be used again.
    """
    return mtime_ns + RACY_NS >= read_ns
