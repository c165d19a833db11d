"""FreshTask: a Luigi task that is complete only while its output matches what it was built from.

Each build leaves a receipt of its inputs, code version and declarations, and of its output.
`complete()` compares the receipt with the present. Changes are found by content, not by time: a
file that was touched but is equal changes nothing, and a task whose inputs turn out equal builds
nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import luigi
import luigi.interface
from filelock import FileLock, Timeout
from luigi.task import flatten

from tasks.core.errors import PipelineError, system_errors
from tasks.core.stores import ask_about, ask_again
from tasks.core.waiting import wait_for
from tasks.freshness.snapshot import Snapshot, declared_digest, differences
from tasks.freshness.targets import (
    Digested,
    FileTarget,
    files_of,
    replace_files,
    temporary_files,
)
from tasks.run.progress import Progress
from tasks.run.recording import explain, record, record_failure, state
from tasks.run.settings import lock_dir, max_wait, settings
from tasks.state import FRESH, PENDING, UNSCHEDULED, Receipt

logger = logging.getLogger("luigi-interface")


class _Scheduling:
    """Shares one snapshot among the `complete()` calls of Luigi's scheduling.

    Luigi calls `complete()` of the requested task, then announces each task that it requires, then
    calls `complete()` of those, and so on. The first call for an announced task uses the snapshot
    of the task that requires it; any other call begins a new one.
    """

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._known: set[str] = set()
        self._announced: set[str] = set()

    def announce(self, label: str) -> None:
        """Luigi asks this task next, unless it has done so before."""
        if label not in self._known:
            self._known.add(label)
            self._announced.add(label)

    def snapshot(self, label: str) -> Snapshot:
        """The snapshot to use for this `complete()` call."""
        if self._snapshot is None or label not in self._announced:
            self._known.add(label)
            self._snapshot, self._announced = Snapshot(state()), set()
        self._announced.discard(label)
        return self._snapshot

    def end(self) -> None:
        """A task runs: every question from now on begins a new snapshot."""
        self._snapshot, self._known, self._announced = None, set(), set()


_scheduling = _Scheduling()


class FreshTask(luigi.Task):
    """A task that is complete only while its output matches its inputs, code and declarations.

    Subclasses define `requires()`, `reads()`, `output()` (a dict of targets) and `build()`. Raise
    `code_version` when the same inputs give another result. A required task that is stale makes
    this one stale, unless its `has_output` is False: then it only has to run first.

    `run()` checks the inputs and takes the lock; `make()` stores the receipt; `publish()` moves the
    files to their places; `build()` writes them.
    """

    code_version: ClassVar[int] = 1
    has_output: ClassVar[bool] = True

    progress = Progress()
    """Of the current run."""

    built = False
    """Whether the last run of this object built something."""

    @functools.cached_property
    def label(self) -> str:
        """Its class and its significant parameters, such as CsvToParquet:POINT."""
        return ":".join([self.task_family, *self.to_str_params(only_significant=True).values()])

    def __str__(self) -> str:
        return self.label

    def declarations(self) -> Mapping[str, object]:
        """Settings and declarations that the result depends on too: JSON values or dataclasses."""
        return {}

    def reads(self) -> Mapping[str, Digested]:
        """What `build()` reads, by name; compared with the receipt."""
        return {}

    def build(self, out: Mapping[str, Path]) -> None:
        """Build the outputs at the given temporary paths."""
        raise NotImplementedError

    def page(self) -> str | None:
        """The page of its report, below `reports_url` of the settings; None if it has none."""
        return None

    @functools.cached_property
    def required(self) -> list[FreshTask]:
        """What it requires, asked once: the graph does not change while a process runs."""
        return list(flatten(self.requires()))

    def upstream(self) -> list[FreshTask]:
        """The required tasks that make this one stale when they are stale."""
        return [task for task in self.required if task.has_output]

    # --- freshness

    def complete(self) -> bool:
        """Whether neither this task nor anything that it is made from has to run."""
        try:
            snapshot = _scheduling.snapshot(self.label)
            fresh = self.why_stale(snapshot) is None
            snapshot.keep()
        except Exception as error:
            record_failure(self.label, UNSCHEDULED, explain(error))
            raise
        record(self.label, FRESH if fresh else PENDING)
        return fresh

    def why_stale(self, snapshot: Snapshot) -> str | None:
        """Why the task has to run; None if it has not."""
        return snapshot.memoize(("why stale", self.label), lambda: self._why_stale(snapshot))

    def _why_stale(self, snapshot: Snapshot) -> str | None:
        stale = (f"{one.label} has to run" for one in self.upstream() if one.why_stale(snapshot))
        return self.own_reason(snapshot) or next(stale, None)

    def own_reason(self, snapshot: Snapshot) -> str | None:
        """Why the task is stale whatever is upstream; None if it is not."""
        receipt = self.receipt(snapshot)
        if receipt is None:
            return self.why_no_receipt(snapshot)
        if receipt.code != self.code_version:
            return f"code {receipt.code} -> {self.code_version}"
        for what in differences(receipt.declarations, self._declared()):
            return f"declaration {what}"
        outputs = self.output()
        ask_about(files_of(outputs.values()))
        for name, target in outputs.items():
            if (found := target.digest(snapshot)) != receipt.outputs.get(name):
                return f"output {name} {'is missing' if found is None else 'was edited'}"
        for what in differences(receipt.inputs, self._read_digests(snapshot)):
            return f"input {what}"
        return None

    def _declared(self) -> dict[str, str]:
        return {name: declared_digest(item) for name, item in self.declarations().items()}

    def _read_digests(self, snapshot: Snapshot) -> dict[str, str | None]:
        reads = self.reads()
        ask_about(files_of(reads.values()))
        return {name: target.digest(snapshot) for name, target in reads.items()}

    # --- receipts, in the state file here; the warehouse stores those of its loads itself

    def receipt(self, snapshot: Snapshot) -> Receipt | None:
        """The receipt of the last build; None if there is none that is valid."""
        return snapshot.receipt(self.label)

    def why_no_receipt(self, snapshot: Snapshot) -> str:
        """Why there is no receipt that is valid."""
        return "no receipt: never built, or forgotten"

    def forget(self) -> None:
        """Remove the receipt, so that the task runs again. No data is removed."""
        state().forget(self.label)

    # --- running

    def run(self) -> None:
        """Build, unless the inputs are those of the last build.

        Raises:
            PipelineError: An input changed meanwhile, or a file cannot be read or written; the
                previous output is unchanged then.
        """
        _scheduling.end()
        ask_again()
        self.progress = Progress(self)
        self.progress.start()
        with system_errors(self.label), self._lock():
            snapshot = Snapshot(state())
            self._check_upstream(snapshot)
            self.built = self.own_reason(snapshot) is not None
            inputs = self.take_inputs(snapshot) if self.built else {}
            snapshot.keep()  # Before `make`, which may record something newer.
            if self.built:
                self.make(Receipt(self.code_version, self._declared(), inputs, {}))
            else:
                logger.info("%s: unchanged, nothing built", self.label)
                self.progress.result = "unchanged, nothing built"
            self.progress.finish()
            self.show_page()

    def _check_upstream(self, snapshot: Snapshot) -> None:
        """Raise PipelineError if something required is no longer as it was built.

        Direct requirements only: the whole graph is checked before and after the run.
        """
        for task in self.upstream():
            reason = task.own_reason(snapshot)
            if reason is not None:
                raise PipelineError(
                    f"{self.label}: {task.label} was built and has to run again: {reason}.",
                    remedy="Run again when nobody writes to the files.",
                )

    def take_inputs(self, snapshot: Snapshot) -> dict[str, str]:
        """The digests of what the build is about to read; PipelineError if some is missing."""
        inputs = self._read_digests(snapshot)
        missing = [name for name, digest in inputs.items() if digest is None]
        if missing:
            raise PipelineError(f"{self.label}: its input is missing: {', '.join(missing)}.")
        return {name: digest for name, digest in inputs.items() if digest is not None}

    def make(self, receipt: Receipt) -> None:
        """Build into temporary files, then publish them and store the receipt last."""
        outputs = self.publish(self.output(), receipt)
        state().keep_receipt(self.label, "", dataclasses.replace(receipt, outputs=outputs))

    def publish(self, targets: Mapping[str, FileTarget], receipt: Receipt) -> dict[str, str]:
        """Build into temporary files, check the inputs, and replace the targets; their digests."""
        with temporary_files(self.label, targets) as temporary:
            self.build(temporary)
            snapshot = Snapshot(state())
            self.check_unchanged(receipt.inputs, self._read_digests(snapshot))
            outputs = replace_files(temporary, targets, snapshot)
        snapshot.keep()
        return outputs

    def check_inputs(self, taken: Mapping[str, str]) -> None:
        """Raise PipelineError if what the task reads is no longer what it was."""
        self.check_unchanged(taken, self._read_digests(Snapshot(state())))

    def check_unchanged(self, taken: Mapping[str, str], now: Mapping[str, str | None]) -> None:
        """Raise PipelineError if inputs changed while they were read."""
        changed = [name for name in sorted({*taken, *now}) if taken.get(name) != now.get(name)]
        if changed:
            raise PipelineError(
                f"{self.label}: its input changed while it was read: {', '.join(changed)}.",
                remedy="Nothing was replaced. Run again when nobody writes to the files.",
            )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Wait until no other run builds this task."""
        path = lock_dir() / f"{self.label.replace(':', '-')}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        wait_for(
            lock.acquire,
            lambda error: isinstance(error, Timeout),
            "another run is at this task",
            max_wait(),
        )
        try:
            yield
        finally:
            lock.release()

    # --- the scheduler's pages

    def page_url(self) -> str | None:
        """The address of its report; None if it has none, or if nobody serves the reports."""
        base, page = settings().reports_url, self.page()
        return f"{base}/{page}" if base and page else None

    def show_page(self) -> None:
        """Link the task to its report in the scheduler's pages.

        Call this last: Luigi then reports the task without its resources.
        """
        url = self.page_url()
        if url is not None and self.set_tracking_url is not None:
            self.set_tracking_url(url)

    def on_failure(self, exception: BaseException) -> str:
        """The text of a failure in the scheduler's pages."""
        if isinstance(exception, PipelineError):
            return "\n".join(_wrap(line) for line in str(exception).splitlines())
        return str(super().on_failure(exception))


@FreshTask.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)
def _announce(_task: FreshTask, dependency: luigi.Task) -> None:
    # With parallel scheduling `complete()` runs in another process, which has no snapshot to share.
    if isinstance(dependency, FreshTask) and not core().parallel_scheduling:
        _scheduling.announce(dependency.label)


@functools.cache
def core() -> luigi.Config:
    """Luigi's options of this process; each is looked up in the configuration when one is made."""
    return luigi.interface.core()


class WrapperTask(FreshTask):
    """Complete when all that it requires is complete; has no output of its own."""

    has_output = False

    def upstream(self) -> list[FreshTask]:
        """All that it requires."""
        return self.required

    def output(self) -> dict[str, FileTarget]:
        """Nothing."""
        return {}

    def own_reason(self, snapshot: Snapshot) -> str | None:
        """None: there is no output."""
        return None

    def run(self) -> None:
        """Do nothing."""
        _scheduling.end()
        self.built = True
        self.show_page()


def walk(task: FreshTask) -> list[FreshTask]:
    """A task and all that it requires, directly or not, each once, requirements first."""
    found: dict[str, FreshTask] = {}

    def visit(one: FreshTask) -> None:
        if one.label in found:
            return
        for required in one.required:
            visit(required)
        found[one.label] = one

    visit(task)
    return list(found.values())


_PAGE_COLUMNS = 68
"""Characters in a line of an error in the scheduler's pages."""


def _wrap(line: str) -> str:
    """A line as lines that fit there, indented as the line is."""
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
