"""Numbers, integers and states, against Python's own; what in their place is a sentinel."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.declarations import Source
from config.sources import LOG_INSTANCE, LOG_RCD_B, LOG_RCD_F
from tasks.parsing.numbers import parse_integers, parse_numbers, parse_switches
from tasks.parsing.times import parse_timestamps
from tasks.staging.batch import observe_type
from tests.staged import refusal, stage

BLANKS = st.sampled_from(["", " ", "\t", "  "])
moderate = settings(max_examples=100, deadline=None)


def texts(*items: str) -> pa.StringArray:
    return pa.array(items, pa.string())


# Integers


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
    [
        "9223372036854775808",
        "-9223372036854775809",
        "1" * 5000,
        "0x1F",
        "1_000",
        "1,000",
        "2.5",
        "1e-3",
        "1e19",
        "9.3e18",
        "9223372036854775807.5",
        "1,5",
        "+-7",
        "- 7",
        "7 7",
        "x",
        "+",
        "NA",
        "nan",
        "٧",
    ],
)
def test_what_is_no_whole_number_of_64_bits_is_invalid(text: str) -> None:
    values, invalid = parse_integers(texts("1", text, "2"))

    assert values.to_pylist() == [1, None, 2]
    assert invalid.to_pylist() == [False, True, False]


@pytest.mark.parametrize("blank", ["", " ", "\t", "\u00a0"])
def test_a_blank_is_an_absent_integer_and_not_an_invalid_one(blank: str) -> None:
    values, invalid = parse_integers(texts(blank, "9223372036854775808"))

    assert values.to_pylist() == [None, None]
    assert invalid.to_pylist() == [False, True]


@moderate
@given(st.lists(st.tuples(BLANKS, st.integers(-(2**63), 2**63 - 1), BLANKS)))
def test_every_integer_of_64_bits_comes_back(padded: list[tuple[str, int, str]]) -> None:
    column = texts(*(f"{before}{number}{after}" for before, number, after in padded))

    assert parse_integers(column).values.to_pylist() == [number for _, number, _ in padded]


@moderate
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

    values, invalid = parse_integers(texts(*items))

    assert values.to_pylist() == [expected(item) for item in items]
    assert invalid.to_pylist() == [expected(item) is None and bool(item.strip()) for item in items]


# Numbers


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
    values, invalid, words, _ = parse_numbers(texts(text))

    assert values.to_pylist() == [number]
    assert invalid.to_pylist() == [False]
    assert words.to_pylist() == [None]


@pytest.mark.parametrize(
    "text",
    [
        "21,5",
        "12abc",
        "1e999",
        "-1e999",
        "1" * 400,
        "1 000",
        "1_000",
        "0x1F",
        "1.2.3",
        ",5",
        "-3 K",
    ],
)
def test_a_number_in_another_notation_is_invalid_and_no_word(text: str) -> None:
    values, invalid, words, _ = parse_numbers(texts("1", text))

    assert values.to_pylist() == [1.0, None]
    assert invalid.to_pylist() == [False, True]
    assert words.to_pylist() == [None, None]


@pytest.mark.parametrize(
    "word",
    ["NO DATA", "POINT FAIL", "ERROR", "nan", "NaN", "inf", "-inf", "Infinity", "N/A", "-", "ü"],
)
def test_a_word_in_place_of_a_number_is_kept_apart(word: str) -> None:
    values, invalid, words, _ = parse_numbers(texts(f" {word} ", "2"))

    assert values.to_pylist() == [None, 2.0]
    assert invalid.to_pylist() == [False, False]
    assert words.to_pylist() == [word, None]


def test_a_blank_is_an_absent_number_and_neither_invalid_nor_a_word() -> None:
    values, invalid, words, _ = parse_numbers(texts("", "  "))

    assert values.to_pylist() == [None, None]
    assert invalid.to_pylist() == [False, False]
    assert words.to_pylist() == [None, None]


@moderate
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


@moderate
@given(st.lists(st.text(st.sampled_from("0123456789+-.,eE_ xnaif"), max_size=12)))
def test_a_text_is_blank_or_number_or_word_or_invalid_as_python_tells(items: list[str]) -> None:
    def expected(item: str) -> float | None:
        try:
            number = float(item)
        except ValueError:
            return None
        return number if "_" not in item and math.isfinite(number) else None

    values, invalid, words, _ = (part.to_pylist() for part in parse_numbers(texts(*items)))

    assert values == [expected(item) for item in items]
    for item, value, wrong, word in zip(items, values, invalid, words, strict=True):
        assert [not item.strip(), value is not None, wrong, word is not None].count(True) == 1
        assert word in (None, item.strip())


# Switches


@pytest.mark.parametrize("write", [str.lower, str.upper, str.title, " {} ".format])
def test_every_word_for_a_state_is_read_in_any_case(write) -> None:  # type: ignore[no-untyped-def]
    on = "true t yes y on 1 active open running enabled alarm".split()
    off = "false f no n off 0 inactive closed stopped disabled normal".split()

    written = [write(word) for word in (*on, *off)]
    values, invalid, words, states = parse_switches(texts(*written))

    assert values.to_pylist() == [1.0] * len(on) + [0.0] * len(off)
    assert invalid.true_count == 0
    assert words.null_count == len(written)
    read = [None if word in "10" else write(word).strip() for word in (*on, *off)]
    assert states.to_pylist() == read


def test_a_switch_may_be_a_number_a_word_an_invalid_text_or_absent() -> None:
    values, invalid, words, _ = parse_switches(texts("1.0", "2", "-1", "No Data", "0,5", " "))

    assert values.to_pylist() == [1.0, 2.0, -1.0, None, None, None]
    assert invalid.to_pylist() == [False, False, False, False, True, False]
    assert words.to_pylist() == [None, None, None, "No Data", None, None]


# What a column looks like


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
    ],
)
def test_a_column_looks_like_the_narrowest_type_that_reads_all_of_it(
    items: tuple[str, ...], name: str
) -> None:
    assert observe_type(texts(*items)) == name


@pytest.mark.parametrize(
    ("item", "name"), [("9223372036854775808", "number"), ("1" * 400, "text"), ("1e999", "text")]
)
def test_a_column_does_not_look_like_a_type_that_cannot_hold_it(item: str, name: str) -> None:
    assert observe_type(texts("1", item)) == name


@pytest.mark.parametrize("parse", [parse_integers, parse_numbers, parse_switches, parse_timestamps])
def test_an_empty_column_is_read_as_an_empty_column(parse) -> None:  # type: ignore[no-untyped-def]
    parsed = parse(texts())

    assert [len(part) for part in parsed] == [0] * len(parsed)


# Values in a file: none is silently another


def record_rows(cells: list[str]) -> str:
    """A file of float or digital records with these values, quoted as they need it."""
    quoted = (f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in cells)
    return "point_log_inst_id,value\n" + "".join(f"{n},{q}\n" for n, q in enumerate(quoted))


def check_values(
    folder: Path, cells: dict[str, float | str | None], source: Source = LOG_RCD_F, **how: Any
) -> None:
    """Each cell is read as the number, kept as the status, or rejected for the reason ("!...").

    In a small file, and at every border of blocks of a larger one.
    """
    wanted = list(cells.values())
    expected: dict[str, list[Any]] = {
        "point_log_inst_id": [n for n, v in enumerate(wanted) if not str(v).startswith("!")],
        "value": [v if isinstance(v, float) else None for v in wanted if str(v)[:1] != "!"],
        "status": [v if isinstance(v, str) else None for v in wanted if str(v)[:1] != "!"],
    }
    expected["recorded_at"] = [None] * len(expected["value"])
    declared = source.column("value").type
    reasons = [
        (n + 2, f"value is not a {declared}: {cell!r}" + f" (it has {v[1:]})" * (v != "!"))
        for n, (cell, v) in enumerate(cells.items())
        if isinstance(v, str) and v.startswith("!")
    ]
    for block_bytes in (None, 40, 57, 71):
        staged = stage(folder, record_rows(list(cells)), source, block_bytes=block_bytes, **how)
        assert staged.columns == expected
        assert staged.reasons == reasons
        assert staged.audit.values == len([v for v in wanted if v is not None])


def test_a_text_with_a_digit_is_a_number_or_invalid_with_the_reason_never_a_word(
    tmp_path: Path,
) -> None:
    check_values(
        tmp_path,
        {
            "4.5": 4.5,
            "\u22124.5": -4.5,
            "\u20134.5": -4.5,
            "\uff0d1e\u22122": -0.01,
            '="4.5"': 4.5,
            '=" -4.5 "': -4.5,
            "\u00a04.5\u202f": 4.5,
            "+4.5": 4.5,
            "": None,
            " \u00a0": None,
            "NULL": None,
            "\\N": None,
            "null": "null",
            "NO DATA": "NO DATA",
            "\u2014": "\u2014",
            "#N/A": "#N/A",
            "nan": "nan",
            "-inf": "-inf",
            "(5.0)": "!parentheses",
            "- 3": "!a blank after the sign",
            "\u2212 3": "!a blank after the sign",
            "<0.5": "!a comparison sign",
            "\u22650.5": "!a comparison sign",
            "$5": "!a currency or percent sign",
            "5 %": "!a currency or percent sign",
            "4,5": "!a comma",
            "1,234.5": "!a comma",
            "1 234": "!a blank between digits",
            "1'234": "!a mark of thousands",
            "1.234.5": "!a mark of thousands",
            "E17": "!letters",
            "FAULT 3": "!letters",
            "4.5 C": "!letters",
            "0x1F": "!letters",
            "1..2": "!",
            "1e999": "!letters",
            "\u0664": "!",
        },
    )


@pytest.mark.parametrize(
    ("how", "cells"),
    [
        (
            {"decimal": ","},
            {"4,5": 4.5, "-,5": -0.5, "5": 5.0, "1e3": 1000.0, "4.5": "!", "1.234,5": "!a comma"},
        ),
        (
            {"decimal": ",", "thousands": "."},
            {
                "1.234,5": 1234.5,
                "-1.234.567": -1234567.0,
                "1234,5": 1234.5,
                "4.5": "!",
                "1.2345": "!",
                "12345.678": "!a mark of thousands",
                "1.23.456": "!a mark of thousands",
                ".123": "!",
                "0,123.456": "!a comma",
            },
        ),
        (
            {"thousands": ","},
            {"1,234.5": 1234.5, "12,345": 12345.0, "4,5": "!a comma", "1,2345": "!a comma"},
        ),
        (
            {"thousands": " ", "decimal": ","},
            {
                "1 234,5": 1234.5,
                "1\u00a0234": 1234.0,
                "\u22121\u202f234\u202f567,5": -1234567.5,
                "1 23": "!a blank between digits",
                "1  234": "!",
            },
        ),
        ({"thousands": "'"}, {"1'234.5": 1234.5, "1'23": "!"}),
        (
            {"sentinels": ("E17", "fault 3", "-9999", "(5.0)")},
            {
                "E17": "E17",
                "e17": "e17",
                " FAULT 3 ": "FAULT 3",
                "-9999": "-9999",
                "(5.0)": "(5.0)",
                "9999": 9999.0,
                "E18": "!letters",
            },
        ),
        (
            {"na_values": ("#N/A", "-9999", "n/a", "1e3")},
            {"#N/A": None, " -9999 ": None, "n/a": None, "1e3": None, "1000": 1000.0, "": None},
        ),
        ({"na_values": ("#N/A",)}, {"NULL": "NULL", "\\N": "\\N", "#N/A": None}),
    ],
)
def test_a_setting_reads_exactly_its_notation(
    tmp_path: Path, how: dict[str, Any], cells: dict[str, float | str | None]
) -> None:
    check_values(tmp_path, cells, **how)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("2.0", 2),
        ("1e3", 1000),
        ('"=""7"""', 7),
        ("\u00a07", 7),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("2.5", None),
        ("1e-3", None),
        ("x", None),
    ],
)
def test_a_key_is_read_where_it_is_whole_and_exact(
    tmp_path: Path, written: str, key: int | None
) -> None:
    rows = "".join(f"{n},{n}\n" for n in range(20, 40))
    staged = stage(
        tmp_path, f"point_log_inst_id,point_id\n{rows}{written},1\n1,{written}\n", LOG_INSTANCE,
        block_bytes=64,
    )  # fmt: skip

    text = written.replace('""', '"').strip('"') if "=" in written else written
    assert staged.columns["point_log_inst_id"][20:] == ([key, 1] if key else [])
    assert staged.columns["point_id"][20:] == ([1, key] if key else [])
    assert (
        staged.reasons == []
        if key
        else [
            (22, f"point_log_inst_id is not an integer: {text!r}"),
            (23, f"point_id is not an integer: {text!r}"),
        ]
    )


# Sentinels


def test_sentinels_above_the_accepted_share_are_warned_about(tmp_path: Path) -> None:
    content = record_rows(["4.5"] * 95 + ["NO DATA"] * 4 + ["OFFLINE"])

    assert stage(tmp_path, content, LOG_RCD_F).audit.warnings == []
    assert stage(tmp_path, content, LOG_RCD_F, max_sentinels=0.049).audit.warnings == [
        "5 of 100 values are sentinels in place of a number (5.0%, max_sentinels is 4.9%): "
        "NO DATA (4), OFFLINE (1)"
    ]


def test_a_column_of_unknown_words_alone_fails_with_settings_that_read_it(tmp_path: Path) -> None:
    content = record_rows(["EIN", "AUS"] * 9 + ["NO DATA", ""] * 2)

    message = refusal(tmp_path, content, LOG_RCD_F)
    switches = refusal(tmp_path, content.replace("NO DATA", "EIN"), LOG_RCD_B)

    assert message == (
        "LOG_RCD_F.csv: value (value) has no number in 20 rows, only words: "
        "'AUS' (9), 'EIN' (9), 'NO DATA' (2).\n"
        "Paste what they are into luigi.cfg, section [LOG_RCD_F], in place of lines of the same "
        "name:\n"
        "[LOG_RCD_F]\nsentinels =\n    AUS\n    EIN\n    NO DATA"
    )
    assert switches.endswith(
        "[LOG_RCD_B]\ntrue_values = EIN\nfalse_values = AUS\n"
        "# or, if that is meant, instead:\n# true_values = AUS\n# false_values = EIN\n"
        "# or, if that is meant, instead:\n# sentinels =\n#     EIN\n#     AUS"
    )
    words = ("AUS", "EIN")
    assert stage(tmp_path, content, LOG_RCD_F, sentinels=words).audit.word_rows == 20
    states = stage(tmp_path, content, LOG_RCD_B, true_values=("ein",), false_values=("AUS",))
    assert states.columns["value"][:4] == [1.0, 0.0, 1.0, 0.0]
    assert states.audit.states == {"EIN": (1.0, 9), "AUS": (0.0, 9)}


@pytest.mark.parametrize(
    ("cells", "warning"),
    [
        (["EIN"] * 19, "none of the 19 values is a number: EIN (19)"),
        (["NO DATA"] * 20, "20 of 20 values are sentinels in place of a number (100.0%"),
        (["no_data", "Point  Fail"] * 10, "20 of 20 values are sentinels"),
        (["EIN"] * 20 + ["4.5"], "20 of 21 values are sentinels"),
    ],
)
def test_few_or_known_words_or_a_number_among_them_only_warn(
    tmp_path: Path, cells: list[str], warning: str
) -> None:
    (found,) = stage(tmp_path, record_rows(cells), LOG_RCD_F).audit.warnings

    assert found.startswith(warning)


# States


def test_words_of_a_source_add_to_the_usual_states_and_win_over_them(tmp_path: Path) -> None:
    cells = ["open", "CLOSED", "Ein", "17", "0", "2", "NO DATA", "aus", "", "on"]
    how: dict[str, Any] = {"true_values": ("ein", "closed"), "false_values": ("open", "17", "aus")}

    staged = stage(tmp_path, record_rows(cells), LOG_RCD_B, block_bytes=64, **how)

    assert staged.columns["value"] == [0.0, 1.0, 1.0, 0.0, 0.0, 2.0, None, 0.0, None, 1.0]
    assert staged.audit.states == {
        "open": (0.0, 1),
        "CLOSED": (1.0, 1),
        "Ein": (1.0, 1),
        "17": (0.0, 1),
        "aus": (0.0, 1),
        "on": (1.0, 1),
    }
    assert staged.audit.words == {"NO DATA": 1}


@pytest.mark.parametrize("word", ["active", "on", "true", "alarm"])
def test_a_state_is_no_number(tmp_path: Path, word: str) -> None:
    check_values(tmp_path, {word: word, "4.5": 4.5})
    check_values(tmp_path, {"4.5": 4.5, "wahr": 1.0}, true_values=("Wahr",))
