"""What a load has to know of facts, collected while they pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from config.warehouse import FACT_LOGS
from tasks.core.partition import Partition
from tasks.enrichment.star import facts
from tasks.warehouse.digests import digested
from tasks.warehouse.log_instance_activity import counted
from tasks.warehouse.steps import collecting_keys


def _no_keys() -> dict[str, set[int]]:
    return {column: set() for column in FACT_LOGS.references}


@dataclass
class Collected:
    """What is known of facts that have passed.

    Attributes:
        digests: Partition -> digest of its rows, and of their counts.
        activity: Rows of `log_instance_activity`.
        referenced: Foreign key column -> the keys in it.
    """

    digests: Counter[str] = field(default_factory=Counter[str])
    activity: list[pa.RecordBatch] = field(default_factory=list[pa.RecordBatch])
    referenced: dict[str, set[int]] = field(default_factory=_no_keys)

    def pass_facts(self, files: Iterable[tuple[Partition, Path]]) -> Iterator[pa.RecordBatch]:
        """The facts of partitions, from their enriched records."""
        for partition, enriched in files:
            rows = digested(facts(enriched), self.digests, partition.name)
            rows = counted(partition, rows, self.digests, self.activity)
            yield from collecting_keys(rows, self.referenced)

    def add(self, other: Collected) -> None:
        """Add what was collected of other partitions."""
        self.digests += other.digests
        self.activity += other.activity
        for column, keys in other.referenced.items():
            self.referenced[column] |= keys
