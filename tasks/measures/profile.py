"""Profiles: what each column of a staged file holds.

A file is profiled by itself, row group by row group (`profile_file`). The profiles of a source's
files merge into that of the source (`merge_profiles`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pandas.util import hash_array

from config.declarations import Type
from tasks.core.arrow import open_parquet
from tasks.core.files import read_json
from tasks.core.progress import Advance, no_progress
from tasks.measures.sketches import DistinctSketch, FrequentValues, Histogram
from tasks.parsing.numbers import INSTANT

SHOWN_LETTERS = 200
"""Longer texts are cut: among the frequent values, and as minimum and maximum."""

_KEPT_WHEN_MANY = 256
"""Frequent values kept of a file of which not all values are counted."""

_KINDS = {
    pa.int64(): Type.INTEGER,
    pa.float64(): Type.NUMBER,
    INSTANT: Type.TIMESTAMP,
    pa.string(): Type.TEXT,
}


@dataclass
class ColumnProfile:
    """What a column holds. Times are in microseconds since 1970, UTC.

    Attributes:
        kind: Its type as staged.
        unique: Whether it is a primary key: its values are distinct, and none is frequent.
        rows: Of the files that have the column.
        nulls: Rows without a value.
        low, high: Smallest and largest value, texts by code point and cut; None without a value.
        not_finite: Numbers that are infinite or NaN. They count in nothing else but `rows`.
        empty: Texts without a letter.
        shortest, longest: Letters of the shortest and longest text; None without one.
        distinct: Distinct values; empty for a unique column.
        frequent: The most frequent values. A text beyond SHOWN_LETTERS is cut there, and its hash
            follows.
        histogram: Of numbers and times.
    """

    kind: Type
    unique: bool
    rows: int = 0
    nulls: int = 0
    low: Any = None
    high: Any = None
    not_finite: int = 0
    empty: int = 0
    shortest: int | None = None
    longest: int | None = None
    distinct: DistinctSketch = field(default_factory=DistinctSketch)
    frequent: FrequentValues = field(default_factory=FrequentValues)
    histogram: Histogram = field(default_factory=Histogram)

    @property
    def distinct_count(self) -> int:
        """The number of distinct values."""
        values = self.rows - self.nulls - self.not_finite
        return values if self.unique else min(self.distinct.count, values)

    @property
    def distinct_exact(self) -> bool:
        """Whether that is exact, not an estimate."""
        return self.unique or self.distinct.exact

    def add(self, values: pa.Array) -> None:
        """Add some rows; texts are dictionary-encoded."""
        self.rows += len(values)
        self.nulls += values.null_count
        if self.kind is Type.TEXT:
            self._add_texts(values)
        else:
            self._add_numbers(values)

    def _add_numbers(self, values: pa.Array) -> None:
        if self.kind is Type.NUMBER:
            values = pc.add(values, 0.0)  # Both zeros become one.
        elif self.kind is Type.TIMESTAMP:
            values = values.view(pa.int64())
        values = values.drop_null()
        numbers, counts = values.to_numpy(), np.ones(len(values), np.int64)
        if not self.unique:
            counted = values.value_counts()
            numbers, counts = (counted.field(name).to_numpy() for name in ("values", "counts"))
        finite = np.isfinite(numbers)
        self.not_finite += int(counts[~finite].sum())
        numbers, counts = numbers[finite], counts[finite]
        if len(numbers):
            self._widen(numbers.min().item(), numbers.max().item())
            self.histogram.merge(Histogram.of(numbers, counts))
            self._count(numbers, hash_array(numbers), counts)

    def _add_texts(self, values: pa.DictionaryArray) -> None:
        texts, indices = values.dictionary, values.indices.drop_null().to_numpy()
        counts = np.bincount(indices, minlength=len(texts))
        if not counts.all():
            used = np.flatnonzero(counts)
            texts, counts = texts.take(pa.array(used)), counts[used]
        if len(texts) == 0:
            return
        lengths = pc.utf8_length(texts).to_numpy()
        self.empty += int(counts[lengths == 0].sum())
        self._widen_lengths(int(lengths.min()), int(lengths.max()))
        self._widen(*(end.as_py()[:SHOWN_LETTERS] for end in pc.min_max(texts).values()))
        keys = texts.to_numpy(zero_copy_only=False)
        hashes = hash_array(keys, categorize=False)
        for at in np.flatnonzero(lengths > SHOWN_LETTERS).tolist():
            keys[at] = f"{keys[at][:SHOWN_LETTERS]}{hashes[at]:016x}"
        self._count(keys, hashes, counts)

    def _count(self, values: np.ndarray, hashes: np.ndarray, counts: np.ndarray) -> None:
        if not self.unique:
            self.distinct.add(hashes)
            self.frequent.add(values, counts)

    def _widen(self, low: Any, high: Any) -> None:
        self.low = low if self.low is None else min(low, self.low)
        self.high = high if self.high is None else max(high, self.high)

    def _widen_lengths(self, shortest: int, longest: int) -> None:
        self.shortest = shortest if self.shortest is None else min(shortest, self.shortest)
        self.longest = longest if self.longest is None else max(longest, self.longest)

    def merge(self, other: ColumnProfile) -> None:
        """Add the profile of other rows of the column."""
        self.rows += other.rows
        self.nulls += other.nulls
        self.not_finite += other.not_finite
        self.empty += other.empty
        if other.low is not None:
            self._widen(other.low, other.high)
        if other.shortest is not None and other.longest is not None:
            self._widen_lengths(other.shortest, other.longest)
        self.distinct.add(other.distinct.hashes)
        self.frequent.merge(other.frequent)
        self.histogram.merge(other.histogram)

    def to_json(self) -> dict[str, Any]:
        """The profile as JSON can hold it."""
        if self.frequent.error:
            self.frequent.shrink(_KEPT_WHEN_MANY)
        counts = self.frequent.counts
        return {
            **vars(self),
            "distinct": self.distinct.to_text(),
            "frequent": [list(counts), list(counts.values()), self.frequent.error],
            "histogram": list(vars(self.histogram).values()),
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> ColumnProfile:
        """The profile that `to_json` gave this for."""
        values, counts, error = content["frequent"]
        return ColumnProfile(
            **{
                **content,
                "kind": Type(content["kind"]),
                "distinct": DistinctSketch.from_text(content["distinct"]),
                "frequent": FrequentValues(dict(zip(values, counts, strict=True)), error),
                "histogram": Histogram(*content["histogram"]),
            }
        )


def profile_file(
    staged: Path, primary_key: str | None, into: Path, advance: Advance = no_progress
) -> int:
    """Profile the columns of a staged file, by row groups, and return its number of rows.

    Args:
        staged: Parquet file.
        primary_key: The column that is unique, if one is.
        into: JSON file to write, as `merge_profiles` reads it.
        advance: Called for each row group, with its rows.
    """
    kinds = {column.name: _KINDS[column.type] for column in pq.read_schema(staged)}
    profiles = {name: ColumnProfile(kind, name == primary_key) for name, kind in kinds.items()}
    texts = [name for name, kind in kinds.items() if kind is Type.TEXT]
    with open_parquet(staged, texts) as file:
        rows = int(file.metadata.num_rows)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, use_threads=False)
            for name, profile in profiles.items():
                for chunk in table[name].chunks:
                    profile.add(chunk)
            advance(len(table), len(table))
    SourceProfile(rows, profiles).write(into)
    return rows


@dataclass
class SourceProfile:
    """What the columns of a source hold, or of one file of it."""

    rows: int
    columns: dict[str, ColumnProfile]

    def write(self, into: Path) -> None:
        """Write it as JSON, as `merge_profiles` reads it."""
        columns = {name: profile.to_json() for name, profile in self.columns.items()}
        content = {"rows": self.rows, "columns": columns}
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        into.write_text(text + "\n", encoding="utf-8", newline="\n")


def merge_profiles(files: Iterable[Path]) -> SourceProfile:
    """Merge the profiles of a source's files.

    Row counts, nulls, minima, maxima, histograms and the sketch of distinct values are those of one
    file with all rows; so are the frequent values where they are exact.
    """
    whole = SourceProfile(0, {})
    for file in files:
        content = read_json(file)
        whole.rows += content["rows"]
        for name, kept in content["columns"].items():
            profile = ColumnProfile.from_json(kept)
            if name in whole.columns:
                whole.columns[name].merge(profile)
            else:
                whole.columns[name] = profile
    return whole
