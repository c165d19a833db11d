"""What numbers are like: exact where it says so, within the error where not, in any order."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.declarations import Type
from tasks.measures.numbers import MOST_WORDS, Numbers, Reading, read_texts
from tasks.measures.sketches import FrequentValues
from tasks.parsing.columns import DEFAULTS

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
NOTHING_COUNTED = FrequentValues()


def numbers_of(blocks: list[np.ndarray]) -> Numbers:
    """The numbers of several blocks, each stored and read again."""
    whole = Numbers()
    for block in blocks:
        one = Numbers()
        one.add(*np.unique(block, return_counts=True))
        whole.merge(Numbers.from_json(json.loads(json.dumps(one.to_json()))))
    return whole


@pytest.mark.parametrize(("values", "dtype"), [(INTEGERS, np.int64), (FLOATS, np.float64)])
def test_the_mean_is_the_exact_one_rounded_in_any_order(
    values: st.SearchStrategy, dtype: type
) -> None:
    @given(st.lists(st.lists(values, min_size=1), min_size=1))
    def check(blocks: list[list]) -> None:
        arrays: list[np.ndarray] = [np.array(block, dtype) for block in blocks]
        exact = sum(Fraction(number) for block in blocks for number in block)
        found = numbers_of(arrays)
        assert found.mean == float(exact / sum(map(len, blocks)))
        assert numbers_of(arrays[::-1]) == found

    check()


@given(st.lists(st.one_of(FLOATS, st.floats(-50, 50)), min_size=1), st.floats(0, 1))
def test_a_quantile_is_within_its_error(values: list[float], share: float) -> None:
    found = numbers_of([np.array(values)])
    rank = max(1, math.ceil(share * len(values)))
    exact = sorted(values)[rank - 1]
    error = found.quantile_error(NOTHING_COUNTED)
    # A bin is no narrower than a millionth of the largest number.
    largest = max(map(abs, values))
    assert error <= max((max(values) / 2 - min(values) / 2) / 256, largest / 2**20, 2**-40)
    assert abs(Fraction(found.quantile(share, NOTHING_COUNTED)) - Fraction(exact)) <= error


@given(st.lists(st.integers(-500, 500), min_size=1))
def test_whole_numbers_in_bins_of_one_have_exact_quantiles(values: list[int]) -> None:
    found = numbers_of([np.array(values, np.int64)])
    assert found.quantile_error(NOTHING_COUNTED) == 0
    exact = sorted(values)[math.ceil(0.3 * len(values)) - 1]
    assert found.quantile(0.3, NOTHING_COUNTED) == exact


def reading_of(blocks: list[list[str]], kind: Type = Type.NUMBER) -> Reading:
    whole = Reading(kind)
    for block in blocks:
        one = Reading(kind)
        texts, counts = np.unique(np.array(block, object), return_counts=True)
        read_texts({kind.value: one}, texts, counts, DEFAULTS)
        whole.merge(Reading.from_json(json.loads(json.dumps(one.to_json()))))
    return whole


TEXTS = st.one_of(
    st.sampled_from(["1", "1.0", " 1", "-0", "0", "1e999", "", " ", "7e-3"]),
    st.integers(0, 2 * MOST_WORDS).map("word {}".format),
    st.integers().map(str),
)


@given(st.lists(st.lists(TEXTS, min_size=1), min_size=1))
def test_a_reading_is_the_same_however_the_texts_come(blocks: list[list[str]]) -> None:
    whole = reading_of([[text for block in blocks for text in block]])
    assert reading_of(blocks) == whole
    assert reading_of(blocks[::-1]) == whole
    words = {text for block in blocks for text in block if text[:1] == "w" or text == "1e999"}
    assert whole.is_given_up == (len(words) > MOST_WORDS)
