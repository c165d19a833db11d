"""A block of text columns as a typed table: which rows are rejected, which cells are emptied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from config.declarations import UNKNOWN, Column, Source, Type
from tasks.parsing.numbers import (
    ARROW_TYPES,
    DEFAULTS,
    Parsed,
    ParsedValues,
    parse_distinct,
    parse_integers,
    parse_numbers,
    parse_switches,
    trim,
    where,
    why_not_a_number,
)
from tasks.parsing.times import Times, calendar_format, parse_timestamps
from tasks.sources.csv_records import shorten
from tasks.sources.header import Layout

_FIRST_FEW = 50
_HINTED = 100
"""So many invalid cells of a block are explained; where there are more, the file is not staged."""


class Invalid(NamedTuple):
    """A cell that cannot be read: its row and column, why, and its text."""

    row: int
    column: str
    kind: str
    reason: str
    text: str


class Missing(NamedTuple):
    """Which texts of a column are missing."""

    mask: pa.BooleanArray


@dataclass
class Batch:
    """A block of rows, typed.

    Attributes:
        table: All its rows; null where a text is missing or invalid.
        rejected: Row -> the first invalid cell for which it is rejected.
        unread: All cells that cannot be read as their type, of rejected rows too.
        emptied: Other invalid cells: their rows stay without them.
        sentinels: Row by row, the sentinel in place of a value; else null.
        states: Word that was read as a state -> the state, and rows.
        values: Rows with something in the value column.
        numbers: Those of them that hold a number or a state.
        later: Row by row, the later instant of a time that names two; else null.
        digits: Different texts of the time column that are digits alone.
        epochs: Whether any of them was read as an epoch number.
    """

    table: pa.Table
    rejected: dict[int, Invalid]
    emptied: list[Invalid]
    sentinels: pa.StringArray
    unread: list[Invalid] = field(default_factory=list)
    states: dict[str, tuple[float, int]] = field(default_factory=dict)
    values: int = 0
    numbers: int = 0
    later: pa.Array | None = None
    digits: tuple[str, ...] = ()
    epochs: bool = False


def arrow_schema(source: Source, layout: Layout) -> pa.Schema:
    """The staged file's columns: the declared ones, then those passed through as text."""
    declared = [pa.field(c.name, ARROW_TYPES[c.type]) for c in source.columns]
    return pa.schema([*declared, *(pa.field(name, pa.string()) for name in layout.carried)])


def read_batch(texts: Sequence[pa.StringArray], source: Source, layout: Layout) -> Batch:
    """Read a block of rows, given by column position, as declared."""
    rows = len(texts[0])
    arrays: dict[str, pa.Array] = {}
    batch = Batch(pa.table({}), {}, [], pa.nulls(rows, pa.string()))
    for column in source.columns:
        if column.name not in layout.recognised:
            arrays[column.name] = pa.nulls(rows, ARROW_TYPES[column.type])
            continue
        text = text_of(texts, layout.recognised[column.name], source)
        parsed = _parse(text, column, source)
        if parsed is None:
            missing = parse_distinct(text, lambda distinct: Missing(trim(distinct, source)[1]))[0]
            arrays[column.name] = where(text, pc.invert(missing)) if missing.true_count else text
            continue
        arrays[column.name] = parsed.values
        if isinstance(parsed, ParsedValues):
            _add_values(batch, parsed)
        if isinstance(parsed, Times):
            _add_times(batch, parsed, text, column, source)
        kind = f"{column.name} is not {'an' if column.type is Type.INTEGER else 'a'} {column.type}"
        unread = parsed.invalid
        if isinstance(parsed, Times):
            unread = pc.and_not(unread, parsed.skipped)
        batch.unread += _add_invalid(batch, unread, column, kind, text, source)
        if not column.nullable:
            absent = pc.and_not(pc.is_null(parsed.values), parsed.invalid)
            _add_invalid(batch, absent, column, f"{column.name} is empty", text, source)
        if column.name == source.primary_key:
            unknown = pc.fill_null(pc.equal(parsed.values, UNKNOWN), False)
            kind = f"{column.name} is {UNKNOWN}, the key of the unknown member"
            _add_invalid(batch, unknown, column, kind, text, source)
    if "status" in arrays and batch.sentinels.null_count < rows:
        arrays["status"] = _with_sentinels(arrays["status"], batch.sentinels)
    for name, position in layout.carried.items():
        arrays[name] = texts[position]
    batch.table = pa.table(arrays, schema=arrow_schema(source, layout))
    batch.emptied = [cell for cell in batch.emptied if cell.row not in batch.rejected]
    return batch


def text_of(
    texts: Sequence[pa.StringArray], positions: Sequence[int], source: Source
) -> pa.StringArray:
    """The text of a column; of several with a blank between them, missing ones left out."""
    if len(positions) == 1:
        return texts[positions[0]]
    trimmed = [trim(texts[at], source) for at in positions]
    parts = [pc.if_else(missing, "", text) for text, missing in trimmed]
    return pc.utf8_trim_whitespace(pc.binary_join_element_wise(*parts, " "))


def _parse(
    text: pa.StringArray, column: Column, source: Source
) -> Parsed | ParsedValues | Times | None:
    match column.type:
        case Type.INTEGER:
            return parse_integers(text, source)
        case Type.NUMBER:
            return parse_numbers(text, source)
        case Type.SWITCH:
            return parse_switches(text, source)
        case Type.TIMESTAMP:
            return parse_timestamps(text, source)
    return None


def _add_values(batch: Batch, parsed: ParsedValues) -> None:
    batch.sentinels = parsed.sentinels
    batch.numbers = len(parsed.values) - parsed.values.null_count
    words = len(parsed.sentinels) - parsed.sentinels.null_count
    batch.values = batch.numbers + words + parsed.invalid.true_count
    if parsed.states.null_count < len(parsed.states):
        for word, rows in count_words(parsed.states).items():
            value = parsed.values[pc.index(parsed.states, word).as_py()].as_py()
            batch.states[word] = (value, rows)


def _add_times(
    batch: Batch, times: Times, text: pa.StringArray, column: Column, source: Source
) -> None:
    batch.later = times.later
    kind = f"{column.name} does not exist in {source.source_timezone}, whose clocks skip it"
    _add_invalid(batch, times.skipped, column, kind, text, source)
    if not source.time_format:
        if not pc.all(pc.match_substring(text, "-")).as_py():
            text, _ = trim(text, source)
        digits = pc.ascii_is_decimal(text)
        if digits.true_count:
            batch.digits = tuple(text.filter(digits).unique().to_pylist())
            batch.epochs = bool(pc.any(pc.and_(digits, times.values.is_valid())).as_py())


def _add_invalid(
    batch: Batch,
    mask: pa.BooleanArray,
    column: Column,
    kind: str,
    text: pa.StringArray,
    source: Source,
) -> list[Invalid]:
    if not mask.true_count:
        return []
    # A row that a key identifies is worth keeping without a cell; a log record is its cells.
    kept = source.primary_key is not None and column.nullable
    found = []
    rows = pc.indices_nonzero(mask)
    for count, (row, cell) in enumerate(
        zip(rows.to_pylist(), text.take(rows).to_pylist(), strict=True)
    ):
        hint = _hint(cell, column, source) if count < _HINTED else ""
        reason = f"{kind}: {shorten(cell)}" + (f" ({hint})" if hint else "")
        invalid = Invalid(row, column.name, kind, reason, cell)
        found.append(invalid)
        if kept:
            batch.emptied.append(invalid)
        else:
            batch.rejected.setdefault(row, invalid)
    return found


def _hint(text: str, column: Column, source: Source) -> str:
    if column.type is Type.TIMESTAMP:
        if text.strip().isdecimal() and not source.time_format:
            found = calendar_format(text.strip(), source)
            read = f"; time_format = {found} would read it" if found else ""
            return f"no epoch time inside time_window{read}"
        return ""
    what = "" if column.type is Type.INTEGER else why_not_a_number(text)
    return f"it has {what}" if what else ""


def _with_sentinels(status: pa.StringArray, sentinels: pa.StringArray) -> pa.StringArray:
    """The status, and the sentinel that was in place of the value.

    >>> _with_sentinels(pa.array(["", "2", "OK"]), pa.array(["ERR", "ERR", None])).to_pylist()
    ['ERR', '2; ERR', 'OK']
    """
    replaced = sentinels.is_valid()  # Few rows.
    added = sentinels.filter(replaced)
    own = pc.fill_null(status.filter(replaced), "")
    blank = pc.equal(pc.utf8_trim_whitespace(own), "")
    both = pc.if_else(blank, added, pc.binary_join_element_wise(own, added, "; "))
    return pc.replace_with_mask(status, replaced, both)


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
    parsed = _parse(some, Column("", kind, ""), source)
    if parsed is None or parsed.values.null_count:
        return False
    return kind is not Type.SWITCH or pc.all(pc.is_in(parsed.values, pa.array([0.0, 1.0]))).as_py()


def count_words(words: pa.StringArray) -> Counter[str]:
    """How often each word occurs; nulls do not count."""
    return Counter(
        {item["values"]: item["counts"] for item in words.drop_null().value_counts().to_pylist()}
    )
