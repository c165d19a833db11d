"""What tasks read and build; files that are built beside their place and then moved there."""

from __future__ import annotations

import errno
import functools
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import luigi

from tasks.core.errors import PipelineError
from tasks.core.files import RACY_NS, SHA256, temporary_path
from tasks.core.stores import StorePath
from tasks.freshness.snapshot import Snapshot


class Digested(Protocol):
    """Something whose content has a digest."""

    def digest(self, snapshot: Snapshot) -> str | None:
        """The digest of its content; None if it does not exist."""


class FileTarget(luigi.LocalTarget):
    """A file, identified by its content.

    Args:
        path: Where it is.
        optional: Whether a build may leave it out; absence is then its content.
    """

    def __init__(self, path: Path, optional: bool = False):
        super().__init__(os.fspath(path))
        self.file = path
        self.optional = optional

    def exists(self) -> bool:
        """Whether there is something of its name."""
        return self.file.exists()

    def digest(self, snapshot: Snapshot) -> str | None:
        """SHA-256 of the file; "absent" for an optional one that does not exist."""
        found = snapshot.digest(self.file)
        return "absent" if found is None and self.optional else found


class SourceTarget(FileTarget):
    """A file that the pipeline does not write: an object is known by its version or ETag."""

    def digest(self, snapshot: Snapshot) -> str | None:
        """What changes with its content."""
        return snapshot.identity(self.file)


@functools.lru_cache(maxsize=1 << 16)
def file_target(folder: Path, name: str = "", optional: bool = False) -> FileTarget:
    """The file of that name in a folder: one object for each, as a snapshot needs thousands."""
    return FileTarget(folder / name, optional)


def files_of(targets: Iterable[Digested]) -> Iterator[Path]:
    """The files of those that are files."""
    return (one.file for one in targets if isinstance(one, FileTarget))


@contextmanager
def temporary_files(label: str, targets: Mapping[str, FileTarget]) -> Iterator[dict[str, Path]]:
    """A temporary path beside each target, removed at the end.

    Raises:
        PipelineError: A folder is in the place of a target.
    """
    temporary = {}
    for name, target in targets.items():
        if target.file.is_dir():
            raise PipelineError(
                f"{label}: {target.file} is a folder where a file is to be written.",
                remedy="Remove it.",
            )
        target.file.parent.mkdir(parents=True, exist_ok=True)
        # A fixed name: the task is locked, and what a killed run has left is overwritten.
        temporary[name] = temporary_path(target.file)
        temporary[name].unlink(missing_ok=True)
    try:
        yield temporary
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def replace_files(
    temporary: Mapping[str, Path],
    targets: Mapping[str, FileTarget],
    snapshot: Snapshot,
    digests: Mapping[Path, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Move files that were built to their targets; the digest of each.

    Args:
        temporary: Name -> file.
        targets: Name -> where it belongs.
        snapshot: Computes the digests.
        digests: Those that are known already, of the temporary files.
    """
    outputs = {}
    for name, path in temporary.items():
        target = targets[name]
        if path.exists():
            if not isinstance(path, StorePath):
                backdate_mtime(path)
            path.replace(target.file)
            if path in digests:
                snapshot.record(target.file, SHA256, digests[path])
        elif target.optional:
            target.file.unlink(missing_ok=True)
        digest = target.digest(snapshot)
        if digest is None:
            raise FileNotFoundError(errno.ENOENT, "was not built", str(target.file))
        outputs[name] = digest
    return outputs


def backdate_mtime(path: Path) -> None:
    """Date a file that was just written back, so that its digest can be used again at once.

    Any later change gives it another time.
    """
    before = time.time_ns() - 2 * RACY_NS
    os.utime(path, ns=(before, before))
