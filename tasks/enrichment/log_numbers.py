"""The numbers with which the `log_id` of each part of the log records begin."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from config.sources import LOG_KINDS
from config.warehouse import PARTITION_ROWS

_NUMBERS = 2**63 // PARTITION_ROWS
"""How many partitions their `log_id` can distinguish."""


def number_parts(names: Iterable[str]) -> dict[str, int]:
    """`partition_id` of each partition of the log records.

    It is made from the partition's name, so other partitions do not change it, except in the rare
    case that two names make the same number.

    >>> number_parts(["LOG_RCD_F", "LOG_RCD_B"])
    {'LOG_RCD_B': 0, 'LOG_RCD_F': 1}
    >>> number_parts(["LOG_RCD_F/2024-06-01"])
    {'LOG_RCD_F/2024-06-01': 293755556}
    """
    files = {name: number for number, name in enumerate(LOG_KINDS.values())}
    numbers: dict[str, int] = {}
    taken = set(files.values())
    for name in sorted(names):
        number = files.get(name)
        if number is None:
            digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
            number = int.from_bytes(digest[:8], "big") % _NUMBERS
            while number in taken:
                number = (number + 1) % _NUMBERS
        taken.add(number)
        numbers[name] = number
    return numbers
