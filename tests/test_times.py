"""Times, against Python's own datetime and zoneinfo; how a file of times is staged."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from luigi.configuration import LuigiConfigParser

from config.sources import LOG_RCD_F
from tasks.parsing.numbers import DEFAULTS
from tasks.parsing.times import parse_timestamps
from tasks.run.source_settings import OPTIONS
from tests.staged import Staged, refusal, stage

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]
moderate = settings(max_examples=100, deadline=None)


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
def test_what_is_no_time_is_invalid_and_harms_no_other(text: str) -> None:
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
    st.datetimes(datetime(2000, 1, 1), datetime(2049, 12, 31)),
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


epoch_texts = st.integers(946_684_800, 2_524_607_999).map(
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


def test_a_time_that_clocks_skip_is_invalid() -> None:
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


# Timestamps: digits, and formats one after the other


@pytest.mark.parametrize(
    ("time_format", "read"),
    [
        ("%Y%m%d%H%M%S\n%Y%m%d%H%M\n%Y%m%d%H", {
            "20240601093005": utc(2024, 6, 1, 9, 30, 5),
            "202406010930": utc(2024, 6, 1, 9, 30),
            "2024060109": utc(2024, 6, 1, 9),
            "20240601093": None,
            "2024060": None,
            "1717245000123": None,
        }),
        ("%Y%m%d%H%M%S", {"202406010930": None, "20240601093005": utc(2024, 6, 1, 9, 30, 5)}),
        ("%y%m%d%H%M", {"2406010930": utc(2024, 6, 1, 9, 30), "240601930": None}),
        ("%d.%m.%Y %H:%M:%S\n%d.%m.%Y", {
            "01.06.2024 00:00:01": utc(2024, 6, 1, 0, 0, 1),
            "01.06.2024": utc(2024, 6, 1),
            "1.6.2024": utc(2024, 6, 1),
            "2024-06-01": None,
        }),
        ("%d/%m/%Y\n%m/%d/%Y", {"01/06/2024": utc(2024, 6, 1), "06/13/2024": utc(2024, 6, 13)}),
        ("iso\n%Y%m%d%H\nepoch", {
            "2024-06-01 09:30": utc(2024, 6, 1, 9, 30),
            "2024060109": utc(2024, 6, 1, 9),
            "1717245000": utc(2024, 6, 1, 12, 30),
            "1717245000123": utc(2024, 6, 1, 12, 30, 0, 123_000),
            "01.06.2024": None,
        }),
        ("epoch", {"1717245000": utc(2024, 6, 1, 12, 30), "2024-06-01": None}),
        ("%d%b%y:%H:%M", {"01JUN24:09:30": utc(2024, 6, 1, 9, 30)}),
    ],
)  # fmt: skip
def test_several_formats_are_tried_in_order_for_each_value(
    time_format: str, read: dict[str, datetime | None]
) -> None:
    assert read_times(*read, time_format=time_format) == list(read.values())
    assert [read_times(text, time_format=time_format)[0] for text in read] == list(read.values())


@pytest.mark.parametrize(
    ("zone", "read"),
    [
        ("America/New_York", {
            "03.11.2024 00:30 EDT": utc(2024, 11, 3, 4, 30),
            "03.11.2024 01:30 EDT": utc(2024, 11, 3, 5, 30),
            "03.11.2024 01:30 EST": utc(2024, 11, 3, 6, 30),
            "03.11.2024 01:30 est": utc(2024, 11, 3, 6, 30),
            "01.07.2024 12:00 EST": utc(2024, 7, 1, 17),  # A device that does not switch.
            "01.07.2024 12:00 UTC": utc(2024, 7, 1, 12),
            "01.07.2024 12:00 CEST": None,
            "01.07.2024 12:00 PST": None,
            "01.07.2024 12:00": None,
        }),
        ("Europe/Berlin", {
            "27.10.2024 02:30 CEST": utc(2024, 10, 27, 0, 30),
            "27.10.2024 02:30 CET": utc(2024, 10, 27, 1, 30),
            "27.10.2024 02:30 EDT": None,
        }),
        ("Australia/Lord_Howe", {"01.07.2024 12:00 GMT": utc(2024, 7, 1, 12)}),
    ],
)  # fmt: skip
def test_an_abbreviation_is_read_through_the_zone(
    zone: str, read: dict[str, datetime | None]
) -> None:
    found = read_times(*read, time_format="%d.%m.%Y %H:%M %Z", zone=zone)

    assert found == list(read.values())


def test_na_values_win_over_every_form_of_time() -> None:
    missing = ("1900-01-01", "9999-12-31 00:00", "0", "1717245000", "n/a", "01.06.2024")
    kept = {"1900-01-02": utc(1900, 1, 2), "1717245001": utc(2024, 6, 1, 12, 30, 1)}

    assert read_times(*missing, *kept, na_values=missing) == [None] * 6 + list(kept.values())
    assert read_times("1900-01-01", "1900-01-02", na_values=missing) == [None, utc(1900, 1, 2)]
    assert read_times("01.06.2024", time_format="%d.%m.%Y", na_values=missing) == [None]


@pytest.mark.parametrize(
    ("window", "read"),
    [
        (("2000-01-01", "2050-01-01"), {
            "946684799": None,
            "946684800": utc(2000, 1, 1),
            "2524607999": utc(2049, 12, 31, 23, 59, 59),
            "2524608000": None,
            "946684799999": None,
            "1": None,
            "0": None,
            "20240601": None,
            "20240601093005": None,
            "-1717245000": None,
            "1999-12-31": utc(1999, 12, 31),
        }),
        (("1970-01-01", "2000-01-01"), {
            "0": utc(1970, 1, 1),
            "20240601": utc(1970, 8, 23, 6, 23, 21),
            "1717245000": utc(1970, 1, 20, 21, 0, 45),
        }),
    ],
)  # fmt: skip
def test_digits_are_epoch_times_inside_the_window_alone(
    window: tuple[str, str], read: dict[str, datetime | None]
) -> None:
    assert read_times(*read, time_window=window) == list(read.values())


# A file of times


def records(times: list[str], instances: int = 1) -> str:
    rows = "".join(f"{n % instances + 1},{time}\n" for n, time in enumerate(times))
    return f"point_log_inst_id,recorded_at\n{rows}"


def times_of(staged: Staged) -> list[datetime | None]:
    times: list[datetime | None] = staged.columns["recorded_at"]
    return times


def pasted(proposed: str) -> dict[str, Any]:
    """The settings in proposed lines."""
    parser = LuigiConfigParser()
    parser.read_string(proposed)
    given = parser.items("LOG_RCD_F", raw=True)
    return {option: OPTIONS[option](text) for option, text in given}


@pytest.mark.parametrize(
    ("time", "proposed"),
    [
        ("20240601093005", "%Y%m%d%H%M%S"),
        ("202406010930", "%Y%m%d%H%M"),
        ("20240601", "%Y%m%d"),
        ("240601093005", "%y%m%d%H%M%S"),
        ("99999", ""),
    ],
)
def test_digits_outside_the_window_are_invalid_with_the_format_that_fits(
    tmp_path: Path, time: str, proposed: str
) -> None:
    staged = stage(tmp_path, records(["2024-06-01 00:00", time]), LOG_RCD_F)

    would = f"; time_format = {proposed} would read it" if proposed else ""
    assert staged.reasons == [
        (3, f"recorded_at is not a timestamp: '{time}' (no epoch time inside time_window{would})")
    ]
    if proposed:
        message = refusal(tmp_path, records([time, "2024-06-01 00:00"]), LOG_RCD_F, max_rejected=0)
        lines = re.search(r"\[LOG_RCD_F\]\ntime_format.*?(?=\nOr|\n#)", message, re.DOTALL)
        assert lines is not None
        read = stage(tmp_path, records([time]), LOG_RCD_F, **pasted(lines[0]))
        assert times_of(read) == read_times(time, time_format=proposed)


@pytest.mark.parametrize(
    ("times", "calendar", "read"),
    [
        (["1706010930", "1706011000"], "%y%m%d%H%M", [utc(2017, 6, 1, 9, 30), utc(2017, 6, 1, 10)]),
        (
            [" 1706010930 ", '"=""1706010000"""'],
            "%y%m%d%H%M",
            [utc(2017, 6, 1, 9, 30), utc(2017, 6, 1)],
        ),
        (["2024-06-01", "2024060109"], "%Y%m%d%H", [utc(2024, 6, 1), utc(2024, 6, 1, 9)]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("block_bytes", [None, 45])
def test_digits_that_are_calendar_and_epoch_times_fail_with_both_lines_to_choose_from(
    tmp_path: Path, times: list[str], calendar: str, read: list[datetime], block_bytes: int | None
) -> None:
    message = refusal(tmp_path, records(times), LOG_RCD_F, block_bytes=block_bytes)

    assert message.startswith("LOG_RCD_F.csv: recorded_at (recorded_at) may be calendar times in ")
    first, *_, second = message.split("either\n")[1].split("\nor\n")
    by_calendar = stage(tmp_path, records(times), LOG_RCD_F, **pasted(first))
    assert calendar in first
    assert times_of(by_calendar) == read
    by_epoch = stage(tmp_path, records(times), LOG_RCD_F, **pasted(second))
    digits = [time.strip(' "=') for time in times]
    assert times_of(by_epoch) == [read_times(time)[0] for time in digits]


@pytest.mark.parametrize("block_bytes", [None, 45])
def test_digits_of_which_one_is_no_calendar_time_are_epoch_times(
    tmp_path: Path, block_bytes: int | None
) -> None:
    times = ["1706010930"] * 20 + ["1706019930"]

    staged = stage(tmp_path, records(times), LOG_RCD_F, block_bytes=block_bytes)

    assert times_of(staged) == read_times(*times)


def test_a_time_outside_the_window_from_iso_or_a_format_is_loaded_and_warned_about(
    tmp_path: Path,
) -> None:
    warning = "2 times outside time_window (2000-01-01 to 2050-01-01), loaded as written"
    times = ["1999-12-31", "2000-01-01 01:00", "2049-12-31 23:00", "2050-01-01"]

    iso = stage(tmp_path, records(times), LOG_RCD_F, block_bytes=45)
    days = records([f"{time[8:10]}.{time[5:7]}.{time[:4]}" for time in times])
    named = stage(tmp_path, days, LOG_RCD_F, time_format=("%d.%m.%Y",))
    wide = stage(tmp_path, records(times), LOG_RCD_F, time_window=("1990-01-01", "2051-01-01"))

    assert warning in iso.audit.warnings
    assert warning in named.audit.warnings
    assert iso.audit.times == named.audit.times == {"outside time_window": 2}
    assert iso.audit.staged == named.audit.staged == 4
    assert wide.audit.times == {}


def test_seconds_left_out_at_midnight_are_read_by_the_lines_that_are_proposed(
    tmp_path: Path,
) -> None:
    times = ["01.06.2024 23:59:59", "02.06.2024", "13.06.2024 12:00:00"] * 3
    how: dict[str, Any] = {"time_format": ("%d.%m.%Y %H:%M:%S",)}

    warning = stage(tmp_path, records(times), LOG_RCD_F, **how).audit.warnings[-1]

    lines = pasted(warning.partition(":\n")[2])
    assert lines == {"time_format": ("%d.%m.%Y %H:%M:%S", "%d.%m.%Y")}
    assert times_of(stage(tmp_path, records(times), LOG_RCD_F, **lines))[:3] == [
        utc(2024, 6, 1, 23, 59, 59),
        utc(2024, 6, 2),
        utc(2024, 6, 13, 12),
    ]


# Hours that occur twice, or not at all


def test_times_that_clocks_skip_have_a_kind_of_their_own(tmp_path: Path) -> None:
    times = ["2024-03-31 01:59", "2024-03-31 02:00", "2024-03-31 02:30", "2024-03-31 03:00"]

    staged = stage(tmp_path, records(times), LOG_RCD_F, source_timezone="Europe/Berlin")

    kind = "recorded_at does not exist in Europe/Berlin, whose clocks skip it"
    assert staged.audit.quarantined == {kind: 2}
    assert staged.reasons == [
        (3, f"{kind}: '2024-03-31 02:00'"),
        (4, f"{kind}: '2024-03-31 02:30'"),
    ]
    assert f"2 rows rejected: {kind}" in staged.audit.warnings


def local(instants: list[datetime], zone: str) -> list[str]:
    return [f"{instant.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}" for instant in instants]


def every(minutes: int, start: datetime, hours: int = 6) -> list[datetime]:
    return [start + timedelta(minutes=at) for at in range(0, hours * 60, minutes)]


@pytest.mark.parametrize(
    ("zone", "instants", "repeated"),
    [
        ("Europe/Berlin", every(15, utc(2024, 10, 26, 22)), 8),
        ("Europe/Berlin", every(15, utc(2024, 10, 26, 22))[::-1], 8),
        ("Europe/Berlin", every(30, utc(2024, 10, 26, 22)), 4),
        ("Europe/Berlin", every(60, utc(2024, 10, 26, 22)), 2),
        ("Europe/Berlin", every(60, utc(2024, 10, 26, 22))[::-1], 2),
        ("Europe/Berlin", every(20, utc(2023, 10, 28, 22)) + every(20, utc(2024, 10, 26, 22)), 12),
        ("America/New_York", every(5, utc(2024, 11, 3, 3)), 24),
        ("Australia/Lord_Howe", every(10, utc(2024, 4, 6, 12)), 6),
        ("Pacific/Auckland", every(15, utc(2024, 4, 6, 10), 8), 8),
    ],
)  # fmt: skip
@pytest.mark.parametrize("instances", [1, 3])
@pytest.mark.parametrize("block_bytes", [None, 90])
def test_an_hour_that_occurs_twice_is_resolved_by_the_order_of_the_records(
    tmp_path: Path,
    zone: str,
    instants: list[datetime],
    repeated: int,
    instances: int,
    block_bytes: int | None,
) -> None:
    every_one = [instant for instant in instants for _ in range(instances)]

    staged = stage(
        tmp_path,
        records(local(every_one, zone), instances),
        LOG_RCD_F,
        block_bytes=block_bytes,
        source_timezone=zone,
    )

    assert times_of(staged) == every_one
    assert staged.audit.times == {"in the repeated hour, resolved": repeated * instances}
    assert staged.audit.warnings == []


def test_each_log_instance_is_resolved_by_its_own_order(tmp_path: Path) -> None:
    """One comes to its second hour long before another does; a third was logged once only."""
    night = every(20, utc(2024, 10, 26, 22))
    rows = [
        *((1, instant) for instant in night[:20]),
        *((2, instant) for instant in night),
        *((1, instant) for instant in night[20:]),
        *((3, instant) for instant in night[:9]),  # Until 02:00 to 02:59, the first time.
    ]
    text = "".join(
        f"{n},{t}\n"
        for (n, _), t in zip(rows, local([t for _, t in rows], "Europe/Berlin"), strict=True)
    )

    staged = stage(
        tmp_path,
        f"point_log_inst_id,recorded_at\n{text}",
        LOG_RCD_F,
        block_bytes=200,
        source_timezone="Europe/Berlin",
    )

    assert times_of(staged) == [instant for _, instant in rows]
    assert staged.audit.times == {
        "in the repeated hour, resolved": 12,
        "in the repeated hour, ambiguous": 3,
    }


@pytest.mark.parametrize(
    "times",
    [
        ["01:45", "02:00", "02:30", "02:45", "03:00"],  # One pass.
        ["02:10"],
        ["02:00", "02:10", "02:05", "02:15"],  # Two records in the wrong order.
        ["02:00", "02:30", "02:00", "02:30", "02:00", "02:30"],  # Thrice.
    ],
)
def test_what_the_order_does_not_show_is_counted_and_warned_about(
    tmp_path: Path, times: list[str]
) -> None:
    text = records([f"2024-10-27 {time}" for time in times])

    staged = stage(tmp_path, text, LOG_RCD_F, source_timezone="Europe/Berlin")

    count = sum(time.startswith("02") for time in times)
    assert times_of(staged) == read_times(*(f"2024-10-27 {t}" for t in times), zone="Europe/Berlin")
    assert staged.audit.times == {"in the repeated hour, ambiguous": count}
    (warning,) = [one for one in staged.audit.warnings if "repeat" in one]
    assert warning == (
        f"{count} time{'' if count == 1 else 's'} in the hour that the clocks of Europe/Berlin "
        "repeat: the order of the records does not show which of two is meant, the first was taken"
    )


def test_rejected_rows_do_not_disturb_the_repeated_hour(tmp_path: Path) -> None:
    instants = every(15, utc(2024, 10, 26, 23), 4)
    lines = [f"1,{time},4.5" for time in local(instants, "Europe/Berlin")]
    for at in (14, 9, 6, 5, 0):
        lines.insert(at, "1,2024-10-27 02:15,4,5")
        lines.insert(at, "1,2024-10-27 02:15,x5")
        lines.insert(at, "1,,4.5")
    content = "point_log_inst_id,recorded_at,value\n" + "\n".join(lines)

    staged = stage(tmp_path, content, LOG_RCD_F, block_bytes=120, source_timezone="Europe/Berlin")

    assert [time for time in times_of(staged) if time] == instants
    assert staged.audit.rejected == 10
