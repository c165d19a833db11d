"""A partition: one CSV file of a source, and all that is built from it; its number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from config.sources import LOG_KINDS
from config.warehouse import PARTITION_ROWS

_KINDS = {source: kind for kind, source in LOG_KINDS.items()}

_IDS = 2**63 // PARTITION_ROWS
"""How many ids leave room for `log_id` in 64 bits."""


@dataclass(frozen=True, order=True)
class Partition:
    """One CSV file of a source, and all that is built from it.

    Attributes:
        name: LOG_RCD_F for LOG_RCD_F.csv, LOG_RCD_F/2024-06-01 for a file of that folder.
        path: The CSV file; empty where only the name counts.
        id: `partition_id` of its facts; 0 for a reference source.
    """

    name: str
    path: Path = Path()
    id: int = 0

    @property
    def source(self) -> str:
        """The source that it belongs to.

        >>> Partition("LOG_RCD_F/2024-06-01", Path("LOG_RCD_F/2024-06-01.csv")).source
        'LOG_RCD_F'
        """
        return self.name.partition("/")[0]

    @property
    def kind(self) -> str:
        """Kind of its log records, B or F; empty for a reference source."""
        return _KINDS.get(self.source, "")


def partition_ids(names: Iterable[str]) -> dict[str, int]:
    """Name -> `partition_id` of each partition of log records, with which its `log_id` begin.

    It is made from the name, so it does not depend on what other partitions exist, but in the rare
    case that two names give the same id.

    >>> partition_ids(["LOG_RCD_F", "LOG_RCD_B"])
    {'LOG_RCD_B': 0, 'LOG_RCD_F': 1}
    >>> partition_ids(["LOG_RCD_F/2024-06-01"])
    {'LOG_RCD_F/2024-06-01': 293755556}
    """
    files = {name: number for number, name in enumerate(LOG_KINDS.values())}
    ids: dict[str, int] = {}
    taken = set(files.values())
    for name in sorted(names):
        found = files.get(name)
        if found is None:
            digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
            found = int.from_bytes(digest[:8], "big") % _IDS
            while found in taken:
                found = (found + 1) % _IDS
        taken.add(found)
        ids[name] = found
    return ids
