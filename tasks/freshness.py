"""Tasks that know whether their inputs changed: digests, receipts, and the base class FreshTask.

A task is complete only if its output was built from the present inputs, code, parameters and
declarations. Each build leaves a receipt of these; `complete()` holds it against the world.
A change is followed by content, not by time: a file that is touched but equal changes nothing,
and a task whose inputs turn out equal again stops before it builds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import luigi
from filelock import FileLock, Timeout
from luigi.task import flatten

from tasks.errors import PipelineError
from tasks.settings import settings

FORMAT = 1
"""Version of the receipts; others are not believed."""

_RACY_NS = 2_000_000_000
"""A file changed within this time before it was hashed may change again unseen by its stat."""

logger = logging.getLogger("luigi-interface")


# --- digests ---------------------------------------------------------------------------------


class DigestCache:
    """SHA-256 of files, remembered by path, size, modification time and inode.

    Args:
        path: JSON file in which it is kept between runs; lost entries only cost time.
    """

    def __init__(self, path: Path):
        self._path = path
        self._known: dict[str, dict[str, Any]] | None = None
        self.read_only = False

    def digest(self, path: Path) -> str | None:
        """The digest of a file's content; None if there is no such file, or none to be read."""
        try:
            return self._digest(path)
        except OSError:
            return None

    def _digest(self, path: Path) -> str:
        before = path.stat()
        stat = {"size": before.st_size, "mtime_ns": before.st_mtime_ns, "inode": before.st_ino}
        key = os.fspath(path.absolute())
        known = self._load().get(key)
        if (
            known is not None
            and all(known[name] == value for name, value in stat.items())
            and known["mtime_ns"] + _RACY_NS < known["hashed_ns"]
        ):
            return str(known["sha256"])
        hashed_ns = time.time_ns()
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        self._load()[key] = {**stat, "sha256": sha256, "hashed_ns": hashed_ns}
        if not self.read_only:
            with contextlib.suppress(OSError):  # What is not kept is hashed again.
                self._save()
        return sha256

    def _load(self) -> dict[str, dict[str, Any]]:
        if self._known is None:
            try:
                self._known = json.loads(self._path.read_text())
            except (OSError, ValueError):
                self._known = {}
        assert self._known is not None
        return self._known

    def _save(self) -> None:
        write_atomically(self._path, json.dumps(self._load()))


_caches: dict[Path, DigestCache] = {}


def digest_cache() -> DigestCache:
    """The cache of the staging folder in force."""
    path = (settings().staging_dir / ".receipts" / "digests.json").absolute()
    return _caches.setdefault(path, DigestCache(path))


def digest_of(content: object) -> str:
    """The digest of anything that JSON can hold.

    >>> digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    True
    """
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


# --- what tasks read and make ----------------------------------------------------------------


class Digested(Protocol):
    """Something whose content has a digest."""

    def digest(self) -> str | None:
        """The digest of its present content; None if it is absent."""


class FileTarget(luigi.LocalTarget):
    """A file, known by its content.

    Args:
        path: Where it is.
        optional: Whether a build may leave it out; absence is then its content.
    """

    def __init__(self, path: Path, optional: bool = False):
        super().__init__(os.fspath(path))
        self.file = path
        self.optional = optional

    def digest(self) -> str | None:
        """SHA-256 of the file; "absent" for an optional one that is not there."""
        found = digest_cache().digest(self.file)
        return "absent" if found is None and self.optional else found


# --- receipts --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Receipt:
    """What a task's output was built from.

    Attributes:
        code: The task's declared code version.
        declarations: Name -> digest of each parameter, setting or declaration that it used.
        inputs: Name -> digest of what it read.
        outputs: Name -> digest of what it made.
    """

    code: int
    declarations: dict[str, str]
    inputs: dict[str, str]
    outputs: dict[str, str]
    format: int = FORMAT

    def to_json(self) -> str:
        """The receipt as text; equal receipts give equal text."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Receipt | None:
        """The receipt in a text; None if it holds none of this format."""
        try:
            content = json.loads(text)
            receipt = Receipt(**content)
        except (ValueError, TypeError):
            return None
        maps = (receipt.declarations, receipt.inputs, receipt.outputs)
        whole = receipt.format == FORMAT and all(isinstance(item, dict) for item in maps)
        return receipt if whole else None


class FreshTask(luigi.Task):
    """A task that is complete only while its output matches its inputs, code and declarations.

    Subclasses give `requires()`, `reads()`, `output()` (a dict of targets) and `build()`; they
    raise `code_version` when the result of the same inputs changes.
    """

    code_version: ClassVar[int] = 1

    @property
    def label(self) -> str:
        """The task's name for people: its class and its significant parameters."""
        return ":".join([self.task_family, *self.to_str_params(only_significant=True).values()])

    def __str__(self) -> str:
        return self.label

    def declarations(self) -> Mapping[str, object]:
        """Whatever else the result depends on: settings, declarations. JSON or dataclasses."""
        return {}

    def reads(self) -> Mapping[str, Digested]:
        """What `build()` reads, by name. Only this makes the task build again."""
        return {}

    def build(self, out: Mapping[str, Path]) -> None:
        """Make the outputs at the given temporary paths."""
        raise NotImplementedError

    def depends_on(self) -> list[FreshTask]:
        """The required tasks that make this one stale; others are only to be done before it."""
        return list(flatten(self.requires()))

    # --- freshness

    def complete(self) -> bool:
        """Whether nothing has to be done for this task or anything it requires."""
        return self.why_stale() is None

    def why_stale(self, asked: dict[str, str | None] | None = None) -> str | None:
        """Why the task has to run; None if it has not.

        Args:
            asked: Answers of this same inquiry for other tasks, so that none is asked twice.
        """
        asked = {} if asked is None else asked
        if self.label not in asked:
            asked[self.label] = self._own_reason() or self._reason_upstream(asked)
        return asked[self.label]

    def _reason_upstream(self, asked: dict[str, str | None]) -> str | None:
        for task in self.depends_on():
            if task.why_stale(asked) is not None:
                return f"{task.label} has to run"
        return None

    def _own_reason(self) -> str | None:
        """Why the output does not match what is there now, leaving aside that this may change."""
        receipt = self.load_receipt()
        if receipt is None:
            return "no receipt: never built, or forgotten"
        if receipt.code != self.code_version:
            return f"code {receipt.code} -> {self.code_version}"
        for name in _differing(receipt.declarations, self._declared()):
            return f"declaration {name} changed"
        for name, target in self.output().items():
            if (found := target.digest()) != receipt.outputs.get(name):
                return f"output {name} {'is missing' if found is None else 'was edited'}"
        now = self._read_digests()
        for name in _differing(receipt.inputs, now):
            return f"input {name} {'is missing' if now.get(name) is None else 'changed'}"
        return None

    def _declared(self) -> dict[str, str]:
        return {name: digest_of(_plain(item)) for name, item in self.declarations().items()}

    def _read_digests(self) -> dict[str, str | None]:
        return {name: target.digest() for name, target in self.reads().items()}

    # --- receipts, kept in files here; the warehouse keeps those of its loads itself

    @property
    def receipt_path(self) -> Path:
        """Where the receipt is."""
        name = self.label.replace(":", "-")
        return settings().staging_dir / ".receipts" / f"{name}.json"

    def load_receipt(self) -> Receipt | None:
        """The receipt of the last build; None if there is none to be believed."""
        try:
            return Receipt.from_json(self.receipt_path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return None

    def forget(self) -> None:
        """Remove the receipt, so that the task runs again. No data is touched."""
        self.receipt_path.unlink(missing_ok=True)

    # --- running

    def run(self) -> None:
        """Build, unless the inputs turn out to be what the output was built from.

        Raises:
            PipelineError: An input changed meanwhile, or a file cannot be read or written; the
                former output then still stands.
        """
        self.show_status("started")
        try:
            with self._alone():
                if self._own_reason() is None:
                    logger.info("%s: unchanged, nothing built", self.label)
                    self.show_status("unchanged, nothing built")
                    return
                inputs = self.take_inputs()
                self.make(Receipt(self.code_version, self._declared(), inputs, {}))
        except OSError as error:
            raise PipelineError(
                f"{self.label}: a file cannot be read or written: {error}.",
                remedy="Is there room, and are the folders of luigi.cfg there to be written to?",
            ) from error

    def make(self, receipt: Receipt) -> None:
        """Build into temporary files, then put them in place and write the receipt last."""
        targets = self.output()
        for target in targets.values():
            if target.file.is_dir():
                raise PipelineError(
                    f"{self.label}: {target.file} is a folder where a file is to be written.",
                    remedy="Remove it.",
                )
        with _temporary_files(targets) as temporary:
            self.build(temporary)
            self.check_inputs(receipt.inputs)
            outputs = {}
            for name, path in temporary.items():
                target = targets[name]
                if path.exists():
                    path.chmod(0o644)
                    path.replace(target.file)
                elif target.optional:
                    target.file.unlink(missing_ok=True)
                digest = target.digest()
                assert digest is not None, f"{self.label} did not make {name}"
                outputs[name] = digest
        complete = Receipt(receipt.code, receipt.declarations, receipt.inputs, outputs)
        write_atomically(self.receipt_path, complete.to_json())

    def check_inputs(self, taken: Mapping[str, str]) -> None:
        """Raise PipelineError if what the task reads is no longer what it was."""
        changed = list(_differing(taken, self._read_digests()))
        if changed:
            raise PipelineError(
                f"{self.label}: its input changed while it was read: {', '.join(changed)}.",
                remedy="Nothing was replaced. Run again when the files are at rest.",
            )

    def take_inputs(self) -> dict[str, str]:
        """The digests of what the build is about to read; PipelineError if some is missing."""
        inputs = self._read_digests()
        missing = [name for name, digest in inputs.items() if digest is None]
        if missing:
            raise PipelineError(f"{self.label}: its input is missing: {', '.join(missing)}.")
        return {name: digest for name, digest in inputs.items() if digest is not None}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other run is at this task."""
        path = self.receipt_path.with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning("%s: another run is at this task; waiting for it", self.label)
            self.show_status("waiting for another run")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def show_status(self, message: str) -> None:
        """Show a message beside the task in the scheduler's pages."""
        if self.set_status_message is not None:
            self.set_status_message(message)

    def on_failure(self, exception: BaseException) -> str:
        """What the scheduler's pages tell of a failure."""
        if isinstance(exception, PipelineError):
            return str(exception)
        return str(super().on_failure(exception))


def walk(task: FreshTask) -> list[FreshTask]:
    """A task and all that it requires, each once, requirements first."""
    found: dict[str, FreshTask] = {}

    def visit(one: FreshTask) -> None:
        if one.label in found:
            return
        for required in flatten(one.requires()):
            visit(required)
        found[one.label] = one

    visit(task)
    return list(found.values())


@contextmanager
def _temporary_files(targets: Mapping[str, FileTarget]) -> Iterator[dict[str, Path]]:
    """A temporary path beside each target, gone afterwards whatever happens."""
    temporary = {}
    for name, target in targets.items():
        target.file.parent.mkdir(parents=True, exist_ok=True)
        # A fixed name: whoever builds is alone, and a killed run's leavings are overwritten.
        temporary[name] = target.file.with_name(f".{target.file.name}.tmp")
        temporary[name].unlink(missing_ok=True)
    try:
        yield temporary
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def _differing(one: Mapping[str, object], other: Mapping[str, object]) -> Iterator[str]:
    for name in sorted({*one, *other}):
        if one.get(name) != other.get(name):
            yield name


def _plain(item: object) -> object:
    """A dataclass as what JSON can hold; anything else as it is."""
    return asdict(item) if hasattr(item, "__dataclass_fields__") else item  # type: ignore[call-overload]
