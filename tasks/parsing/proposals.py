"""Settings that would read values that cannot be read now: each is tried before it is proposed."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from config.declarations import Column, Source, Type
from tasks.core.config_text import Settings
from tasks.parsing.numbers import parse_integers, parse_numbers, parse_switches
from tasks.parsing.times import CALENDAR_FORMATS, calendar_formats, parse_timestamps, read_time

_MOST_TEXTS = 200
_MOST_WORDS = 10
_MOST_FORMATS = 6
_NOTATIONS = tuple((decimal, mark) for mark in (None, *",. '\u2019") for decimal in ".,")
"""Decimal marks and marks of thousands, the simplest first."""


def propose_for_columns(
    source: Source, invalid: Mapping[str, Iterable[str]], valid: Mapping[str, Iterable[str]]
) -> list[list[Settings]]:
    """What would read invalid texts too: for each column alternatives, none if nothing does.

    Args:
        source: How they are read now.
        invalid: Column -> texts that cannot be read.
        valid: Column -> texts that can, and have to stay so.
    """
    found = []
    for column in source.columns:
        texts = [text for text in invalid.get(column.name, ()) if text.strip()]
        if texts:
            propose = _for_times if column.type is Type.TIMESTAMP else _for_values
            found.append(propose(column, _some(texts), _some(valid.get(column.name, ())), source))
    return found


def _some(texts: Iterable[str]) -> list[str]:
    """Some of the texts, from all of their range."""
    distinct = list(dict.fromkeys(text.strip() for text in texts))
    return distinct[:: len(distinct) // _MOST_TEXTS + 1]


# --- numbers and integers --------------------------------------------------------------------


def _for_values(
    column: Column, invalid: list[str], valid: list[str], how: Source
) -> list[Settings]:
    left: list[tuple[int, Settings]] = []
    for decimal, mark in _NOTATIONS:
        # No line takes a mark of thousands away.
        tried = replace(how, decimal=decimal, thousands=mark or how.thousands)
        changed = {name: getattr(tried, name) for name in ("decimal", "thousands")
                   if getattr(tried, name) != getattr(how, name)}  # fmt: skip
        if tried.decimal != tried.thousands:
            left.append((_count_invalid(column, invalid + valid, tried), changed))
    least = min(count for count, _ in left)
    found: list[Settings] = []
    for changed in (changed for count, changed in left if count == least):
        if least * 2 < len(invalid) and not any(one.items() <= changed.items() for one in found):
            found.append(changed)
    words = len(invalid) <= _MOST_WORDS and all(re.match(r"[^\W\d]", text) for text in invalid)
    if not found and words and column.type is not Type.INTEGER:
        found.append({"sentinels": (*how.sentinels, *invalid)})
    elif not found and words and column.nullable:
        found.append({"na_values": (*how.na_values, *invalid)})
    return found


def _count_invalid(column: Column, texts: Sequence[str], how: Source) -> int:
    readers: dict[Type, Callable[..., tuple[pa.Array, ...]]] = {
        Type.INTEGER: parse_integers,
        Type.NUMBER: parse_numbers,
        Type.SWITCH: parse_switches,
    }
    return int(readers[column.type](pa.array(texts, pa.string()), how)[1].true_count)


# --- times -----------------------------------------------------------------------------------

_DATES = (
    "%d.%m.%Y|%d.%m.%y|%d/%m/%Y|%m/%d/%Y|%d-%m-%Y|%m-%d-%Y|%Y/%m/%d|%Y.%m.%d|%d/%m/%y|%m/%d/%y|"
    "%d-%b-%y|%d-%b-%Y|%d %b %Y|%d %B %Y|%b %d, %Y|%B %d, %Y|%b %d %Y|%a %b %d %Y|%d%b%Y|%Y-%m-%d|"
    "%Y%m%d|%y%m%d"
).split("|")
_CLOCKS = (
    "%H:%M:%S|%H:%M|%H:%M:%S.%f|%H:%M:%S,%f|%I:%M:%S %p|%I:%M %p|%I:%M:%S%p|%I:%M%p|%H.%M.%S|"
    "%H.%M|%H%M%S|%H%M|%H|%H:%M:%S:%f"
).split("|")
_ZONES = {
    "EST": "America/New_York", "EDT": "America/New_York", "CST": "America/Chicago",
    "CDT": "America/Chicago", "MST": "America/Denver", "MDT": "America/Denver",
    "PST": "America/Los_Angeles", "PDT": "America/Los_Angeles", "CET": "Europe/Berlin",
    "CEST": "Europe/Berlin", "BST": "Europe/London", "WET": "Europe/Lisbon",
    "WEST": "Europe/Lisbon", "EET": "Europe/Athens", "EEST": "Europe/Athens",
    "MSK": "Europe/Moscow", "IST": "Asia/Kolkata", "JST": "Asia/Tokyo", "AEST": "Australia/Sydney",
    "AEDT": "Australia/Sydney", "NZST": "Pacific/Auckland", "NZDT": "Pacific/Auckland",
    "AKST": "America/Anchorage", "AKDT": "America/Anchorage", "HST": "Pacific/Honolulu",
}  # fmt: skip
"""A zone for each abbreviation."""


_ZONE = re.compile(r"( ?)([+-]\d\d:?\d\d|(?<=\d)Z|(?<= )[A-Z]{2,5})$")


@functools.cache
def _time_formats() -> dict[str, list[str]]:
    """Formats by what a text looks like: only these are tried."""
    formats = [f"{date} {clock}" for date in _DATES for clock in _CLOCKS]
    for joint in ("T", ", ", "_"):
        formats += [f"{date}{joint}{clock}" for date in _DATES for clock in _CLOCKS[:4]]
    formats += ["%Y%m%dT%H%M%S", "%Y%m%dT%H%M", "%a %b %d %H:%M:%S %Y"]
    formats += [f"{clock} {date}" for date in _DATES for clock in _CLOCKS[:6]]
    formats += [*_DATES, *CALENDAR_FORMATS, "%a %b %d %H:%M:%S %Z %Y"]
    found: dict[str, list[str]] = {}
    for one in formats:
        example = re.sub("%[bBaApZ]", "a", re.sub("%[YmdHIMSyjf]", "0", one))
        found.setdefault(_outline(example), []).append(one)
    return found


def _formats_like(text: str) -> list[str]:
    """Formats that a text looks as if it were written in."""
    found = list(_time_formats().get(_outline(text), ()))
    if zone := _ZONE.search(text):
        directive = "%Z" if zone[2].isalpha() and zone[2] != "Z" else "%z"
        before = _time_formats().get(_outline(text[: zone.start()]), ())
        found += [f"{one}{zone[1]}{directive}" for one in before]
    return found


def _outline(text: str) -> str:
    """A text with its numbers and words cut short.

    >>> _outline("01-Jun-24  9:30:00 PM")
    '0-a-0 0:0:0 a'
    """
    return re.sub(r"\s+", " ", re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", text)))


def _for_times(_: Column, invalid: list[str], valid: list[str], how: Source) -> list[Settings]:
    named = {name for text in invalid for name in re.findall(r"\b[A-Z]{2,5}\b", text)}
    for zone in (how.source_timezone, *dict.fromkeys(_ZONES[n] for n in named & _ZONES.keys())):
        found: list[Settings] = []
        tried = replace(how, source_timezone=zone)
        for formats in _cover(invalid, tried):
            # Day and month, say, are not read in one order here and in the other one there.
            kept = [
                old
                for old in _formats_in_use(valid, how)
                if not any(_differ(old, new, valid, how) for new in formats)
            ]
            ordered = _in_order([*kept, *formats])
            texts = pa.array(invalid + valid, pa.string())
            times = parse_timestamps(texts, replace(tried, time_format=ordered))
            if not pc.and_not(times.invalid, times.skipped).true_count:
                other_zone = {} if zone == how.source_timezone else {"source_timezone": zone}
                found.append({"time_format": ordered, **other_zone})
        if found:
            return found
    return []


def _formats_in_use(valid: Sequence[str], how: Source) -> list[str]:
    if how.time_format:
        return list(how.time_format)
    digits = [text for text in valid if re.fullmatch(r"\d[\d.]*", text)]
    # Beside calendar times in digits, a number that is one too is more likely that.
    calendar = [found[0] for text in digits if (found := calendar_formats([text], how))]
    epoch = ["epoch"] if len(calendar) < len(digits) else []
    return [*(["iso"] if len(digits) < len(valid) else []), *dict.fromkeys(calendar), *epoch]


def _in_order(formats: Sequence[str]) -> tuple[str, ...]:
    """Calendar times before epoch numbers, short years before long ones: each reads less."""

    def rank(one: str) -> int:
        order = [one in CALENDAR_FORMATS and "%y" in one, one in CALENDAR_FORMATS, one == "epoch"]
        return 1 + order.index(True) if True in order else 0

    return tuple(sorted(dict.fromkeys(formats), key=rank))


def _cover(texts: Sequence[str], how: Source) -> list[list[str]]:
    """Sets of few formats that together read all texts; several where each fits as well."""
    formats = dict.fromkeys(one for text in texts for one in _formats_like(text))
    reads = {one: {text for text in texts if _fits(text, one, how)} for one in formats}
    chosen: list[str] = []
    unread = set(texts)
    while unread:
        best = max(reads, key=lambda one: len(reads[one] & unread), default="")
        if not best or not reads[best] & unread or len(chosen) == _MOST_FORMATS:
            return []
        chosen.append(best)
        unread -= reads[best]
    first, *others = chosen
    rivals = [
        one for one in reads if reads[one] == reads[first] and _differ(one, first, texts, how)
    ]
    return [[one, *others] for one in by_span([first, *rivals[:2]], texts, how)]


def by_span(formats: Sequence[str], texts: Sequence[str], how: Source) -> list[str]:
    """Formats by how far apart the times are: a file has days in a row more likely than months.

    >>> by_span(["%d/%m/%Y", "%m/%d/%Y"], ["06/01/2024", "06/02/2024"], Source("", "", ()))
    ['%m/%d/%Y', '%d/%m/%Y']
    """

    def span(one: str) -> timedelta:
        read = (read_time(text, one, how.source_timezone) for text in texts)
        times = [time for time in read if time is not None]
        return max(times) - min(times) if times else timedelta.max

    return sorted(formats, key=span)


def _fits(text: str, time_format: str, how: Source) -> bool:
    time = read_time(text, time_format, how.source_timezone)
    if time is None:
        return False
    first, end = (datetime.fromisoformat(day) for day in how.time_window)
    return first <= time.replace(tzinfo=None) < end


def _differ(one: str, other: str, texts: Sequence[str], how: Source) -> bool:
    """Whether two formats both read some text, and not as the same time."""
    return any(
        read_time(text, one, how.source_timezone) != read_time(text, other, how.source_timezone)
        for text in texts
        if _fits(text, one, how) and _fits(text, other, how)
    )
