"""Snapshots: what files contain and what receipts say, at one moment."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from config.declarations import Table
from tasks.core.errors import PipelineError
from tasks.core.files import SHA256, is_racy, sha256
from tasks.core.progress import no_progress
from tasks.core.stores import StorePath, ask_about
from tasks.engines.arrow import Arrow
from tasks.engines.choose import engine
from tasks.engines.engine import Engine
from tasks.state import FileDigest, Receipt, State, storable

_LARGE = 1 << 30
"""Bytes; for less, no session of a cluster is begun."""

_Result = TypeVar("_Result")


class Snapshot:
    """One evaluation of the task graph, in which nothing is read or computed twice.

    Between two snapshots everything may have changed. A digest that was computed for an earlier
    one, also by another process, is used again if the file has the same size, inode and times; the
    time of the inode's change is one of them, as no program can set it.

    Args:
        state: Where digests and receipts are stored.
        earlier: An earlier snapshot, whose digests need not be loaded again.
        recall: Whether digests of unchanged files are used again.
    """

    def __init__(self, state: State, earlier: Snapshot | None = None, recall: bool = True):
        self.state = state
        known = (state.digests() if recall else {}) if earlier is None else earlier._known
        self._known: dict[tuple[str, str], FileDigest] = known
        self._new: dict[tuple[str, str], FileDigest] = earlier._new if earlier else {}
        self._results: dict[Hashable, Any] = {}

    def later(self) -> Snapshot:
        """A snapshot of the present."""
        return Snapshot(self.state, self)

    def memoize(self, key: Hashable, compute: Callable[[], _Result]) -> _Result:
        """A result, computed once in this snapshot."""
        if key not in self._results:
            self._results[key] = compute()
        found: _Result = self._results[key]
        return found

    def receipt(self, task: str) -> Receipt | None:
        """The receipt of a task's last build; None if there is none that is valid."""
        return self.memoize("receipts", self.state.task_receipts).get(task)

    def digest(self, path: Path) -> str | None:
        """SHA-256 of a file's content; None if there is no such file, or if it cannot be read."""
        return self.from_content(path, SHA256, sha256)

    def from_content(
        self, path: Path, what: str, compute: Callable[[Path], str | None]
    ) -> str | None:
        """Something that follows from a file's content alone; None if the file cannot be read.

        Args:
            path: The file.
            what: The name of that thing.
            compute: Computes it; called only if the file may have changed.
        """

        def find() -> str | None:
            try:
                key, stat = (storable(path), what), _stat(path)
                if (known := self._recall(key, stat)) is not None:
                    return known
                found_ns = time.time_ns()
                content = compute(path)
            except OSError:
                return None
            if content is not None:
                self._known[key] = self._new[key] = FileDigest(*stat, found_ns, content)
            return content

        return self.memoize((path, what), find)

    def identity(self, path: Path) -> str | None:
        """What changes with a file's content; None if it cannot be read.

        Of an object its version or ETag, and its size: it is not read. Else SHA-256.
        """
        with contextlib.suppress(OSError):
            if isinstance(path, StorePath) and (stat := _stat(path)).version:
                return f"object {stat.version:x}, {stat.size} bytes"
        return self.digest(path)

    def has_record(self, path: Path, what: str) -> bool:
        """Whether `from_content` has ever found something for a file of that name."""
        return (storable(path), what) in self._known

    def record(self, path: Path, what: str, content: str) -> None:
        """Have `from_content` return this until the file changes."""
        key = (storable(path), what)
        self._known[key] = self._new[key] = FileDigest(*_stat(path), time.time_ns(), content)

    def _recall(self, key: tuple[str, str], stat: tuple[int, int, int, int]) -> str | None:
        """What is known of a file with this stat; None if it may have changed."""
        known = self._known.get(key)
        if known and known[:4] == stat and not is_racy(known.mtime_ns, known.found_ns):
            return known.content
        return None

    def prepare(self, paths: Iterable[Path]) -> None:
        """Hash in parallel the files that have to be hashed; if they are large, by the engine."""
        paths = list(paths)
        ask_about(paths)
        unknown: dict[Path, int] = {}
        for path in paths:
            with contextlib.suppress(OSError):  # It is reported where the file is read.
                stat = _stat(path)
                has_version = isinstance(path, StorePath) and stat.version
                if not has_version and self._recall((storable(path), SHA256), stat) is None:
                    unknown[path] = stat.size
        by: Engine = engine() if sum(unknown.values()) >= _LARGE else Arrow()

        def compute(path: Path) -> str:
            return by.call(sha256, path, out={}, advance=no_progress)

        if unknown:
            # A process that is ending starts no threads; each file is then hashed where it is read.
            with contextlib.suppress(RuntimeError), ThreadPoolExecutor(by.at_once) as pool:
                list(pool.map(lambda path: self.from_content(path, SHA256, compute), unknown))

    def keep(self) -> None:
        """Store the digests that were computed, for other processes and later runs."""
        with contextlib.suppress(PipelineError):  # What is not stored is computed again.
            self.state.keep_digests(self._new)
            self._new.clear()


class _Stat(NamedTuple):
    """As FileDigest begins; `version` is the inode, or of an object made from its version."""

    size: int
    mtime_ns: int
    ctime_ns: int
    version: int


def _stat(path: Path) -> _Stat:
    found = path.stat()
    number = found.st_ino & (1 << 63) - 1
    return _Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, number)


def digest_of(content: object) -> str:
    """The digest of anything that JSON can hold.

    >>> digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    True
    """
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    # Names of files may contain anything.
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def declared_digest(item: object) -> str:
    """The digest of a declaration: of a table or source, or of what JSON can hold."""
    return _table_digest(item) if isinstance(item, Table) else digest_of(item)


@functools.lru_cache(maxsize=256)
def _table_digest(item: Table) -> str:
    return digest_of(asdict(item))


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    """What differs, by name, in words.

    >>> list(differences({"a": 1, "b": 1, "c": 1}, {"a": 2, "b": None, "d": 1}))
    ['a changed', 'b is missing', 'c was removed', 'd is new']
    """
    for name in sorted({*before, *now}):
        if name not in now:
            yield f"{name} was removed"
        elif name not in before:
            yield f"{name} is new"
        elif before[name] != now[name]:
            yield f"{name} {'is missing' if now[name] is None else 'changed'}"
