"""From CSV text to numbers and states. Pure functions, whole columns at a time.

Each takes an array of text without nulls; a missing text (blank, or one of the source's
`na_values`) is neither a value nor invalid.
"""

from __future__ import annotations

import contextlib
import functools
import math
import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

import pyarrow as pa
import pyarrow.compute as pc

from config.declarations import Source, Type
from tasks.parsing.columns import DEFAULTS, Parsed, holds_digits, parse_column, trim_each

INSTANT = pa.timestamp("us", tz="UTC")

ARROW_TYPES: dict[Type, pa.DataType] = {
    Type.INTEGER: pa.int64(),
    Type.NUMBER: pa.float64(),
    Type.SWITCH: pa.float64(),
    Type.TEXT: pa.string(),
    Type.TIMESTAMP: INSTANT,
}

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


def parse_integers(text: pa.StringArray, how: Source = DEFAULTS) -> Parsed:
    """Whole numbers of 64 bits, also written as decimals.

    >>> parse_integers(pa.array(["7", " 007", "2.0", "", "7.5", "x"])).values.to_pylist()
    [7, 7, 2, None, None, None]
    """
    is_usual = not holds_digits(how.na_values)

    def at_once(some: pa.StringArray) -> Parsed:
        if pc.ascii_is_decimal(some).false_count:
            raise pa.ArrowInvalid
        return Parsed(some.cast(pa.int64()), pa.repeat(False, len(some)))

    def each(items: list[str]) -> Parsed:
        trimmed = trim_each(items, how)
        values = [None if item is None else _integer(item, how) for item in trimmed]
        pairs = zip(trimmed, values, strict=True)
        invalid = [item is not None and value is None for item, value in pairs]
        return Parsed(pa.array(values, pa.int64()), pa.array(invalid, pa.bool_()))

    return parse_column(text, at_once if is_usual else None, each)


def _integer(text: str, how: Source) -> int | None:
    """The integer that a decimal number is exactly; None if there is none of 64 bits."""
    with contextlib.suppress(InvalidOperation, TypeError):
        number = Decimal(_decimal(text, how))  # type: ignore[arg-type]
        if not number:
            return 0
        if number.adjusted() <= 18 and number == number.to_integral_value():
            whole = int(number)
            return whole if -(2**63) <= whole < 2**63 else None
    return None


def _decimal(text: str, how: Source) -> str | None:
    """A number as Python writes it; None if a text is no number in the source's notation."""
    text = re.sub(_MINUS_SIGNS, "-", text)
    thousands = how.thousands or ""
    if thousands.isspace():
        text, thousands = re.sub(r"\s", " ", text), " "
    if not _notation(how.decimal, thousands).fullmatch(text):
        return None
    return text.replace(thousands, "").replace(how.decimal, ".")


@functools.lru_cache
def _notation(decimal: str, thousands: str) -> re.Pattern[str]:
    mark = re.escape(decimal)
    whole = rf"[0-9]{{1,3}}({re.escape(thousands)}[0-9]{{3}})+|[0-9]+" if thousands else "[0-9]+"
    return re.compile(rf"[+-]?(({whole})({mark}[0-9]*)?|{mark}[0-9]+)([eE][+-]?[0-9]+)?")


def parse_numbers(text: pa.StringArray, how: Source = DEFAULTS) -> Parsed:
    """Decimal numbers. A text without digits is a sentinel, any other that is no number invalid.

    >>> values, invalid, sentinels, *_ = parse_numbers(pa.array(["-1.5e3", "POINT FAIL", "4,5"]))
    >>> values.to_pylist(), sentinels.to_pylist(), invalid.to_pylist()
    ([-1500.0, None, None], [None, 'POINT FAIL', None], [False, False, True])
    """
    return _parse_values(text, how, _states(how))


def parse_switches(text: pa.StringArray, how: Source = DEFAULTS) -> Parsed:
    """States as 1 and 0, from numbers or words; other words are sentinels.

    >>> parse_switches(pa.array(["1", "OFF", "active", "NO DATA"])).values.to_pylist()
    [1.0, 0.0, 1.0, None]
    """
    usual = dict.fromkeys(_TRUE, 1.0) | dict.fromkeys(_FALSE, 0.0)
    return _parse_values(text, how, usual | _states(how))


def _states(how: Source) -> dict[str, float]:
    """The configured words for states, in small letters."""
    false = dict.fromkeys(_folded(how.false_values), 0.0)
    return false | dict.fromkeys(_folded(how.true_values), 1.0)


def _parse_values(text: pa.StringArray, how: Source, states: dict[str, float]) -> Parsed:
    is_usual = not holds_digits((*how.na_values, *how.sentinels, *states))
    sentinels = set(_folded(how.sentinels))

    def at_once(some: pa.StringArray) -> Parsed:
        if how.decimal != "." and not pc.any(pc.match_substring(some, ".")).as_py():
            some = pc.replace_substring(some, how.decimal, ".")
        elif how.decimal != ".":
            raise pa.ArrowInvalid
        values = some.cast(pa.float64())
        # Arrow also reads words such as nan, which are no numbers here.
        if not pc.all(pc.is_finite(values)).as_py():
            raise pa.ArrowInvalid
        none = pa.nulls(len(some), pa.string())
        return Parsed(values, pa.repeat(False, len(some)), none, none)

    def read(item: str | None) -> tuple[float | None, bool, str | None, str | None]:
        """The value, whether the text is invalid, the sentinel, the word for a state."""
        if item is None:
            return None, False, None, None
        folded = item.lower()
        if folded in sentinels:
            return None, False, item, None
        if folded in states:
            return states[folded], False, None, item
        number = float(_decimal(item, how) or "nan")
        if math.isfinite(number):
            return number, False, None, None
        has_digit = any(unicodedata.category(character)[0] == "N" for character in item)
        return None, has_digit, None if has_digit else item, None

    def each(items: list[str]) -> Parsed:
        found = [read(item) for item in trim_each(items, how)]
        types = (pa.float64(), pa.bool_(), pa.string(), pa.string())
        return Parsed(*(pa.array([one[at] for one in found], t) for at, t in enumerate(types)))

    return parse_column(text, at_once if is_usual else None, each)


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


def _folded(words: Iterable[str]) -> list[str]:
    return [word.strip().lower() for word in words]
