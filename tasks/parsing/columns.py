"""A column of text, parsed: by Arrow at once where it is written as usual, else text by text."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from config.declarations import Source

DEFAULTS = Source("", "", ())
"""How a source is read for which nothing is set."""

_FEW = 32


class Parsed(NamedTuple):
    """The values of a column of text, and what else is known of each text; None: nothing.

    Attributes:
        values: Null where missing or invalid. Of the two instants of an hour that a zone's clocks
            repeat, the earlier one.
        invalid: Which texts cannot be read.
        sentinels: Of values, the word in place of one; else null.
        states: Of values, the word that was read as a state; else null.
        skipped: Of times, which are invalid since the zone's clocks skip them.
        later: Of times, the later of two instants; null for all that are one.
    """

    values: pa.Array
    invalid: pa.BooleanArray
    sentinels: pa.StringArray = None
    states: pa.StringArray = None
    skipped: pa.BooleanArray = None
    later: pa.Array = None


def parse_column(
    text: pa.StringArray,
    at_once: Callable[[pa.StringArray], Parsed] | None,
    each: Callable[[list[str]], Parsed],
) -> Parsed:
    """Parse a column of text without nulls.

    Args:
        text: The column.
        at_once: Parses texts that are written as usual; ArrowInvalid if any of them is not. None:
            no text is.
        each: Parses any texts, which takes much longer.
    """
    with contextlib.suppress(pa.ArrowInvalid):
        if at_once is not None:
            return at_once(text)
    encoded = text.dictionary_encode()  # What is unusual repeats itself.
    if at_once is None:
        parsed = each(encoded.dictionary.to_pylist())
    else:
        columns = zip(*_parse_pieces(encoded.dictionary, at_once, each), strict=True)
        parsed = Parsed(*(None if one[0] is None else pa.concat_arrays(one) for one in columns))
    return Parsed(*(None if one is None else _take(one, encoded.indices) for one in parsed))


def _parse_pieces(
    text: pa.StringArray,
    at_once: Callable[[pa.StringArray], Parsed],
    each: Callable[[list[str]], Parsed],
) -> list[Parsed]:
    """Parse a text in pieces: only small ones that hold something unusual take long."""
    with contextlib.suppress(pa.ArrowInvalid):
        return [at_once(text)]
    if len(text) <= _FEW:
        return [each(text.to_pylist())]
    half = len(text) // 2
    return [
        *_parse_pieces(text[:half], at_once, each),
        *_parse_pieces(text[half:], at_once, each),
    ]


def _take(column: pa.Array, indices: pa.Array) -> pa.Array:
    if column.null_count == len(column):
        return pa.nulls(len(indices), column.type)
    if column.type == pa.bool_() and not column.true_count:
        return pa.repeat(False, len(indices))
    return column.take(indices)


def where(values: pa.Array, mask: pa.BooleanArray) -> pa.Array:
    """The values where the mask is true, null elsewhere."""
    return pc.if_else(mask, values, pa.scalar(None, values.type))


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


def trim_each(items: list[str], how: Source) -> list[str | None]:
    """The same for few texts; None if missing."""
    trimmed, missing = trim(pa.array(items, pa.string()), how)
    found: list[str | None] = where(trimmed, pc.invert(missing)).to_pylist()
    return found


def holds_digits(words: Iterable[str]) -> bool:
    """Whether any of the words might be read as a number or a time."""
    return any(character.isdigit() for word in words for character in word)
