"""Profiles of the sources: what the columns of a staged file hold, whatever its size.

A file is profiled by itself, row group by row group (`profile_file`); what its columns are found
to hold is kept in sketches, which add up to those of the whole source (`merge_profiles`).
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

from config.declarations import Type
from tasks.measures.sketches import Bins, DistinctSketch, FrequentValues, hash_texts, mix
from tasks.parsing.numbers import INSTANT
from tasks.run.progress import Advance, untold

_SHOWN_LETTERS = 200
"""Longer texts are cut: among the frequent values, and as minimum and maximum."""

_KEPT_WHEN_MANY = 256
"""Frequent values kept of a file of which not all values are counted."""

_KINDS = {
    pa.int64(): Type.INTEGER,
    pa.float64(): Type.NUMBER,
    INSTANT: Type.TIMESTAMP,
    pa.string(): Type.TEXT,
}
_DTYPES = {
    Type.INTEGER: np.int64,
    Type.NUMBER: np.float64,
    Type.TIMESTAMP: np.int64,  # Microseconds since 1970, UTC.
    Type.TEXT: np.uint64,  # Hashes.
}


@dataclass
class ColumnProfile:
    """What a column holds. Times are in microseconds since 1970, UTC.

    Attributes:
        kind: Its type as staged.
        unique: Whether no value stands in it twice; then none of them is counted.
        rows: Of the files that have it.
        nulls: Rows without a value.
        low, high: Smallest and largest value, texts by code point and cut; None without a value.
        not_finite: Values that are infinite or no number. They count in nothing else.
        empty: Texts without a letter.
        shortest, longest: Letters of the shortest and longest text; None without one.
        distinct: Different values; None of a unique column.
        frequent: The most frequent values.
        bins: How numbers and times are spread.
    """

    kind: Type
    unique: bool = False
    rows: int = 0
    nulls: int = 0
    low: Any = None
    high: Any = None
    not_finite: int = 0
    empty: int = 0
    shortest: int | None = None
    longest: int | None = None
    distinct: DistinctSketch = field(default_factory=DistinctSketch)
    frequent: FrequentValues = field(default_factory=lambda: FrequentValues(np.empty(0)))
    bins: Bins = field(default_factory=Bins)

    @staticmethod
    def of(kind: Type, unique: bool = False) -> ColumnProfile:
        """The profile of a column of which nothing was seen yet."""
        texts: dict[int, str] | None = {} if kind is Type.TEXT else None
        frequent = FrequentValues(np.empty(0, _DTYPES[kind]), texts=texts)
        return ColumnProfile(kind, unique, frequent=frequent)

    @property
    def distinct_count(self) -> int:
        """How many different values there are."""
        values = self.rows - self.nulls - self.not_finite
        return values if self.unique else min(self.distinct.count, values)

    @property
    def distinct_exact(self) -> bool:
        """Whether that is exact."""
        return self.unique or self.distinct.exact

    def add(self, values: pa.Array) -> None:
        """Take up some rows."""
        self.rows += len(values)
        self.nulls += values.null_count
        if self.kind is Type.TEXT:
            self._add_texts(values)
        elif values.null_count < len(values):
            self._add_numbers(values)

    def _add_numbers(self, values: pa.Array) -> None:
        if self.kind is Type.TIMESTAMP:
            values = values.view(pa.int64())
        numbers = (values.drop_null() if values.null_count else values).to_numpy()
        if self.kind is Type.NUMBER:
            finite = np.isfinite(numbers)
            if not finite.all():
                numbers = numbers[finite]
                self.not_finite += int(len(finite) - len(numbers))
            numbers = numbers + 0.0  # There is one zero only.
            if len(numbers) == 0:
                return
        self._widen(numbers.min().item(), numbers.max().item())
        if self.unique:
            self.bins.add(numbers)
            return
        distinct, counts = np.unique(numbers, return_counts=True)
        self.bins.add(distinct, counts)
        self.distinct.add(mix(distinct))
        self.frequent.add(distinct, counts)

    def _add_texts(self, values: pa.StringArray | pa.DictionaryArray) -> None:
        if values.type == pa.string():
            values = values.dictionary_encode()
        indices = values.indices.drop_null().to_numpy()
        counts = np.bincount(indices, minlength=len(values.dictionary))
        texts = values.dictionary
        if not counts.all():
            there = np.flatnonzero(counts)
            texts, counts = texts.take(pa.array(there)), counts[there]
        if len(texts) == 0:
            return
        lengths = pc.utf8_length(texts).to_numpy()
        self.empty += int(counts[lengths == 0].sum())
        self._widen_lengths(int(lengths.min()), int(lengths.max()))
        ends = pc.min_max(texts)
        self._widen(*(ends[end].as_py()[:_SHOWN_LETTERS] for end in ("min", "max")))
        if not self.unique:
            hashes = hash_texts(texts)
            self.distinct.add(hashes)

            def shown(places: np.ndarray) -> list[str]:
                cut = pc.utf8_slice_codeunits(texts.take(pa.array(places)), 0, _SHOWN_LETTERS)
                found: list[str] = cut.to_pylist()
                return found

            self.frequent.add(hashes, counts, shown)

    def _widen(self, low: Any, high: Any) -> None:
        self.low = low if self.low is None else min(low, self.low)
        self.high = high if self.high is None else max(high, self.high)

    def _widen_lengths(self, shortest: int, longest: int) -> None:
        self.shortest = shortest if self.shortest is None else min(shortest, self.shortest)
        self.longest = longest if self.longest is None else max(longest, self.longest)

    def merge(self, other: ColumnProfile) -> None:
        """Take up the profile of the same column in another file."""
        self.rows += other.rows
        self.nulls += other.nulls
        self.not_finite += other.not_finite
        self.empty += other.empty
        if other.low is not None:
            self._widen(other.low, other.high)
        if other.shortest is not None and other.longest is not None:
            self._widen_lengths(other.shortest, other.longest)
        self.distinct.add(other.distinct.hashes)
        mine, its = self.frequent, other.frequent
        mine.error += its.error

        def shown(places: np.ndarray) -> list[str]:
            assert its.texts is not None
            return [its.texts[key] for key in its.keys[places].tolist()]

        mine.add(its.keys, its.counts, shown)
        self.bins.merge(other.bins)

    def to_json(self) -> dict[str, Any]:
        """The profile, to be kept."""
        self.frequent.shrink(_KEPT_WHEN_MANY)
        frequent = self.frequent
        keys = frequent.keys.tolist()
        return {
            "kind": self.kind,
            "unique": self.unique,
            "rows": self.rows,
            "nulls": self.nulls,
            "low": self.low,
            "high": self.high,
            "not_finite": self.not_finite,
            "empty": self.empty,
            "shortest": self.shortest,
            "longest": self.longest,
            "distinct": self.distinct.to_text(),
            "keys": keys,
            "counts": frequent.counts.tolist(),
            "error": frequent.error,
            "texts": None if frequent.texts is None else [frequent.texts[key] for key in keys],
            "bins": [self.bins.exponent, self.bins.first, self.bins.counts.tolist()],
        }

    @staticmethod
    def from_json(kept: Mapping[str, Any]) -> ColumnProfile:
        """The profile that was kept."""
        profile = ColumnProfile.of(Type(kept["kind"]), kept["unique"])
        for name in ("rows", "nulls", "low", "high", "not_finite", "empty", "shortest", "longest"):
            setattr(profile, name, kept[name])
        profile.distinct = DistinctSketch.from_text(kept["distinct"])
        keys = np.array(kept["keys"], _DTYPES[profile.kind])
        texts = kept["texts"]
        profile.frequent = FrequentValues(
            keys,
            np.array(kept["counts"], np.int64),
            kept["error"],
            None if texts is None else dict(zip(kept["keys"], texts, strict=True)),
        )
        exponent, first, counts = kept["bins"]
        profile.bins = Bins(exponent, first, np.array(counts, np.int64))
        return profile


def profile_file(
    staged: Path, primary_key: str | None, into: Path, advance: Advance = untold
) -> int:
    """Profile the columns of a staged file, streaming; its number of rows.

    Args:
        staged: Parquet file.
        primary_key: The column that is unique, if one is.
        into: JSON file to write, as `merge_profiles` reads it.
        advance: Told of each row group, in rows.
    """
    with pq.ParquetFile(staged) as file:
        schema = file.schema_arrow
    kinds = {column.name: _KINDS[column.type] for column in schema}
    profiles = {
        name: ColumnProfile.of(kind, unique=name == primary_key) for name, kind in kinds.items()
    }
    texts = [name for name, kind in kinds.items() if kind is Type.TEXT]
    with pq.ParquetFile(staged, read_dictionary=texts) as file:
        rows = file.metadata.num_rows
        for group in range(file.metadata.num_row_groups):
            table = file.read_row_group(group, use_threads=False)
            for name, profile in profiles.items():
                for chunk in table[name].chunks:
                    profile.add(chunk)
            advance(len(table), len(table))
    SourceProfile(rows, profiles).write(into)
    return rows


@dataclass
class SourceProfile:
    """What the columns of a source hold: of a file of it, or of several together."""

    rows: int
    columns: dict[str, ColumnProfile]

    def write(self, into: Path) -> None:
        """Keep it as JSON, as `merge_profiles` reads it."""
        columns = {name: profile.to_json() for name, profile in self.columns.items()}
        content = {"rows": self.rows, "columns": columns}
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        into.write_text(text + "\n", encoding="utf-8", newline="\n")


def merge_profiles(parts: Iterable[Path]) -> SourceProfile:
    """Add up the profiles of a source's files.

    Row counts, nulls, minima, maxima, bins and the sketch of distinct values are those of one file
    with all rows, whatever the parts; so is what is told of the frequent values where it is exact.
    """
    whole = SourceProfile(0, {})
    for part in parts:
        content = json.loads(part.read_text(encoding="utf-8"))
        whole.rows += content["rows"]
        for name, kept in content["columns"].items():
            profile = ColumnProfile.from_json(kept)
            if name in whole.columns:
                whole.columns[name].merge(profile)
            else:
                whole.columns[name] = profile
    return whole
