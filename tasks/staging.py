"""Staging: each source file as Parquet, one row for one row, under declared names and types.

Nothing is joined, dropped unseen or made up. What cannot be read as declared is quarantined:
the row as it came, with its file, line and reason.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from config.declarations import UNKNOWN, Column, Source, Type
from tasks.csv_text import CsvText, among_all, locate
from tasks.errors import PipelineError
from tasks.parsing import (
    ARROW_TYPES,
    Parsed,
    ParsedValues,
    observe_type,
    parse_integers,
    parse_numbers,
    parse_switches,
    parse_timestamps,
)
from tasks.source_files import Layout, match_columns, read_header, shorten

QUARANTINE_HEADER = ("file", "line", "reason", "row")
_SHOWN_ROWS = 5
_OBSERVED_ROWS = 10_000


@dataclass
class Audit:
    """What became of a source file's rows. Every row is staged or quarantined.

    Attributes:
        source: The source's name.
        file: The file's name.
        header: The columns' names as they stand there.
        recognised: Declared column -> the header that was taken for it.
        absent: Declared columns that the file does not have; they are null.
        observed_types: Header -> what the first rows look like (integer, text, ...).
        rows: Rows of the file.
        staged: Rows staged.
        quarantined: Kind of reason -> rows.
        repeated_keys: Primary keys of the quarantined rows that repeat one, by whether the row
            is the same as the first ("same") or tells something else ("different").
        nulls: Declared column -> staged rows without it.
        words: Words that stood where a value should be -> rows; the most frequent.
        word_rows: Rows with such a word.
    """

    source: str
    file: str
    header: list[str]
    recognised: dict[str, str]
    absent: list[str]
    observed_types: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    staged: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    repeated_keys: dict[str, int] = field(default_factory=dict)
    nulls: dict[str, int] = field(default_factory=dict)
    words: dict[str, int] = field(default_factory=dict)
    word_rows: int = 0

    @property
    def rejected(self) -> int:
        """Rows quarantined."""
        return sum(self.quarantined.values())

    def to_json(self) -> str:
        """The audit as text."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str) -> Audit:
        """The audit in a text that `to_json` made."""
        return Audit(**json.loads(text))


class Rejection(NamedTuple):
    """Why a row cannot be read: the kind of reason, and what is particular to the row."""

    kind: str
    detail: str


class Batch(NamedTuple):
    """A block of rows, read.

    Attributes:
        table: All its rows, typed; null where a text could not be read.
        rejected: Row -> why it is to be quarantined.
        words: Row by row, the word that stood where a value should be; else null.
    """

    table: pa.Table
    rejected: dict[int, Rejection]
    words: pa.StringArray


def arrow_schema(source: Source, layout: Layout) -> pa.Schema:
    """The staged file's columns: the declared ones, then those carried as text."""
    declared = [pa.field(c.name, ARROW_TYPES[c.type]) for c in source.columns]
    return pa.schema([*declared, *(pa.field(name, pa.string()) for name in layout.carried)])


def read_batch(columns: Sequence[pa.BinaryArray], source: Source, layout: Layout) -> Batch:
    """Read a block of rows, given by column position, as declared."""
    rows = len(columns[0])
    rejected: dict[int, Rejection] = {}
    texts = [_decode(column, rejected) for column in columns]
    arrays: dict[str, pa.Array] = {}
    words = pa.nulls(rows, pa.string())
    for column in source.columns:
        if column.name not in layout.recognised:
            arrays[column.name] = pa.nulls(rows, ARROW_TYPES[column.type])
            continue
        text = texts[layout.recognised[column.name]]
        parsed = _parse(text, column, source)
        if parsed is None:
            arrays[column.name] = text
            continue
        arrays[column.name] = parsed.values
        _reject(rejected, parsed.unreadable, f"{column.name} is no {column.type}", text)
        if isinstance(parsed, ParsedValues):
            words = parsed.words
        if not column.nullable:
            absent = pc.and_not(pc.is_null(parsed.values), parsed.unreadable)
            _reject(rejected, absent, f"{column.name} is empty", text)
        if column.name == source.primary_key:
            unknown = pc.fill_null(pc.equal(parsed.values, UNKNOWN), False)
            kind = f"{column.name} is {UNKNOWN}, which stands for the unknown"
            _reject(rejected, unknown, kind, text)
    if "status" in arrays and words.null_count < rows:
        arrays["status"] = _with_words(arrays["status"], words)
    for name, position in layout.carried.items():
        arrays[name] = texts[position]
    return Batch(pa.table(arrays, schema=arrow_schema(source, layout)), rejected, words)


def _parse(text: pa.StringArray, column: Column, source: Source) -> Parsed | ParsedValues | None:
    match column.type:
        case Type.INTEGER:
            return parse_integers(text)
        case Type.NUMBER:
            return parse_numbers(text)
        case Type.SWITCH:
            return parse_switches(text)
        case Type.TIMESTAMP:
            return parse_timestamps(text, source.time_format, source.source_timezone)
    return None


def _decode(column: pa.BinaryArray, rejected: dict[int, Rejection]) -> pa.StringArray:
    """Bytes as text; rows whose bytes are not UTF-8 are noted."""
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        decoded = []
        for row, raw in enumerate(column.to_pylist()):
            try:
                decoded.append(raw.decode())
            except UnicodeDecodeError:
                decoded.append(raw.decode(errors="replace"))
                rejected.setdefault(row, Rejection("not UTF-8", shorten(decoded[-1])))
        return pa.array(decoded, pa.string())


def _reject(
    rejected: dict[int, Rejection], mask: pa.BooleanArray, kind: str, text: pa.StringArray
) -> None:
    if mask.true_count:
        for row in pc.indices_nonzero(mask).to_pylist():
            rejected.setdefault(row, Rejection(kind, shorten(text[row].as_py())))


def _with_words(status: pa.StringArray, words: pa.StringArray) -> pa.StringArray:
    """The status, and the word that stood in place of the value.

    >>> _with_words(pa.array(["", "2", "OK"]), pa.array(["ERROR", "ERROR", None])).to_pylist()
    ['ERROR', '2; ERROR', 'OK']
    """
    own = pc.fill_null(status, "")
    blank = pc.equal(pc.utf8_trim_whitespace(own), "")
    both = pc.if_else(blank, words, pc.binary_join_element_wise(own, words, "; "))
    return pc.if_else(pc.is_valid(words), both, status)


def stage_file(path: Path, source: Source, into: Path, quarantine: Path) -> Audit:
    """Stage one CSV file, streaming.

    Args:
        path: The CSV file.
        source: Its declaration.
        into: The Parquet file to write.
        quarantine: The CSV file to write quarantined rows to; not made if there are none.

    Raises:
        PipelineError: The file does not fit its declaration, or more of its rows than
            `source.max_rejected` cannot be read.
    """
    layout = match_columns(source, read_header(path))
    text = CsvText(path)
    audit = Audit(
        source=source.name,
        file=path.name,
        header=list(layout.header),
        recognised={name: layout.header[at] for name, at in layout.recognised.items()},
        absent=list(layout.absent),
        nulls={column.name: 0 for column in source.columns},
    )
    words: Counter[str] = Counter()
    seen: set[int] = set()
    rejected: dict[int, Rejection] = {}  # By position among the well-formed records.
    repeated: dict[int, int] = {}  # Likewise: the primary key that an earlier row has.
    position = 0
    with pq.ParquetWriter(into, arrow_schema(source, layout)) as writer:
        for columns in text.batches():
            if position == 0:
                audit.observed_types = _observe_types(columns, layout)
            batch = read_batch(columns, source, layout)
            refused = dict(batch.rejected)
            if source.primary_key is not None:
                for row, key in _repeated(batch.table[source.primary_key], refused, seen).items():
                    refused[row] = Rejection(f"{source.primary_key} stands twice", str(key))
                    repeated[position + row] = key
            rejected.update({position + row: reason for row, reason in refused.items()})
            position += len(batch.table)

            accepted = _all_but(len(batch.table), refused)
            table = batch.table.filter(accepted)
            writer.write_table(table)
            audit.staged += len(table)
            for name in audit.nulls:
                audit.nulls[name] += table[name].null_count
            words.update(batch.words.filter(accepted).drop_null().to_pylist())

    audit.rows = position + len(text.malformed)
    audit.word_rows = words.total()
    audit.words = dict(sorted(words.items(), key=lambda item: (-item[1], item[0]))[:20])
    numbers = among_all(text.malformed, list(rejected))
    reasons = {number: Rejection(*reason) for number, reason in text.malformed.items()}
    reasons.update(zip(numbers, rejected.values(), strict=True))
    if reasons:
        audit.quarantined = dict(sorted(Counter(r.kind for r in reasons.values()).items()))
        first_rows = {}
        if repeated:
            firsts = _first_positions(into, source, set(repeated.values()))
            kept = dict(zip(firsts, among_all(rejected, list(firsts.values())), strict=True))
            first_numbers = among_all(text.malformed, [kept[key] for key in repeated.values()])
            repeats = among_all(text.malformed, list(repeated))
            first_rows = dict(zip(repeats, first_numbers, strict=True))
        located = locate(path, [*reasons, *first_rows.values()])
        _explain_repeats(reasons, first_rows, located, audit)
        _refuse_too_many(audit, source, reasons, located)
        _write_quarantine(quarantine, path, reasons, located)
    return audit


def _observe_types(columns: Sequence[pa.BinaryArray], layout: Layout) -> dict[str, str]:
    ignored: dict[int, Rejection] = {}
    return {
        name: observe_type(_decode(column[:_OBSERVED_ROWS], ignored))
        for name, column in zip(layout.header, columns, strict=True)
    }


def _all_but(rows: int, refused: dict[int, Rejection]) -> pa.BooleanArray:
    mask = np.ones(rows, dtype=bool)
    mask[list(refused)] = False
    return pa.array(mask)


def _repeated(
    keys: pa.ChunkedArray, refused: dict[int, Rejection], seen: set[int]
) -> dict[int, int]:
    """Row -> key of the rows whose key was seen before; the others are added to `seen`."""
    values = keys.to_pylist()
    if not refused:
        fresh = set(values)
        if len(fresh) == len(values) and seen.isdisjoint(fresh):
            seen |= fresh
            return {}
    found = {}
    for row, key in enumerate(values):
        if row in refused:
            continue
        if key in seen:
            found[row] = key
        seen.add(key)
    return found


def _first_positions(staged: Path, source: Source, keys: set[int]) -> dict[int, int]:
    """Key -> its position among the staged rows."""
    column = pq.read_table(staged, columns=[source.primary_key])[source.primary_key]
    found = pc.index_in(pa.array(sorted(keys)), column)
    return dict(zip(sorted(keys), found.to_pylist(), strict=True))


def _explain_repeats(
    reasons: dict[int, Rejection],
    first_rows: dict[int, int],
    located: dict[int, tuple[int, str]],
    audit: Audit,
) -> None:
    """Tell for each repeated key where it stands first, and whether the row is the same."""
    counts = {"same": 0, "different": 0}
    for number, first in first_rows.items():
        same = located[number][1] == located[first][1]
        counts["same" if same else "different"] += 1
        kind, key = reasons[number]
        how = "the same row" if same else "another row"
        reasons[number] = Rejection(kind, f"{key}; line {located[first][0]} has {how}")
    audit.repeated_keys = {how: count for how, count in counts.items() if count}


def _refuse_too_many(
    audit: Audit,
    source: Source,
    reasons: dict[int, Rejection],
    located: dict[int, tuple[int, str]],
) -> None:
    # As written: 0.29 of 100 rows are 29 of them.
    if audit.rejected <= Fraction(str(source.max_rejected)) * audit.rows:
        return
    counts = [f"{count:,} x {kind}" for kind, count in audit.quarantined.items()]
    rows = [
        f"line {located[number][0]}: {reasons[number].kind}: {reasons[number].detail}: "
        f"{shorten(located[number][1])}"
        for number in sorted(reasons)[:_SHOWN_ROWS]
    ]
    raise PipelineError(
        f"{audit.file}: {audit.rejected:,} of {audit.rows:,} rows cannot be read as declared; "
        f"at most {source.max_rejected:.1%} may be quarantined. Nothing was replaced.",
        [*counts, "the first of them:", *rows],
        f"Mend the file; or tell in luigi.cfg how to read it, section [{source.name}]: "
        "time_format, source_timezone, <column> = <header>;\n"
        "or accept the loss: max_rejected = <share>.",
    )


def _write_quarantine(
    quarantine: Path,
    path: Path,
    reasons: dict[int, Rejection],
    located: dict[int, tuple[int, str]],
) -> None:
    # Surrogates turn back into the bytes that came.
    with quarantine.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(QUARANTINE_HEADER)
        for number in sorted(reasons):
            line, row = located[number]
            kind, detail = reasons[number]
            writer.writerow((path.name, line, f"{kind}: {detail}" if detail else kind, row))
