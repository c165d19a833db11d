"""What numbers are like: ends, mean, quantiles and histogram, also of texts that are numbers.

All of it is the same however the numbers are divided among blocks and files.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pandas.util import hash_array

from config.declarations import Source, Type
from tasks.measures.sketches import FrequentValues, Histogram
from tasks.parsing.columns import trim
from tasks.parsing.types import parse

MOST_WORDS = 16
"""A column of texts has at most so many different ones that are not read, or it is not read."""

LOOKS_LIKE = 0.95
"""The share of its texts that has to be read; blanks aside."""

_FIRST_FEW = 64
_SCALE = 1126
"""All floats, also the smallest, are multiples of 2**-_SCALE."""


@dataclass
class Numbers:
    """What finite numbers are like: floats, whole numbers, or times in microseconds.

    Attributes:
        count: How many they are.
        low, high: Smallest and largest; None without one.
        total: Their exact sum, in units of 2**-1126: sums of floats depend on their order.
        histogram: Fine bins.
    """

    count: int = 0
    low: Any = None
    high: Any = None
    total: int = 0
    histogram: Histogram = field(default_factory=Histogram)

    def add(self, numbers: np.ndarray, counts: np.ndarray) -> None:
        """Add finite numbers, int64 or float64, and how often each occurs."""
        if len(numbers):
            found = Numbers(
                int(counts.sum()),
                numbers.min().item(),
                numbers.max().item(),
                _exact_sum(numbers, counts),
                Histogram.of(numbers, counts),
            )
            self.merge(found)

    def merge(self, other: Numbers) -> None:
        """Add other numbers."""
        self.count += other.count
        self.total += other.total
        self.histogram.merge(other.histogram)
        if other.low is not None:
            self.low = other.low if self.low is None else min(self.low, other.low)
            self.high = other.high if self.high is None else max(self.high, other.high)

    @property
    def mean(self) -> float | None:
        """Their mean, correctly rounded; None without a number."""
        return self.total / (self.count << _SCALE) if self.count else None

    def quantile(self, share: float, frequent: FrequentValues) -> int | float:
        """The smallest number that this share of them, above 0, does not exceed.

        Args:
            share: From 0 to 1.
            frequent: Their counts. If these are complete, the quantile is exact, else it is the
                middle of a bin of the histogram, and `quantile_error` is its largest error.
        """
        rank = max(1, math.ceil(share * self.count))
        if self._has_all(frequent):
            numbers = sorted(frequent.counts)
            return numbers[_place(rank, [frequent.counts[number] for number in numbers])]
        place = _place(rank, self.histogram.counts)
        start, end = self.histogram.edges()[place : place + 2]
        middle = (start + end) // 2 if isinstance(self.low, int) else start / 2 + end / 2
        within: int | float = min(max(middle, self.low), self.high)
        return within

    def quantile_error(self, frequent: FrequentValues) -> float:
        """How far a quantile may be from the exact one: half a bin; 0: it is exact."""
        exponent = self.histogram.exponent
        if exponent is None or self._has_all(frequent):
            return 0.0
        is_single = exponent == 0 and isinstance(self.low, int)
        return 0.0 if is_single else math.ldexp(1.0, exponent - 1)

    def _has_all(self, frequent: FrequentValues) -> bool:
        return sum(frequent.counts.values()) == self.count

    def to_json(self) -> list[Any]:
        """The numbers as JSON can hold them."""
        return [*list(vars(self).values())[:-1], list(vars(self.histogram).values())]

    @staticmethod
    def from_json(content: list[Any]) -> Numbers:
        """What `to_json` gave this for."""
        count, low, high, total, histogram = content
        return Numbers(count, low, high, total, Histogram(*histogram))


def _place(rank: int, counts: list[int]) -> int:
    """In which of several groups in a row the member with a rank, from 1, is."""
    ends = itertools.accumulate(counts)
    return next(place for place, end in enumerate(ends) if end >= rank)


def _exact_sum(numbers: np.ndarray, counts: np.ndarray) -> int:
    """The sum of numbers that occur so often, in units of 2**-_SCALE.

    >>> _exact_sum(np.array([1e16, 1.0, -1e16]), np.array([1, 3, 1])) == 3 << _SCALE
    True
    """
    if numbers.dtype == np.int64:
        return _sum_whole(numbers, counts) << _SCALE
    mantissas, exponents = np.frexp(numbers)
    whole = np.ldexp(mantissas, 53).astype(np.int64)
    total = 0
    for exponent in np.unique(exponents).tolist():
        same = exponents == exponent
        total += _sum_whole(whole[same], counts[same]) << (exponent - 53 + _SCALE)
    return total


def _sum_whole(numbers: np.ndarray, counts: np.ndarray) -> int:
    """In two halves, which do not exceed 64 bits for less than two billion rows."""
    high, low = numbers >> 32, numbers & 0xFFFF_FFFF
    return (int((high * counts).sum()) << 32) + int((low * counts).sum())


@dataclass
class Reading:
    """The texts of a column, read as numbers or as times.

    Attributes:
        kind: NUMBER or TIMESTAMP.
        numbers: What was read; times in microseconds since 1970.
        frequent: Their counts.
        others: Rows with another text, blanks aside.
        words: Hashes of these texts.
        is_given_up: Whether they were more than MOST_WORDS. Then nothing is kept.
    """

    kind: Type
    numbers: Numbers = field(default_factory=Numbers)
    frequent: FrequentValues = field(default_factory=FrequentValues)
    others: int = 0
    words: set[int] = field(default_factory=set)
    is_given_up: bool = False

    @property
    def looks_right(self) -> bool:
        """Whether the column looks like this kind."""
        read = self.numbers.count
        return read > 0 and read >= LOOKS_LIKE * (read + self.others)

    @property
    def has_begun(self) -> bool:
        """Whether any text was added."""
        return self.is_given_up or bool(self.words) or self.numbers.count > 0

    def add(self, texts: pa.StringArray, counts: np.ndarray, how: Source) -> None:
        """Add different texts, trimmed and not blank, and how often each occurs."""
        if self.is_given_up:
            return
        # A column of another kind is given up before all of its texts are read.
        for some in (texts[:_FIRST_FEW], texts):
            values = parse(some, self.kind, how).values
            if self.kind is Type.TIMESTAMP:
                values = values.view(pa.int64())
            read = pc.fill_null(pc.is_finite(values), False).to_numpy(zero_copy_only=False)
            others = some.filter(pa.array(~read)).to_numpy(zero_copy_only=False)
            self._add_words(set(hash_array(others, categorize=False).tolist()))
            if self.is_given_up:
                return
        self.others += int(counts[~read].sum())
        counted = values.filter(pa.array(read)).to_numpy() + 0  # Both zeros become one.
        numbers, places = np.unique(counted, return_inverse=True)
        sums = np.bincount(places, weights=counts[read], minlength=len(numbers)).astype(np.int64)
        self.numbers.add(numbers, sums)
        self.frequent.add(numbers, sums)

    def _add_words(self, words: set[int]) -> None:
        self.words |= words
        if len(self.words) > MOST_WORDS:
            vars(self).update(vars(Reading(self.kind, is_given_up=True)))

    def merge(self, other: Reading) -> None:
        """Add the reading of other rows of the column."""
        self._add_words(other.words)
        if self.is_given_up or other.is_given_up:
            vars(self).update(vars(Reading(self.kind, is_given_up=True)))
            return
        self.numbers.merge(other.numbers)
        self.frequent.merge(other.frequent)
        self.others += other.others

    def to_json(self) -> dict[str, Any]:
        """The reading as JSON can hold it."""
        return {
            **vars(self),
            "numbers": self.numbers.to_json(),
            "frequent": self.frequent.to_json(),
            "words": sorted(self.words),
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Reading:
        """What `to_json` gave this for."""
        return Reading(
            **{
                **content,
                "kind": Type(content["kind"]),
                "numbers": Numbers.from_json(content["numbers"]),
                "frequent": FrequentValues.from_json(content["frequent"]),
                "words": set(content["words"]),
            }
        )


def read_texts(
    readings: Mapping[str, Reading], texts: np.ndarray, counts: np.ndarray, how: Source
) -> None:
    """Add different texts, and how often each occurs, to the readings."""
    if all(reading.is_given_up for reading in readings.values()):
        return
    trimmed, missing = trim(pa.array(texts, pa.string()), how)
    if missing.true_count:
        present = pc.invert(missing)
        trimmed, counts = trimmed.filter(present), counts[present.to_numpy(zero_copy_only=False)]
    if len(trimmed):
        for reading in readings.values():
            reading.add(trimmed, counts, how)
