"""A block of text columns as a typed table: which rows are rejected, which cells are emptied."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from config.declarations import UNKNOWN, Column, Source, Type
from tasks.parsing.columns import Parsed, trim
from tasks.parsing.numbers import ARROW_TYPES, INSTANT, why_not_a_number
from tasks.parsing.times import calendar_formats
from tasks.parsing.types import parse
from tasks.sources.csv_blocks import Block
from tasks.sources.csv_records import Rejected, shorten
from tasks.sources.header import Layout

_HINTED = 100
"""So many invalid cells of a block are explained; where there are more, the file is not staged."""


@dataclass
class Batch:
    """A block of rows, typed.

    Attributes:
        table: All its rows; null where a text is missing or invalid.
        marks: For each row the `sentinel` in place of its value, and the `later` of two instants
            that its time names; else null.
        rejected: Row -> why it is rejected: for its first invalid cell.
        emptied: Row -> its other invalid cells, without which it stays.
        invalid: Column -> texts that cannot be read as its type, of rejected rows too.
        states: Word that was read as a state -> the state, and rows.
        values: Rows with something in the value column.
        numbers: Those of them that hold a number or a state.
        digits: Different texts of the time column that are digits alone.
        epochs: Whether any of them was read as an epoch number.
    """

    table: pa.Table
    marks: pa.Table
    rejected: dict[int, Rejected] = field(default_factory=dict)
    emptied: dict[int, list[Rejected]] = field(default_factory=lambda: defaultdict(list))
    invalid: dict[str, list[str]] = field(default_factory=dict)
    states: dict[str, tuple[float, int]] = field(default_factory=dict)
    values: int = 0
    numbers: int = 0
    digits: tuple[str, ...] = ()
    epochs: bool = False


def arrow_schema(source: Source, layout: Layout) -> pa.Schema:
    """The staged file's columns: the declared ones, then those passed through as text."""
    declared = [pa.field(c.name, ARROW_TYPES[c.type]) for c in source.columns]
    return pa.schema([*declared, *(pa.field(name, pa.string()) for name in layout.passed_through)])


def read_batch(block: Block, source: Source, layout: Layout) -> Batch:
    """Read a block of rows as declared."""
    rows = len(block.lines)
    arrays: dict[str, pa.Array] = {}
    marks = {"sentinel": pa.nulls(rows, pa.string()), "later": pa.nulls(rows, INSTANT)}
    batch = Batch(pa.table({}), pa.table({}))
    for column in source.columns:
        if column.name not in layout.recognised:
            arrays[column.name] = pa.nulls(rows, ARROW_TYPES[column.type])
            continue
        text = text_of(block.columns, layout.recognised[column.name], source)
        parsed = parse(text, column.type, source)
        arrays[column.name] = parsed.values
        if parsed.sentinels is not None:
            marks["sentinel"] = parsed.sentinels
            _add_values(batch, parsed)
        if parsed.later is not None:
            marks["later"] = parsed.later
            _add_digits(batch, parsed, text, source)
        _add_invalid(batch, block, parsed, text, column, source)
    if "value_text" in arrays:
        arrays["value_text"] = pc.coalesce(marks["sentinel"], arrays["value_text"])
    for name, position in layout.passed_through.items():
        arrays[name] = block.columns[position]
    batch.table = pa.table(arrays, schema=arrow_schema(source, layout))
    batch.marks = pa.table(marks)
    return batch


def text_of(
    texts: Sequence[pa.StringArray], positions: Sequence[int], source: Source
) -> pa.StringArray:
    """The text of a column; of several with a blank between them, missing ones left out."""
    if len(positions) == 1:
        return texts[positions[0]]
    trimmed = [trim(texts[at], source) for at in positions]
    present = [pc.if_else(missing, "", text) for text, missing in trimmed]
    return pc.utf8_trim_whitespace(pc.binary_join_element_wise(*present, " "))


def _add_values(batch: Batch, parsed: Parsed) -> None:
    batch.numbers = len(parsed.values) - parsed.values.null_count
    words = len(parsed.sentinels) - parsed.sentinels.null_count
    batch.values = batch.numbers + words + parsed.invalid.true_count
    for word, rows in count_values(parsed.states).items():
        value = parsed.values[pc.index(parsed.states, word).as_py()].as_py()
        batch.states[word] = (value, rows)


def _add_digits(batch: Batch, times: Parsed, text: pa.StringArray, source: Source) -> None:
    if source.time_format or pc.all(pc.match_substring(text, "-")).as_py():
        return
    text, _ = trim(text, source)
    digits = pc.ascii_is_decimal(text)
    batch.digits = tuple(text.filter(digits).unique().to_pylist())
    batch.epochs = bool(pc.any(pc.and_(digits, times.values.is_valid())).as_py())


def _add_invalid(
    batch: Batch,
    block: Block,
    parsed: Parsed,
    text: pa.StringArray,
    column: Column,
    source: Source,
) -> None:
    """Reject the rows in which a column is invalid, or empty the cell."""
    name = column.name
    # A row that a key identifies is worth keeping without a cell; a log record is its cells.
    is_kept = source.primary_key is not None and column.nullable

    def add(mask: pa.BooleanArray, kind: str) -> list[str]:
        if not mask.true_count:
            return []
        rows = pc.indices_nonzero(mask)
        cells: list[str] = text.take(rows).to_pylist()
        for count, (row, cell) in enumerate(zip(rows.to_pylist(), cells, strict=True)):
            hint = _hint(cell, column, source) if count < _HINTED else ""
            reason = f"{kind}: {shorten(cell)}{f' ({hint})' if hint else ''}"
            found = Rejected(int(block.lines[row]), name, kind, reason, cell, cell)
            if is_kept:
                batch.emptied[row].append(found)
            elif row not in batch.rejected:
                batch.rejected[row] = found._replace(text=block.text(row))
        return cells

    unread = parsed.invalid
    if parsed.skipped is not None:
        add(parsed.skipped, f"{name} does not exist in {source.source_timezone}, whose clocks "
            "skip it")  # fmt: skip
        unread = pc.and_not(unread, parsed.skipped)
    article = "an" if column.type is Type.INTEGER else "a"
    batch.invalid[name] = add(unread, f"{name} is not {article} {column.type}")
    if not column.nullable:
        add(pc.and_not(pc.is_null(parsed.values), parsed.invalid), f"{name} is empty")
    if name == source.primary_key:
        unknown = pc.fill_null(pc.equal(parsed.values, UNKNOWN), False)
        add(unknown, f"{name} is {UNKNOWN}, the key of the unknown member")


def _hint(text: str, column: Column, source: Source) -> str:
    if column.type is Type.TIMESTAMP:
        if not text.strip().isdecimal() or source.time_format:
            return ""
        formats = calendar_formats([text.strip()], source)
        read = f"; time_format = {formats[0]} would read it" if formats else ""
        return f"no epoch time inside time_window{read}"
    what = "" if column.type is Type.INTEGER else why_not_a_number(text)
    return f"it has {what}" if what else ""


def count_values(words: pa.Array | pa.ChunkedArray) -> Counter[Any]:
    """How often each value occurs; nulls do not count."""
    counts = words.drop_null().value_counts().to_pylist()
    return Counter({item["values"]: item["counts"] for item in counts})
