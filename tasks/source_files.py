"""The source files: where they are, and how they are opened."""

from __future__ import annotations

import contextlib
import csv
import functools
import gzip
import io
import os
from pathlib import Path
from typing import IO, NamedTuple

from config.sources import SOURCES
from tasks.memo import once

ENDINGS = (".csv", ".csv.gz")
csv.field_size_limit(2**31 - 1)


class SourcePart(NamedTuple):
    """A CSV file that holds a source, or a part of it.

    Attributes:
        name: LOG_RCD_F for LOG_RCD_F.csv, LOG_RCD_F/2024-06-01 for a file of that folder.
        path: The file.
    """

    name: str
    path: Path


def find_parts(name: str, data_dir: Path) -> list[SourcePart]:
    """The CSV files of a source: `NAME.csv` or `NAME.csv.gz`, in any case, and those in `NAME/`.

    A source that does not come in parts has no folder. No two parts should have the same name.
    """
    wanted = {f"{name}{ending}".lower() for ending in ENDINGS}
    files, folders = once(("listing", data_dir), lambda: _list(data_dir))
    found = [SourcePart(name, path) for path in files if path.name.lower() in wanted]
    if SOURCES[name].in_parts:
        for folder in folders:
            if folder.name.lower() == name.lower():
                inner, _ = once(("listing", folder), functools.partial(_list, folder))
                found += [
                    SourcePart(f"{name}/{_stem(path)}", path)
                    for path in inner
                    if path.name.lower().endswith(ENDINGS) and not path.name.startswith(".")
                ]
    return found


def find_files(name: str, data_dir: Path) -> list[Path]:
    """The paths of a source's parts."""
    return [part.path for part in find_parts(name, data_dir)]


def _list(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files and the folders in a folder, by name; none if it is not there."""
    files, folders = [], []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir():
                folders.append(folder / entry.name)
            elif entry.is_file() or entry.is_symlink():  # A link to nothing is told, not left out.
                files.append(folder / entry.name)
    return files, folders


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


def open_bytes(path: Path) -> IO[bytes]:
    """A source file for reading, unpacked if it is a `.gz`."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path)  # type: ignore[return-value]  # Reads like any other file.
    return path.open("rb")


def bytes_read(stream: IO[bytes]) -> int:
    """How much of a source file was read, of a `.gz` as it lies on disk."""
    packed = getattr(stream, "fileobj", None)
    return (packed or stream).tell()


def open_text(path: Path) -> io.TextIOWrapper:
    """A source file as text, line ends kept; bytes that are not UTF-8 become surrogates."""
    return io.TextIOWrapper(
        open_bytes(path), encoding="utf-8-sig", errors="surrogateescape", newline=""
    )
