"""`partition_id` of each file of log records, with which its `log_id` begin."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from config.sources import LOG_KINDS
from config.warehouse import PARTITION_ROWS

_IDS = 2**63 // PARTITION_ROWS
"""How many ids leave room for `log_id` in 64 bits."""


def partition_ids(names: Iterable[str]) -> dict[str, int]:
    """The id of each partition, by name.

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
