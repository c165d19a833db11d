"""Numbers, integers and states, against Python's own; what in their place is a sentinel."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.parsing.numbers import parse_integers, parse_numbers, parse_switches
from tasks.parsing.times import parse_timestamps
from tasks.parsing.types import observe_type

BLANKS = st.sampled_from(["", " ", "\t", "  "])


def texts(*items: str) -> pa.StringArray:
    return pa.array(items, pa.string())


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("-0", 0),
        ("007", 7),
        ("-007", -7),
        ("+7", 7),
        (" 7\t", 7),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("0" * 40 + "7", 7),
        ("-" + "0" * 5000 + "7", -7),
        ("2.0", 2),
        ("7.", 7),
        (".0", 0),
        ("1e3", 1000),
        ("1.5E1", 15),
        ("20e-1", 2),
        ("0e99", 0),
        ("9223372036854775807.000", 2**63 - 1),
        ('="12"', 12),
        ("\u00a07\u00a0", 7),
        ("\u22127", -7),
    ],
)
def test_whole_numbers_of_64_bits_are_read(text: str, number: int) -> None:
    too_large = str(2**64)

    assert parse_integers(texts(text)).values.to_pylist() == [number]
    assert parse_integers(texts(text)).invalid.to_pylist() == [False]
    assert parse_integers(texts(text, too_large)).values.to_pylist() == [number, None]
    assert parse_integers(texts(text, too_large)).invalid.to_pylist() == [False, True]


@pytest.mark.parametrize(
    "text",
    "9223372036854775808|-9223372036854775809|0x1F|1_000|1,000|2.5|1e-3|1e19|9.3e18|"
    "9223372036854775807.5|1,5|+-7|- 7|7 7|x|+|NA|nan|٧".split("|")
    + ["1" * 5000],
)
def test_what_is_no_whole_number_of_64_bits_is_invalid(text: str) -> None:
    values, invalid, *_ = parse_integers(texts("1", text, "2"))

    assert values.to_pylist() == [1, None, 2]
    assert invalid.to_pylist() == [False, True, False]


@given(st.lists(st.tuples(BLANKS, st.integers(-(2**63), 2**63 - 1), BLANKS)))
def test_every_integer_of_64_bits_comes_back(padded: list[tuple[str, int, str]]) -> None:
    column = texts(*(f"{before}{number}{after}" for before, number, after in padded))

    assert parse_integers(column).values.to_pylist() == [number for _, number, _ in padded]


@given(st.lists(st.text(st.sampled_from("0123456789+-_ .xe"), max_size=22)))
def test_integers_are_read_where_a_decimal_is_whole(items: list[str]) -> None:
    def expected(item: str) -> int | None:
        try:
            number = Decimal(item)
        except InvalidOperation:
            return None
        if "_" in item or number.adjusted() > 20 and number:
            return None
        return int(number) if number == int(number) and -(2**63) <= number < 2**63 else None

    values, invalid, *_ = parse_integers(texts(*items))

    assert values.to_pylist() == [expected(item) for item in items]
    assert invalid.to_pylist() == [expected(item) is None and bool(item.strip()) for item in items]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0.0),
        ("-1.5e3", -1500.0),
        ("+2.5", 2.5),
        ("5.", 5.0),
        (".5", 0.5),
        ("-.5", -0.5),
        (" 21.5 ", 21.5),
        ("1E+2", 100.0),
        ("007.50", 7.5),
        ("1.7976931348623157e308", 1.7976931348623157e308),
        ("5e-324", 5e-324),
        ("1e-999", 0.0),
        ("0.1", 0.1),
    ],
)
def test_decimal_numbers_are_read(text: str, number: float) -> None:
    values, invalid, words, *_ = parse_numbers(texts(text))

    assert values.to_pylist() == [number]
    assert invalid.to_pylist() == [False]
    assert words.to_pylist() == [None]


@pytest.mark.parametrize(
    "text", [*"21,5|12abc|1e999|-1e999|1 000|1_000|0x1F|1.2.3|,5|-3 K".split("|"), "1" * 400]
)
def test_a_number_in_another_notation_is_invalid_and_no_word(text: str) -> None:
    values, invalid, words, *_ = parse_numbers(texts("1", text))

    assert values.to_pylist() == [1.0, None]
    assert invalid.to_pylist() == [False, True]
    assert words.to_pylist() == [None, None]


@pytest.mark.parametrize(
    "word",
    ["NO DATA", "POINT FAIL", "ERROR", "nan", "NaN", "inf", "-inf", "Infinity", "N/A", "-", "ü"],
)
def test_a_word_in_place_of_a_number_is_kept_apart(word: str) -> None:
    values, invalid, words, *_ = parse_numbers(texts(f" {word} ", "2"))

    assert values.to_pylist() == [None, 2.0]
    assert invalid.to_pylist() == [False, False]
    assert words.to_pylist() == [word, None]


@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=False, allow_infinity=False),
            st.sampled_from([repr, str, "{:+}".format, "{:e}".format, "{:.17G}".format]),
        )
    )
)
def test_every_finite_number_comes_back_as_python_reads_it(written: list) -> None:
    items = [write(number) for number, write in written]

    assert parse_numbers(texts(*items)).values.to_pylist() == [float(item) for item in items]


@given(st.lists(st.text(st.sampled_from("0123456789+-.,eE_ xnaif"), max_size=12)))
def test_a_text_is_blank_or_number_or_word_or_invalid_as_python_tells(items: list[str]) -> None:
    def expected(item: str) -> float | None:
        try:
            number = float(item)
        except ValueError:
            return None
        return number if "_" not in item and math.isfinite(number) else None

    values, invalid, words = (part.to_pylist() for part in parse_numbers(texts(*items))[:3])

    assert values == [expected(item) for item in items]
    for item, value, wrong, word in zip(items, values, invalid, words, strict=True):
        assert [not item.strip(), value is not None, wrong, word is not None].count(True) == 1
        assert word in (None, item.strip())


@pytest.mark.parametrize("write", [str.lower, str.upper, str.title, " {} ".format])
def test_every_word_for_a_state_is_read_in_any_case(write) -> None:  # type: ignore[no-untyped-def]
    on = "true t yes y on 1 active open running enabled alarm".split()
    off = "false f no n off 0 inactive closed stopped disabled normal".split()

    written = [write(word) for word in (*on, *off)]
    values, invalid, words, states, *_ = parse_switches(texts(*written))

    assert values.to_pylist() == [1.0] * len(on) + [0.0] * len(off)
    assert invalid.true_count == 0
    assert words.null_count == len(written)
    read = [None if word in "10" else write(word).strip() for word in (*on, *off)]
    assert states.to_pylist() == read


def test_a_switch_may_be_a_number_a_word_an_invalid_text_or_absent() -> None:
    values, invalid, words, *_ = parse_switches(texts("1.0", "2", "-1", "No Data", "0,5", " "))

    assert values.to_pylist() == [1.0, 2.0, -1.0, None, None, None]
    assert invalid.to_pylist() == [False, False, False, False, True, False]
    assert words.to_pylist() == [None, None, None, "No Data", None, None]


@pytest.mark.parametrize(
    ("items", "name"),
    [
        ((), "empty"),
        (("", " "), "empty"),
        (("1", "", "-007", "+2"), "integer"),
        (("1", "2.5"), "number"),
        (("1", "1e3"), "number"),
        (("on", "OFF", ""), "switch"),
        (("1", "true"), "switch"),
        (("2024-06-01", "", "2024-06-01T12:30:15Z"), "timestamp"),
        (("2024-06-01", "1717245000"), "timestamp"),
        (("2024-06-01", "2024-02-30"), "text"),
        (("1", "x"), "text"),
        (("1.5", "on"), "text"),
        (("NA",), "text"),
        (("1717245000",), "integer"),
        # Not a type that cannot hold it.
        (("1", "9223372036854775808"), "number"),
        (("1", "1" * 400), "text"),
        (("1", "1e999"), "text"),
    ],
)
def test_a_column_looks_like_the_narrowest_type_that_reads_all_of_it(
    items: tuple[str, ...], name: str
) -> None:
    assert observe_type(texts(*items)) == name


@pytest.mark.parametrize("parse", [parse_integers, parse_numbers, parse_switches, parse_timestamps])
def test_an_empty_column_is_read_as_an_empty_column(parse) -> None:  # type: ignore[no-untyped-def]
    parsed = parse(texts())

    assert {len(part) for part in parsed if part is not None} == {0}
