"""From CSV text to numbers and states. Pure functions, whole columns at a time.

Each takes an array of text without nulls and returns the values and which texts are invalid;
a missing text (blank, or one of the source's `na_values`) is neither.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from config.declarations import Source, Type

INSTANT = pa.timestamp("us", tz="UTC")

ARROW_TYPES: dict[Type, pa.DataType] = {
    Type.INTEGER: pa.int64(),
    Type.NUMBER: pa.float64(),
    Type.SWITCH: pa.float64(),
    Type.TEXT: pa.string(),
    Type.TIMESTAMP: INSTANT,
}

DEFAULTS = Source("", "", ())
"""How a source is read for which nothing is set."""

_MINUS_SIGNS = "[\u02d7\u2010\u2011\u2012\u2013\u2212\u2796\ufe63\uff0d]"
_TRUE = ("true", "t", "yes", "y", "on", "active", "open", "running", "enabled", "alarm")
_FALSE = ("false", "f", "no", "n", "off", "inactive", "closed", "stopped", "disabled", "normal")

KNOWN_SENTINELS = frozenset(
    "ALARM|BAD|BAD VALUE|COMM ERROR|COMM FAIL|COMM FAILURE|COMM LOSS|DISABLED|DISCONNECTED|DOWN|"
    "ERR|ERROR|FAIL|FAILED|FAILURE|FAULT|INVALID|LOST|MISSING|NA|N/A|#N/A|NAN|NIL|NO COMM|NO DATA|"
    "NO VALUE|NODATA|NONE|NOT AVAILABLE|NULL|OFFLINE|OPEN CIRCUIT|OUT OF RANGE|OUT OF SERVICE|"
    "OVERRANGE|POINT FAIL|POINT FAILURE|SENSOR ERROR|SENSOR FAIL|SENSOR FAILURE|SENSOR FAULT|"
    "SHORT CIRCUIT|STALE|TIMEOUT|UNAVAILABLE|UNDERRANGE|UNKNOWN|UNRELIABLE|-|--|---|?".split("|")
)
"""What controllers write where they have no value; `sentinels` of a source adds to these."""


class Parsed(NamedTuple):
    """The values of a column (null where missing or invalid) and which texts were invalid."""

    values: pa.Array
    invalid: pa.BooleanArray


class ParsedValues(NamedTuple):
    """As Parsed, and the sentinel that was in place of a value, the word that was read as a state.

    Both are null elsewhere.
    """

    values: pa.Array
    invalid: pa.BooleanArray
    sentinels: pa.StringArray
    states: pa.StringArray


_Column = TypeVar("_Column", bound=tuple[pa.Array, ...])


def trim(text: pa.StringArray, how: Source = DEFAULTS) -> tuple[pa.StringArray, pa.BooleanArray]:
    """Texts without blanks around them, without a spreadsheet's `="..."`; which are missing.

    >>> trimmed, missing = trim(pa.array([' ="7" ', "NULL", ""]))
    >>> trimmed.to_pylist(), missing.to_pylist()
    (['7', 'NULL', ''], [False, True, True])
    """
    trimmed = pc.utf8_trim_whitespace(text)
    if pc.any(pc.starts_with(trimmed, '="')).as_py():
        unwrapped = pc.replace_substring_regex(trimmed, r'(?s)^="(.*)"$', r"\1")
        trimmed = pc.utf8_trim_whitespace(unwrapped)
    return trimmed, pc.is_in(trimmed, pa.array(["", *how.na_values], pa.string()))


def parse_integers(text: pa.StringArray, how: Source = DEFAULTS) -> Parsed:
    """Whole numbers of 64 bits, also written as decimals.

    >>> parse_integers(pa.array(["7", " 007", "2.0", "", "7.5", "x"])).values.to_pylist()
    [7, 7, 2, None, None, None]
    """
    digits = pc.ascii_is_decimal(text)
    special = holds_digits(how.na_values)
    with contextlib.suppress(pa.ArrowInvalid):  # One of them has more than 64 bits.
        if digits.false_count == 0 and not special:
            return Parsed(text.cast(pa.int64()), pa.repeat(False, len(text)))
        if digits.true_count and not special:
            plain = text.filter(digits).cast(pa.int64())
            others = _parse_integers(text.filter(pc.invert(digits)), how)
            valid = pa.repeat(False, len(plain))
            return Parsed(
                _interleave(digits, plain, others.values),
                _interleave(digits, valid, others.invalid),
            )
    return _parse_integers(text, how)


def _parse_integers(text: pa.StringArray, how: Source) -> Parsed:
    trimmed, missing = trim(text, how)
    decimals = _decimals(where(trimmed, pc.invert(missing)), how)
    whole = pc.replace_substring_regex(decimals, r"([0-9])\.0*$", r"\1")
    try:
        values = whole.cast(pa.int64())
    except pa.ArrowInvalid:  # One of them has a fraction, an exponent or more than 64 bits.
        values = pa.array([_int64(item) for item in whole.to_pylist()], pa.int64())
    return Parsed(values, pc.and_not(pc.is_null(values), missing))


def _int64(item: str | None) -> int | None:
    """The integer that a decimal number is exactly; None if there is none of 64 bits."""
    with contextlib.suppress(InvalidOperation, TypeError):
        number = Decimal(item)  # type: ignore[arg-type]
        if not number:
            return 0
        if number.adjusted() <= 18 and number == number.to_integral_value():
            whole = int(number)
            return whole if -(2**63) <= whole < 2**63 else None
    return None


def _decimals(trimmed: pa.StringArray, how: Source) -> pa.StringArray:
    """Numbers as Arrow and Python write them; null where a text is no number in this notation."""
    text = pc.replace_substring_regex(trimmed, _MINUS_SIGNS, "-")
    thousands = how.thousands or ""
    if thousands.isspace():
        text, thousands = pc.replace_substring_regex(text, r"[\s\pZ]", " "), " "
    mark = re.escape(how.decimal)
    whole = rf"[0-9]{{1,3}}({re.escape(thousands)}[0-9]{{3}})+|[0-9]+" if thousands else "[0-9]+"
    number = rf"^[+-]?(({whole})({mark}[0-9]*)?|{mark}[0-9]+)([eE][+-]?[0-9]+)?$"
    text = where(text, pc.match_substring_regex(text, number))
    if thousands:
        text = pc.replace_substring(text, thousands, "")
    text = pc.replace_substring(text, how.decimal, ".")
    return pc.replace_substring_regex(text, r"^\+", "")


def parse_numbers(text: pa.StringArray, how: Source = DEFAULTS) -> ParsedValues:
    """Decimal numbers. A text without digits is a sentinel, any other that is no number invalid.

    >>> values, invalid, sentinels, _ = parse_numbers(pa.array(["-1.5e3", "POINT FAIL", "4,5"]))
    >>> values.to_pylist(), sentinels.to_pylist(), invalid.to_pylist()
    ([-1500.0, None, None], [None, 'POINT FAIL', None], [False, False, True])
    """
    words = (_folded(how.true_values), _folded(how.false_values))
    return parse_distinct(text, lambda distinct: _parse_values(distinct, how, words))


def parse_switches(text: pa.StringArray, how: Source = DEFAULTS) -> ParsedValues:
    """States as 1 and 0, from numbers or words; other words are sentinels.

    >>> parse_switches(pa.array(["1", "OFF", "active", "NO DATA"])).values.to_pylist()
    [1.0, 0.0, 1.0, None]
    """
    true, false = _folded(how.true_values), _folded(how.false_values)
    words = ([*true, *set(_TRUE).difference(false)], [*false, *set(_FALSE).difference(true)])
    return parse_distinct(text, lambda distinct: _parse_values(distinct, how, words))


_Words = tuple[Sequence[str], Sequence[str]]
"""The words for the states 1 and 0, in small letters."""


def _parse_values(text: pa.StringArray, how: Source, words: _Words) -> ParsedValues:
    if how.decimal == "." and not holds_digits(
        (*how.na_values, *how.sentinels, *words[0], *words[1])
    ):
        # Arrow alone also reads words such as nan, which are no numbers here.
        with contextlib.suppress(pa.ArrowInvalid):
            values = text.cast(pa.float64())
            if pc.all(pc.is_finite(values)).as_py():
                none = pa.nulls(len(text), pa.string())
                return ParsedValues(values, pa.repeat(False, len(text)), none, none)
        # Texts that begin with a letter, a blank or a quote take longer, and are read apart.
        others = pc.or_(pc.less(text, "+"), pc.greater_equal(text, ":"))
        if 0 < others.true_count < len(text):
            numbers = _parse_values(text.filter(pc.invert(others)), how, words)
            rest = _parse_any_values(text.filter(others), how, words)
            return ParsedValues(
                *(_interleave(others, *pair) for pair in zip(rest, numbers, strict=True))
            )
    return _parse_any_values(text, how, words)


def _parse_any_values(text: pa.StringArray, how: Source, words: _Words) -> ParsedValues:
    trimmed, missing = trim(text, how)
    folded = pc.utf8_lower(trimmed)
    sentinel = _among(folded, _folded(how.sentinels))
    true, false = (_among(folded, of_state) for of_state in words)
    as_number = pc.if_else(true, "1", pc.if_else(false, "0", _decimals(trimmed, how)))
    values = where(as_number, pc.invert(pc.or_(missing, sentinel))).cast(pa.float64())
    values = where(values, pc.fill_null(pc.is_finite(values), False))
    unread = pc.and_not(pc.is_null(values), missing)
    invalid = pc.and_not(pc.and_(unread, pc.match_substring_regex(trimmed, r"\p{N}")), sentinel)
    state = pc.and_(pc.or_(true, false), pc.is_valid(values))
    return ParsedValues(
        values, invalid, where(trimmed, pc.and_not(unread, invalid)), where(trimmed, state)
    )


def is_known_sentinel(word: str, how: Source) -> bool:
    """Whether a controller is known to write this in place of a value.

    >>> is_known_sentinel("no_data", DEFAULTS), is_known_sentinel("EIN", DEFAULTS)
    (True, False)
    """
    plain = " ".join(word.upper().replace("_", " ").split())
    return plain in KNOWN_SENTINELS or word.strip().lower() in _folded(how.sentinels)


_HINTS = (
    (r"^\(.*\)$", "parentheses"),
    (r"^[<>~\u2264\u2265]", "a comparison sign"),
    (r"[$\u20ac\u00a3\u00a5%]", "a currency or percent sign"),
    (r"^[+-]\s", "a blank after the sign"),
    (r"\d[\s\u00a0\u202f]\d", "a blank between digits"),
    (r"^[+-]?[\d.']*,\d", "a comma"),
    (r"\d['.]\d{3}(\D|$)", "a mark of thousands"),
    (r"[^\W\d_]", "letters"),
)


def why_not_a_number(text: str) -> str:
    """What keeps a text from being a number, in a few words; empty if nothing is known.

    >>> why_not_a_number("(5.0)"), why_not_a_number("4,5"), why_not_a_number("1..2")
    ('parentheses', 'a comma', '')
    """
    plain = re.sub(_MINUS_SIGNS, "-", text.strip())
    return next((what for pattern, what in _HINTS if re.search(pattern, plain)), "")


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


def parse_distinct(text: pa.StringArray, parse: Callable[[pa.StringArray], _Column]) -> _Column:
    """Parse each different text once: times and values repeat themselves."""
    encoded = text.dictionary_encode()
    if len(encoded.dictionary) * 2 > len(text):
        return parse(text)
    parsed = parse(encoded.dictionary)
    return type(parsed)(*(_take(column, encoded.indices) for column in parsed))


def _take(column: pa.Array, indices: pa.Array) -> pa.Array:
    if column.null_count == len(column):
        return pa.nulls(len(indices), column.type)
    if column.type == pa.bool_() and not column.true_count:
        return pa.repeat(False, len(indices))
    return column.take(indices)


def where(values: pa.Array, mask: pa.BooleanArray) -> pa.Array:
    """The values where the mask is true, null elsewhere."""
    return pc.if_else(mask, values, pa.scalar(None, values.type))


def _interleave(mask: pa.BooleanArray, chosen: pa.Array, others: pa.Array) -> pa.Array:
    """A column of both: in their order, `chosen` where the mask is true, `others` elsewhere."""
    column = pc.replace_with_mask(pa.nulls(len(mask), chosen.type), mask, chosen)
    return pc.replace_with_mask(column, pc.invert(mask), others)


def _among(text: pa.StringArray, items: Sequence[str]) -> pa.BooleanArray:
    return pc.is_in(text, pa.array(items, pa.string()))


def _folded(words: Sequence[str]) -> list[str]:
    return [word.strip().lower() for word in words]


def holds_digits(words: Iterable[str]) -> bool:
    """Whether any of the words might be read as a number or a time."""
    return any(character.isdigit() for word in words for character in word)
