"""The primary keys of a file: which are duplicated, and whether any of them changed."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from config.declarations import Source


class Duplicate(NamedTuple):
    """A row whose key an earlier row has: the row, the key, and the line of the first row."""

    row: int
    key: int
    first_line: int


class SeenKeys:
    """The primary keys of a file's rows so far: 16 bytes each, whatever their order."""

    def __init__(self) -> None:
        self._sorted: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, rows: np.ndarray, keys: np.ndarray, lines: np.ndarray) -> list[Duplicate]:
        """The rows whose key was seen before; the others count as seen.

        Args:
            rows: Numbers of the next rows.
            keys: Their keys.
            lines: Their lines.
        """
        found: list[tuple[np.ndarray, ...]] = []
        if len(keys) > 1 and not (keys[1:] > keys[:-1]).all():
            order = np.argsort(keys, kind="stable")
            rows, keys, lines = rows[order], keys[order], lines[order]
            again = np.append(False, keys[1:] == keys[:-1])
            if again.any():
                # The first of each key stays.
                first = np.maximum.accumulate(np.where(again, 0, np.arange(len(keys))))
                found.append((rows[again], keys[again], lines[first[again]]))
                rows, keys, lines = rows[~again], keys[~again], lines[~again]
        for earlier, earlier_lines in self._sorted:
            if len(keys) and keys[0] <= earlier[-1] and keys[-1] >= earlier[0]:
                places = np.minimum(np.searchsorted(earlier, keys), len(earlier) - 1)
                known = earlier[places] == keys
                found.append((rows[known], keys[known], earlier_lines[places[known]]))
                rows, keys, lines = rows[~known], keys[~known], lines[~known]
        self._keep(keys, lines)
        duplicates = [
            Duplicate(*item)
            for columns in found
            for item in zip(*(column.tolist() for column in columns), strict=True)
        ]
        # A row may repeat a key of its own block that an earlier block has too.
        firsts: dict[int, int] = {}
        for one in duplicates:
            firsts[one.key] = min(one.first_line, firsts.get(one.key, one.first_line))
        return sorted(one._replace(first_line=firsts[one.key]) for one in duplicates)

    def _keep(self, keys: np.ndarray, lines: np.ndarray) -> None:
        """Keep few runs that overlap, so that finding a key stays cheap."""
        if not len(keys):
            return
        while self._sorted and len(self._sorted[-1][0]) <= 2 * len(keys):
            earlier, earlier_lines = self._sorted[-1]
            if earlier[-1] < keys[0]:
                break
            self._sorted.pop()
            both = np.concatenate([earlier, keys])
            order = np.argsort(both, kind="stable")
            keys, lines = both[order], np.concatenate([earlier_lines, lines])[order]
        self._sorted.append((keys, lines))


class KeyDigest:
    """A digest of the key columns, whatever else the rows hold and how they come in blocks."""

    def __init__(self, source: Source):
        self._columns = {name: hashlib.sha256(name.encode()) for name in source.required}

    def add(self, table: pa.Table) -> None:
        """Add the next rows."""
        for name, digest in self._columns.items():
            for chunk in table[name].chunks:
                digest.update(chunk.to_numpy())

    def hexdigest(self) -> str:
        """The digest so far."""
        whole = hashlib.sha256()
        for digest in self._columns.values():
            whole.update(digest.digest())
        return whole.hexdigest()
