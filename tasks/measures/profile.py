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
from pandas.util import hash_array

from config.declarations import Source, Type
from tasks.core.arrow import open_parquet, parquet_schema
from tasks.core.files import read_json
from tasks.core.progress import Advance, no_progress
from tasks.measures.numbers import Numbers, Reading, read_texts
from tasks.measures.sketches import COUNTED, DistinctSketch, FrequentValues
from tasks.parsing.columns import DEFAULTS
from tasks.parsing.numbers import INSTANT

SHOWN_LETTERS = 200
"""Longer texts are cut: among the frequent values, and as minimum and maximum."""

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
        low, high: Of texts, the smallest and largest by code point, cut; None without one.
        not_finite: Numbers that are infinite or NaN. They count in nothing else but `rows`.
        empty: Texts without a letter.
        shortest, longest: Letters of the shortest and longest text; None without one.
        distinct: Distinct values; empty for a unique column.
        frequent: The most frequent values. A text beyond SHOWN_LETTERS is cut there, and its hash
            follows.
        numbers: What numbers and times are like.
        readings: Texts read as numbers and as times.
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
    numbers: Numbers = field(default_factory=Numbers)
    readings: dict[str, Reading] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind is Type.TEXT and not self.readings:
            self.readings = {kind.value: Reading(kind) for kind in (Type.NUMBER, Type.TIMESTAMP)}

    @property
    def reading(self) -> Reading | None:
        """What the texts of the column look like; None: like texts, or it has no texts."""
        return next((one for one in self.readings.values() if one.looks_right), None)

    @property
    def distinct_count(self) -> int:
        """The number of distinct values."""
        values = self.rows - self.nulls - self.not_finite
        return values if self.unique else min(self.distinct.count, values)

    @property
    def distinct_exact(self) -> bool:
        """Whether that is exact, not an estimate."""
        return self.unique or self.distinct.exact

    def add(self, values: pa.Array, how: Source) -> None:
        """Add some rows; texts are dictionary-encoded."""
        self.rows += len(values)
        self.nulls += values.null_count
        if self.kind is Type.TEXT:
            self._add_texts(values, how)
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
            self.numbers.add(numbers, counts)
            self._count(numbers, hash_array(numbers), counts)

    def _add_texts(self, values: pa.DictionaryArray, how: Source) -> None:
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
        if self._has_readings() or self.unique:
            read_texts(self.readings, keys, counts, how)
        elif len(self.frequent.counts) + len(keys) > COUNTED:
            self.finish(how)
            read_texts(self.readings, keys, counts, how)
        self._count(keys, hashes, counts)

    def _has_readings(self) -> bool:
        return any(reading.has_begun for reading in self.readings.values())

    def finish(self, how: Source) -> None:
        """Read texts that were only counted so far: a few different ones, at once."""
        if not self._has_readings():
            texts, counts = self.frequent.counts.keys(), self.frequent.counts.values()
            read_texts(self.readings, np.array([*texts], object), np.array([*counts]), how)

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
        self.numbers.merge(other.numbers)
        for name, reading in self.readings.items():
            reading.merge(other.readings[name])

    def to_json(self) -> dict[str, Any]:
        """The profile as JSON can hold it."""
        return {
            **vars(self),
            "distinct": self.distinct.to_text(),
            "frequent": self.frequent.to_json(),
            "numbers": self.numbers.to_json(),
            "readings": {name: one.to_json() for name, one in self.readings.items()},
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> ColumnProfile:
        """The profile that `to_json` gave this for."""
        readings = content["readings"]
        return ColumnProfile(
            **{
                **content,
                "kind": Type(content["kind"]),
                "distinct": DistinctSketch.from_text(content["distinct"]),
                "frequent": FrequentValues.from_json(content["frequent"]),
                "numbers": Numbers.from_json(content["numbers"]),
                "readings": {name: Reading.from_json(one) for name, one in readings.items()},
            }
        )


def profile_file(
    staged: Path,
    primary_key: str | None,
    into: Path,
    how: Source = DEFAULTS,
    advance: Advance = no_progress,
) -> int:
    """Profile the columns of a staged file, by row groups, and return its number of rows.

    Args:
        staged: Parquet file.
        primary_key: The column that is unique, if one is.
        into: JSON file to write, as `merge_profiles` reads it.
        how: How numbers and times in texts are written.
        advance: Called for each row group, with its rows.
    """
    kinds = {column.name: _KINDS[column.type] for column in parquet_schema(staged)}
    profiles = {name: ColumnProfile(kind, name == primary_key) for name, kind in kinds.items()}
    texts = [name for name, kind in kinds.items() if kind is Type.TEXT]
    with open_parquet(staged, texts) as file:
        rows = int(file.metadata.num_rows)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, use_threads=False)
            for name, profile in profiles.items():
                for chunk in table[name].chunks:
                    profile.add(chunk, how)
            advance(len(table), len(table))
    for profile in profiles.values():
        profile.finish(how)
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

    All of it is that of one file with all rows, but for frequent values that are not exact.
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
