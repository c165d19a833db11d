"""Staging: each source file as Parquet, one row for one row, under declared names and types.

Nothing is joined, dropped unseen or made up. What cannot be read as declared is quarantined:
the row as it came, with its file, line and reason.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import itertools
import json
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from config.declarations import UNKNOWN, Column, Source, Type
from tasks.csv_text import (
    Block,
    CsvText,
    Malformed,
    NotPlainError,
    among_all,
    locate,
    locate_in_blocks,
    plain_blocks,
)
from tasks.errors import PipelineError
from tasks.headers import Layout, match_columns, read_header, shorten
from tasks.lean import read_parquet
from tasks.parsing import (
    ARROW_TYPES,
    Parsed,
    ParsedValues,
    observe_type,
    parse_integers,
    parse_numbers,
    parse_switches,
    parse_timestamps,
    widest_type,
)
from tasks.progress import Advance, untold

QUARANTINE_HEADER = ("file", "line", "reason", "row")
PARQUET = {"compression": "zstd", "compression_level": 1}
"""As fast to write as the default, at half the size; see docs/benchmarks.md."""

_SHOWN_ROWS = 5
_SHOWN_WORDS = 20
_SLICED_ROWS = 100
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


def read_batch(
    columns: Sequence[pa.BinaryArray | pa.StringArray], source: Source, layout: Layout
) -> Batch:
    """Read a block of rows, given by column position, as declared."""
    rows = len(columns[0])
    rejected: dict[int, Rejection] = {}
    texts = [
        column if column.type == pa.string() else _decode(column, rejected) for column in columns
    ]
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


def stage_file(
    path: Path,
    source: Source,
    into: Path,
    quarantine: Path,
    *,
    shown: str | None = None,
    keys: Path | None = None,
    threads: int = 1,
    advance: Advance = untold,
) -> Audit:
    """Stage one CSV file, streaming.

    Args:
        path: The CSV file.
        source: Its declaration.
        into: The Parquet file to write.
        quarantine: The CSV file to write quarantined rows to; not made if there are none.
        shown: The name of the CSV file for people, if not its own.
        keys: A file to write a digest of the staged keys to: who reads only these can see
            whether they changed.
        threads: How many blocks are read side by side.
        advance: Told the bytes and rows read.

    Raises:
        PipelineError: The file does not fit its declaration, or more of its rows than
            `source.max_rejected` cannot be read.
    """
    layout = match_columns(source, read_header(path))
    told: Counter[str] = Counter()

    def tell(file_bytes: int, rows: int) -> None:
        told.update(file_bytes=file_bytes, rows=rows)
        advance(file_bytes, rows)

    job = _Job(path, source, layout, into, quarantine, shown or path.name, keys, threads, tell)
    sizes: list[int] = []
    try:
        return _stage(job, _read_plain(job, sizes), functools.partial(_find_plain, job, sizes))
    except NotPlainError:
        advance(-told["file_bytes"], -told["rows"])  # All of it is read again.
        return _stage(job, _read_any(job), functools.partial(locate, path))


class _Job(NamedTuple):
    """What is to be staged, and how, as `stage_file` has it."""

    path: Path
    source: Source
    layout: Layout
    into: Path
    quarantine: Path
    shown: str
    keys: Path | None
    threads: int
    advance: Advance


_Located = dict[int, tuple[int, str]]
"""Number of a record among all -> its line and its text as it came."""


class _Read(NamedTuple):
    """A block of a file, read.

    Attributes:
        batch: Its well-formed records.
        malformed: The others, by number among all records of the file.
        observed: What the first rows look like, column by column; only of the first block.
        file_bytes: How much of the file was read for it.
    """

    batch: Batch
    malformed: dict[int, Malformed]
    observed: dict[str, str] | None
    file_bytes: int


def _read_plain(job: _Job, sizes: list[int]) -> Iterator[_Read]:
    """Blocks side by side, in their order; `sizes` gets the number of records of each."""

    def read(block: Block) -> _Read:
        columns, malformed = block.read()
        first = block.names is None and len(columns[0])
        observed = _observe_types(columns, job.layout) if first else None
        batch = read_batch(columns, job.source, job.layout)
        return _Read(batch, malformed, observed, block.file_bytes)

    records = 0
    with ThreadPoolExecutor(job.threads) as pool:
        blocks = plain_blocks(job.path, job.layout.header)
        reading = deque(pool.submit(read, block) for block in itertools.islice(blocks, job.threads))
        while reading:
            found = reading.popleft().result()
            # Not before: blocks wait in memory.
            reading.extend(pool.submit(read, block) for block in itertools.islice(blocks, 1))
            yield found._replace(
                malformed={records + number: why for number, why in found.malformed.items()}
            )
            sizes.append(len(found.batch.table) + len(found.malformed))
            records += sizes[-1]


def _find_plain(job: _Job, sizes: list[int], numbers: Sequence[int]) -> _Located:
    blocks = plain_blocks(job.path, job.layout.header)
    return locate_in_blocks(blocks, sizes, numbers, job.threads)


def _read_any(job: _Job) -> Iterator[_Read]:
    """Blocks one after the other, of a file that is not plain."""
    text = CsvText(job.path)
    observe = True
    before = 0
    for columns in text.batches():
        observed = _observe_types(columns, job.layout) if observe else None
        observe = False
        read_bytes, before = text.file_bytes - before, text.file_bytes
        # No name for the batch: it would stay in memory while the next one is read.
        yield _Read(read_batch(columns, job.source, job.layout), {}, observed, read_bytes)
    schema = arrow_schema(job.source, job.layout)
    none = Batch(schema.empty_table(), {}, pa.nulls(0, pa.string()))
    yield _Read(none, text.malformed, None, 0)  # They are all known at the end only.


class _KeyDigest:
    """A digest of the key columns, whatever else the rows hold and how they come in blocks."""

    def __init__(self, source: Source):
        self._columns = {name: hashlib.sha256(name.encode()) for name in source.required}

    def add(self, table: pa.Table) -> None:
        for name, digest in self._columns.items():
            for chunk in table[name].chunks:
                digest.update(chunk.to_numpy())

    def hexdigest(self) -> str:
        whole = hashlib.sha256()
        for digest in self._columns.values():
            whole.update(digest.digest())
        return whole.hexdigest()


def _stage(job: _Job, blocks: Iterator[_Read], find: Callable[[Sequence[int]], _Located]) -> Audit:
    source, layout, into = job.source, job.layout, job.into
    audit = Audit(
        source=source.name,
        file=job.shown,
        header=list(layout.header),
        recognised={name: layout.header[at] for name, at in layout.recognised.items()},
        absent=list(layout.absent),
        nulls={column.name: 0 for column in source.columns},
    )
    words: Counter[str] = Counter()
    seen = SeenKeys()
    keys = _KeyDigest(source)
    malformed: dict[int, Malformed] = {}
    rejected: dict[int, Rejection] = {}  # By position among the well-formed records.
    repeated: dict[int, int] = {}  # Likewise: the primary key that an earlier row has.
    position = 0
    with pq.ParquetWriter(into, arrow_schema(source, layout), **PARQUET) as writer:
        for batch, unread, observed, file_bytes in blocks:
            malformed.update(unread)
            audit.observed_types = observed or audit.observed_types
            refused = dict(batch.rejected)
            if source.primary_key is not None:
                for row, key in seen.repeated(batch.table[source.primary_key], refused).items():
                    refused[row] = Rejection(f"{source.primary_key} stands twice", str(key))
                    repeated[position + row] = key
            rejected.update({position + row: reason for row, reason in refused.items()})
            position += len(batch.table)

            table = _without(batch.table, refused)
            writer.write_table(table)
            if job.keys is not None:
                keys.add(table)
            audit.staged += len(table)
            for name in audit.nulls:
                audit.nulls[name] += table[name].null_count
            if batch.words.null_count < len(batch.words):
                staged_words = _without(pa.table({"word": batch.words}), refused)["word"]
                words.update(staged_words.drop_null().to_pylist())
            job.advance(file_bytes, len(batch.table) + len(unread))

    audit.rows = position + len(malformed)
    audit.word_rows = words.total()
    audit.words = dict(sorted(words.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN_WORDS])
    numbers = among_all(malformed, list(rejected))
    reasons = {number: Rejection(*reason) for number, reason in malformed.items()}
    reasons.update(zip(numbers, rejected.values(), strict=True))
    if reasons:
        audit.quarantined = dict(sorted(Counter(r.kind for r in reasons.values()).items()))
        first_rows = {}
        if repeated:
            firsts = _first_positions(into, source, set(repeated.values()))
            kept = dict(zip(firsts, among_all(rejected, list(firsts.values())), strict=True))
            first_numbers = among_all(malformed, [kept[key] for key in repeated.values()])
            repeats = among_all(malformed, list(repeated))
            first_rows = dict(zip(repeats, first_numbers, strict=True))
        located = find([*reasons, *first_rows.values()])
        _explain_repeats(reasons, first_rows, located, audit)
        _refuse_too_many(audit, source, reasons, located)
        _write_quarantine(job, reasons, located)
    if job.keys is not None:
        job.keys.write_text(keys.hexdigest() + "\n", encoding="ascii", newline="\n")
    return audit


def _observe_types(columns: Sequence[pa.BinaryArray], layout: Layout) -> dict[str, str]:
    ignored: dict[int, Rejection] = {}
    return {
        name: observe_type(_decode(column[:_OBSERVED_ROWS], ignored))
        for name, column in zip(layout.header, columns, strict=True)
    }


def _without(table: pa.Table, refused: dict[int, Rejection]) -> pa.Table:
    """The other rows. Where few are refused, nothing is copied."""
    if len(refused) > _SLICED_ROWS:
        mask = np.ones(len(table), dtype=bool)
        mask[list(refused)] = False
        return table.filter(pa.array(mask))
    slices, start = [], 0
    for row in sorted(refused):
        slices.append(table.slice(start, row - start))
        start = row + 1
    return pa.concat_tables([*slices, table.slice(start)])


class SeenKeys:
    """The primary keys of a file's rows so far: 8 bytes each, whatever their order."""

    def __init__(self) -> None:
        self._sorted: list[np.ndarray] = []

    def repeated(self, keys: pa.ChunkedArray, refused: Collection[int]) -> dict[int, int]:
        """Row -> key of the rows whose key was seen before; the others count as seen.

        Args:
            keys: The keys of the next rows.
            refused: Rows that do not count.
        """
        rows = np.setdiff1d(np.arange(len(keys)), list(refused), assume_unique=True)
        values = keys.take(pa.array(rows)).to_numpy() if refused else keys.to_numpy()
        found: dict[int, int] = {}
        ascending = len(values) < 2 or bool((values[1:] > values[:-1]).all())
        if not ascending:
            # The first of each key stays.
            unique, first = np.unique(values, return_index=True)
            again = np.setdiff1d(np.arange(len(values)), first, assume_unique=True)
            found.update(zip(rows[again].tolist(), values[again].tolist(), strict=True))
            rows, values = rows[first], unique
        for earlier in self._sorted:
            if len(values) and values[0] <= earlier[-1] and values[-1] >= earlier[0]:
                places = np.minimum(np.searchsorted(earlier, values), len(earlier) - 1)
                known = earlier[places] == values
                found.update(zip(rows[known].tolist(), values[known].tolist(), strict=True))
                rows, values = rows[~known], values[~known]
        self._add(values)
        return dict(sorted(found.items()))

    def _add(self, values: np.ndarray) -> None:
        """Keep few runs, so that looking a key up stays cheap."""
        while self._sorted and len(self._sorted[-1]) <= 2 * len(values):
            values = np.concatenate([self._sorted.pop(), values])
            values.sort(kind="stable")
        if len(values):
            self._sorted.append(values)


def _first_positions(staged: Path, source: Source, keys: set[int]) -> dict[int, int]:
    """Key -> its position among the staged rows."""
    assert source.primary_key is not None
    column = read_parquet(staged, source.primary_key)[source.primary_key]
    places = pc.indices_nonzero(pc.is_in(column, pa.array(sorted(keys))))
    return dict(zip(column.take(places).to_pylist(), places.to_pylist(), strict=True))


def _explain_repeats(
    reasons: dict[int, Rejection],
    first_rows: dict[int, int],
    located: _Located,
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
    located: _Located,
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


def _write_quarantine(job: _Job, reasons: dict[int, Rejection], located: _Located) -> None:
    # Surrogates turn back into the bytes that came.
    with job.quarantine.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(QUARANTINE_HEADER)
        for number in sorted(reasons):
            line, row = located[number]
            kind, detail = reasons[number]
            writer.writerow((job.shown, line, f"{kind}: {detail}" if detail else kind, row))


def merge_audits(audits: Sequence[Audit], shown: str) -> Audit:
    """The audit of a source that came in parts.

    Args:
        audits: Of its parts, at least one.
        shown: What the parts are called together.
    """
    if len(audits) == 1:
        return audits[0]
    headers = dict.fromkeys(column for audit in audits for column in audit.header)
    counts: dict[str, Counter[str]] = {
        name: Counter() for name in ("quarantined", "repeated_keys", "nulls", "words")
    }
    for audit in audits:
        for name, counter in counts.items():
            counter.update(getattr(audit, name))
    words = sorted(counts["words"].items(), key=lambda item: (-item[1], item[0]))
    return Audit(
        source=audits[0].source,
        file=shown,
        header=list(headers),
        recognised={name: header for audit in audits for name, header in audit.recognised.items()},
        absent=[name for name in audits[0].absent if all(name in a.absent for a in audits)],
        observed_types={
            column: widest_type(
                audit.observed_types[column] for audit in audits if column in audit.observed_types
            )
            for column in headers
            if any(column in audit.observed_types for audit in audits)
        },
        rows=sum(audit.rows for audit in audits),
        staged=sum(audit.staged for audit in audits),
        quarantined=dict(sorted(counts["quarantined"].items())),
        repeated_keys=dict(counts["repeated_keys"]),
        nulls=dict(counts["nulls"]),
        words=dict(words[:_SHOWN_WORDS]),
        word_rows=sum(audit.word_rows for audit in audits),
    )
