"""Sketches of a column: its distinct values, its frequent values and a histogram.

A sketch has a bounded size. Sketches of the blocks or partitions of a column merge into that of the
whole column, and are the same in every run and on every machine.
"""

from __future__ import annotations

import base64
import math
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np

DISTINCT_KEPT = 4096
"""Up to so many, distinct values are counted exactly."""

DISTINCT_ERROR = 1 / math.sqrt(DISTINCT_KEPT - 2)
"""The standard error of an estimate, 1.6 %: 19 of 20 estimates are within twice that."""

COUNTED = 4096
"""Distinct values whose frequency is counted at a time."""

MOST_BINS = 1024
"""Bins that are kept, for quantiles."""

SHOWN_BINS = 32
_KEPT_WHEN_MANY = 256
"""Frequent values kept in a file if not all values are counted."""

_NARROWEST = -40  # 10^-12


@dataclass
class DistinctSketch:
    """The number of distinct values: of their hashes, the smallest are kept (KMV).

    Attributes:
        hashes: Distinct hashes of 64 bits, ascending.
    """

    hashes: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))

    def add(self, hashes: np.ndarray) -> None:
        """Add values by their hashes, in any order, repeated or not."""
        if not self.exact:
            hashes = hashes[hashes < self.hashes[-1]]
        # A stable sort is fast on runs that are sorted already, unlike np.unique.
        merged = np.sort(np.concatenate([self.hashes, hashes]), kind="stable")
        distinct = np.append(True, merged[1:] != merged[:-1])[: len(merged)]
        self.hashes = merged[distinct][:DISTINCT_KEPT]

    @property
    def exact(self) -> bool:
        """Whether the count is exact; else DISTINCT_ERROR is its standard error."""
        return len(self.hashes) < DISTINCT_KEPT

    @property
    def count(self) -> int:
        """The number of distinct values."""
        if self.exact:
            return len(self.hashes)
        return round((DISTINCT_KEPT - 1) / (float(self.hashes[-1]) / 2.0**64))

    def to_text(self) -> str:
        """The sketch as text."""
        return base64.b64encode(self.hashes.astype("<u8").tobytes()).decode("ascii")

    @staticmethod
    def from_text(text: str) -> DistinctSketch:
        """The sketch that `to_text` gave this text for."""
        return DistinctSketch(np.frombuffer(base64.b64decode(text), "<u8").astype(np.uint64))


@dataclass
class FrequentValues:
    """How often the most frequent values occur.

    Attributes:
        counts: Value -> how often it occurred while it was counted: a lower bound.
        error: The upper bound is `error` more, and no value without a count occurs more often than
            that. 0: all counts are exact.
    """

    counts: dict[Any, int] = field(default_factory=dict)
    error: int = 0

    def add(self, values: np.ndarray, counts: np.ndarray) -> None:
        """Add distinct values that occur this often."""
        dropped = _largest_dropped(counts, COUNTED)
        values, counts = values[counts > dropped], counts[counts > dropped]
        pairs = zip(values.tolist(), counts.tolist(), strict=True)
        self.merge(FrequentValues(dict(pairs), dropped))

    def merge(self, other: FrequentValues) -> None:
        """Add the counts of another sketch."""
        for value, count in other.counts.items():
            self.counts[value] = self.counts.get(value, 0) + count
        self.error += other.error
        self.shrink(COUNTED)

    def shrink(self, kept: int) -> None:
        """Keep the counts of so many values."""
        if len(self.counts) > kept:
            dropped = _largest_dropped(np.fromiter(self.counts.values(), np.int64), kept)
            self.error += dropped
            self.counts = {v: count for v, count in self.counts.items() if count > dropped}

    def top(self, number: int) -> list[tuple[Any, int]]:
        """The most frequent values and their counts; ties by value.

        Only values that occur more often than any value without a count.
        """
        sure = [pair for pair in self.counts.items() if pair[1] > self.error]
        return sorted(sure, key=lambda pair: (-pair[1], pair[0]))[:number]

    def to_json(self) -> list[Any]:
        """The counts as JSON can hold them."""
        if self.error:
            self.shrink(_KEPT_WHEN_MANY)
        return [list(self.counts), list(self.counts.values()), self.error]

    @staticmethod
    def from_json(content: list[Any]) -> FrequentValues:
        """The counts that `to_json` gave this for."""
        values, counts, error = content
        return FrequentValues(dict(zip(values, counts, strict=True)), error)


def _largest_dropped(counts: np.ndarray, kept: int) -> int:
    """The largest count that is not among the `kept` largest; 0 if there are no more.

    >>> _largest_dropped(np.array([3, 9, 1, 5]), 2)
    3
    """
    if len(counts) <= kept:
        return 0
    above = np.sort(counts[counts > 1])  # Mostly few.
    return int(above[-kept - 1]) if len(above) > kept else 1


@dataclass
class Histogram:
    """Counts of numbers in at most MOST_BINS bins, whose width is a power of two, aligned at zero.

    A bin is at most 1/512 of the range of the numbers wide, or as narrow as `exponent` allows. Bin
    i has the numbers from i * 2**exponent up to (i + 1) * 2**exponent. Where numbers need more
    bins, two bins become one: so the histogram is the same however the numbers are divided.

    Attributes:
        exponent: Of the width; None without a number. At least 0 for whole numbers; for others
            such that a bin is not narrower than a millionth of the largest number.
        first: The number of the first bin.
        counts: Numbers in each bin.
    """

    exponent: int | None = None
    first: int = 0
    counts: list[int] = field(default_factory=list)

    @staticmethod
    def of(numbers: np.ndarray, counts: np.ndarray) -> Histogram:
        """Finite numbers, whole ones or not, and how often each occurs."""
        if len(numbers) == 0:
            return Histogram()
        if numbers.dtype == np.int64:
            return _binned(0, numbers, counts)
        largest = np.abs(numbers).max()
        exponent = max(math.frexp(largest)[1] - 20, _NARROWEST) if largest else _NARROWEST
        places = np.floor(np.ldexp(numbers, -exponent))
        places[(places == 0) & (numbers < 0)] = -1  # Those that became zero.
        return _binned(exponent, places.astype(np.int64), counts)

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram."""
        if self.exponent is None or other.exponent is None:
            merged = other if self.exponent is None else self
        else:
            exponent = max(self.exponent, other.exponent)
            places = [
                (one.first + np.arange(len(one.counts))) >> min(exponent - (one.exponent or 0), 63)
                for one in (self, other)
            ]
            merged = _binned(exponent, np.concatenate(places), self.counts + other.counts)
        self.exponent, self.first, self.counts = merged.exponent, merged.first, merged.counts

    def coarser(self, most: int = SHOWN_BINS) -> Histogram:
        """The same counts in at most so many bins."""
        if self.exponent is None:
            return self
        places = self.first + np.arange(len(self.counts))
        return _binned(self.exponent, places, self.counts, most)

    def edges(self) -> list[int | float]:
        """Where each bin begins, and where the last one ends."""
        if self.exponent is None:
            return []
        numbers = range(self.first, self.first + len(self.counts) + 1)
        if self.exponent < 0:
            return [math.ldexp(number, self.exponent) for number in numbers]
        edges = [number << self.exponent for number in numbers]
        # The last edge may be larger than any float.
        largest = sys.float_info.max
        return [
            edge if abs(edge) <= 2**64 else float(max(-largest, min(edge, largest)))
            for edge in edges
        ]


def _binned(
    exponent: int, places: np.ndarray, counts: np.ndarray | list[int], most: int = MOST_BINS
) -> Histogram:
    """The histogram of counts in bins of this width, or as much wider as needed."""
    low, high = int(places.min()), int(places.max())
    shift = 0
    while (high >> shift) - (low >> shift) >= most:
        shift += 1
    first = low >> shift
    binned = np.bincount((places >> shift) - first, weights=counts)
    return Histogram(exponent + shift, first, binned.astype(np.int64).tolist())
