"""`take_home_data.zip`: the source files in one archive, unpacked if no source has a file yet."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath

from config.sources import SOURCES
from tasks.core.errors import PipelineError
from tasks.sources.files import ENDINGS, find_files

ARCHIVE = "take_home_data.zip"
_NAMES = {f"{name}{end}".lower(): f"{name}{end}" for name in SOURCES for end in ENDINGS}

# Logs that repeat one value are packed to a hundredth, what is made to fill a disk to a thousandth;
# a little does no harm. A tenth more than the files need is to be free, for what else is written.
_MOST_TIMES, _HARMLESS_BYTES, _ROOM = 200, 100 * 2**20, 1.1


def find_archive(data_dir: Path) -> Path | None:
    """`take_home_data.zip` in the data folder or beside it; None if it is in neither place."""
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


_HAND = "Unpack it by hand into the data folder, or remove it."


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
