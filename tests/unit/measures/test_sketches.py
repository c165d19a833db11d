"""Sketches: bounded, the same however the values come, and right."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.util import hash_array

from tasks.measures.sketches import (
    COUNTED,
    DISTINCT_ERROR,
    DISTINCT_KEPT,
    MOST_BINS,
    SHOWN_BINS,
    DistinctSketch,
    FrequentValues,
    Histogram,
)

FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, 1e-300, -1e-300, 5e-324, 1e-12, 1.7e308]),
)
INTEGERS = st.integers(-(2**63), 2**63 - 1)

HASHES = [1760245841805064774, 8340309945603820776, 17401879572866184096]
MIXED = [0, 6238072747940578789, 13029008266876403067]


def test_hashes_are_those_of_the_profiles_that_are_stored() -> None:
    """If a later pandas hashes differently, raise the `code_version` of SourceProfiles."""
    texts = np.array(["", "OK", "x" * 500], object)
    assert hash_array(texts, categorize=False).tolist() == HASHES
    assert hash_array(np.array([0, 1, -1])).tolist() == MIXED


@given(st.lists(st.lists(INTEGERS)))
def test_few_distinct_values_are_counted_exactly(blocks: list[list[int]]) -> None:
    sketch = DistinctSketch()
    for block in blocks:
        sketch.add(hash_array(np.array(block, np.int64)))
    assert sketch.exact
    assert sketch.count == len({value for block in blocks for value in block})


@pytest.mark.parametrize("distinct", [DISTINCT_KEPT - 1, DISTINCT_KEPT + 1, 50_000, 1_000_000])
def test_many_distinct_values_are_estimated_within_four_standard_errors(distinct: int) -> None:
    sketch = DistinctSketch()
    values = np.random.default_rng(1).permutation(np.repeat(np.arange(distinct), 2))
    for block in np.array_split(values, 17):
        sketch.add(hash_array(block))
    assert sketch.exact == (distinct < DISTINCT_KEPT)
    error = 0 if sketch.exact else 4 * DISTINCT_ERROR
    assert abs(sketch.count - distinct) <= error * distinct


def test_the_sketch_of_merged_partitions_is_that_of_the_whole() -> None:
    hashes = hash_array(np.random.default_rng(2).integers(0, 30_000, 100_000))
    whole, merged = DistinctSketch(), DistinctSketch()
    whole.add(hashes)
    for part in np.array_split(hashes, 9):
        sketch = DistinctSketch()
        sketch.add(part)
        merged.add(DistinctSketch.from_text(sketch.to_text()).hashes)
    assert merged.to_text() == whole.to_text()


def count(values: np.ndarray, blocks: int) -> FrequentValues:
    frequent = FrequentValues()
    for block in np.array_split(values, blocks):
        frequent.add(*np.unique(block, return_counts=True))
    return frequent


@given(st.lists(st.integers(-5, 5)), st.integers(1, 5))
def test_few_values_are_counted_exactly(values: list[int], blocks: int) -> None:
    frequent = count(np.array(values, np.int64), blocks)
    expected = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
    assert frequent.top(3) == expected[:3]
    assert frequent.error == 0


@pytest.mark.parametrize("seed", range(5))
def test_counts_of_many_values_are_lower_bounds_and_the_error_is_known(seed: int) -> None:
    random = np.random.default_rng(seed)
    common = random.zipf(1.3, 200_000)
    values = np.concatenate([common[common < 2**40], random.integers(0, 2**40, 200_000)])
    values = random.permutation(values)
    true = Counter(values.tolist())
    frequent, other = (count(half, 12) for half in np.array_split(values, 2))
    frequent.merge(other)
    assert frequent.error > 0
    assert len(frequent.counts) <= COUNTED
    for value, seen in frequent.counts.items():
        assert seen <= true[value] <= seen + frequent.error
    not_counted = true.keys() - frequent.counts.keys()
    assert all(true[value] <= frequent.error for value in not_counted)
    top = frequent.top(10)
    assert len(top) == 10
    least = min(true[value] for value, _ in top)
    assert all(true[value] <= least for value in not_counted)


def test_nothing_is_called_frequent_where_every_value_is_another_one() -> None:
    assert count(np.arange(100_000), 20).top(10) == []


def binned(blocks: list[np.ndarray]) -> Histogram:
    histogram = Histogram()
    for block in blocks:
        histogram.merge(Histogram.of(*np.unique(block, return_counts=True)))
    return histogram


@pytest.mark.parametrize(("values", "dtype"), [(INTEGERS, np.int64), (FLOATS, np.float64)])
def test_bins_are_the_same_however_the_values_come(values: st.SearchStrategy, dtype: type) -> None:
    @given(st.lists(st.lists(values, min_size=1), min_size=1), st.randoms())
    def check(blocks: list[list], random: object) -> None:
        arrays: list[np.ndarray] = [np.array(block, dtype) for block in blocks]
        whole = binned([np.concatenate(arrays)])
        assert binned(arrays) == whole
        assert binned(arrays[::-1]) == whole

    check()


@given(st.lists(st.one_of(INTEGERS, st.integers(-50, 50)), min_size=1))
def test_each_whole_number_is_in_its_bin(values: list[int]) -> None:
    bins = binned([np.array(values, np.int64)])
    edges = bins.edges()
    assert len(bins.counts) <= MOST_BINS
    assert len(edges) == len(bins.counts) + 1
    expected = [
        sum(low <= value < high for value in values)
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]
    assert bins.counts == expected
    assert sum(expected) == len(values)


@given(st.lists(st.one_of(FLOATS, st.floats(-50, 50)), min_size=1))
def test_each_number_is_in_its_bin(values: list[float]) -> None:
    bins = binned([np.array(values)])
    edges = bins.edges()
    assert len(bins.counts) <= MOST_BINS
    assert sum(bins.counts) == len(values)
    assert bins.counts[0] > 0
    assert bins.counts[-1] > 0
    assert all(math.isfinite(edge) for edge in edges)
    assert edges[0] <= min(values)
    assert max(values) <= edges[-1]


def test_bins_are_as_narrow_as_they_can_be() -> None:
    bins = binned([np.linspace(-20, 30, 1001)])
    shown = bins.coarser()
    assert shown.exponent == 1
    assert shown.edges()[0] == -20
    assert len(shown.counts) == 26
    assert len(bins.counts) == 801
    assert bins.exponent == -4


@given(st.lists(st.one_of(FLOATS, st.floats(-50, 50)), min_size=1))
def test_coarser_bins_are_those_of_the_numbers_themselves(values: list[float]) -> None:
    bins = binned([np.array(values)])
    shown = bins.coarser()
    assert len(shown.counts) <= SHOWN_BINS
    assert sum(shown.counts) == len(values)
    assert shown.edges()[0] <= min(values)
    assert max(values) <= shown.edges()[-1]


def test_no_values_have_no_bins() -> None:
    bins = binned([np.empty(0)])
    assert (bins.exponent, bins.edges()) == (None, [])
