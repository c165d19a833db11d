"""Digits, and formats one after the other."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.unit.parsing.test_times import read_times, utc


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
