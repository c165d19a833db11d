"""The source files: where they are, how they are opened; the archive that contains them."""

from __future__ import annotations

import csv
import errno
import functools
import gzip
import hashlib
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import IO

from config.sources import SOURCES
from tasks.core.errors import PipelineError
from tasks.core.files import NotAFileError, check_regular, is_racy, open_for_reading
from tasks.core.partition import Partition
from tasks.core.stores import StorePath

ENDINGS = (".csv", ".csv.gz")
csv.field_size_limit(2**31 - 1)


def find_partitions(name: str, data_dir: Path) -> tuple[Partition, ...]:
    """The CSV files of a source: `NAME.csv` or `NAME.csv.gz`, in any case, and those in `NAME/`.

    A source that does not come in partitions has no folder. All paths with such a name are listed,
    also those that are no file or lead nowhere: `why_unreadable` says so. No two partitions should
    have the same name. All ids are 0.
    """
    wanted = {f"{name}{ending}".lower() for ending in ENDINGS}
    paths = list_folder(data_dir)
    found = tuple(Partition(name, path) for path in paths if path.name.lower() in wanted)
    if SOURCES[name].in_partitions:
        for folder in paths:
            if folder.name.lower() == name.lower():
                if folder.is_symlink() and "is a link" in (why_unreadable(folder) or ""):
                    found += (Partition(name, folder),)
                found += _partitions_of(name, list_folder(folder))
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


def list_folder(folder: Path) -> tuple[Path, ...]:
    """What is in a folder, by name; nothing if there is no such folder.

    Read again only if the folder may have changed: tasks ask for their partitions often.
    """
    if isinstance(folder, StorePath):
        return tuple(sorted(folder.iterdir(), key=lambda path: path.name))
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
        open_for_reading(path).close()
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
    stream = open_for_reading(path)
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


# --- take_home_data.zip: unpacked if no source has a file yet ---------------------------------

ARCHIVE = "take_home_data.zip"
_HAND = "Unpack it by hand into the data folder, or remove it."
_NAMES = {f"{name}{end}".lower(): f"{name}{end}" for name in SOURCES for end in ENDINGS}

# Logs that repeat one value are packed to a hundredth, what is made to fill a disk to a thousandth;
# a little does no harm. A tenth more than the files need is to be free, for what else is written.
_MOST_TIMES, _HARMLESS_BYTES, _ROOM = 200, 100 * 2**20, 1.1


def find_archive(data_dir: Path) -> Path | None:
    """`take_home_data.zip` in the data folder or beside it; None if it is in neither place."""
    if isinstance(data_dir, StorePath):
        return None
    candidates = (data_dir / ARCHIVE, data_dir.resolve().parent / ARCHIVE)
    return next((path for path in candidates if path.is_file()), None)


def provide_files(names: Iterable[str], data_dir: Path) -> list[Path]:
    """Unpack the archive, if there is one and no source has a file yet; the files made.

    Raises:
        PipelineError: It cannot be unpacked, or not without risk; no file was made.
    """
    archive = find_archive(data_dir)
    if archive is None or any(find_files(name, data_dir) for name in names):
        return []
    data_dir.mkdir(parents=True, exist_ok=True)
    made: dict[str, zipfile.ZipInfo] = {}
    try:
        with (
            zipfile.ZipFile(archive) as packed,
            tempfile.TemporaryDirectory(dir=data_dir, prefix=".unpacking-") as folder,
        ):
            for info in packed.infolist():
                target = _target(info.filename)
                if target is not None and made.setdefault(target, info) is not info:
                    raise PipelineError(f"{archive} holds several files {target}.", (), _HAND)
            _reject_too_large(sum(info.file_size for info in made.values()), archive, data_dir)
            for target, info in made.items():
                Path(folder, target).parent.mkdir(exist_ok=True)
                # Reads no more than the declared size, and checks the CRC.
                with packed.open(info) as member, Path(folder, target).open("xb") as out:
                    shutil.copyfileobj(member, out)
            for target in made:
                (data_dir / target).parent.mkdir(exist_ok=True)
            return [Path(folder, target).rename(data_dir / target) for target in sorted(made)]
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise PipelineError(f"{archive} cannot be unpacked: {error}.", (), _HAND) from error


def _target(member: str) -> str | None:
    r"""Where a member belongs in the data folder; None if it is no source file.

    >>> [_target(name) for name in ("../Point.CSV", r"C:\log_rcd_f\1.csv", "evil.csv")]
    ['POINT.csv', 'LOG_RCD_F/1.csv', None]
    """
    # Only the end of the name, so that nothing lands outside. Windows' rules know both slashes.
    folder, name = ("", "", *PureWindowsPath(member).parts)[-2:]
    source = SOURCES.get(folder.upper())
    if member.endswith("/") or name.startswith(".") or not name.lower().endswith(ENDINGS):
        return None
    if source is not None and source.in_partitions:
        return f"{source.name}/{name}"
    return _NAMES.get(name.lower())


def _reject_too_large(unpacked: int, archive: Path, data_dir: Path) -> None:
    packed, free = archive.stat().st_size, shutil.disk_usage(data_dir).free
    if unpacked > max(_HARMLESS_BYTES, _MOST_TIMES * packed):
        raise PipelineError(
            f"{archive} is suspicious: {packed:,} bytes would become {unpacked:,}.", (), _HAND
        )
    if unpacked * _ROOM > free:
        raise PipelineError(
            f"{archive} unpacks to {unpacked:,} bytes, but only {free:,} are free in {data_dir}.",
            remedy="Free some space, with a tenth to spare.",
        )
