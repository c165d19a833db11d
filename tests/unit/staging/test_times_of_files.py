"""A file of times: which are read, warned about or ambiguous; hours that occur twice."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from luigi.configuration import LuigiConfigParser

from config.sources import LOG_RCD_F
from tasks.run.source_settings import OPTIONS
from tests.staged import Staged, failure, stage
from tests.unit.parsing.test_times import read_times, utc


def records(times: list[str], instances: int = 1) -> str:
    rows = "".join(f"{n % instances + 1},{time}\n" for n, time in enumerate(times))
    return f"point_log_inst_id,recorded_at\n{rows}"


def times_of(staged: Staged) -> list[Any]:
    return staged.columns["recorded_at"]


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
        message = failure(tmp_path, records([time, "2024-06-01 00:00"]), LOG_RCD_F, max_rejected=0)
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
    message = failure(tmp_path, records(times), LOG_RCD_F, block_bytes=block_bytes)

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
