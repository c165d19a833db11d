"""The primary keys of a file: which are duplicated, and whether any of them changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from config.declarations import Source
from tasks.core.arrow import open_parquet
from tasks.sources.csv_blocks import Block
from tasks.sources.csv_records import Rejected
from tasks.staging.batch import Batch


class Duplicates:
    """Rows whose primary key an earlier row has. Of the others, 16 bytes each are kept.

    Args:
        key: The primary key.
    """

    def __init__(self, key: str):
        self._key = key
        # Keys, sorted, and the lines of their rows; no two of these runs overlap.
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []
        self._found: list[tuple[Rejected, int, int, pa.Table]] = []

    def add(self, block: Block, batch: Batch) -> list[int]:
        """The rows of a block, among those that are not rejected, that repeat a key."""
        rows = np.arange(len(block.lines))
        if batch.rejected:
            rows = np.delete(rows, list(batch.rejected))
        if not len(rows):
            return []
        keys = batch.table[self._key].combine_chunks().fill_null(0).to_numpy()[rows]
        own, first, which = keys, *[np.arange(len(keys))] * 2
        if not (keys[1:] > keys[:-1]).all():  # Most exports are sorted.
            own, first, which = np.unique(keys, return_index=True, return_inverse=True)
        lines = block.lines[rows[first]]
        is_seen = np.zeros(len(own), dtype=bool)
        near = [run for run in self._runs if run[0][0] <= own[-1] and run[0][-1] >= own[0]]
        if near:
            near.sort(key=lambda run: run[0][0])
            seen, seen_lines = (np.concatenate(column) for column in zip(*near, strict=True))
            at = np.minimum(np.searchsorted(seen, own), len(seen) - 1)
            is_seen = seen[at] == own
            lines[is_seen] = seen_lines[at[is_seen]]
            at = np.searchsorted(seen, own[~is_seen])
            run = np.insert(seen, at, own[~is_seen]), np.insert(seen_lines, at, lines[~is_seen])
            self._runs = [one for one in self._runs if all(one is not other for other in near)]
            self._runs.append(run)
        else:
            self._runs.append((own, lines))
        again = np.flatnonzero(is_seen[which] | (first[which] != np.arange(len(keys))))
        for row, key, line in zip(rows[again], keys[again], lines[which[again]], strict=True):
            kind = f"{self._key} is duplicated"
            one = Rejected(int(block.lines[row]), self._key, kind, "", block.text(int(row)))
            # A copy: a slice would keep the whole block in memory.
            self._found.append((one, int(key), int(line), batch.table.take([row])))
        return [int(row) for row in rows[again]]

    def explain(self, staged: Path) -> tuple[list[Rejected], dict[str, int]]:
        """The duplicates; how many are the "same" as the first row of their key, or "different".

        Args:
            staged: The rows that are staged.
        """
        if not self._found:
            return [], {}
        repeats = pa.concat_tables([table for *_, table in self._found])
        found = []
        with open_parquet(staged) as file:
            for number in range(file.num_row_groups):
                keys = file.read_row_group(number, [self._key])[self._key]
                mask = pc.is_in(keys, repeats[self._key].combine_chunks())
                if pc.any(mask).as_py():
                    found.append(file.read_row_group(number).filter(mask))
        kept = pa.concat_tables(found)
        firsts = kept.take(pc.index_in(repeats[self._key], kept[self._key].combine_chunks()))
        same = np.ones(len(repeats), dtype=bool)
        for one, other in zip(repeats.columns, firsts.columns, strict=True):
            equal = pc.fill_null(pc.equal(one, other), False)
            same &= pc.or_(equal, pc.and_(one.is_null(), other.is_null())).to_numpy()
        rejected = [
            row._replace(
                reason=f"{row.kind}: {key}; line {line} has "
                + ("the same values" if is_same else "other values")
            )
            for (row, key, line, _), is_same in zip(self._found, same.tolist(), strict=True)
        ]
        counts = {"same": int(same.sum()), "different": int((~same).sum())}
        return rejected, {how: count for how, count in counts.items() if count}


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
        digests = [digest.digest() for digest in self._columns.values()]
        return hashlib.sha256(b"".join(digests)).hexdigest()
