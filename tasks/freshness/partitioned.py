"""PartitionedTask: a FreshTask whose input comes in partitions, each with a receipt of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from config.sources import LOG_KINDS
from tasks.core.partition import Partition
from tasks.core.stores import ask_about
from tasks.engines.choose import engine
from tasks.freshness.snapshot import Snapshot, declared_digest
from tasks.freshness.targets import (
    Digested,
    FileTarget,
    files_of,
    replace_files,
    temporary_files,
)
from tasks.freshness.task import FreshTask
from tasks.run.recording import state
from tasks.state import Receipt


class PartitionedTask(FreshTask):
    """A task that builds each partition by itself, and again only if what it is built from changed.

    What was built from a partition that no longer exists is removed. Subclasses define
    `partitions()`, the methods `partition_...`, `build_partition()`, and for what is built from all
    partitions together `whole_output()` and `build()`. The receipt of the task lists the inputs and
    outputs of all partitions, so a snapshot need not read theirs.

    Attributes:
        phase: What `build_partition()` does, such as "staging".
    """

    phase: ClassVar[str]

    def partitions(self) -> Sequence[Partition]:
        """The partitions that exist now."""
        raise NotImplementedError

    def partition_reads(self, partition: Partition) -> Mapping[str, Digested]:
        """What the build of a partition reads, by name; one name is the same for all partitions."""
        raise NotImplementedError

    def partition_declarations(self, partition: Partition) -> Mapping[str, object]:
        """What else the result of a partition depends on, besides the `declarations()` of all."""
        return {}

    def partition_size(self, partition: Partition) -> int:
        """The size of a partition, in the unit in which `build_partition()` reports progress."""
        raise NotImplementedError

    def partition_output(self, name: str) -> dict[str, FileTarget]:
        """What is built from the partition of that name, also if it no longer exists."""
        raise NotImplementedError

    def build_partition(self, partition: Partition, out: Mapping[str, Path], threads: int) -> None:
        """Build a partition's outputs at the given temporary paths. Called in several threads."""
        raise NotImplementedError

    def whole_output(self) -> dict[str, FileTarget]:
        """What is built from all partitions together."""
        return {}

    def build(self, out: Mapping[str, Path]) -> None:
        """Build what is built from all partitions together. Nothing, unless overridden."""

    def partitioned_sources(self) -> Collection[str]:
        """The sources whose partitions may be files of a folder."""
        return LOG_KINDS.values()

    def reads(self) -> Mapping[str, Digested]:
        """What all partitions read."""
        return {
            name: target
            for partition in self.partitions()
            for name, target in self.partition_reads(partition).items()
        }

    def output(self) -> dict[str, FileTarget]:
        """What is built from all partitions together, and from each."""
        return self.whole_output() | {
            f"{partition.name} {name}": target
            for partition in self.partitions()
            for name, target in self.partition_output(partition.name).items()
        }

    def _declared(self) -> dict[str, str]:
        return super()._declared() | {
            partition.name: declared_digest(declared)
            for partition in self.partitions()
            if (declared := self.partition_declarations(partition))
        }

    def make(self, receipt: Receipt) -> None:
        """Build the partitions that changed, then what is built from all."""
        partitions = self.partitions()
        snapshot = Snapshot(state())
        receipts = state().receipts(self.label)
        ask_about(files_of([*self.reads().values(), *self.output().values()]))
        self._remove_others({partition.name for partition in partitions}, set(receipts))
        stale = [one for one in partitions if receipts.get(one.name) != self._now(one, snapshot)]
        self.progress.begin(self.phase, sum(self.partition_size(one) for one in stale))
        self._build_partitions(stale, snapshot)
        outputs = self.publish(self.whole_output(), receipt)
        for name, built in state().receipts(self.label).items():
            outputs |= {f"{name} {what}": digest for what, digest in built.outputs.items()}
        state().keep_receipt(self.label, "", dataclasses.replace(receipt, outputs=outputs))
        if len(partitions) > 1:
            self.progress.result += f", {len(stale):,} of {len(partitions):,} files built"

    def _now(self, partition: Partition, snapshot: Snapshot) -> Receipt:
        """The receipt that a partition has if it is up to date."""
        outputs = self.partition_output(partition.name)
        return dataclasses.replace(
            self._before(partition, snapshot),
            outputs={name: target.digest(snapshot) or "" for name, target in outputs.items()},
        )

    def _before(self, partition: Partition, snapshot: Snapshot) -> Receipt:
        """The receipt of a build that begins: without outputs."""
        declared = {**self.declarations(), **self.partition_declarations(partition)}
        reads = self.partition_reads(partition)
        return Receipt(
            self.code_version,
            {name: declared_digest(item) for name, item in declared.items()},
            {name: target.digest(snapshot) or "" for name, target in reads.items()},
            {},
        )

    def _build_partitions(self, stale: Collection[Partition], snapshot: Snapshot) -> None:
        """Build in parallel. What is built stays if a later partition fails; none is begun then."""
        at_once = engine().at_once if stale else 1
        if stale and engine().page and self.set_tracking_url is not None:
            self.set_tracking_url(engine().page)
        threads = max(1, engine().threads // max(1, len(stale)))

        def build(partition: Partition) -> None:
            targets = self.partition_output(partition.name)
            before = self._before(partition, snapshot.later())
            with temporary_files(self.label, targets) as temporary:
                self.build_partition(partition, temporary, threads)
                now = snapshot.later()
                self.check_unchanged(before.inputs, self._before(partition, now).inputs)
                written = engine().digests_of(temporary.values())
                outputs = replace_files(temporary, targets, now, written)
            built = dataclasses.replace(before, outputs=outputs)
            state().keep_receipt(self.label, partition.name, built)

        try:
            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(build, stale))
        finally:
            snapshot.keep()

    def _remove_others(self, names: set[str], receipts: set[str]) -> None:
        """Remove what was built from partitions that no longer exist, also without a receipt."""
        expected = {
            target.file for name in names for target in self.partition_output(name).values()
        }
        for source in self.partitioned_sources():
            built = [target.file for target in self.partition_output(source).values()]
            for target in self.partition_output(f"{source}/*").values():
                built += target.file.parent.glob(target.file.name)
            for path in set(built) - expected:
                path.unlink(missing_ok=True)
        state().forget(self.label, receipts - names)
