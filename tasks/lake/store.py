"""Where the lake is, and its manifest, which alone says which files count.

Object stores cannot rename. A file has a name of its own, made from its content; what a new
manifest lists replaces all that the one before listed, at once.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pyarrow as pa
from pyarrow import fs

from config.warehouse import FACT_LOGS
from tasks.core.errors import PipelineError
from tasks.core.stores import Store

MANIFEST = "manifest.json"
NO_DAY = "none"
"""The day of facts that have no time."""

_FORMAT = 1
_OWN = re.compile(rf"{FACT_LOGS.name}/(day=[^/]+/[^/]+-[0-9a-f]{{16}}\.parquet|\.[0-9a-f]{{32}})")
"""The names of files that are removed: nobody else's are called so."""

_RENAMED = "local", "hdfs"
"""File systems where a reader may see a file that is being written; it is renamed at the end."""


class LakeFile(NamedTuple):
    """A Parquet file of facts.

    Attributes:
        path: Below the lake.
        day: In the time zone of the reports, such as 2024-06-01; or NO_DAY.
        partition: The partition of log records that the facts are of.
        rows: How many.
        size: Bytes.
        sha256: Of the content.
    """

    path: str
    day: str
    partition: str
    rows: int
    size: int
    sha256: str


class Lake(Store):
    """A folder, or a prefix of an object store.

    Args:
        url: A path, or a URL that pyarrow knows: file, s3, gs, hdfs, abfs.

    Raises:
        PipelineError: The URL cannot be used.
    """

    def __init__(self, url: str):
        super().__init__(url, "The lake")

    def put(self, path: str, content: pa.Buffer | bytes) -> None:
        """Store a file whole, in place of one of its name."""
        renamed = self.files.type_name in _RENAMED
        # Of each attempt its own name: one that was given up may still be writing.
        written = f"{FACT_LOGS.name}/.{uuid.uuid4().hex}" if renamed else path
        with self.explained():
            for file in (path, written) if renamed else ():
                self.files.create_dir(posixpath.dirname(self.place(file)))
            with self.files.open_output_stream(self.place(written)) as stream:
                stream.write(content)
            if renamed:
                self.move(written, path)

    def read(self, file: LakeFile) -> pa.Buffer:
        """The content of a file.

        Raises:
            PipelineError: It is not the one that was stored.
        """
        with self.explained(), self.files.open_input_file(self.place(file.path)) as stream:
            content = stream.read_buffer()
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise PipelineError(
                f"{file.path} in {self} is not as it was stored.",
                remedy="Store it again: python -m tasks forget LakeFacts, then run.",
            )
        return content

    def missing(self, files: Iterable[LakeFile]) -> list[LakeFile]:
        """Of these files, those that do not exist, or have another size."""
        found = {info.path: info.size for info in self._all()}
        return [one for one in files if found.get(self.place(one.path)) != one.size]

    def manifest(self) -> str | None:
        """The text of the manifest; None if there is none."""
        place = self.place(MANIFEST)
        with self.explained():
            if self.files.get_file_info(place).type != fs.FileType.File:
                return None
            with self.files.open_input_stream(place) as stream:
                return str(stream.read().decode(errors="replace"))

    def publish(self, files: Sequence[LakeFile], grace_s: float, now: datetime) -> str:
        """Store a manifest that lists these files; its text.

        Files of earlier manifests are removed when a reader of those has had time enough; so is
        what a killed run has left.

        Args:
            files: All files of the lake.
            grace_s: How many seconds a file stays after the first manifest without it.
            now: The present.
        """
        paths = {one.path for one in files}
        before = now - timedelta(seconds=grace_s)
        replaced = {path: since for path, since in self._replaced(now).items() if path not in paths}
        kept = {path: since.isoformat() for path, since in replaced.items() if since > before}
        text = _manifest(files, kept)
        self.put(MANIFEST, text.encode())
        listed = {self.place(path) for path in (*paths, *kept, MANIFEST)}
        for info in self._all():
            name = info.path.removeprefix(self.place(""))
            is_old = name in replaced or _stored(info) < before
            if is_old and _OWN.fullmatch(name) and info.path not in listed:
                with self.explained():
                    self.files.delete_file(info.path)
        return text

    def _replaced(self, now: datetime) -> dict[str, datetime]:
        """Path -> since when it is not listed, of files that were; those that are listed: now."""
        text = self.manifest()
        try:
            content = json.loads(text or "")
            since = {
                path: datetime.fromisoformat(at).astimezone(UTC)
                for path, at in content["replaced"].items()
            }
            return since | {str(one["path"]): now for one in content["files"]}
        except (ValueError, LookupError, TypeError, AttributeError):
            # There is none, or somebody damaged it: any file may have been listed.
            names = (info.path.removeprefix(self.place("")) for info in self._all())
            return {} if text is None else dict.fromkeys(names, now)

    def _all(self) -> list[fs.FileInfo]:
        with self.explained():
            return [info for info in self.infos(FACT_LOGS.name) if info.is_file]


def read_manifest(text: str) -> list[LakeFile]:
    """The files that a manifest lists, by day and partition."""
    return [LakeFile(**one) for one in json.loads(text)["files"]]


def _manifest(files: Sequence[LakeFile], replaced: Mapping[str, str]) -> str:
    content = {
        "format": _FORMAT,
        "table": FACT_LOGS.name,
        "rows": sum(one.rows for one in files),
        "files": [one._asdict() for one in sorted(files, key=lambda one: (one.day, one.path))],
        "replaced": replaced,
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _stored(info: fs.FileInfo) -> datetime:
    return info.mtime or datetime.now(UTC)
