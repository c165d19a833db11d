"""Columns of text as their declared types, and what type a column looks like."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from config.declarations import Source, Type
from tasks.parsing.columns import DEFAULTS, Parsed, trim, where
from tasks.parsing.numbers import parse_integers, parse_numbers, parse_switches
from tasks.parsing.times import parse_timestamps

_FIRST_FEW = 50


def parse(text: pa.StringArray, kind: Type, how: Source) -> Parsed:
    """A column of text, without nulls, as its type."""
    match kind:
        case Type.INTEGER:
            return parse_integers(text, how)
        case Type.NUMBER:
            return parse_numbers(text, how)
        case Type.SWITCH:
            return parse_switches(text, how)
        case Type.TIMESTAMP:
            return parse_timestamps(text, how)
    _, missing = trim(text, how)
    values = where(text, pc.invert(missing)) if missing.true_count else text
    return Parsed(values, pa.repeat(False, len(text)))


def observe_type(text: pa.StringArray, source: Source = DEFAULTS) -> str:
    """What a column of text looks like: the narrowest type that reads all of it.

    >>> observe_type(pa.array(["1", "", "2"])), observe_type(pa.array(["1", "2.5"]))
    ('integer', 'number')
    >>> observe_type(pa.array(["", ""])), observe_type(pa.array(["2024-06-01T00:00Z", ""]))
    ('empty', 'timestamp')
    """
    trimmed, missing = trim(pc.unique(text), source)
    some = pc.filter(trimmed, pc.invert(missing))
    if len(some) == 0:
        return "empty"
    for kind in (Type.INTEGER, Type.NUMBER, Type.SWITCH, Type.TIMESTAMP):
        # What does not read the first few does not read all.
        if _reads(some[:_FIRST_FEW], kind, source) and _reads(some, kind, source):
            return kind.value
    return Type.TEXT.value


def _reads(some: pa.StringArray, kind: Type, source: Source) -> bool:
    if kind is Type.INTEGER and pc.any(pc.match_substring_regex(some, "[.eE]")).as_py():
        return False
    values = parse(some, kind, source).values
    if values.null_count:
        return False
    return kind is not Type.SWITCH or pc.all(pc.is_in(values, pa.array([0.0, 1.0]))).as_py()


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
