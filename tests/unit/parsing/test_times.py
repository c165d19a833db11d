"""Times, against Python's own datetime and zoneinfo."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.parsing.columns import DEFAULTS
from tasks.parsing.times import parse_timestamps

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]


def utc(*parts: int) -> datetime:
    year, month, day, *time = parts
    hour, minute, second, microsecond = (*time, 0, 0, 0, 0)[:4]
    return datetime(year, month, day, hour, minute, second, microsecond, tzinfo=UTC)


def read_times(
    *items: str, time_format: str = "", zone: str = "UTC", **how: Any
) -> list[datetime | None]:
    """The instants read; it is checked that the others are missing or invalid."""
    formats = tuple(time_format.splitlines())
    source = dataclasses.replace(DEFAULTS, time_format=formats, source_timezone=zone, **how)
    parsed = parse_timestamps(pa.array(items, pa.string()), source)
    values: list[datetime | None] = parsed.values.to_pylist()
    assert parsed.invalid.to_pylist() == [
        value is None and item.strip() not in ("", *source.na_values)
        for item, value in zip(items, values, strict=True)
    ]
    return values


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
    "2024-02-30, 2023-02-29, 2024-13-01, 2024-00-10, 2024-06-01 24:00, 2024-06-01 12:60, "
    "2024-06-01 12:30:60, 2024-06-01T12:30:15., 2024-06-01 12:30+25:00, 2024-06-01 12:30 CEST, "
    "2024-06-01 12:30 x, 2024-6-1, 01.06.2024, 06/01/2024, 2024/06/01, 0000-01-01, "
    "0001-01-01 00:00+02:00, 9999-12-31 23:00-02:00, yesterday, 12345".split(", "),
)
def test_what_is_no_time_is_invalid_and_harms_no_other(text: str) -> None:
    good = ["2024-06-01 12:30", "2024-06-01T12:30Z", "1717245000", " 2024-06-01 12:30 "]

    assert read_times(text) == [None]
    assert read_times(*good[:2], text, *good[2:]) == [
        *[utc(2024, 6, 1, 12, 30)] * 2,
        None,
        *[utc(2024, 6, 1, 12, 30)] * 2,
    ]


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


@given(st.datetimes(datetime(2000, 1, 1), datetime(2049, 12, 31)), st.sampled_from(ZONES))
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


epoch_texts = st.integers(946_684_800, 2_524_607_999).map(
    lambda seconds: (str(seconds), EPOCH + timedelta(seconds=seconds))
)
other_texts = st.sampled_from(["", " ", "no time", "2024-02-30", "2024-02-30 10:00Z"]).map(
    lambda text: (text, None)
)


@given(st.lists(iso_texts(), max_size=8))
@example([("9999-12-31T00:00", utc(9999, 12, 31))])
def test_iso_8601_is_read_as_python_reads_it(items: list[tuple[str, datetime | None]]) -> None:
    assert read_times(*(text for text, _ in items)) == [instant for _, instant in items]


@given(st.lists(st.one_of(iso_texts(), epoch_texts, other_texts), max_size=12))
def test_a_text_is_read_alike_whatever_stands_in_the_rest_of_the_column(
    items: list[tuple[str, datetime | None]],
) -> None:
    assert read_times(*(text for text, _ in items)) == [instant for _, instant in items]
    assert [read_times(text)[0] for text, _ in items] == [instant for _, instant in items]


# Timestamps: local times and declared formats


@pytest.mark.parametrize(
    ("time_format", "zone", "read"),
    [
        ("", "Europe/Berlin", {
            "2024-01-15 12:00": utc(2024, 1, 15, 11),
            "2024-07-15 12:00": utc(2024, 7, 15, 10),
            "2024-07-15": utc(2024, 7, 14, 22),
        }),
        ("", "Europe/Berlin", {
            "2024-03-31 01:59:59": utc(2024, 3, 31, 0, 59, 59),
            "2024-03-31 02:00": None,  # Clocks skip it.
            "2024-03-31 02:59:59.999999": None,
            "2024-03-31 03:00": utc(2024, 3, 31, 1),
        }),
        ("", "Europe/Berlin", {
            "2024-10-27 01:59": utc(2024, 10, 26, 23, 59),
            "2024-10-27 02:30": utc(2024, 10, 27, 0, 30),  # Comes twice: the first is taken.
            "2024-10-27 03:00": utc(2024, 10, 27, 2),
        }),
        ("", "Europe/Berlin", {  # After 2037 too.
            "2050-01-15 12:00": utc(2050, 1, 15, 11),
            "2050-03-27 02:30": None,
            "2050-07-15 12:00": utc(2050, 7, 15, 10),
            "2050-10-30 02:30": utc(2050, 10, 30, 0, 30),
        }),
        ("%d.%m.%Y %H:%M:%S", "Europe/Berlin", {
            "01.07.2024 12:30:00": utc(2024, 7, 1, 10, 30),
            " 01.01.2024 12:30:00 ": utc(2024, 1, 1, 11, 30),
            "": None,
            "2024-07-01 12:30:00": None,  # ISO 8601, but another format is declared.
            "1717245000": None,
            "31.03.2024 02:30:00": None,
            "27.10.2024 02:30:00": utc(2024, 10, 27, 0, 30),
        }),
        ("%d/%m/%y %H:%M %z", "Asia/Tokyo", {
            "01/07/24 12:30 +0200": utc(2024, 7, 1, 10, 30),
            "01/07/24 12:30 -05:30": utc(2024, 7, 1, 18),
            "01/07/24 12:30 Z": utc(2024, 7, 1, 12, 30),
            "01/07/24 12:30": None,
        }),
        # Not an instant of the calendar.
        ("%Y-%m-%d %H:%M %z", "UTC", {"0001-01-01 00:00 +0200": None}),
        ("%Y-%m-%d %H:%M %z", "UTC", {"9999-12-31 23:00 -0200": None}),
        ("%Y-%m-%d %H:%M", "Asia/Tokyo", {"0001-01-01 00:00": None}),
        ("%Y-%m-%d %H:%M", "America/New_York", {"9999-12-31 23:00": None}),
    ],
)  # fmt: skip
def test_a_time_without_a_zone_is_taken_in_the_source_timezone(
    time_format: str, zone: str, read: dict[str, datetime | None]
) -> None:
    assert read_times(*read, time_format=time_format, zone=zone) == list(read.values())


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
