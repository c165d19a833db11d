"""Settings that would read what cannot be read now: each is tried before it is proposed."""

from __future__ import annotations

import csv
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pyarrow as pa

from config.declarations import Column, Source, Type
from tasks.core.config_text import config_line
from tasks.parsing.numbers import parse_integers, parse_numbers, parse_switches
from tasks.parsing.times import CALENDAR_FORMATS, calendar_formats, parse_timestamps, read_time
from tasks.sources.csv_records import Dialect, Rejected, csv_reader

_MOST_TEXTS = 200
_PREAMBLE_LINES = 50
_FOOTER_LINES = 10
_LONGEST_FOOTER = 1000
_MOST_WORDS = 10
_DELIMITERS = ",;\t|^~:"
_ENCODINGS = (
    "cp1252",
    "cp1250",
    "cp1251",
    "cp1253",
    "cp1254",
    "cp932",
    "gb18030",
    "big5",
    "euc_kr",
)

Lines = list[str]
"""Lines of luigi.cfg, without their section."""

# --- numbers and integers --------------------------------------------------------------------

_NOTATIONS = (
    (".", None),
    (",", None),
    (".", ","),
    (",", "."),
    (".", " "),
    (",", " "),
    (".", "'"),
    (",", "'"),
    (".", "\u2019"),
    (",", "\u2019"),
)
"""Decimal marks and marks of thousands."""


def propose_for_values(
    column: Column, invalid: Sequence[str], valid: Sequence[str], how: Source
) -> list[Lines]:
    """What would read invalid texts of a column of numbers: alternatives, none if nothing does.

    Args:
        column: The column.
        invalid: Texts that cannot be read now.
        valid: Texts that can, and have to stay so.
        how: How they are read now.
    """
    texts = list(dict.fromkeys(invalid))[:_MOST_TEXTS]
    others = list(dict.fromkeys(valid))[:_MOST_TEXTS]
    left: dict[tuple[str, ...], int] = {}
    for decimal, thousands in _NOTATIONS:
        # No line takes a mark of thousands away.
        tried = replace(how, decimal=decimal, thousands=thousands or how.thousands)
        if tried.decimal == tried.thousands:
            continue
        lines = tuple(
            config_line(option, getattr(tried, option))
            for option in ("decimal", "thousands")
            if getattr(tried, option) != getattr(how, option)
        )
        left[lines] = _count_invalid(column, texts + others, tried)
    least = min(left.values())
    found: list[Lines] = []
    for lines in (lines for lines, count in left.items() if count == least):
        if least * 2 < len(texts) and not any(set(other) < set(lines) for other in found):
            found.append(list(lines))
    if not found and len(texts) <= _MOST_WORDS and all(re.match(r"[^\W\d]", t) for t in texts):
        if column.type is not Type.INTEGER:
            found.append([config_line("sentinels", (*how.sentinels, *texts))])
        elif column.nullable:
            found.append([config_line("na_values", (*how.na_values, *texts))])
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


@functools.cache
def _time_formats() -> dict[str, list[str]]:
    """Formats by what a text looks like: only these are tried."""
    days = [(date, " ", clock) for date in _DATES for clock in _CLOCKS]
    joints = ("T", ", ", "_")
    joined = [(date, j, clock) for date in _DATES for j in joints for clock in _CLOCKS[:4]]
    joined += [("%Y%m%d", "T", clock) for clock in ("%H%M%S", "%H%M")]
    first = [(clock, " ", date) for date in _DATES for clock in _CLOCKS[:6]]
    timed = [*days, *joined, *first, ("%a %b %d %H:%M:%S %Y",)]
    zoned = [(*one, zone) for one in timed for zone in (" %z", "%z", " %Z")]
    whole = [(one,) for one in (*_DATES, *CALENDAR_FORMATS, "%a %b %d %H:%M:%S %Z %Y")]
    outline = functools.cache(_outline_of_format)
    found: dict[str, list[str]] = {}
    for pieces in (*timed, *whole, *zoned):
        found.setdefault("".join(map(outline, pieces)), []).append("".join(pieces))
    return found


def _outline_of_format(text: str) -> str:
    """What a piece of a format, or what joins two of them, looks like in a text."""
    text = re.sub("%z", "+0", re.sub("%[bBaApZ]", "a", re.sub("%[YmdHIMSyjf]", "0", text)))
    return _outline(text)


def _outline(text: str) -> str:
    """A text with its numbers and words cut short.

    >>> _outline("01-Jun-24 9:30:00 +0200")
    '0-a-0 0:0:0 +0'
    """
    text = re.sub(r"(:\d\d(?:[.,]\d+)?)( ?)[+-]\d\d:?\d\d$", r"\1\2+0", text)
    text = re.sub(r"(?<=\d)Z$", "+0", text)
    return re.sub(r"\s+", " ", re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", text)))


def propose_for_times(invalid: Sequence[str], valid: Sequence[str], how: Source) -> list[Lines]:
    """What would read invalid times too: alternatives, none if nothing does.

    Args:
        invalid: Texts that are no times now.
        valid: Texts that are.
        how: How they are read now.
    """
    texts = _spread([text.strip() for text in dict.fromkeys(invalid)])
    named = {name for text in texts for name in re.findall(r"\b[A-Z]{2,5}\b", text)}
    zones = [how.source_timezone, *dict.fromkeys(_ZONES[name] for name in named & _ZONES.keys())]
    best: list[Lines] = []
    for zone in zones:
        lines = [] if zone == how.source_timezone else [config_line("source_timezone", zone)]
        for formats in _cover(texts, replace(how, source_timezone=zone)):
            present = _compatible(formats, _spread(valid), how)
            if present is None:
                continue
            ordered = _in_order([*present, *formats])
            tried = replace(how, source_timezone=zone, time_format=ordered)
            if not parse_timestamps(pa.array(texts, pa.string()), tried).invalid.true_count:
                best.append([config_line("time_format", ordered), *lines])
        if best:
            break
    return best


def _spread(texts: Sequence[str]) -> list[str]:
    """Some of the texts, from all of their range."""
    return list(texts)[:: len(texts) // _MOST_TEXTS + 1]


def _compatible(formats: Sequence[str], valid: Sequence[str], how: Source) -> list[str] | None:
    """Formats in use that may stay beside others; None if times would be lost without the rest.

    Day and month, say, are not read in one order here and in the other one there.
    """
    present = _formats_in_use(valid, how)
    named = [one for one in present if one not in ("iso", "epoch")]
    clashing = [
        old
        for old in named
        if any(
            _fits(t, old, how) and _differs(new, old, [t], how) for new in formats for t in valid
        )
    ]
    kept = [one for one in present if one not in clashing]
    if clashing and not all(
        any(_fits(t, one, how) for one in (*kept, *formats) if one not in ("iso", "epoch"))
        for t in valid
        if any(_fits(t, old, how) for old in clashing)
    ):
        return None
    return kept


def _formats_in_use(valid: Sequence[str], how: Source) -> list[str]:
    if how.time_format:
        return list(how.time_format)
    digits = [text.strip() for text in valid if re.fullmatch(r"\s*\d[\d.]*\s*", text)]
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
    reads: dict[str, frozenset[int]] = {}
    outlines = [_outline(text) for text in texts]
    for outline in dict.fromkeys(outlines):
        for one in _time_formats().get(outline, ()):
            found = {at for at, text in enumerate(texts) if _fits(text, one, how)}
            if found:
                reads[one] = frozenset(found)
    chosen: list[str] = []
    unread = set(range(len(texts)))
    first_ties: list[str] = []
    while unread and reads and len(chosen) < 6:
        most = max(len(found & unread) for found in reads.values())
        ties = [one for one, found in reads.items() if len(found & unread) == most]
        if not most:
            return []
        first_ties = first_ties or [
            one
            for one in ties
            if reads[one] == reads[ties[0]] and _differs(one, ties[0], texts, how)
        ]
        chosen.append(ties[0])
        unread -= reads[ties[0]]
    if unread or not chosen:
        return []
    firsts = by_span([chosen[0], *first_ties[:2]], texts, how)
    return [[one, *chosen[1:]] for one in firsts]


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


def _differs(one: str, other: str, texts: Sequence[str], how: Source) -> bool:
    zone = how.source_timezone
    return any(
        read_time(t, one, zone) != read_time(t, other, zone) for t in texts if _fits(t, one, how)
    )


# --- records, header, encoding ---------------------------------------------------------------


def propose_for_rows(
    malformed: Sequence[Rejected],
    dialect: Dialect,
    width: int,
    head: int,
    last_lines: range,
) -> list[Lines]:
    """What would read malformed rows, or skip lines that are none.

    Args:
        malformed: Rejected rows, in the order of the file.
        dialect: How the file is read now.
        width: Fields of a row.
        head: Lines up to the header and with it.
        last_lines: Numbers of the lines behind the last row that was staged.
    """
    found: list[Lines] = []
    dashes = [row for row in malformed if row.line <= head + 3 and _is_ruler(row.text)]
    if dashes:
        found.append([config_line("skiprows", f"[{', '.join(_skipped(head, dashes))}]")])
    footer = [row for row in malformed if row.line in last_lines and is_footer(row.text, dialect)]
    if footer and len(last_lines) <= _FOOTER_LINES:
        found.append([config_line("skipfooter", str(len(last_lines)))])
    others = {*dashes, *footer}
    rest = [row.text for row in malformed if row not in others][:_MOST_TEXTS]
    for option, character in (("escapechar", "\\"), ("quotechar", "'")):
        using = [text for text in rest if character in text]
        changed = replace(dialect, **{option: character})
        if _reads(using, changed, width) * 2 > max(len(rest), 2 * _reads(using, dialect, width)):
            found.append([config_line(option, character)])
    return found


def _skipped(head: int, dashes: Sequence[Rejected]) -> list[str]:
    preamble = range(head - 1)
    return [str(line) for line in (*preamble, *(row.line - 1 for row in dashes))]


def _is_ruler(text: str) -> bool:
    return "--" in text.replace("=", "-").replace("_", "-") and not text.strip(" ,;|\t+=_-")


def is_footer(text: str, dialect: Dialect) -> bool:
    """Whether a rejected row at the end of a file looks as if it were none."""
    if dialect.delimiter not in text:
        return True
    return len(text) < _LONGEST_FOOTER and re.search(r"\brows?\b.*\)?$", text, re.I) is not None


def _reads(texts: Iterable[str], dialect: Dialect, width: int) -> int:
    """How many rows have the right number of fields in a dialect."""
    return sum(_fields([text], dialect) == width for text in texts)


def _fields(lines: Sequence[str], dialect: Dialect) -> int:
    try:
        return len(next(csv_reader(lines, dialect), []))
    except csv.Error:
        return 0


def propose_for_header(
    lines: Sequence[str], dialect: Dialect, fits: Callable[[Sequence[str]], bool]
) -> Lines:
    """What would find the required columns in the first lines of a file.

    Args:
        lines: The first lines.
        dialect: How the file is read now.
        fits: Whether a header has the required columns.
    """
    for number, delimiter in itertools.product(
        range(min(len(lines), _PREAMBLE_LINES)), _DELIMITERS
    ):
        tried = replace(dialect, delimiter=delimiter)
        try:
            header = next(csv_reader(lines[number:], tried), [])
        except csv.Error:
            continue
        if fits(header):
            found = (
                [config_line("skiprows", str(number))] if "".join(lines[:number]).strip() else []
            )
            # The usual ones are recognised.
            if delimiter not in ",;\t|" or not found and delimiter != dialect.delimiter:
                found.append(config_line("delimiter", delimiter))
            return found
    return []


def propose_encoding(raw: bytes) -> str | None:
    """The encoding that some bytes which are no UTF-8 are most likely in; None if none fits."""
    sample = raw[: 64 * 1024]
    if sample.isascii() and b"\0" not in sample:
        return "utf-8"
    for encoding, zeros in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[::2])):
        if zeros.count(0) * 2 > len(zeros):
            return encoding
    lines = b"\n".join(line for line in sample.splitlines() if not line.isascii())
    if not lines:
        return None
    if _is_western(lines):
        return "cp1252"
    from charset_normalizer import from_bytes

    best = from_bytes(lines, cp_isolation=list(_ENCODINGS), threshold=0.6).best()
    if best is None or lines.decode("cp1252", "replace") == lines.decode(best.encoding, "replace"):
        return None if best is None else "cp1252"  # The usual one of those that read the same.
    return str(best.encoding)


def _is_western(raw: bytes) -> bool:
    """Whether bytes are text of Western Europe: a few accented letters and signs among others."""
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        return False
    few = [
        sign
        for word in re.findall(r"\S*[^\x00-\x7f]\S*", text)
        if len(signs := re.findall(r"[^\x00-\x7f]", word)) == 1 or 2 * len(signs) <= len(word)
        for sign in signs
    ]
    odd = re.findall(r"[a-ln-zA-Z][\xa1-\xb0\xb2-\xbf]|[\xa1-\xaf\xb2-\xbf][a-zA-Z]", text)
    # As Western European, Czech has the letters of Danish and of Italian.
    if "\u00f8" in text and re.search("[\u00e8\u00ec\u00f9\u00ed]", text):
        return False
    return 2 * len(few) > len(re.findall(r"[^\x00-\x7f]", text)) and not odd
