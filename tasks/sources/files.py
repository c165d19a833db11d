"""The source files: where they are, and how they are opened."""

from __future__ import annotations

import csv
import errno
import functools
import gzip
import hashlib
import os
import time
from pathlib import Path
from typing import IO

from config.sources import SOURCES
from tasks.core.errors import PipelineError
from tasks.core.files import NotAFileError, check_regular, is_racy, open_regular
from tasks.core.partition import Partition

ENDINGS = (".csv", ".csv.gz")
csv.field_size_limit(2**31 - 1)


def find_partitions(name: str, data_dir: Path) -> tuple[Partition, ...]:
    """The CSV files of a source: `NAME.csv` or `NAME.csv.gz`, in any case, and those in `NAME/`.

    A source that does not come in partitions has no folder. All paths with such a name are listed,
    also those that are no file or lead nowhere: `why_unreadable` says so. No two partitions should
    have the same name. All ids are 0.
    """
    wanted = {f"{name}{ending}".lower() for ending in ENDINGS}
    paths = _list(data_dir)
    found = tuple(Partition(name, path) for path in paths if path.name.lower() in wanted)
    if SOURCES[name].in_partitions:
        for folder in paths:
            if folder.name.lower() == name.lower():
                if (why_unreadable(folder) or "").startswith("is a link"):
                    found += (Partition(name, folder),)
                found += _partitions_of(name, _list(folder))
    return found


@functools.lru_cache(maxsize=32)
def _partitions_of(name: str, paths: tuple[Path, ...]) -> tuple[Partition, ...]:
    return tuple(
        Partition(f"{name}/{_stem(path)}", path)
        for path in paths
        if path.name.lower().endswith(ENDINGS) and not path.name.startswith(".")
    )


def find_files(name: str, data_dir: Path) -> list[Path]:
    """The paths of a source's partitions."""
    return [partition.path for partition in find_partitions(name, data_dir)]


def _list(folder: Path) -> tuple[Path, ...]:
    """What is in a folder, by name; nothing if there is no such folder.

    Read again only if the folder may have changed: tasks ask for their partitions often.
    """
    try:
        now = folder.stat()
        read = _read.__wrapped__ if is_racy(now.st_mtime_ns, time.time_ns()) else _read
        return read(folder, now.st_mtime_ns, now.st_ctime_ns, now.st_ino)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return ()
        raise PipelineError(f"The folder {folder} cannot be read: {_words(error)}.") from error


@functools.lru_cache(maxsize=32)
def _read(folder: Path, *_stat: int) -> tuple[Path, ...]:
    return tuple(sorted(folder.iterdir(), key=lambda path: path.name))


def _stem(path: Path) -> str:
    """A file's name without its ending.

    >>> _stem(Path("2024-06-01.CSV.gz"))
    '2024-06-01'
    """
    lowered = path.name.lower()
    ending = next(ending for ending in reversed(ENDINGS) if lowered.endswith(ending))
    return path.name[: -len(ending)]


def source_path(name: str, data_dir: Path) -> Path:
    """Where a source's CSV file is, or where it is expected."""
    return next(iter(find_files(name, data_dir)), data_dir / f"{name}.csv")


def why_unreadable(path: Path) -> str | None:
    """What is wrong with a file, to be put after its name; None if it can be read.

    >>> why_unreadable(Path("/"))
    'is a folder, not a file'
    """
    try:
        check_regular(path, path.stat())  # Opening a socket has another error.
        os.close(open_regular(path, os.O_RDONLY))
    except NotAFileError as error:
        return error.strerror
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link that leads in a circle"
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return "is a link that leads nowhere" if path.is_symlink() else "is missing"
        return f"cannot be read: {_words(error)}"
    return None


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


class _Unpacked(gzip.GzipFile):
    """A packed file that is closed with its reader."""

    def __init__(self, packed: IO[bytes]):
        self._packed = packed
        super().__init__(fileobj=packed)

    def close(self) -> None:
        super().close()
        self._packed.close()


def open_bytes(path: Path) -> IO[bytes]:
    """A source file for reading, unpacked if it is a `.gz`.

    Raises:
        OSError: It cannot be read, or is no regular file; nothing is waited for.
    """
    stream = open(path, "rb", opener=open_regular)  # noqa: PTH123, SIM115
    if path.suffix.lower() == ".gz":
        return _Unpacked(stream)  # type: ignore[return-value]  # Reads like any other file.
    return stream


def content_digest(path: Path) -> str:
    """SHA-256 of what a source file holds once it is unpacked."""
    digest = hashlib.sha256()
    with open_bytes(path) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def bytes_read(stream: IO[bytes]) -> int:
    """How much of a source file was read, of a `.gz` as it lies on disk."""
    packed = getattr(stream, "fileobj", None)
    return (packed or stream).tell()
