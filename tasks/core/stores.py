"""Folders in object stores and other file systems that pyarrow knows, as paths.

Settings name a folder by its path or by a URL. Of a URL the rest of the package has a `StorePath`,
whose methods are those of a path that the pipeline calls.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import functools
import hashlib
import io
import math
import os
import posixpath
import re
import shutil
import stat
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any

from tasks.core.errors import PipelineError, advice

if TYPE_CHECKING:
    from pyarrow import NativeFile, fs

_BUFFER = 1 << 20
_VALID_S = 10
_REQUESTS = 32
_URL = re.compile(r"^(\w+):/+(?=[^/])")
_FILE_MODE = stat.S_IFREG | 0o644

_urls: dict[str, str] = {}
"""The URL of each folder that `folder_at` has returned, with options and password."""

_asked: dict[str, tuple[float, os.stat_result | None]] = {}
"""When an object was asked about, and the answer."""


def ask_again() -> None:
    """Others may have changed objects: forget what is known of them."""
    _asked.clear()
    _listed.cache_clear()


def check_store(folder: Path) -> None:
    """Raise PipelineError if a folder is in an object store that cannot be used."""
    if isinstance(folder, StorePath):
        folder._at()


def ask_about(paths: Iterable[Path]) -> None:
    """Ask about many objects at the same time, before they are asked about one by one."""
    stored = [path for path in paths if isinstance(path, StorePath)]
    if stored:
        check_store(stored[0])  # Connects, before threads would do so all at once.
        # A process that is ending starts no threads; errors are reported where one is read.
        with contextlib.suppress(RuntimeError, OSError), ThreadPoolExecutor(_REQUESTS) as pool:
            list(pool.map(StorePath.exists, stored))


def folder_at(text: str) -> Path:
    """The folder that a setting names: a path, or a URL that pyarrow knows."""
    if "://" not in text:
        return Path(text)
    if text.startswith("file://"):
        return Path(Store(text).root)
    folder = StorePath(public_url(text))
    if _urls.setdefault(str(folder), text) != text:
        raise PipelineError(
            f"luigi.cfg: two folders are called {folder}, with different options or credentials.",
            remedy="Use the same for both, or another prefix.",
        )
    return folder


def file_at(text: str) -> Path:
    """A file, given as a path or URL; options and password are those of a folder above it."""
    if "://" not in text:
        return Path(text)
    address, mark, options = text.partition("?")
    path = StorePath(public_url(address))
    if text.startswith("file://") or not any(str(folder) in _urls for folder in path.parents):
        above, _, name = address.rpartition("/")
        return folder_at(f"{above}{mark}{options}") / name
    return path


def known_urls() -> dict[str, str]:
    """What another process needs so that it can use the same paths."""
    return dict(_urls)


def use_urls(urls: dict[str, str]) -> None:
    """Use the paths of another process."""
    _urls.update(urls)


class Store:
    """A folder, or a prefix of an object store.

    Args:
        url: A path, or a URL that pyarrow knows: file, s3, gs, hdfs, abfs.
        what: What it is, for errors.

    Attributes:
        files: The file system of pyarrow.
        root: The folder in it.

    Raises:
        PipelineError: The URL cannot be used.
    """

    def __init__(self, url: str, what: str = "The folder"):
        from pyarrow import fs

        self._url, self._what = url, what
        with self.explained():
            if "://" in url:
                self.files, self.root = fs.FileSystem.from_uri(_known_to_arrow(url))
            else:
                self.files, self.root = fs.LocalFileSystem(), str(Path(url).absolute())

    def __str__(self) -> str:
        return public_url(self._url)

    def place(self, path: str) -> str:
        """A path below it, as the file system has it."""
        return f"{self.root.rstrip('/')}/{path}"

    def move(self, path: str, to: str) -> None:
        """Rename a file, in place of one that has the name; object stores copy it."""
        if self.files.type_name == "hdfs":
            with contextlib.suppress(FileNotFoundError):
                self.files.delete_file(self.place(to))
        try:
            self.files.move(self.place(path), self.place(to))
        except NotImplementedError:  # As in Azure, unless names are hierarchical there.
            self.files.copy_file(self.place(path), self.place(to))
            self.files.delete_file(self.place(path))

    def infos(self, path: str, recursive: bool = True) -> list[fs.FileInfo]:
        """What is in a folder."""
        from pyarrow import fs

        chosen = fs.FileSelector(self.place(path), recursive=recursive, allow_not_found=True)
        return list(self.files.get_file_info(chosen))

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise what pyarrow raises as a PipelineError that says what to do."""
        from pyarrow import ArrowException

        try:
            yield
        except (OSError, ValueError, ArrowException) as error:
            why = str(error).replace(_known_to_arrow(self._url), str(self))
            known = advice(error) if isinstance(error, OSError) and error.errno else ""
            raise PipelineError(
                f"{self._what} {self} cannot be used: {why}",
                remedy=known
                or "Name a folder in luigi.cfg, or a URL such as s3://bucket/prefix, and check "
                "the credentials and whether the bucket exists.",
            ) from error


@functools.lru_cache(maxsize=16)
def _store(url: str, _process: int) -> Store:
    """Connected once in each process: a fork has no threads of its parent's connection."""
    store = Store(url)
    bucket = store.root.partition("/")[0]  # Writing makes folders, but no bucket.
    with store.explained():
        if bucket and not store.files.get_file_info(bucket).type:
            raise FileNotFoundError(f"{bucket} does not exist")
    return store


class StorePath(PosixPath):
    """A path below a folder that `folder_at` has returned.

    An object that is overwritten has another `st_ino`, made from its version or ETag; where the
    file system has neither, `st_mtime_ns` says so.
    """

    def __str__(self) -> str:
        return _URL.sub(r"\1://", super().__str__())

    def _at(self) -> tuple[Store, str]:
        for folder in (self, *self.parents):
            if url := _urls.get(str(folder)):
                inside = str(self)[len(str(folder)) :].lstrip("/")
                return _store(url, os.getpid()), inside
        raise FileNotFoundError(errno.ENOENT, "is in no folder that luigi.cfg names", str(self))

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Of a file; a folder has none. An answer is used again for ten seconds."""
        now = time.monotonic()
        at, found = _asked.get(str(self), (-math.inf, None))
        if now - at > _VALID_S:
            found = None
            with contextlib.suppress(FileNotFoundError):
                found = self._stat()
            _asked[str(self)] = now, found
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "does not exist", str(self))
        return found

    def _stat(self) -> os.stat_result:
        store, path = self._at()
        place = store.place(path)
        with store.files.open_input_file(place) as file:
            size = file.size()
            answer = {name.lower(): value for name, value in (file.metadata() or {}).items()}
        for name in ("versionid", "generation", "etag"):
            if (version := answer.get(name, b"")) not in (b"", b"null"):
                number = int(hashlib.sha256(version).hexdigest()[:15], 16)
                return _stat_result(number, size, 0)
        info = store.files.get_file_info(place)
        return _stat_result(0, size, info.mtime_ns or 0)

    def exists(self, **_: Any) -> bool:
        """Whether it is a file."""
        with contextlib.suppress(FileNotFoundError):
            self.stat()
            return True
        return False

    is_file = exists

    def is_dir(self, **_: Any) -> bool:
        """Whether it is a folder; False in object stores, where names may be of both."""
        return False

    def is_symlink(self) -> bool:
        """False."""
        return False

    def absolute(self) -> StorePath:
        """Itself."""
        return self

    def mkdir(self, *_: Any, **__: Any) -> None:
        """Nothing: a file makes its folders."""

    def iterdir(self) -> Generator[StorePath]:
        """What is in it. An answer is used again for ten seconds."""
        yield from _listed(self, int(time.monotonic() / _VALID_S))

    def glob(self, pattern: str) -> Iterator[StorePath]:  # type: ignore[override]
        """Files in the folder with a name like the pattern."""
        return (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    def rglob(self, pattern: str) -> Iterator[StorePath]:  # type: ignore[override]
        """Files in the folder, and in folders in it, with a name like the pattern."""
        store, path = self._at()
        with store.explained():
            found = store.infos(path)
        for info in found:
            if info.is_file and fnmatch.fnmatchcase(info.base_name, pattern):
                yield self / info.path.removeprefix(store.place(path)).lstrip("/")

    def open(self, mode: str = "r", *_: Any, **named: Any) -> Any:
        """Read it, or write it whole: it has its content when it is closed."""
        store, path = self._at()
        _asked.pop(str(self), None)
        if "w" not in mode:
            raw: Any = io.BufferedReader(self.open_for_arrow(), _BUFFER)
        else:
            place = store.place(path)
            if store.files.type_name == "hdfs":
                store.files.create_dir(posixpath.dirname(place))
            raw = io.BufferedWriter(store.files.open_output_stream(place), _BUFFER)
        return raw if "b" in mode else io.TextIOWrapper(raw, **named)

    def open_for_arrow(self) -> NativeFile:
        """Read it with as few requests as pyarrow needs."""
        store, path = self._at()
        return store.files.open_input_file(store.place(path))

    def store(self, file: Path) -> None:
        """Store the content of a local file."""
        with file.open("rb") as content, self.open("wb") as stream:
            shutil.copyfileobj(content, stream, _BUFFER)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file."""
        store, path = self._at()
        _asked.pop(str(self), None)
        with contextlib.suppress(*(FileNotFoundError,) if missing_ok else ()):
            store.files.delete_file(store.place(path))

    def replace(self, target: StorePath) -> StorePath:  # type: ignore[override]
        """Rename it, in place of a file of that name in the same store."""
        (store, path), (_, to) = self._at(), target._at()
        store.move(path, to)
        for changed in (self, target):
            _asked.pop(str(changed), None)
        return target


def _stat_result(number: int, size: int, mtime_ns: int) -> os.stat_result:
    seconds = mtime_ns // 10**9
    times = {"st_mtime_ns": mtime_ns, "st_ctime_ns": 0, "st_atime_ns": 0}
    return os.stat_result((_FILE_MODE, number, 0, 1, 0, 0, size, seconds, seconds, 0), times)


@functools.lru_cache(maxsize=64)
def _listed(folder: StorePath, _time: int) -> tuple[StorePath, ...]:
    store, path = folder._at()
    with store.explained():
        found = store.infos(path, recursive=False)
    return tuple(folder / info.base_name for info in found)


def _known_to_arrow(url: str) -> str:
    """The URL as pyarrow has it: Hadoop's name of S3 is s3a."""
    return "s3://" + url.removeprefix("s3a://") if url.startswith("s3a://") else url


def public_url(url: str) -> str:
    """A URL without options, user and password, also if these were not encoded.

    >>> public_url("s3://user:pass@bucket/a@b?secret=x"), public_url("s3://bucket/a@b")
    ('s3://bucket/a@b', 's3://bucket/a@b')
    >>> public_url("s3://user:12/ss@bucket/in"), public_url("hdfs://host:8020/a@b")
    ('s3://bucket/in', 'hdfs://host:8020/a@b')
    >>> public_url("abfs://container@account.example/in"), public_url("folder/with?@sign")
    ('abfs://container@account.example/in', 'folder/with?@sign')
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    rest = rest.partition("?")[0]
    host = rest.partition("/")[0]
    _, colon, after = host.partition(":")
    if colon and "@" not in host and not (scheme == "hdfs" and after.isdecimal()):
        rest = rest.rpartition("@")[2]  # A password with a slash in it.
    elif colon or not scheme.startswith("abfs"):
        rest = host.rpartition("@")[2] + rest[len(host) :]
    return f"{scheme}{mark}{rest}"
