"""What can be told of a column without keeping its values: distinct ones, frequent ones, bins.

Each sketch is of bounded size, takes up values in blocks and other sketches of its kind, and is
the same in every run and on every machine.
"""

from __future__ import annotations

import base64
import hashlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

DISTINCT_KEPT = 4096
"""Up to so many, distinct values are counted exactly."""

DISTINCT_ERROR = 1 / math.sqrt(DISTINCT_KEPT - 2)
"""The standard error of an estimate, 1.6 %: 19 of 20 estimates are within twice that."""

COUNTED = 4096
"""Different values whose frequency is counted at a time."""

MOST_BINS = 32
_NARROWEST = -40  # 10^-12


# --- hashes ----------------------------------------------------------------------------------

_LONG = 256
"""Longer texts, in bytes, are hashed one by one."""

_HASHED_BYTES = 1 << 20
_MULTIPLIERS = np.frombuffer(
    hashlib.shake_256(b"controller-log-warehouse").digest(8 * _LONG), dtype="<u8"
).astype(np.uint64)
_OF_LENGTH = np.append(np.uint64(0), np.cumsum(_MULTIPLIERS))
"""Added for each length, so that a letter 0 at the end counts too."""


def mix(numbers: np.ndarray) -> np.ndarray:
    """Numbers of 64 bits, scattered one to one (the finaliser of splitmix64)."""
    x = numbers.view(np.uint64).copy()
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def hash_texts(texts: pa.StringArray) -> np.ndarray:
    """A number of 64 bits for each text; texts without nulls.

    A short text's is the sum of its bytes times random numbers, one for each place, mixed. Two
    different ones are the same once in 10^17 pairs.
    """
    size = len(texts)
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + size + 1]
    hashes = np.zeros(size, np.uint64)
    if size == 0 or offsets[-1] == offsets[0]:
        return mix(hashes)
    content = np.frombuffer(texts.buffers()[2], np.uint8)
    lengths = np.diff(offsets)
    long = np.flatnonzero(lengths > _LONG)
    short = np.flatnonzero((lengths > 0) & (lengths <= _LONG))
    starts = 0
    while starts < len(short):
        # As many as take little memory.
        ends = np.searchsorted(np.cumsum(lengths[short[starts:]]), _HASHED_BYTES, side="right")
        some = short[starts : starts + max(1, int(ends))]
        hashes[some] = _sum_up(content, offsets[some], lengths[some])
        starts += len(some)
    hashes = mix(hashes)
    for place in long.tolist():
        text = content[offsets[place] : offsets[place + 1]]
        digest = hashlib.blake2b(text.tobytes(), digest_size=8).digest()
        hashes[place] = int.from_bytes(digest, "little")
    return hashes


def _sum_up(content: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """For each text, the sum of its bytes times the multipliers of their places."""
    ends = np.cumsum(lengths, dtype=np.int32)
    begins = ends - lengths
    place = np.arange(ends[-1], dtype=np.int32) - np.repeat(begins, lengths)
    if bool((starts[1:] == starts[:-1] + lengths[:-1]).all()):
        letters = content[starts[0] : starts[0] + ends[-1]]
    else:
        letters = content[place + np.repeat(starts, lengths)]
    products = _MULTIPLIERS[place]
    products *= letters
    return np.add.reduceat(products, begins) + _OF_LENGTH[lengths]


# --- how many different ones -----------------------------------------------------------------


class DistinctSketch:
    """How many different values there are: of their hashes, the smallest are kept (KMV).

    Sketches of the parts of a column, merged, are the sketch of the whole column.
    """

    def __init__(self, hashes: np.ndarray | None = None):
        self.hashes = np.empty(0, np.uint64) if hashes is None else hashes

    def add(self, hashes: np.ndarray) -> None:
        """Take up the hashes of some values, in any order, repeated or not."""
        if len(self.hashes) == DISTINCT_KEPT:
            hashes = hashes[hashes < self.hashes[-1]]
        if len(self.hashes):  # Mostly all are known.
            places = np.searchsorted(self.hashes, hashes).clip(max=len(self.hashes) - 1)
            hashes = hashes[self.hashes[places] != hashes]
        if len(hashes):
            merged = np.unique(np.concatenate([self.hashes, hashes]))
            self.hashes = merged[:DISTINCT_KEPT].copy()

    @property
    def exact(self) -> bool:
        """Whether the count is exact; else DISTINCT_ERROR tells how far off it may be."""
        return len(self.hashes) < DISTINCT_KEPT

    @property
    def count(self) -> int:
        """How many different values there are."""
        if self.exact:
            return len(self.hashes)
        return round((DISTINCT_KEPT - 1) / (float(self.hashes[-1]) / 2.0**64))

    def to_text(self) -> str:
        """The sketch, to be kept."""
        return base64.b64encode(self.hashes.astype("<u8").tobytes()).decode("ascii")

    @staticmethod
    def from_text(text: str) -> DistinctSketch:
        """The sketch that was kept."""
        return DistinctSketch(np.frombuffer(base64.b64decode(text), "<u8").astype(np.uint64))


# --- the most frequent ones ------------------------------------------------------------------


@dataclass
class FrequentValues:
    """How often the most frequent values occur.

    Attributes:
        keys: The values that are counted, or the hashes of texts; sorted.
        counts: How often each was seen while it was counted: that often at least.
        error: At most this often was any value seen without being counted. 0: all is exact.
        texts: Hash -> text, where the values are texts.
    """

    keys: np.ndarray
    counts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    error: int = 0
    texts: dict[int, str] | None = None

    def add(
        self,
        keys: np.ndarray,
        counts: np.ndarray,
        texts: Callable[[np.ndarray], Sequence[str]] | None = None,
    ) -> None:
        """Take up different values and how often each occurs.

        Args:
            keys: The values, or hashes of texts.
            counts: How often each occurs.
            texts: Gives the texts at some places.
        """
        chosen = self._choose(counts)
        keys, counts = keys[chosen], counts[chosen]
        places = np.searchsorted(self.keys, keys)
        known = np.zeros(len(keys), bool)
        inside = places < len(self.keys)
        known[inside] = self.keys[places[inside]] == keys[inside]
        self.counts[places[known]] += counts[known]
        if known.all():
            return
        new, chosen = np.flatnonzero(~known), chosen[~known]
        if self.texts is not None and texts is not None:
            self.texts.update(zip(keys[new].tolist(), texts(chosen), strict=True))
        merged = np.concatenate([self.keys, keys[new]])
        order = np.argsort(merged, kind="stable")
        self.keys = merged[order]
        self.counts = np.concatenate([self.counts, counts[new]])[order]
        self._drop(COUNTED)

    def _choose(self, counts: np.ndarray) -> np.ndarray:
        """Which of too many are counted; what the others lose is the error."""
        if len(counts) <= COUNTED:
            return np.arange(len(counts))
        lost = _largest_but(counts, COUNTED)
        self.error += lost
        return np.flatnonzero(counts > lost)

    def _drop(self, kept: int) -> None:
        if len(self.keys) <= kept:
            return
        lost = _largest_but(self.counts, kept)
        self.error += lost
        stays = self.counts > lost
        if self.texts is not None:
            for key in self.keys[~stays].tolist():
                del self.texts[key]
        self.keys, self.counts = self.keys[stays], self.counts[stays]

    def shrink(self, kept: int) -> None:
        """Count fewer values from now on, if not all are counted anyway."""
        if self.error:
            self._drop(kept)

    def top(self, number: int) -> list[tuple[Any, int]]:
        """The most frequent values and how often each occurs at least, `error` more at most.

        Only those that are surely more frequent than any that was not counted.
        """
        least = np.sort(self.counts)[-number:][:1]
        sure = np.flatnonzero((self.counts >= least) & (self.counts > self.error))
        return sorted(self._pairs(sure), key=lambda pair: (-pair[1], pair[0]))[:number]

    def pairs(self) -> list[tuple[Any, int]]:
        """All values that are counted, with their counts."""
        return self._pairs(np.arange(len(self.keys)))

    def _pairs(self, places: np.ndarray) -> list[tuple[Any, int]]:
        keys, counts = self.keys[places].tolist(), self.counts[places].tolist()
        return [(self._value(key), count) for key, count in zip(keys, counts, strict=True)]

    def _value(self, key: Any) -> Any:
        return key if self.texts is None else self.texts[key]


def _largest_but(counts: np.ndarray, kept: int) -> int:
    """The largest of the counts when the largest `kept` are put aside; 1 if no more are above it.

    >>> _largest_but(np.array([3, 9, 1, 5]), 2)
    3
    """
    above = counts[counts > 1]  # Mostly few.
    if len(above) <= kept:
        return 1
    return int(np.partition(above, len(above) - kept - 1)[len(above) - kept - 1])


# --- how they are spread ---------------------------------------------------------------------


@dataclass
class Bins:
    """A histogram of bins whose width is a power of two, aligned at zero; MOST_BINS at most.

    Bin i holds the values from i * 2**exponent up to (i + 1) * 2**exponent. When values come that
    do not fit, two bins are made one. So bins of the parts of a column can be added, and are those
    of the whole column.

    Attributes:
        exponent: Of the width; None without values.
        first: The number of the first bin.
        counts: Values in each.
    """

    exponent: int | None = None
    first: int = 0
    counts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def add(self, values: np.ndarray, counts: np.ndarray | None = None) -> None:
        """Take up finite values, and how often each occurs if not once."""
        if len(values) == 0:
            return
        exponent = _fitting(values.min().item(), values.max().item())
        if self.exponent is not None:
            exponent = max(exponent, self.exponent)
        places = _places(values, exponent)
        first = int(places.min())
        counted = np.bincount((places - first).astype(np.int64), weights=counts)
        self.merge(Bins(exponent, first, counted.astype(np.int64)))

    def merge(self, other: Bins) -> None:
        """Take up another histogram."""
        if other.exponent is None:
            return
        if self.exponent is None:
            self.exponent, self.first, self.counts = other.exponent, other.first, other.counts
            return
        exponent = max(self.exponent, other.exponent)
        while True:
            one, two = self._coarse(exponent), other._coarse(exponent)
            first = min(one.first, two.first)
            end = max(one.first + len(one.counts), two.first + len(two.counts))
            if end - first <= MOST_BINS:
                break
            exponent += 1
        counts = np.zeros(end - first, np.int64)
        for bins in (one, two):
            counts[bins.first - first : bins.first - first + len(bins.counts)] += bins.counts
        self.exponent, self.first, self.counts = exponent, first, counts

    def _coarse(self, exponent: int) -> Bins:
        assert self.exponent is not None
        shift = exponent - self.exponent
        numbers = [(self.first + at) >> shift for at in range(len(self.counts))]
        counts = np.zeros(numbers[-1] - numbers[0] + 1, np.int64)
        np.add.at(counts, [number - numbers[0] for number in numbers], self.counts)
        return Bins(exponent, numbers[0], counts)

    def edges(self) -> list[int | float]:
        """Where each bin begins, and where the last one ends."""
        if self.exponent is None:
            return []
        numbers = range(self.first, self.first + len(self.counts) + 1)
        if self.exponent < 0:
            return [math.ldexp(number, self.exponent) for number in numbers]
        edges = [number << self.exponent for number in numbers]
        # Those of numbers beyond 64 bits as such; the last one may be larger than any.
        largest = sys.float_info.max
        return [
            edge if abs(edge) <= 2**64 else float(max(-largest, min(edge, largest)))
            for edge in edges
        ]


def _fitting(low: int | float, high: int | float) -> int:
    """The smallest exponent at which values from low to high need few enough bins.

    Not smaller than 0 for whole numbers; for others, not than _NARROWEST, nor such that bins are
    narrower than a millionth of the largest value.
    """
    if isinstance(low, int):
        exponent = max(0, (int(high) - low).bit_length() - 6)
    else:
        largest = max(abs(low), abs(high))
        exponent = max(math.frexp(largest)[1] - 20, _NARROWEST) if largest else _NARROWEST
        span = high / 2 - low / 2  # Halves, lest it overflow.
        if span:
            exponent = max(exponent, math.frexp(span)[1] - 5)
    while _place(high, exponent) - _place(low, exponent) >= MOST_BINS:
        exponent += 1
    return exponent


def _place(value: int | float, exponent: int) -> int:
    if isinstance(value, int):
        return value >> exponent
    place = math.floor(math.ldexp(value, -exponent))
    return -1 if place == 0 and value < 0 else place  # Too small to be told from 0.


def _places(values: np.ndarray, exponent: int) -> np.ndarray:
    """The number of each value's bin."""
    if values.dtype == np.int64:
        return values >> min(exponent, 63)
    places: np.ndarray = np.floor(np.ldexp(values, -exponent))
    places[(places == 0) & (values < 0)] = -1  # Too small to be told from 0.
    return places
