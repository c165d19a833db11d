"""`take_home_data.zip`: the source files in one archive, unpacked if no CSV file exists yet."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from tasks.errors import PipelineError
from tasks.source_files import ENDINGS, find_files

ARCHIVE = "take_home_data.zip"
MAX_UNPACKED_BYTES = 20 * 2**30
"""Bound on what an archive may unpack to."""


def find_archive(data_dir: Path) -> Path | None:
    """`take_home_data.zip` in the data folder or beside it; None if it is in neither place."""
    candidates = (data_dir / ARCHIVE, data_dir.resolve().parent / ARCHIVE)
    return next((path for path in candidates if path.is_file()), None)


def provide_files(names: Iterable[str], data_dir: Path) -> list[Path]:
    """Unpack the archive if no source has a file yet; the files made.

    Raises:
        PipelineError: The archive cannot be unpacked.
    """
    if any(find_files(name, data_dir) for name in names):
        return []
    return unpack_archive(data_dir)


def unpack_archive(data_dir: Path) -> list[Path]:
    """Unpack the CSV files of `take_home_data.zip`, in the data folder or beside it.

    Folders inside the archive do not count; files that are no CSV are left out, and none that is
    there already is touched. Either all files appear, whole, or none.

    Returns:
        The files made; none if there is no archive.

    Raises:
        PipelineError: The archive is damaged, or unpacks to more than MAX_UNPACKED_BYTES.
    """
    archive = find_archive(data_dir)
    if archive is None:
        return []
    data_dir.mkdir(parents=True, exist_ok=True)
    try:
        with (
            zipfile.ZipFile(archive) as packed,
            tempfile.TemporaryDirectory(dir=data_dir, prefix=".unpacking-") as folder,
        ):
            # Only the last part of a name is used, so nothing can land outside the folder.
            members = sorted(
                (
                    (Path(info.filename.replace("\\", "/")).name, info)
                    for info in packed.infolist()
                    if not info.is_dir()
                ),
                key=lambda member: member[0],
            )
            room = MAX_UNPACKED_BYTES
            unpacked: list[Path] = []
            for name, info in members:
                wanted = name.lower().endswith(ENDINGS) and not name.startswith(".")
                if Path(folder, name) in unpacked:
                    raise PipelineError(
                        f"{archive} holds several files {name}.",
                        remedy="Unpack the right one by hand into the data folder.",
                    )
                if wanted and not (data_dir / name).exists():
                    with packed.open(info) as member:
                        room -= _copy_bounded(member, Path(folder, name), room)
                    unpacked.append(Path(folder, name))
            return [path.rename(data_dir / path.name) for path in unpacked]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise PipelineError(
            f"{archive} cannot be unpacked: {error}.",
            remedy="Unpack it by hand into the data folder, or remove it.",
        ) from error


def _copy_bounded(source: IO[bytes], target: Path, room: int) -> int:
    """Copy at most `room` bytes to a new file and return their number."""
    written = 0
    with target.open("xb") as out:
        while block := source.read(1 << 20):
            written += len(block)
            if written > room:
                raise PipelineError(
                    f"{ARCHIVE} unpacks to more than {MAX_UNPACKED_BYTES:,} bytes.",
                    remedy="Unpack it by hand into the data folder if it is to be trusted.",
                )
            out.write(block)
    return written
