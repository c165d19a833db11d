"""Tasks that know whether their inputs changed: digests, receipts, and the base class FreshTask.

A task is complete only if its output was built from the present inputs, code, parameters and
declarations. Each build leaves a receipt of these; `complete()` holds it against the world.
A change is followed by content, not by time: a file that is touched but equal changes nothing,
and a task whose inputs turn out equal again stops before it builds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import logging
import os
import shutil
import textwrap
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import luigi
import luigi.interface
from filelock import FileLock, Timeout
from luigi.task import flatten

from config.declarations import Table
from tasks.core.errors import PipelineError, system_errors
from tasks.core.files import open_regular, write_atomically
from tasks.core.memo import looking, once, one_look, settled
from tasks.run.outcome import note
from tasks.run.progress import UNTOLD, Progress
from tasks.run.settings import settings

FORMAT = 1
"""Version of the receipts; others are not believed."""

_RACY_NS = 2_000_000_000
_FINE_RACY_NS = 100_000_000
"""A file changed within this time before it was hashed may change again unseen by its stat: the
file system may give both changes the same time. The shorter one is for those that tell parts of a
second, whose clock ticks every hundredth of one at the slowest."""

THREADS = min(4, os.cpu_count() or 1)
"""How much is done side by side within one task."""

logger = logging.getLogger("luigi-interface")


# --- digests ---------------------------------------------------------------------------------


class DigestCache:
    """SHA-256 of files, remembered by path, size, inode and the times of their last changes.

    The time of the inode's change too, which nobody can set back: so an edit is noticed whose
    modification time was.

    Args:
        path: File in which it is kept between runs and told to other processes: a JSON list a
            line, the last one on a file counts. Lost lines only cost time.
    """

    def __init__(self, path: Path):
        self._path = path
        self._known: dict[str, _Found] = {}
        self._new: dict[str, _Found] = {}
        self._read_inode = 0
        self._read_bytes = 0
        self._read_lines = 0
        self.read_only = False

    def digest(self, path: Path) -> str | None:
        """The digest of a file's content; None if there is no such file, or none to be read."""
        return self.remember(path, "sha256", _sha256)

    def remember(self, path: Path, what: str, find: Callable[[Path], str | None]) -> str | None:
        """Something that follows from a file's content; None if the file cannot be read.

        Args:
            path: The file.
            what: The name of that thing.
            find: Finds it; asked again only if the file may have changed.
        """
        if not looking():
            self.load()
        try:
            found = self._remember(path, what, find)
        except OSError:
            return None
        if not looking():
            self.save()
        return found

    def prepare(self, paths: Iterable[Path]) -> None:
        """Hash files side by side, those that have to be."""
        self.load()
        unknown = []
        for path in paths:
            with contextlib.suppress(OSError):
                if self._recall(path, path.stat(), "sha256") is None:
                    unknown.append(path)

        def hash_one(path: Path) -> None:
            with contextlib.suppress(OSError):  # Reported where the file is read.
                self._remember(path, "sha256", _sha256)

        if unknown:
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(hash_one, unknown))

    def _remember(self, path: Path, what: str, find: Callable[[Path], str | None]) -> str | None:
        before = path.stat()
        known = self._recall(path, before, what)
        if known is not None:
            return known
        found_ns = time.time_ns()
        content = find(path)
        if content is not None:
            found = _Found(*_seen(before), found_ns, content)
            self._known[_key(path, what)] = self._new[_key(path, what)] = found
        return content

    def _recall(self, path: Path, now: os.stat_result, what: str) -> str | None:
        """What is known of a file; None if it may have changed since."""
        known = self._known.get(_key(path, what))
        if known is None or known[:4] != _seen(now):
            return None
        racy_ns = _FINE_RACY_NS if now.st_mtime_ns % 1_000_000_000 else _RACY_NS
        return known.content if now.st_mtime_ns + racy_ns < known.found_ns else None

    def load(self) -> None:
        """Take up what was kept since the last time, by whatever process."""
        try:
            with self._path.open("rb") as stream:
                now = os.fstat(stream.fileno())
                if now.st_ino != self._read_inode or now.st_size < self._read_bytes:
                    self._read_inode, self._read_bytes, self._read_lines = now.st_ino, 0, 0
                if now.st_size > self._read_bytes:
                    stream.seek(self._read_bytes)
                    lines = stream.read().splitlines()
                    self._read_bytes = stream.tell()
                    self._read_lines += len(lines)
                    self._known |= dict(_found_in(lines))
        except OSError:
            return

    def save(self) -> None:
        """Keep what was found for other processes and the next run."""
        if not self._new or self.read_only:
            return
        with contextlib.suppress(OSError):  # What is not kept is found again.
            if self._read_lines > 2 * len(self._known) + _SPARE_LINES:
                self.load()
                write_atomically(self._path, _kept_lines(self._known))
            else:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                # In one go, so that the lines of two processes are not mixed; a line that was cut
                # short when its writer was killed ends here.
                with self._path.open("ab", buffering=0) as stream:
                    stream.write(b"\n" + _kept_lines(self._new).encode())
            self._new = {}


_SPARE_LINES = 1_000
"""So many more lines than twice what is known, and the file is written anew."""


class _Found(NamedTuple):
    """What was found of a file: when it looked how, and when (nanoseconds since 1970)."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    found_ns: int
    content: str


def _seen(now: os.stat_result) -> tuple[int, int, int, int]:
    return now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino


def _kept_lines(known: Mapping[str, _Found]) -> str:
    return "".join(json.dumps([key, *found]) + "\n" for key, found in known.items())


def _found_in(lines: Iterable[bytes]) -> Iterator[tuple[str, _Found]]:
    """What lines that were kept tell; those that are damaged tell nothing."""
    for item in _parse(lines):
        with contextlib.suppress(ValueError, TypeError):
            key, *seen, content = item
            whole = len(seen) == 5 and all(isinstance(number, int) for number in seen)
            if whole and isinstance(key, str) and isinstance(content, str):
                yield key, _Found(*item[1:])


def _parse(lines: Iterable[bytes]) -> list[Any]:
    """The JSON in lines, that in damaged ones left out."""
    whole = [line for line in lines if line]
    try:
        parsed: list[Any] = json.loads(b"[" + b",".join(whole) + b"]")  # Faster than one by one.
    except (ValueError, RecursionError):
        parsed = []
        for line in whole:
            with contextlib.suppress(ValueError, RecursionError):
                parsed.append(json.loads(line))
    return parsed


def _key(path: Path, what: str) -> str:
    """Under which it is kept; by a relative path too, as the inode tells which file it is."""
    return f"{what} {os.fspath(path)}"


def _sha256(path: Path) -> str:
    with open(path, "rb", opener=open_regular) as stream:  # noqa: PTH123  # Path's has no opener.
        return hashlib.file_digest(stream, "sha256").hexdigest()


_caches: dict[Path, DigestCache] = {}


def digest_cache() -> DigestCache:
    """The cache of the staging folder in force."""
    return once("digest cache", _digest_cache)


def _digest_cache() -> DigestCache:
    path = (settings().staging_dir / ".receipts" / "digests.jsonl").absolute()
    return _caches.setdefault(path, DigestCache(path))


def digest_of(content: object) -> str:
    """The digest of anything that JSON can hold.

    >>> digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    True
    """
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    # Names of files may hold anything.
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


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
        found = once(("digest", self.path), lambda: digest_cache().digest(self.file))
        return "absent" if found is None and self.optional else found


@functools.lru_cache(maxsize=1 << 16)
def file_target(folder: Path, name: str = "", optional: bool = False) -> FileTarget:
    """The file of that name in a folder: one object for each, as every look asks for thousands."""
    return FileTarget(folder / name, optional)


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


def _read_receipt(path: Path) -> Receipt | None:
    """The receipt in a file; None if there is none to be believed."""
    try:
        now = path.stat()
        return _parsed_receipt(path, *_seen(now))
    except (OSError, UnicodeDecodeError):
        return None


@functools.lru_cache(maxsize=128)
def _parsed_receipt(path: Path, *_seen: int) -> Receipt | None:
    """Each state of a file is parsed once: receipts of many parts are long."""
    return Receipt.from_json(path.read_text(encoding="utf-8"))


class _Scheduling:
    """The inquiry that belongs to a run while it is scheduled.

    Luigi asks the task that was called for, announces what that requires, asks each of these, and
    so on; every answer goes down to the source files. All of it is one inquiry, in which no task
    is asked twice. Whatever was not announced, or was answered before, begins another one.
    """

    def __init__(self) -> None:
        self._asked: dict[str, str | None] = {}
        self._known: set[str] = set()
        self._unanswered: set[str] = set()

    def announce(self, label: str) -> None:
        """Luigi is about to ask this task, unless it has."""
        if label not in self._known:
            self._known.add(label)
            self._unanswered.add(label)

    def answers(self, label: str) -> dict[str, str | None]:
        """The answers so far of the inquiry that this question belongs to."""
        if label not in self._unanswered:
            self._known.add(label)
            self._unanswered, self._asked = set(), {}
        self._unanswered.discard(label)
        return self._asked

    def end(self) -> None:
        """A task runs: from now on every question is a new one."""
        self._known, self._unanswered = set(), set()


_scheduling = _Scheduling()


class FreshTask(luigi.Task):
    """A task that is complete only while its output matches its inputs, code and declarations.

    Subclasses give `requires()`, `reads()`, `output()` (a dict of targets) and `build()`; they
    raise `code_version` when the result of the same inputs changes.
    """

    code_version: ClassVar[int] = 1
    progress = UNTOLD
    """Of the run that is under way."""

    built = False
    """Whether the last run of this very task built something."""

    @functools.cached_property
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

    def page(self) -> str | None:
        """Where its report is, below `reports_url` of the settings; None if it has none."""
        return None

    def depends_on(self) -> list[FreshTask]:
        """The required tasks that make this one stale; others are only to be done before it."""
        return list(flatten(self.requires()))

    # --- freshness

    def complete(self) -> bool:
        """Whether nothing has to be done for this task or anything it requires."""
        with _one_inquiry():
            return self.why_stale(_scheduling.answers(self.label)) is None

    def why_stale(self, asked: dict[str, str | None] | None = None) -> str | None:
        """Why the task has to run; None if it has not.

        Args:
            asked: Answers of this same inquiry for other tasks, so that none is asked twice.
        """
        asked = {} if asked is None else asked
        if self.label not in asked:
            asked[self.label] = self.own_reason() or self._reason_upstream(asked)
        return asked[self.label]

    def _reason_upstream(self, asked: dict[str, str | None]) -> str | None:
        for task in self.depends_on():
            if task.why_stale(asked) is not None:
                return f"{task.label} has to run"
        return None

    def own_reason(self) -> str | None:
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
        return {name: declared_digest(item) for name, item in self.declarations().items()}

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
        return _read_receipt(self.receipt_path)

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
        _scheduling.end()
        self.progress = Progress(self)
        self.progress.start()
        with system_errors(self.label), settled(), self._alone():
            with _one_inquiry():
                self._refuse_missing()
                stale = self.own_reason() is not None
            if not stale:
                logger.info("%s: unchanged, nothing built", self.label)
                note(unchanged=self.label)
                self.progress.result = "unchanged, nothing built"
            else:
                inputs = self.take_inputs()
                self.make(Receipt(self.code_version, self._declared(), inputs, {}))
                self.built = True
                digest_cache().save()
            self.progress.finish()
            self.show_page()

    def _refuse_missing(self) -> None:
        """Raise PipelineError if something required is no longer as it was built.

        What that requires in turn is not asked here: it was before, and is after the run.
        """
        for task in self.depends_on():
            reason = task.own_reason()
            if reason is not None:
                raise PipelineError(
                    f"{self.label}: {task.label} was built and has to run again: {reason}.",
                    remedy="Run again when the files are at rest.",
                )

    def make(self, receipt: Receipt) -> None:
        """Build into temporary files, then put them in place and write the receipt last."""
        targets = self.output()
        self.refuse_folders(targets)
        with _temporary_files(targets) as temporary:
            self.build(temporary)
            self.check_inputs(receipt.inputs)
            outputs = self.put_in_place(temporary, targets)
        write_atomically(self.receipt_path, dataclasses.replace(receipt, outputs=outputs).to_json())

    def refuse_folders(self, targets: Mapping[str, FileTarget]) -> None:
        """Raise PipelineError if a folder stands where a file is to be written."""
        for target in targets.values():
            if target.file.is_dir():
                raise PipelineError(
                    f"{self.label}: {target.file} is a folder where a file is to be written.",
                    remedy="Remove it.",
                )

    def put_in_place(
        self, temporary: Mapping[str, Path], targets: Mapping[str, FileTarget]
    ) -> dict[str, str]:
        """Move the files that were built to where they belong; their digests."""
        outputs = {}
        with one_look():
            for name, path in temporary.items():
                target = targets[name]
                if path.exists():
                    path.chmod(0o644)
                    _settle(path)
                    path.replace(target.file)
                elif target.optional:
                    target.file.unlink(missing_ok=True)
                digest = target.digest()
                assert digest is not None, f"{self.label} did not make {name}"
                outputs[name] = digest
        return outputs

    def check_inputs(self, taken: Mapping[str, str]) -> None:
        """Raise PipelineError if what the task reads is no longer what it was."""
        with one_look():
            self._refuse_changed(_differing(taken, self._read_digests()))

    def _refuse_changed(self, names: Iterable[str]) -> None:
        changed = list(names)
        if changed:
            raise PipelineError(
                f"{self.label}: its input changed while it was read: {', '.join(changed)}.",
                remedy="Nothing was replaced. Run again when the files are at rest.",
            )

    def take_inputs(self) -> dict[str, str]:
        """The digests of what the build is about to read; PipelineError if some is missing."""
        with one_look():
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
            self.progress.show("waiting for another run")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def page_url(self) -> str | None:
        """The address of its report; None if it has none, or if nobody serves the reports."""
        base, page = settings().reports_url, self.page()
        return f"{base}/{page}" if base and page else None

    def show_page(self) -> None:
        """Link the task to its report in the scheduler's pages.

        To be done last: Luigi's call for it tells the scheduler that the task takes no resources.
        """
        url = self.page_url()
        if url is not None and self.set_tracking_url is not None:
            self.set_tracking_url(url)

    def on_failure(self, exception: BaseException) -> str:
        """What the scheduler's pages tell of a failure."""
        if isinstance(exception, PipelineError):
            return "\n".join(_fold(line) for line in str(exception).splitlines())
        return str(super().on_failure(exception))


@FreshTask.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)
def _announce(_task: FreshTask, dependency: luigi.Task) -> None:
    # Asked in other processes, what was announced here would never be answered.
    if isinstance(dependency, FreshTask) and not _scheduled_in_parallel():
        _scheduling.announce(dependency.label)


@functools.cache
def _scheduled_in_parallel() -> bool:
    return bool(luigi.interface.core().parallel_scheduling)


@contextmanager
def _one_inquiry() -> Iterator[None]:
    """One look, in which the digests that are found are kept at its end."""
    with one_look():
        digest_cache().load()
        yield
    digest_cache().save()


class Milestone(FreshTask):
    """Done when all that it requires is; makes nothing of its own."""

    def output(self) -> dict[str, FileTarget]:
        """Nothing."""
        return {}

    def own_reason(self) -> str | None:
        """None: there is no output."""
        return None

    def run(self) -> None:
        """Nothing to do."""
        _scheduling.end()
        self.show_page()


class Part(NamedTuple):
    """One of the parts that a task's input is made of.

    Attributes:
        name: Under which it is known, such as LOG_RCD_F or LOG_RCD_F/2024-06-01.
        reads: What its build reads.
        declarations: Whatever else its result depends on.
    """

    name: str
    reads: Mapping[str, Digested]
    declarations: Mapping[str, object]


class PartedTask(FreshTask):
    """A task whose input comes in parts, each built by itself and with a receipt of its own.

    A part is built again only if what it was built from changed; what was made of a part that
    is no longer there is removed. Subclasses give `parts()`, `part_size()`, `part_output()`,
    `build_part()` and for what is made of all parts together `whole_output()` and `build()`.

    Attributes:
        phase: What `build_part()` does, such as "staging".
    """

    phase: ClassVar[str]

    def parts(self) -> list[Part]:
        """The parts that there are now, by name."""
        raise NotImplementedError

    def _parts(self) -> list[Part]:
        return once(("parts", self.label), self.parts)

    def part_size(self, part: Part) -> int:
        """How much a part is, in the unit in which `build_part()` tells its progress."""
        raise NotImplementedError

    def part_output(self, part: str) -> dict[str, FileTarget]:
        """What is made of a part, also of one that is no longer there."""
        raise NotImplementedError

    def whole_output(self) -> dict[str, FileTarget]:
        """What is made of all parts together."""
        return {}

    def folders(self) -> list[str]:
        """The names of parts that others may stand below: LOG_RCD_F of LOG_RCD_F/2024-06-01."""
        return []

    def build_part(self, part: Part, out: Mapping[str, Path], threads: int) -> None:
        """Make a part's outputs at the given temporary paths. Runs beside that of other parts."""
        raise NotImplementedError

    def build(self, out: Mapping[str, Path]) -> None:
        """Make what is made of all parts together. Nothing, unless overridden."""

    def reads(self) -> Mapping[str, Digested]:
        """What all parts read."""
        return once(("reads", self.label), self._reads)

    def _reads(self) -> Mapping[str, Digested]:
        found: dict[str, Digested] = {}
        for part in self._parts():
            found.update(part.reads)
        return found

    def output(self) -> dict[str, FileTarget]:
        """What is made of all parts together and of each."""
        return once(("output", self.label), self._output)

    def _output(self) -> dict[str, FileTarget]:
        found = dict(self.whole_output())
        for part in self._parts():
            for name, target in self.part_output(part.name).items():
                found[f"{part.name} {name}"] = target
        return found

    def declarations(self) -> Mapping[str, object]:
        """What the parts depend on."""
        return {part.name: part.declarations for part in self._parts()}

    def _part_receipt_path(self, part: str) -> Path:
        return self.receipt_path.with_suffix("") / f"{part}.json"

    def forget(self) -> None:
        """Remove the receipts of the parts too."""
        super().forget()
        shutil.rmtree(self.receipt_path.with_suffix(""), ignore_errors=True)

    def make(self, receipt: Receipt) -> None:
        """Build the parts that changed, then what is made of all."""
        parts = self.parts()
        self._remove_others({part.name for part in parts})
        with one_look():
            stale = [part for part in parts if not self._is_fresh(part)]
        self.progress.begin(self.phase, sum(self.part_size(part) for part in stale))
        self._build_parts(stale)
        whole = self.whole_output()
        self.refuse_folders(whole)
        with _temporary_files(whole) as temporary:
            self.build(temporary)
            self.check_inputs(receipt.inputs)
            outputs = self.put_in_place(temporary, whole)
        with one_look():
            for name, target in self.output().items():
                if name not in outputs:
                    outputs[name] = target.digest() or ""
        write_atomically(self.receipt_path, dataclasses.replace(receipt, outputs=outputs).to_json())
        if len(parts) > 1:
            self.progress.result += f", {len(stale):,} of {len(parts):,} files anew"

    def _remove_others(self, names: set[str]) -> None:
        folder = self.receipt_path.with_suffix("")
        for path in sorted(folder.rglob("*.json")):
            name = path.relative_to(folder).as_posix().removesuffix(".json")
            if name not in names:
                self._remove_part(name)
                path.unlink()
        # Also what is there without a receipt.
        for above in self.folders():
            if above not in names:
                self._remove_part(above)
            for target in self.part_output(f"{above}/x").values():
                ending = target.file.name.removeprefix("x")
                for made in target.file.parent.glob(f"*{ending}"):
                    if f"{above}/{made.name.removesuffix(ending)}" not in names:
                        made.unlink()

    def _remove_part(self, name: str) -> None:
        for target in self.part_output(name).values():
            target.file.unlink(missing_ok=True)

    def _is_fresh(self, part: Part) -> bool:
        receipt = _read_receipt(self._part_receipt_path(part.name))
        targets = self.part_output(part.name)
        return receipt is not None and receipt == Receipt(
            self.code_version,
            {name: declared_digest(item) for name, item in part.declarations.items()},
            {name: target.digest() or "" for name, target in part.reads.items()},
            {name: target.digest() or "" for name, target in targets.items()},
        )

    def _build_parts(self, parts: list[Part]) -> None:
        """Build side by side, commit one by one; what is committed stays if a later one fails."""
        for part in parts:
            self.refuse_folders(self.part_output(part.name))
        threads = max(1, THREADS // max(1, len(parts)))
        # No more are built ahead of the commit than there are threads.
        with contextlib.ExitStack() as stack, ThreadPoolExecutor(THREADS) as pool:
            building: deque[tuple[Part, Mapping[str, str], Mapping[str, Path], Future[None]]]
            building = deque()
            waiting = iter(parts)

            def start() -> None:
                for part in itertools.islice(waiting, THREADS - len(building)):
                    with one_look():
                        inputs = {name: item.digest() or "" for name, item in part.reads.items()}
                    targets = self.part_output(part.name)
                    out = stack.enter_context(_temporary_files(targets))
                    work = pool.submit(self.build_part, part, out, threads)
                    building.append((part, inputs, out, work))

            start()
            while building:
                part, inputs, out, work = building.popleft()
                work.result()
                self._commit_part(part, dict(inputs), out)
                start()

    def _commit_part(self, part: Part, inputs: dict[str, str], out: Mapping[str, Path]) -> None:
        with one_look():
            now = {name: target.digest() for name, target in part.reads.items()}
        self._refuse_changed(_differing(inputs, now))
        outputs = self.put_in_place(out, self.part_output(part.name))
        declared = {name: declared_digest(item) for name, item in part.declarations.items()}
        path = self._part_receipt_path(part.name)
        write_atomically(path, Receipt(self.code_version, declared, inputs, outputs).to_json())


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


_PAGE_COLUMNS = 68
"""Characters side by side where the scheduler's pages show an error."""


def _fold(line: str) -> str:
    """A line as lines that can be read there, set in as the line is."""
    start = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line,
        _PAGE_COLUMNS,
        subsequent_indent=f"{start}  ",
        expand_tabs=False,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _settle(path: Path) -> None:
    """Date a file that was just written back, so that its digest can be trusted at once.

    Whoever changes it after this gives it another time.
    """
    before = time.time_ns() - 2 * _RACY_NS | 1  # Odd: not a whole second.
    os.utime(path, ns=(before, before))


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


def declared_digest(item: object) -> str:
    """The digest of a declaration: of a table or source, or of what JSON can hold."""
    return _frozen_digest(item) if isinstance(item, Table) else digest_of(item)


@functools.lru_cache(maxsize=256)
def _frozen_digest(item: Table) -> str:
    return digest_of(asdict(item))
