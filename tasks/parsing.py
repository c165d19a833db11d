"""From CSV text to typed columns. Pure functions, whole columns at a time.

Each takes an array of text without nulls and returns the values and which texts it could not
read; a blank text is an absent value, not an unreadable one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from config.declarations import Type
from tasks.lean import give_memory_back, keep_pandas_out

give_memory_back()
keep_pandas_out()

INSTANT = pa.timestamp("us", tz="UTC")

ARROW_TYPES: dict[Type, pa.DataType] = {
    Type.INTEGER: pa.int64(),
    Type.NUMBER: pa.float64(),
    Type.SWITCH: pa.float64(),
    Type.TEXT: pa.string(),
    Type.TIMESTAMP: INSTANT,
}

_INTEGER = r"^[+-]?[0-9]+$"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_NUMBER_LIKE = r"^[+-]?[.,]?[0-9]"
_ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}(:?[0-9]{2}(:?[0-9]{2}([.,][0-9]+)?)?)?)?$"
)
_ZONE = r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"
_EPOCH_SECONDS = r"^[0-9]{9,11}(\.[0-9]+)?$"
_EPOCH_MILLISECONDS = r"^[0-9]{12,14}$"
_ON = ("1", "true", "t", "yes", "y", "on")
_OFF = ("0", "false", "f", "no", "n", "off")
_YEAR_1 = -62_135_596_800_000_000
_YEAR_10000 = 253_402_300_800_000_000
"""Microseconds since 1970 at which the calendar of dates begins and ends."""

_FEW = 1024
_FIRST_FEW = 50

_ARROW_KNOWS_CLOCKS_UNTIL = datetime(2037, 1, 1)


class Parsed(NamedTuple):
    """The values of a column (null where absent or unreadable) and which were unreadable."""

    values: pa.Array
    unreadable: pa.BooleanArray


class ParsedValues(NamedTuple):
    """As Parsed, and the words that stood where a value should be (null elsewhere)."""

    values: pa.Array
    unreadable: pa.BooleanArray
    words: pa.StringArray


def parse_integers(text: pa.StringArray) -> Parsed:
    """Whole numbers of 64 bits; blanks around them do not matter.

    >>> parse_integers(pa.array(["7", " 007", "", "7.5", "x"])).values.to_pylist()
    [7, 7, None, None, None]
    """
    digits = pc.ascii_is_decimal(text)
    with contextlib.suppress(pa.ArrowInvalid):  # One of them has more than 64 bits.
        if digits.false_count == 0:
            return Parsed(text.cast(pa.int64()), pa.repeat(False, len(text)))
        if digits.true_count:
            plain = text.filter(digits).cast(pa.int64())
            others = _parse_integers(text.filter(pc.invert(digits)))
            return Parsed(
                _interleave(digits, plain, others.values),
                _interleave(digits, pa.repeat(False, len(plain)), others.unreadable),
            )
    return _parse_integers(text)


def _parse_integers(text: pa.StringArray) -> Parsed:
    trimmed, blank = _trimmed(text)
    digits = pc.match_substring_regex(trimmed, _INTEGER)
    unsigned = pc.replace_substring_regex(_where(trimmed, digits), r"^\+", "")
    try:
        values = unsigned.cast(pa.int64())
    except pa.ArrowInvalid:  # One of them has more than 64 bits.
        values = pa.array([_int64(item) for item in unsigned.to_pylist()], pa.int64())
    return Parsed(values, _neither(blank, values))


def parse_numbers(text: pa.StringArray) -> ParsedValues:
    """Decimal numbers; a word is kept apart, and a number in another notation is unreadable.

    >>> values, unreadable, words = parse_numbers(pa.array(["-1.5e3", "POINT FAIL", "21,5", ""]))
    >>> values.to_pylist(), words.to_pylist()
    ([-1500.0, None, None, None], [None, 'POINT FAIL', None, None])
    >>> unreadable.to_pylist()
    [False, False, True, False]
    """
    return _parse_distinct(text, _parse_numbers)


def _parse_numbers(text: pa.StringArray) -> ParsedValues:
    # Arrow alone also reads words such as nan, which are no numbers here.
    with contextlib.suppress(pa.ArrowInvalid):
        values = text.cast(pa.float64())
        if pc.all(pc.is_finite(values)).as_py():
            none = pa.repeat(False, len(text))
            return ParsedValues(values, none, pa.nulls(len(text), pa.string()))
    # Texts that begin with a letter, a blank or a quote go a longer way, and go it alone.
    others = pc.or_(pc.less(text, "+"), pc.greater_equal(text, ":"))
    if 0 < others.true_count < len(text):
        numbers = _parse_numbers(text.filter(pc.invert(others)))
        words = _read_numbers_and_words(text.filter(others))
        return ParsedValues(
            *(_interleave(others, *pair) for pair in zip(words, numbers, strict=True))
        )
    return _read_numbers_and_words(text)


def _interleave(mask: pa.BooleanArray, chosen: pa.Array, others: pa.Array) -> pa.Array:
    """A column of both: in their order, `chosen` where the mask is true, `others` elsewhere."""
    column = pc.replace_with_mask(pa.nulls(len(mask), chosen.type), mask, chosen)
    return pc.replace_with_mask(column, pc.invert(mask), others)


def _read_numbers_and_words(text: pa.StringArray) -> ParsedValues:
    trimmed, blank = _trimmed(text)
    plain = pc.match_substring_regex(trimmed, _NUMBER)
    values = pc.replace_substring_regex(_where(trimmed, plain), r"^\+", "").cast(pa.float64())
    finite = pc.fill_null(pc.is_finite(values), False)
    values = _where(values, finite)
    other_notation = pc.and_not(pc.match_substring_regex(trimmed, _NUMBER_LIKE), finite)
    is_word = pc.invert(pc.or_(blank, pc.or_(finite, other_notation)))
    return ParsedValues(values, other_notation, _where(trimmed, is_word))


def parse_switches(text: pa.StringArray) -> ParsedValues:
    """States as 1 and 0, from numbers or words such as on and off; other words are kept apart.

    >>> parse_switches(pa.array(["1", "OFF", "Yes", "NO DATA"])).values.to_pylist()
    [1.0, 0.0, 1.0, None]
    """
    return _parse_distinct(text, _parse_switches)


def _parse_switches(text: pa.StringArray) -> ParsedValues:
    lowered = pc.utf8_lower(pc.utf8_trim_whitespace(text))
    on = pc.is_in(lowered, pa.array(_ON))
    off = pc.is_in(lowered, pa.array(_OFF))
    return _parse_numbers(pc.if_else(on, "1", pc.if_else(off, "0", text)))


def parse_timestamps(
    text: pa.StringArray, time_format: str | None = None, source_timezone: str = "UTC"
) -> Parsed:
    """Instants, UTC.

    Without a format: ISO 8601 (blank or T, fractions, zones) and seconds or milliseconds since
    1970. Fractions are cut to microseconds. A time without a zone is taken to be in
    `source_timezone`: of the two instants that an hour has when clocks go back, the first; a
    time that clocks skip when they go forward is unreadable.

    >>> parsed = parse_timestamps(pa.array(["2024-06-01 12:00", "1717243200", "01.06.2024"]))
    >>> [str(value) for value in parsed.values.to_pylist()]
    ['2024-06-01 12:00:00+00:00', '2024-06-01 12:00:00+00:00', 'None']
    >>> parsed.unreadable.to_pylist()
    [False, False, True]
    """
    return _parse_distinct(
        text, lambda distinct: _parse_timestamps(distinct, time_format, source_timezone)
    )


def _parse_timestamps(
    text: pa.StringArray, time_format: str | None, source_timezone: str
) -> Parsed:
    if time_format is None and (common := _read_at_once(text, source_timezone)) is not None:
        return common
    if len(text) > _FEW:
        # Only the parts that hold something uncommon go the longer way.
        half = len(text) // 2
        halves = [
            _parse_timestamps(part, time_format, source_timezone)
            for part in (text[:half], text[half:])
        ]
        return Parsed(*(pa.concat_arrays(columns) for columns in zip(*halves, strict=True)))
    trimmed, blank = _trimmed(text)
    if time_format is not None:
        # Parsed by value in Python: Arrow's strptime ignores zones on some systems.
        values = _in_calendar(_strptime(trimmed, time_format, source_timezone))
        return Parsed(values, _neither(blank, values))

    local, zoned = _read_iso(trimmed)
    epoch = _read_epoch(trimmed)
    values = _in_calendar(pc.coalesce(_from_zone(local, source_timezone), zoned, epoch))
    return Parsed(values, _neither(blank, values))


_ParsedColumn = TypeVar("_ParsedColumn", Parsed, ParsedValues)


def _parse_distinct(
    text: pa.StringArray, parse: Callable[[pa.StringArray], _ParsedColumn]
) -> _ParsedColumn:
    """Parse each different text once: times and values repeat themselves."""
    encoded = text.dictionary_encode()
    if len(encoded.dictionary) * 2 > len(text):
        return parse(text)
    parsed = parse(encoded.dictionary)
    return type(parsed)(*(column.take(encoded.indices) for column in parsed))


def observe_type(text: pa.StringArray) -> str:
    """What a column of text looks like: the narrowest type that reads all of it.

    >>> observe_type(pa.array(["1", "", "2"])), observe_type(pa.array(["1", "2.5"]))
    ('integer', 'number')
    >>> observe_type(pa.array(["", ""])), observe_type(pa.array(["2024-06-01T00:00Z", ""]))
    ('empty', 'timestamp')
    """
    trimmed, blank = _trimmed(pc.unique(text))
    some = pc.filter(trimmed, pc.invert(blank))
    if len(some) == 0:
        return "empty"
    readers: dict[Type, Callable[[pa.StringArray], bool]] = {
        Type.INTEGER: lambda texts: not _null(parse_integers(texts)),
        Type.NUMBER: lambda texts: not _null(parse_numbers(texts)),
        Type.SWITCH: lambda texts: bool(
            pc.all(pc.is_in(pc.utf8_lower(texts), pa.array(_ON + _OFF))).as_py()
        ),
        Type.TIMESTAMP: lambda texts: not _null(parse_timestamps(texts)),
    }
    for kind, reads in readers.items():
        # What does not read the first few does not read all.
        if reads(some[:_FIRST_FEW]) and reads(some):
            return kind.value
    return Type.TEXT.value


def widest_type(observed: Iterable[str]) -> str:
    """The type that reads several columns of text, by what each looks like.

    >>> widest_type(["integer", "empty"]), widest_type(["integer", "number"])
    ('integer', 'number')
    >>> widest_type(["timestamp", "number"])
    'text'
    """
    kinds = set(observed) - {"empty"}
    if len(kinds) < 2:
        return next(iter(kinds), "empty")
    if kinds == {Type.INTEGER.value, Type.NUMBER.value}:
        return Type.NUMBER.value
    return Type.TEXT.value


def _read_at_once(text: pa.StringArray, source_timezone: str) -> Parsed | None:
    """The column if all of it is plain ISO 8601, all with zones or all without: the usual case."""
    try:
        values = _in_calendar(_from_zone(text.cast(pa.timestamp("us")), source_timezone))
    except pa.ArrowInvalid:
        try:
            values = _in_calendar(text.cast(INSTANT))
        except pa.ArrowInvalid:
            return None
    return Parsed(values, pc.is_null(values))


def _read_iso(trimmed: pa.StringArray) -> tuple[pa.Array, pa.Array]:
    """ISO 8601 texts: those without a zone as local times, those with one as instants."""
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
        _cast_each(_where(text, local), pa.timestamp("us")),
        _cast_each(_where(text, zoned), INSTANT),
    )


def _read_epoch(trimmed: pa.StringArray) -> pa.Array:
    seconds = pc.match_substring_regex(trimmed, _EPOCH_SECONDS)
    milliseconds = pc.match_substring_regex(trimmed, _EPOCH_MILLISECONDS)
    if not pc.any(pc.or_(seconds, milliseconds)).as_py():
        return pa.nulls(len(trimmed), INSTANT)
    as_decimal = pc.replace_substring_regex(_where(trimmed, seconds), r"(\.[0-9]{6})[0-9]+", r"\1")
    as_microseconds = pc.multiply(as_decimal.cast(pa.decimal128(18, 6)), pa.scalar(1_000_000))
    return pc.coalesce(
        as_microseconds.cast(pa.int64()),
        pc.multiply(_where(trimmed, milliseconds).cast(pa.int64()), 1000),
    ).cast(INSTANT)


def _cast_each(text: pa.StringArray, to: pa.DataType) -> pa.Array:
    """Cast; null for a text such as 2024-02-30, which spoils a whole column for Arrow."""
    try:
        return text.cast(to)
    except pa.ArrowInvalid:
        if len(text) == 1:
            return pa.nulls(1, to)
        half = len(text) // 2
        return pa.concat_arrays([_cast_each(text[:half], to), _cast_each(text[half:], to)])


def _from_zone(local: pa.Array, zone: str) -> pa.Array:
    """Local times as instants; null where the zone's clocks skip them."""
    if zone == "UTC":
        return local.cast(INSTANT)
    late = pc.greater_equal(local, pa.scalar(_ARROW_KNOWS_CLOCKS_UNTIL, local.type))
    if pc.any(late).as_py():
        by_hand = [_from_zone_of_python(item, zone) for item in _where(local, late).to_pylist()]
        early = _where(local, pc.invert(late))
        return pc.coalesce(_from_zone(early, zone), pa.array(by_hand, INSTANT))
    instants = pc.assume_timezone(local, zone, ambiguous="earliest", nonexistent="earliest")
    exist = pc.equal(pc.local_timestamp(instants), local)
    return _where(instants.cast(INSTANT), pc.fill_null(exist, False))


def _from_zone_of_python(local: datetime | None, zone: str) -> datetime | None:
    if local is None:
        return None
    try:
        instant = local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    except OverflowError:
        return None
    exists = instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local
    return instant if exists else None


def _in_calendar(instants: pa.Array) -> pa.Array:
    """Only instants of the years 1 to 9999: others cannot be written as dates downstream."""
    microseconds = instants.cast(pa.int64())
    inside = pc.and_(pc.greater_equal(microseconds, _YEAR_1), pc.less(microseconds, _YEAR_10000))
    return _where(instants, pc.fill_null(inside, False))


def _strptime(trimmed: pa.StringArray, time_format: str, zone: str) -> pa.Array:
    local: list[datetime | None] = []
    zoned: list[datetime | None] = []
    for item in trimmed.to_pylist():
        moment, instant = None, None
        with contextlib.suppress(ValueError, OverflowError):
            read = datetime.strptime(item, time_format)
            if read.tzinfo is None:
                moment = read
            else:
                instant = read.astimezone(UTC)
        local.append(moment)
        zoned.append(instant)
    return pc.coalesce(
        _from_zone(pa.array(local, pa.timestamp("us")), zone), pa.array(zoned, INSTANT)
    )


def _null(parsed: Parsed | ParsedValues) -> int:
    return int(parsed.values.null_count)


def _int64(item: str | None) -> int | None:
    digits = (item or "").lstrip("+-0")  # Python reads no thousands of digits, zeros too.
    if item is None or len(digits) > 19:
        return None
    number = int(digits or "0") * (-1 if item.startswith("-") else 1)
    return number if -(2**63) <= number < 2**63 else None


def _trimmed(text: pa.StringArray) -> tuple[pa.StringArray, pa.BooleanArray]:
    trimmed = pc.utf8_trim_whitespace(text)
    return trimmed, pc.equal(trimmed, "")


def _where(values: pa.Array, mask: pa.BooleanArray) -> pa.Array:
    return pc.if_else(mask, values, pa.scalar(None, values.type))


def _neither(blank: pa.BooleanArray, values: pa.Array) -> pa.BooleanArray:
    return pc.and_not(pc.is_null(values), blank)
