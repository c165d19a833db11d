"""What each parser reads, against Python's own int, float and datetime."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.parsing import (
    observe_type,
    parse_integers,
    parse_numbers,
    parse_switches,
    parse_timestamps,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BLANKS = st.sampled_from(["", " ", "\t", "  "])
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]
moderate = settings(max_examples=100, deadline=None)


def texts(*items: str) -> pa.StringArray:
    return pa.array(items, pa.string())


def utc(*parts: int) -> datetime:
    year, month, day, *time = parts
    hour, minute, second, microsecond = (*time, 0, 0, 0, 0)[:4]
    return datetime(year, month, day, hour, minute, second, microsecond, tzinfo=UTC)


def read_times(
    *items: str, time_format: str | None = None, zone: str = "UTC"
) -> list[datetime | None]:
    """The instants read; it is checked that the others are blank or told as unreadable."""
    parsed = parse_timestamps(texts(*items), time_format, zone)
    values: list[datetime | None] = parsed.values.to_pylist()
    assert parsed.unreadable.to_pylist() == [
        value is None and bool(item.strip()) for item, value in zip(items, values, strict=True)
    ]
    return values


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
    ],
)
def test_whole_numbers_of_64_bits_are_read(text: str, number: int) -> None:
    too_large = str(2**64)

    assert parse_integers(texts(text)).values.to_pylist() == [number]
    assert parse_integers(texts(text)).unreadable.to_pylist() == [False]
    assert parse_integers(texts(text, too_large)).values.to_pylist() == [number, None]
    assert parse_integers(texts(text, too_large)).unreadable.to_pylist() == [False, True]


@pytest.mark.parametrize(
    "text",
    [
        "9223372036854775808",
        "-9223372036854775809",
        "1" * 5000,
        "0x1F",
        "1_000",
        "1,000",
        "7.0",
        "7.",
        "1e3",
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
def test_what_is_no_whole_number_of_64_bits_is_unreadable(text: str) -> None:
    values, unreadable = parse_integers(texts("1", text, "2"))

    assert values.to_pylist() == [1, None, 2]
    assert unreadable.to_pylist() == [False, True, False]


@pytest.mark.parametrize("blank", ["", " ", "\t", "\u00a0"])
def test_a_blank_is_an_absent_integer_and_not_an_unreadable_one(blank: str) -> None:
    values, unreadable = parse_integers(texts(blank, "9223372036854775808"))

    assert values.to_pylist() == [None, None]
    assert unreadable.to_pylist() == [False, True]


@moderate
@given(st.lists(st.tuples(BLANKS, st.integers(-(2**63), 2**63 - 1), BLANKS)))
def test_every_integer_of_64_bits_comes_back(padded: list[tuple[str, int, str]]) -> None:
    column = texts(*(f"{before}{number}{after}" for before, number, after in padded))

    assert parse_integers(column).values.to_pylist() == [number for _, number, _ in padded]


@moderate
@given(st.lists(st.text(st.sampled_from("0123456789+-_ .xe"), max_size=22)))
def test_integers_are_read_where_python_reads_one_without_underscores(items: list[str]) -> None:
    def expected(item: str) -> int | None:
        try:
            number = int(item)
        except ValueError:
            return None
        return number if "_" not in item and -(2**63) <= number < 2**63 else None

    values, unreadable = parse_integers(texts(*items))

    assert values.to_pylist() == [expected(item) for item in items]
    assert unreadable.to_pylist() == [
        expected(item) is None and bool(item.strip()) for item in items
    ]


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
    values, unreadable, words = parse_numbers(texts(text))

    assert values.to_pylist() == [number]
    assert unreadable.to_pylist() == [False]
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
def test_a_number_in_another_notation_is_unreadable_and_no_word(text: str) -> None:
    values, unreadable, words = parse_numbers(texts("1", text))

    assert values.to_pylist() == [1.0, None]
    assert unreadable.to_pylist() == [False, True]
    assert words.to_pylist() == [None, None]


@pytest.mark.parametrize(
    "word",
    ["NO DATA", "POINT FAIL", "ERROR", "nan", "NaN", "inf", "-inf", "Infinity", "N/A", "-", "ü"],
)
def test_a_word_in_place_of_a_number_is_kept_apart(word: str) -> None:
    values, unreadable, words = parse_numbers(texts(f" {word} ", "2"))

    assert values.to_pylist() == [None, 2.0]
    assert unreadable.to_pylist() == [False, False]
    assert words.to_pylist() == [word, None]


def test_a_blank_is_an_absent_number_and_neither_unreadable_nor_a_word() -> None:
    values, unreadable, words = parse_numbers(texts("", "  "))

    assert values.to_pylist() == [None, None]
    assert unreadable.to_pylist() == [False, False]
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
def test_a_text_is_blank_or_number_or_word_or_unreadable_as_python_tells(items: list[str]) -> None:
    def expected(item: str) -> float | None:
        try:
            number = float(item)
        except ValueError:
            return None
        return number if "_" not in item and math.isfinite(number) else None

    values, unreadable, words = (part.to_pylist() for part in parse_numbers(texts(*items)))

    assert values == [expected(item) for item in items]
    for item, value, wrong, word in zip(items, values, unreadable, words, strict=True):
        assert [not item.strip(), value is not None, wrong, word is not None].count(True) == 1
        assert word in (None, item.strip())


# Switches


@pytest.mark.parametrize("write", [str.lower, str.upper, str.title, " {} ".format])
def test_every_word_for_a_state_is_read_in_any_case(write) -> None:  # type: ignore[no-untyped-def]
    on = [write(word) for word in ("true", "t", "yes", "y", "on", "1")]
    off = [write(word) for word in ("false", "f", "no", "n", "off", "0")]

    values, unreadable, words = parse_switches(texts(*on, *off))

    assert values.to_pylist() == [1.0] * 6 + [0.0] * 6
    assert unreadable.true_count == 0
    assert words.null_count == 12


def test_a_switch_may_be_a_number_a_word_an_unreadable_text_or_absent() -> None:
    values, unreadable, words = parse_switches(texts("1.0", "2", "-1", "No Data", "0,5", " "))

    assert values.to_pylist() == [1.0, 2.0, -1.0, None, None, None]
    assert unreadable.to_pylist() == [False, False, False, False, True, False]
    assert words.to_pylist() == [None, None, None, "No Data", None, None]


# Timestamps: ISO 8601


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-06-01", utc(2024, 6, 1)),
        ("2024-06-01 12", utc(2024, 6, 1, 12)),
        ("2024-06-01 12:30", utc(2024, 6, 1, 12, 30)),
        ("2024-06-01T12:30", utc(2024, 6, 1, 12, 30)),
        ("2024-06-01t12:30", utc(2024, 6, 1, 12, 30)),
        ("2024-06-01 12:30:15", utc(2024, 6, 1, 12, 30, 15)),
        ("2024-06-01T12:30:15.5", utc(2024, 6, 1, 12, 30, 15, 500_000)),
        ("2024-06-01T12:30:15,5", utc(2024, 6, 1, 12, 30, 15, 500_000)),
        ("2024-06-01 12:30:15.123456", utc(2024, 6, 1, 12, 30, 15, 123_456)),
        ("2024-06-01 12:30:15.123456999", utc(2024, 6, 1, 12, 30, 15, 123_456)),
        ("  2024-06-01 12:30  ", utc(2024, 6, 1, 12, 30)),
        ("2024-02-29", utc(2024, 2, 29)),
        ("0001-01-01 00:00:00", utc(1, 1, 1)),
        ("9999-12-31", utc(9999, 12, 31)),
        ("9999-12-31 23:59:59.999999", utc(9999, 12, 31, 23, 59, 59, 999_999)),
    ],
)
def test_each_form_of_iso_8601_is_read(text: str, instant: datetime) -> None:
    assert read_times(text) == [instant]
    assert read_times(text, "", " 2024-06-01") == [instant, None, utc(2024, 6, 1)]


@pytest.mark.parametrize(
    "zone", ["+02:00", "+0200", "+02", " +02:00", " +0200", " +02", "  +02:00"]
)
@pytest.mark.parametrize(
    "text", ["2024-06-01T12:30", "2024-06-01 12:30:15", "2024-06-01 12:30:15.5"]
)
def test_a_zone_in_the_text_wins_over_the_source_timezone(text: str, zone: str) -> None:
    expected = datetime.fromisoformat(text).replace(tzinfo=UTC) - timedelta(hours=2)

    assert read_times(text + zone, zone="America/New_York") == [expected]


@pytest.mark.parametrize("zone", ["Z", "z", " Z", " UTC", "UTC", " GMT", "+00:00", "-00:00", "+00"])
def test_each_word_for_utc_is_read_as_utc(zone: str) -> None:
    assert read_times(f"2024-06-01 12:30{zone}", zone="Asia/Tokyo") == [utc(2024, 6, 1, 12, 30)]


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-30",
        "2023-02-29",
        "2024-13-01",
        "2024-00-10",
        "2024-06-01 24:00",
        "2024-06-01 12:60",
        "2024-06-01 12:30:60",
        "2024-06-01T12:30:15.",
        "2024-06-01 12:30+25:00",
        "2024-06-01 12:30 CEST",
        "2024-06-01 12:30 x",
        "2024-6-1",
        "01.06.2024",
        "06/01/2024",
        "2024/06/01",
        "0000-01-01",
        "0001-01-01 00:00+02:00",
        "9999-12-31 23:00-02:00",
        "yesterday",
        "12345",
    ],
)
def test_what_is_no_time_is_unreadable_and_harms_no_other(text: str) -> None:
    good = ["2024-06-01 12:30", "2024-06-01T12:30Z", "1717245000", " 2024-06-01 12:30 "]

    assert read_times(text) == [None]
    assert read_times(*good[:2], text, *good[2:]) == [
        *[utc(2024, 6, 1, 12, 30)] * 2,
        None,
        *[utc(2024, 6, 1, 12, 30)] * 2,
    ]


def test_one_bad_date_among_many_good_ones_is_the_only_one_lost() -> None:
    items = [f"2024-02-{day:02} 10:00" for day in range(1, 31)]  # The 30th does not exist.

    assert read_times(*items) == [*[utc(2024, 2, day, 10) for day in range(1, 30)], None]


# Timestamps: seconds and milliseconds since 1970


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("1717245000", utc(2024, 6, 1, 12, 30)),
        ("1717245000.25", utc(2024, 6, 1, 12, 30, 0, 250_000)),
        ("1717245000.1234567", utc(2024, 6, 1, 12, 30, 0, 123_456)),
        ("1717245000000", utc(2024, 6, 1, 12, 30)),
        ("1717245000123", utc(2024, 6, 1, 12, 30, 0, 123_000)),
        (" 1717245000 ", utc(2024, 6, 1, 12, 30)),
        ("946684800", utc(2000, 1, 1)),
        ("946684800000", utc(2000, 1, 1)),
    ],
)
def test_seconds_and_milliseconds_since_1970_are_read(text: str, instant: datetime) -> None:
    assert read_times(text, zone="Asia/Tokyo") == [instant]


@moderate
@given(
    st.datetimes(datetime(1973, 3, 4), datetime(2286, 11, 20)),
    st.sampled_from(ZONES),
)
def test_an_epoch_number_is_the_instant_that_python_gives_it(moment: datetime, zone: str) -> None:
    instant = moment.replace(tzinfo=UTC)
    whole = instant.replace(microsecond=0)
    seconds = int(whole.timestamp())
    thousandths = instant.microsecond // 1000
    milliseconds = seconds * 1000 + thousandths
    in_milliseconds = [] if milliseconds < 10**11 else [str(milliseconds)]

    read = read_times(
        str(seconds), f"{seconds}.{instant.microsecond:06}", *in_milliseconds, zone=zone
    )

    expected = [whole, instant, whole.replace(microsecond=thousandths * 1000)]
    assert read == expected[: 2 + len(in_milliseconds)]


# Timestamps: columns of any mixture


@st.composite
def iso_texts(draw: st.DrawFn) -> tuple[str, datetime | None]:
    """A time in one of the forms of ISO 8601, and the instant that Python reads from it."""
    moment = draw(st.datetimes()).replace(microsecond=0)
    timespec = draw(st.sampled_from(["date", "hours", "minutes", "seconds", "fraction"]))
    if timespec == "date":
        text = moment.date().isoformat()
        return text, datetime.fromisoformat(text).replace(tzinfo=UTC)
    separator = draw(st.sampled_from("T "))
    if timespec == "fraction":
        digits = draw(st.text(st.sampled_from("0123456789"), min_size=1, max_size=9))
        text = moment.isoformat(separator) + draw(st.sampled_from(".,")) + digits
    else:
        text = moment.isoformat(separator, timespec)
    zone = draw(st.sampled_from(["", "Z", " UTC", "+02", "-0330", "+05:45", " -11:00"]))
    read = datetime.fromisoformat(text + zone.replace(" UTC", "Z").strip())
    try:
        return text + zone, (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        return text + zone, None


epoch_texts = st.integers(10**8, 10**10).map(
    lambda seconds: (str(seconds), EPOCH + timedelta(seconds=seconds))
)
other_texts = st.sampled_from(["", " ", "no time", "2024-02-30", "2024-02-30 10:00Z"]).map(
    lambda text: (text, None)
)


@moderate
@given(st.lists(iso_texts(), max_size=8))
@example([("9999-12-31T00:00", utc(9999, 12, 31))])
def test_iso_8601_is_read_as_python_reads_it(items: list[tuple[str, datetime | None]]) -> None:
    assert read_times(*(text for text, _ in items)) == [instant for _, instant in items]


@moderate
@given(st.lists(st.one_of(iso_texts(), epoch_texts, other_texts), max_size=12))
def test_a_text_is_read_alike_whatever_stands_in_the_rest_of_the_column(
    items: list[tuple[str, datetime | None]],
) -> None:
    assert read_times(*(text for text, _ in items)) == [instant for _, instant in items]
    assert [read_times(text)[0] for text, _ in items] == [instant for _, instant in items]


# Timestamps: local times


def test_a_time_without_a_zone_is_taken_in_the_source_timezone_summer_and_winter() -> None:
    read = read_times("2024-01-15 12:00", "2024-07-15 12:00", "2024-07-15", zone="Europe/Berlin")

    assert read == [utc(2024, 1, 15, 11), utc(2024, 7, 15, 10), utc(2024, 7, 14, 22)]


def test_a_time_that_clocks_skip_is_unreadable() -> None:
    read = read_times(
        "2024-03-31 01:59:59",
        "2024-03-31 02:00",
        "2024-03-31 02:59:59.999999",
        "2024-03-31 03:00",
        zone="Europe/Berlin",
    )

    assert read == [utc(2024, 3, 31, 0, 59, 59), None, None, utc(2024, 3, 31, 1)]


def test_of_the_two_instants_of_an_hour_that_comes_twice_the_first_is_taken() -> None:
    read = read_times(
        "2024-10-27 01:59", "2024-10-27 02:30", "2024-10-27 03:00", zone="Europe/Berlin"
    )

    assert read == [utc(2024, 10, 26, 23, 59), utc(2024, 10, 27, 0, 30), utc(2024, 10, 27, 2)]


def test_clocks_change_after_2037_too() -> None:
    read = read_times(
        "2050-01-15 12:00",
        "2050-03-27 02:30",  # Skipped.
        "2050-07-15 12:00",
        "2050-10-30 02:30",  # Comes twice.
        zone="Europe/Berlin",
    )

    assert read == [utc(2050, 1, 15, 11), None, utc(2050, 7, 15, 10), utc(2050, 10, 30, 0, 30)]


@moderate
@given(
    st.lists(st.datetimes(datetime(1950, 1, 1), datetime(2037, 12, 31)), min_size=1),
    st.sampled_from(ZONES),
)
@example([datetime(2024, 3, 31, 2, 30), datetime(2024, 10, 27, 2, 30)], "Europe/Berlin")
@example([datetime(2024, 10, 6, 2, 15), datetime(2024, 4, 7, 1, 45)], "Australia/Lord_Howe")
def test_local_times_are_the_instants_that_python_gives_them(
    moments: list[datetime], zone: str
) -> None:
    def expected(moment: datetime) -> datetime | None:
        instant = moment.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC)
        returned = instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        return instant if returned == moment else None

    local = [moment.replace(fold=0) for moment in moments]
    wanted = [expected(moment) for moment in local]

    assert read_times(*(moment.isoformat() for moment in local), zone=zone) == wanted
    assert read_times(*(f" {moment.isoformat(' ')}" for moment in local), zone=zone) == wanted


# Timestamps: declared formats


def test_a_declared_format_without_a_zone_is_read_in_the_source_timezone() -> None:
    read = read_times(
        "01.07.2024 12:30:00",
        " 01.01.2024 12:30:00 ",
        "",
        "2024-07-01 12:30:00",  # ISO 8601, but another format is declared.
        "1717245000",
        "31.03.2024 02:30:00",  # Skipped.
        "27.10.2024 02:30:00",  # Comes twice.
        time_format="%d.%m.%Y %H:%M:%S",
        zone="Europe/Berlin",
    )

    assert read == [
        utc(2024, 7, 1, 10, 30),
        utc(2024, 1, 1, 11, 30),
        None,
        None,
        None,
        None,
        utc(2024, 10, 27, 0, 30),
    ]


def test_a_declared_format_with_a_zone_is_read_in_that_zone() -> None:
    read = read_times(
        "01/07/24 12:30 +0200",
        "01/07/24 12:30 -05:30",
        "01/07/24 12:30 Z",
        "01/07/24 12:30",
        time_format="%d/%m/%y %H:%M %z",
        zone="Asia/Tokyo",
    )

    assert read == [utc(2024, 7, 1, 10, 30), utc(2024, 7, 1, 18), utc(2024, 7, 1, 12, 30), None]


@pytest.mark.parametrize(
    ("text", "time_format", "zone"),
    [
        ("0001-01-01 00:00 +0200", "%Y-%m-%d %H:%M %z", "UTC"),
        ("9999-12-31 23:00 -0200", "%Y-%m-%d %H:%M %z", "UTC"),
        ("0001-01-01 00:00", "%Y-%m-%d %H:%M", "Asia/Tokyo"),
        ("9999-12-31 23:00", "%Y-%m-%d %H:%M", "America/New_York"),
    ],
)
def test_a_declared_format_yields_only_instants_of_the_calendar(
    text: str, time_format: str, zone: str
) -> None:
    assert read_times(text, time_format=time_format, zone=zone) == [None]


@moderate
@given(
    st.lists(st.datetimes(datetime(1000, 1, 1))),
    st.sampled_from(["%d.%m.%Y %H:%M:%S.%f", "%m/%d/%Y %I:%M:%S.%f %p", "%Y%m%dT%H%M%S%f"]),
)
def test_a_time_written_in_the_declared_format_comes_back(
    moments: list[datetime], time_format: str
) -> None:
    items = [moment.strftime(time_format) for moment in moments]

    assert read_times(*items, time_format=time_format) == [
        moment.replace(tzinfo=UTC) for moment in moments
    ]


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
