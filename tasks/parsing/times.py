"""From CSV text to instants: ISO 8601, epoch numbers, named formats, local times of a zone."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from config.declarations import Source
from tasks.parsing.columns import DEFAULTS, Parsed, holds_digits, parse_column, trim_each, where
from tasks.parsing.numbers import INSTANT

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

_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](([01][0-9]|2[0-3])(:?[0-9]{2}(:?[0-9]{2}([.,][0-9]+)?)?)?)"
    r" *(Z|z|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?)?)?"
)
_EPOCH = re.compile(r"([0-9]{1,15})(?:\.([0-9]+))?")
_WIDTHS = {"Y": 4, "j": 3, **dict.fromkeys("mdHIMSy", 2)}
_YEAR_1 = -62_135_596_800_000_000
_YEAR_10000 = 253_402_300_800_000_000
"""Microseconds since 1970 at which the calendar of dates begins and ends."""

_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_FEW = 3
_ARROW_KNOWS_CLOCKS_UNTIL = datetime(2037, 1, 1)


def parse_timestamps(text: pa.StringArray, how: Source = DEFAULTS) -> Parsed:
    """Instants. Fractions are cut to microseconds.

    Without a `time_format`: ISO 8601 (blank or T, fractions, zones), and seconds or milliseconds
    since 1970 inside `time_window`. A time without a zone is one of `source_timezone`.

    >>> times = parse_timestamps(pa.array(["2024-06-01 12:00", "1717243200", "01.06.2024"]))
    >>> [str(value) for value in times.values.to_pylist()]
    ['2024-06-01 12:00:00+00:00', '2024-06-01 12:00:00+00:00', 'None']
    >>> times.invalid.to_pylist()
    [False, False, True]
    """
    formats = how.time_format or ("iso", "epoch")
    is_usual = {*formats[:2]} <= {"iso", "epoch"} and not holds_digits(how.na_values)

    def at_once(some: pa.StringArray) -> Parsed:
        if "epoch" in formats and pc.all(pc.ascii_is_decimal(some[:_FIRST_FEW])).as_py():
            return _seconds(some, how)
        return _plain_iso(some, formats, how)

    def each(items: list[str]) -> Parsed:
        trimmed = trim_each(items, how)
        read = [None if item is None else _read(item, formats, how) for item in trimmed]
        local = [one if one and one.tzinfo is None else None for one in read]
        zoned = [one if one and one.tzinfo is not None else None for one in read]
        times = _in_zone(pa.array(local, pa.timestamp("us")), how.source_timezone)
        values = _in_calendar(pc.coalesce(times.values, pa.array(zoned, INSTANT)))
        missing = pa.array([item is None for item in trimmed], pa.bool_())
        return times._replace(values=values, invalid=pc.and_not(pc.is_null(values), missing))

    return parse_column(text, at_once if is_usual else None, each)


def _seconds(digits: pa.StringArray, how: Source) -> Parsed:
    """Whole seconds since 1970, all of which are in the time window."""
    if pc.ascii_is_decimal(digits).false_count:
        raise pa.ArrowInvalid
    instants = digits.cast(pa.int64()).cast(pa.timestamp("s", tz="UTC")).cast(INSTANT)
    if outside_window(instants, how).true_count:
        raise pa.ArrowInvalid
    return _instants(instants)


def _plain_iso(text: pa.StringArray, formats: tuple[str, ...], how: Source) -> Parsed:
    """ISO 8601, all with zones or all without."""
    if "iso" in formats[:2]:
        for kind in (pa.timestamp("us"), INSTANT):
            with contextlib.suppress(pa.ArrowInvalid):
                text[:_FIRST_FEW].cast(kind)  # Arrow takes long over a column of another kind.
                read = text.cast(kind)
                times = _instants(read) if kind.tz else _in_zone(read, how.source_timezone)
                values = _in_calendar(times.values)
                return times._replace(values=values, invalid=pc.is_null(values))
    raise pa.ArrowInvalid


def _read(text: str, formats: Iterable[str], how: Source) -> datetime | None:
    """A time by the first format that fits: UTC if it names a zone, else local."""
    for one in formats:
        if one == "iso":
            time = _read_iso(text)
        elif one == "epoch":
            time = _read_epoch(text, how)
        else:
            time = read_time(text, one, how.source_timezone)
        if time is not None:
            return time
    return None


def _read_iso(text: str) -> datetime | None:
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    day, clock, zone = match[1], match[2], match[7]
    with contextlib.suppress(ValueError, OverflowError):
        zone = "Z" if zone in ("z", "UTC", "GMT") else zone or ""
        time = datetime.fromisoformat(f"{day}T{clock}{zone}" if clock else day)
        return time.astimezone(UTC) if zone else time
    return None


def _read_epoch(text: str, how: Source) -> datetime | None:
    """Seconds, else milliseconds, that lie in the time window."""
    match = _EPOCH.fullmatch(text)
    if match is None:
        return None
    whole, fraction = match[1], match[2] or ""
    first, end = _window(how)
    for digits, decimals in ((12, 6), (15, 3)):
        microseconds = int(whole + fraction[:decimals].ljust(decimals, "0"))
        if len(whole) <= digits and microseconds < _YEAR_10000:
            time = _1970 + timedelta(microseconds=microseconds)
            if first <= time < end:
                return time
    return None


def _window(how: Source) -> tuple[datetime, datetime]:
    first, end = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in how.time_window)
    return first, end


def outside_window(instants: pa.Array, how: Source) -> pa.BooleanArray:
    """Which instants are not in the source's `time_window`."""
    first, end = _window(how)
    outside = pc.or_(
        pc.less(instants, pa.scalar(first, INSTANT)),
        pc.greater_equal(instants, pa.scalar(end, INSTANT)),
    )
    return pc.fill_null(outside, False)


# --- named formats ---------------------------------------------------------------------------


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
    pieces = re.findall(r"%.|\s+|[^%\s]", time_format)
    numeric = [piece[0] == "%" and piece[1:] in {*_WIDTHS, "f"} for piece in pieces]
    pattern = ""
    for at, piece in enumerate(pieces):
        beside = numeric[max(at - 1, 0) : at + 2].count(True) > 1
        if numeric[at] and (beside or all(numeric)):
            width = _WIDTHS.get(piece[1:])
            pattern += rf"\d{{{width}}}" if width else r"\d{1,6}"
        elif piece == "%Z":
            pattern += r"(?P<zone>[A-Za-z]{1,6})"
        elif piece.isspace():
            pattern += r"\s+"
        else:
            pattern += ".+?" if piece[0] == "%" and piece != "%%" else re.escape(piece[-1])
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


# --- local times -----------------------------------------------------------------------------


def _in_zone(local: pa.Array, zone: str) -> Parsed:
    """Local times as instants."""
    if zone == "UTC":
        return _instants(local.cast(INSTANT))
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
    later = where(later, repeated)
    return Parsed(values, pc.is_null(values), skipped=skipped, later=later)


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


def _instants(values: pa.Array) -> Parsed:
    """Times that are each one instant."""
    none, later = pa.repeat(False, len(values)), pa.nulls(len(values), INSTANT)
    return Parsed(values, pc.is_null(values), skipped=none, later=later)


def _in_calendar(instants: pa.Array) -> pa.Array:
    """Only instants of the years 1 to 9999: others cannot be written as dates downstream."""
    microseconds = instants.cast(pa.int64())
    inside = pc.and_(pc.greater_equal(microseconds, _YEAR_1), pc.less(microseconds, _YEAR_10000))
    return where(instants, pc.fill_null(inside, False))
