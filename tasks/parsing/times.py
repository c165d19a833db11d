"""From CSV text to instants: ISO 8601, epoch numbers, named formats, local times of a zone."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from config.declarations import Source
from tasks.parsing.numbers import DEFAULTS, INSTANT, holds_digits, parse_distinct, trim, where

CALENDAR_FORMATS = (
    "%Y%m%d%H%M%S",
    "%Y%m%d%H%M",
    "%Y%m%d%H",
    "%Y%m%d",
    "%y%m%d%H%M%S",
    "%y%m%d%H%M",
    "%d%m%Y%H%M%S",
    "%d%m%Y%H%M",
    "%d%m%y%H%M",
    "%m%d%y%H%M",
    "%Y%j%H%M%S",
    "%Y%j%H%M",
)
"""Times of the calendar written in digits alone, likeliest first."""

_ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}(:?[0-9]{2}(:?[0-9]{2}([.,][0-9]+)?)?)?)?$"
)
_ZONE = r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"
_EPOCH = r"^[0-9]{1,15}(\.[0-9]+)?$"
_WIDTHS = {"Y": 4, "j": 3, **dict.fromkeys("mdHIMSy", 2)}
_WIDTH_OF = {
    one: sum(_WIDTHS[directive] for directive in one if directive != "%")
    for one in CALENDAR_FORMATS
}
_YEAR_1 = -62_135_596_800_000_000
_YEAR_10000 = 253_402_300_800_000_000
"""Microseconds since 1970 at which the calendar of dates begins and ends."""

_FEW = 128
_FIRST_FEW = 3
_ARROW_KNOWS_CLOCKS_UNTIL = datetime(2037, 1, 1)


class Times(NamedTuple):
    """The instants of a column.

    Attributes:
        values: UTC; null where missing or invalid. Of the two instants of an hour that a zone's
            clocks repeat, the earlier one.
        invalid: Which texts are no times, or times that do not exist.
        skipped: Which are times that do not exist: the zone's clocks skip them.
        later: The later of two instants; null for all that are one.
    """

    values: pa.Array
    invalid: pa.BooleanArray
    skipped: pa.BooleanArray
    later: pa.Array


def parse_timestamps(text: pa.StringArray, how: Source = DEFAULTS) -> Times:
    """Instants. Fractions are cut to microseconds.

    Without a `time_format`: ISO 8601 (blank or T, fractions, zones), and seconds or milliseconds
    since 1970 inside `time_window`. A time without a zone is one of `source_timezone`.

    >>> times = parse_timestamps(pa.array(["2024-06-01 12:00", "1717243200", "01.06.2024"]))
    >>> [str(value) for value in times.values.to_pylist()]
    ['2024-06-01 12:00:00+00:00', '2024-06-01 12:00:00+00:00', 'None']
    >>> times.invalid.to_pylist()
    [False, False, True]
    """
    return parse_distinct(text, lambda distinct: _parse_timestamps(distinct, how))


def _parse_timestamps(text: pa.StringArray, how: Source) -> Times:
    formats = how.time_format or ("iso", "epoch")
    if formats[0] == "iso" and not holds_digits(how.na_values):
        common = _read_at_once(text, how.source_timezone)
        if common is not None:
            return common
    if len(text) > _FEW:
        # Only the halves that hold something uncommon take longer.
        half = len(text) // 2
        halves = [_parse_timestamps(piece, how) for piece in (text[:half], text[half:])]
        return Times(*(pa.concat_arrays(columns) for columns in zip(*halves, strict=True)))
    trimmed, missing = trim(text, how)
    local, zoned = pa.nulls(len(text), pa.timestamp("us")), pa.nulls(len(text), INSTANT)
    for one in formats:
        unread = pc.and_(pc.is_null(local), pc.and_not(pc.is_null(zoned), missing))
        found = _reader(one, how)(where(trimmed, unread))
        local, zoned = pc.coalesce(local, found[0]), pc.coalesce(zoned, found[1])
    times = _in_zone(local, how.source_timezone)
    values = _in_calendar(pc.coalesce(times.values, zoned))
    invalid = pc.and_not(pc.is_null(values), missing)
    return Times(values, invalid, times.skipped, times.later)


def _read_at_once(text: pa.StringArray, zone: str) -> Times | None:
    """The column if all of it is plain ISO 8601, all with zones or all without: the usual case."""
    for kind in (pa.timestamp("us"), INSTANT):
        with contextlib.suppress(pa.ArrowInvalid):
            text[:_FIRST_FEW].cast(kind)  # Arrow takes long over a column of another kind.
            read = text.cast(kind)
            none = pa.repeat(False, len(text))
            times = Times(read, none, none, _no_later(read)) if kind.tz else _in_zone(read, zone)
            values = _in_calendar(times.values)
            return times._replace(values=values, invalid=pc.is_null(values))
    return None


_Read = tuple[pa.Array, pa.Array]
"""Local times without a zone, and instants of texts that name one."""


def _reader(one: str, how: Source) -> Callable[[pa.StringArray], _Read]:
    match one:
        case "iso":
            return _read_iso
        case "epoch":
            return lambda text: (pa.nulls(len(text), pa.timestamp("us")), _read_epoch(text, how))
    return lambda text: _read_format(text, one, how.source_timezone)


def _read_iso(trimmed: pa.StringArray) -> _Read:
    text = pc.replace_substring_regex(trimmed, r"[ ]?(UTC|GMT|[zZ])$", "Z")
    text = pc.replace_substring_regex(text, r"[ ]+([+-][0-9:]+)$", r"\1")
    text = pc.replace_substring_regex(text, r"^([0-9-]{10})t", r"\1T")
    zoned = pc.and_(
        pc.match_substring_regex(text, r"^.{13,}" + _ZONE),
        pc.match_substring_regex(pc.replace_substring_regex(text, _ZONE, ""), _ISO),
    )
    local = pc.and_not(pc.match_substring_regex(text, _ISO), zoned)
    # Arrow reads no more digits than its unit has.
    text = pc.replace_substring_regex(text, r"[.,]([0-9]{1,6})[0-9]*", r".\1")
    return (
        _cast_each(where(text, pc.fill_null(local, False)), pa.timestamp("us")),
        _cast_each(where(text, pc.fill_null(zoned, False)), INSTANT),
    )


def _read_epoch(trimmed: pa.StringArray, how: Source) -> pa.Array:
    """Seconds, else milliseconds, that lie in the time window."""
    digits = pc.fill_null(pc.match_substring_regex(trimmed, _EPOCH), False)
    if not pc.any(digits).as_py():
        return pa.nulls(len(trimmed), INSTANT)
    padded = pc.replace_substring_regex(where(trimmed, digits), r"^([0-9]+)$", r"\1.")
    found = []
    for whole, decimals in ((12, 6), (15, 3)):
        # As digits alone they are microseconds.
        text = pc.binary_join_element_wise(padded, "0" * decimals, "")
        fits = pc.match_substring_regex(text, rf"^[0-9]{{1,{whole}}}\.")
        cut = rf"^([0-9]+)\.([0-9]{{{decimals}}})[0-9]*$"
        microseconds = pc.replace_substring_regex(where(text, fits), cut, r"\1\2").cast(pa.int64())
        instants = _in_calendar(microseconds.cast(INSTANT))
        found.append(where(instants, pc.invert(outside_window(instants, how))))
    return pc.coalesce(*found)


def outside_window(instants: pa.Array, how: Source) -> pa.BooleanArray:
    """Which instants are not in the source's `time_window`."""
    first, end = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in how.time_window)
    outside = pc.or_(
        pc.less(instants, pa.scalar(first, INSTANT)),
        pc.greater_equal(instants, pa.scalar(end, INSTANT)),
    )
    return pc.fill_null(outside, False)


# --- named formats ---------------------------------------------------------------------------


def _read_format(trimmed: pa.StringArray, time_format: str, zone: str) -> _Read:
    # Read by value in Python: Arrow's strptime ignores zones on some systems.
    local: list[datetime | None] = []
    zoned: list[datetime | None] = []
    for item in trimmed.to_pylist():
        moment = None if item is None else read_time(item, time_format, zone)
        local.append(moment if moment is not None and moment.tzinfo is None else None)
        zoned.append(moment if moment is not None and moment.tzinfo is not None else None)
    return pa.array(local, pa.timestamp("us")), pa.array(zoned, INSTANT)


def read_time(text: str, time_format: str, zone: str = "UTC") -> datetime | None:
    """A time in a format of strptime; UTC if it names a zone, else local; None if it does not fit.

    Stricter than strptime: directives that follow each other without a separator have their full
    width. `%Z` reads the abbreviations of `zone`, and UTC and GMT.

    >>> read_time("202406010930", "%Y%m%d%H%M"), read_time("202406010930", "%Y%m%d%H%M%S")
    (datetime.datetime(2024, 6, 1, 9, 30), None)
    >>> print(read_time("01.06.24 9:30 EDT", "%d.%m.%y %H:%M %Z", "America/New_York"))
    2024-06-01 13:30:00+00:00
    """
    match = _shape(time_format).fullmatch(text)
    if match is None:
        return None
    with contextlib.suppress(ValueError, OverflowError):
        if "%Z" not in time_format:
            moment = datetime.strptime(text, time_format)
            return moment if moment.tzinfo is None else moment.astimezone(UTC)
        start, end = match.span("zone")
        moment = datetime.strptime(text[:start] + text[end:], time_format.replace("%Z", ""))
        offset = _offset(moment, match["zone"].upper(), zone)
        return None if offset is None else moment.replace(tzinfo=UTC) - offset
    return None


@functools.lru_cache(maxsize=4096)
def _shape(time_format: str) -> re.Pattern[str]:
    """What a text of this format has to look like, beyond what strptime demands."""
    tokens = re.findall(r"%.|\s+|[^%\s]", time_format)
    numeric = [token[0] == "%" and token[1:] in {*_WIDTHS, "f"} for token in tokens]
    pattern = ""
    for at, token in enumerate(tokens):
        beside = numeric[max(at - 1, 0) : at + 2].count(True) > 1
        if numeric[at] and (beside or all(numeric)):
            width = _WIDTHS.get(token[1:])
            pattern += rf"\d{{{width}}}" if width else r"\d{1,6}"
        elif token == "%Z":
            pattern += r"(?P<zone>[A-Za-z]{1,6})"
        elif token.isspace():
            pattern += r"\s+"
        else:
            pattern += ".+?" if token[0] == "%" and token != "%%" else re.escape(token[-1])
    return re.compile(pattern, re.DOTALL | re.IGNORECASE)


def _offset(moment: datetime, abbreviation: str, zone: str) -> timedelta | None:
    """The offset of a zone that an abbreviation such as EST names; None if it names none."""
    if abbreviation in ("UTC", "GMT", "Z"):
        return timedelta(0)
    # A device may keep the winter's abbreviation all year.
    days = (moment, moment.replace(month=1, day=1), moment.replace(month=7, day=1))
    for local in (day.replace(tzinfo=ZoneInfo(zone), fold=fold) for day in days for fold in (0, 1)):
        if local.tzname() == abbreviation:
            return local.utcoffset()
    return None


def calendar_formats(texts: Iterable[str], how: Source) -> list[str]:
    """The formats of digits alone that read all of these texts as times inside the time window.

    >>> calendar_formats(["2024060100", "2024060101"], DEFAULTS)
    ['%Y%m%d%H']
    """
    first, end = (date.fromisoformat(day) for day in how.time_window)
    formats = list(CALENDAR_FORMATS)
    for text in texts:
        found = ((one, read_time(text, one)) for one in formats)
        formats = [one for one, time in found if time and first <= time.date() < end]
        if not formats:
            break
    return formats


def calendar_format(text: str, how: Source) -> str | None:
    """The likeliest format of digits alone that reads a text as a time inside the time window.

    >>> calendar_format("202406010930", DEFAULTS), calendar_format("7", DEFAULTS)
    ('%Y%m%d%H%M', None)
    """
    of_width = (one for one in CALENDAR_FORMATS if _WIDTH_OF[one] == len(text))
    first, end = (date.fromisoformat(day) for day in how.time_window)
    read = ((one, read_time(text, one)) for one in of_width)
    return next((one for one, time in read if time and first <= time.date() < end), None)


# --- local times -----------------------------------------------------------------------------


def _in_zone(local: pa.Array, zone: str) -> Times:
    """Local times as instants."""
    if zone == "UTC":
        values = local.cast(INSTANT)
        none = pa.repeat(False, len(local))
        return Times(values, pc.is_null(values), none, _no_later(values))
    late = pc.fill_null(
        pc.greater_equal(local, pa.scalar(_ARROW_KNOWS_CLOCKS_UNTIL, local.type)), False
    )
    early = where(local, pc.invert(late))
    values, later = (
        pc.assume_timezone(early, zone, ambiguous=which, nonexistent="earliest")
        for which in ("earliest", "latest")
    )
    exists = pc.equal(pc.local_timestamp(values), early)
    values, later = where(values.cast(INSTANT), exists), where(later.cast(INSTANT), exists)
    if pc.any(late).as_py():
        by_hand = [_in_zone_of_python(item, zone) for item in where(local, late).to_pylist()]
        values = pc.coalesce(values, pa.array([item[0] for item in by_hand], INSTANT))
        later = pc.coalesce(later, pa.array([item[1] for item in by_hand], INSTANT))
    skipped = pc.and_(pc.is_valid(local), pc.is_null(values))
    repeated = pc.fill_null(pc.not_equal(values, later), False)
    return Times(values, pc.is_null(values), skipped, where(later, repeated))


def _in_zone_of_python(
    local: datetime | None, zone: str
) -> tuple[datetime | None, datetime | None]:
    found: list[datetime | None] = [None, None]
    if local is not None:
        for fold in (0, 1):
            with contextlib.suppress(OverflowError):
                instant = local.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)
                if instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local:
                    found[fold] = instant
    return found[0], found[1]


def _no_later(values: pa.Array) -> pa.Array:
    return pa.nulls(len(values), INSTANT)


def _in_calendar(instants: pa.Array) -> pa.Array:
    """Only instants of the years 1 to 9999: others cannot be written as dates downstream."""
    microseconds = instants.cast(pa.int64())
    inside = pc.and_(pc.greater_equal(microseconds, _YEAR_1), pc.less(microseconds, _YEAR_10000))
    return where(instants, pc.fill_null(inside, False))


def _cast_each(text: pa.StringArray, to: pa.DataType) -> pa.Array:
    """Cast; null for a text such as 2024-02-30, which spoils a whole column for Arrow."""
    try:
        return text.cast(to)
    except pa.ArrowInvalid:
        if len(text) == 1:
            return pa.nulls(1, to)
        half = len(text) // 2
        return pa.concat_arrays([_cast_each(text[:half], to), _cast_each(text[half:], to)])
