"""Sketches: bounded, the same however the values come, and right."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.measures.sketches import (
    COUNTED,
    DISTINCT_ERROR,
    DISTINCT_KEPT,
    MOST_BINS,
    Bins,
    DistinctSketch,
    FrequentValues,
    hash_texts,
    mix,
)

FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, 1e-300, -1e-300, 5e-324, 1e-12, 1.7e308]),
)
INTEGERS = st.integers(-(2**63), 2**63 - 1)

HASHES = [0, 3535115536797807965, 619753545068324009]
MIXED = [0, 6238072747940578789, 13029008266876403067]


# --- hashes ----------------------------------------------------------------------------------


@given(st.lists(st.text(max_size=300), unique=True))
def test_different_texts_have_different_hashes(texts: list[str]) -> None:
    assert len(set(hash_texts(pa.array(texts, pa.string())).tolist())) == len(texts)


@given(st.lists(st.text(max_size=20)), st.data())
def test_a_texts_hash_does_not_depend_on_its_neighbours(
    texts: list[str], data: st.DataObject
) -> None:
    array = pa.array(["x" * 3, *texts, "y" * 1000], pa.string())
    alone = [hash_texts(array[at : at + 1]).item() for at in range(len(array))]
    assert hash_texts(array).tolist() == alone
    order = data.draw(st.permutations(range(len(array))))
    assert hash_texts(array.take(pa.array(order, pa.int64()))).tolist() == [alone[i] for i in order]


@pytest.mark.parametrize("letters", [0, 1, 255, 256, 257, 1 << 20, 3 << 20])
def test_texts_that_differ_in_a_zero_at_the_end_or_in_order_are_told_apart(letters: int) -> None:
    text = "a" * letters
    different = [text, text + "\0", text + "b", "b" + text, text + "é"]
    assert len(set(hash_texts(pa.array(different)).tolist())) == len(set(different))


def test_many_short_texts_are_hashed_in_little_memory_and_all_differ() -> None:
    texts = pa.array(np.arange(400_000)).cast(pa.string())
    assert len(np.unique(hash_texts(texts))) == 400_000


def test_hashes_are_the_same_on_every_machine() -> None:
    assert hash_texts(pa.array(["", "OK", "x" * 500])).tolist() == HASHES
    assert mix(np.array([0, 1, -1])).tolist() == MIXED


# --- distinct values -------------------------------------------------------------------------


@given(st.lists(st.lists(INTEGERS)))
def test_few_distinct_values_are_counted_exactly(blocks: list[list[int]]) -> None:
    sketch = DistinctSketch()
    for block in blocks:
        sketch.add(mix(np.array(block, np.int64)))
    assert sketch.exact
    assert sketch.count == len({value for block in blocks for value in block})


@pytest.mark.parametrize("distinct", [DISTINCT_KEPT - 1, DISTINCT_KEPT + 1, 50_000, 1_000_000])
def test_many_distinct_values_are_estimated_within_four_standard_errors(distinct: int) -> None:
    sketch = DistinctSketch()
    values = np.random.default_rng(1).permutation(np.repeat(np.arange(distinct), 2))
    for block in np.array_split(values, 17):
        sketch.add(mix(block))
    assert sketch.exact == (distinct < DISTINCT_KEPT)
    error = 0 if sketch.exact else 4 * DISTINCT_ERROR
    assert abs(sketch.count - distinct) <= error * distinct


def test_the_sketch_of_merged_parts_is_that_of_the_whole() -> None:
    hashes = mix(np.random.default_rng(2).integers(0, 30_000, 100_000))
    whole, merged = DistinctSketch(), DistinctSketch()
    whole.add(hashes)
    for part in np.array_split(hashes, 9):
        sketch = DistinctSketch()
        sketch.add(part)
        merged.add(DistinctSketch.from_text(sketch.to_text()).hashes)
    assert merged.to_text() == whole.to_text()


# --- frequent values -------------------------------------------------------------------------


def count(values: np.ndarray, blocks: int) -> FrequentValues:
    frequent = FrequentValues(np.empty(0, values.dtype))
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
def test_counts_of_many_values_are_lower_bounds_and_the_error_is_told(seed: int) -> None:
    random = np.random.default_rng(seed)
    common = random.zipf(1.3, 200_000)
    values = np.concatenate([common[common < 2**40], random.integers(0, 2**40, 200_000)])
    values = random.permutation(values)
    frequent = count(values, 23)
    true = Counter(values.tolist())
    assert frequent.error > 0
    assert len(frequent.keys) <= COUNTED
    for value, seen in frequent.pairs():
        assert seen <= true[value] <= seen + frequent.error
    counted = {value for value, _ in frequent.pairs()}
    assert all(true[value] <= frequent.error for value in true.keys() - counted)
    top = frequent.top(10)
    assert len(top) == 10
    least = min(true[value] for value, _ in top)
    assert all(true[value] <= least for value in true.keys() - counted)


def test_nothing_is_called_frequent_where_every_value_is_another_one() -> None:
    assert count(np.arange(100_000), 20).top(10) == []


def test_texts_are_kept_only_while_they_are_counted() -> None:
    frequent = FrequentValues(np.empty(0, np.uint64), texts={})
    for block in range(30):
        texts = pa.array([f"{block} {number}" for number in range(1000)] + ["always"])
        hashes = hash_texts(texts)

        def some(places: np.ndarray, texts: pa.Array = texts) -> list[str]:
            return texts.take(pa.array(places)).to_pylist()

        frequent.add(hashes, np.append(np.ones(1000, np.int64), 5), some)
    assert frequent.texts is not None
    assert len(frequent.texts) == len(frequent.keys) <= COUNTED
    assert frequent.top(3) == [("always", 150)]


# --- bins ------------------------------------------------------------------------------------


def binned(blocks: list[np.ndarray]) -> Bins:
    bins = Bins()
    for block in blocks:
        bins.add(block)
    return bins


def same(one: Bins, other: Bins) -> bool:
    return (one.exponent, one.first, one.counts.tolist()) == (
        other.exponent,
        other.first,
        other.counts.tolist(),
    )


@pytest.mark.parametrize(("values", "dtype"), [(INTEGERS, np.int64), (FLOATS, np.float64)])
def test_bins_are_the_same_however_the_values_come(values: st.SearchStrategy, dtype: type) -> None:
    @given(st.lists(st.lists(values, min_size=1), min_size=1), st.randoms())
    def check(blocks: list[list], random: object) -> None:
        arrays: list[np.ndarray] = [np.array(block, dtype) for block in blocks]
        whole = binned([np.concatenate(arrays)])
        assert same(binned(arrays), whole)
        merged = Bins()
        for array in reversed(arrays):
            merged.merge(binned([array]))
        assert same(merged, whole)

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
    assert bins.counts.tolist() == expected
    assert sum(expected) == len(values)


@given(st.lists(st.one_of(FLOATS, st.floats(-50, 50)), min_size=1))
def test_each_number_is_in_its_bin(values: list[float]) -> None:
    bins = binned([np.array(values)])
    edges = bins.edges()
    assert len(bins.counts) <= MOST_BINS
    assert bins.counts.sum() == len(values)
    assert bins.counts[0] > 0
    assert bins.counts[-1] > 0
    assert all(math.isfinite(edge) for edge in edges)
    assert edges[0] <= min(values)
    assert max(values) <= edges[-1]


def test_bins_are_as_narrow_as_they_can_be() -> None:
    bins = binned([np.linspace(-20, 30, 1001)])
    assert bins.exponent == 1
    assert bins.edges()[0] == -20
    assert len(bins.counts) == 26


def test_no_values_have_no_bins() -> None:
    bins = binned([np.empty(0)])
    assert (bins.exponent, bins.edges()) == (None, [])
