"""The warehouse, an SQLite file: loads, their receipts, and connections to read it.

All that is particular to SQLite stands here. A load replaces one table's rows, or those of the
parts that changed, in one transaction: readers see the former rows or the new ones (write-ahead
log), a failed load leaves the former ones, and the load's receipt is committed with its rows.
Triggers remove the receipt when anyone else changes a row, so that the next run mends the table.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import os
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from config.declarations import Table
from config.warehouse import DIMENSIONS, FACT_LOGS, PART_ROWS, TABLES
from tasks.core.errors import PipelineError, advice
from tasks.core.memo import once
from tasks.freshness.task import THREADS, Receipt, digest_of
from tasks.run.progress import UNTOLD, Advance, Progress

if TYPE_CHECKING:
    import adbc_driver_manager
    import pyarrow as pa
    import sqlalchemy as sa

_PREFIX = "sqlite:///"
_WAIT_MS = 3_600_000
"""How long a load waits for another program that writes."""

_SHORT_WAIT_S = 5

logger = logging.getLogger("pipeline")

_CACHE_KIB = 65_536
"""Page cache where pages are asked for in no order: reading, and keeping indexes up to date."""

_SORT_KIB = 4_096
"""Page cache where rows are appended; also how much is sorted at a time for an index, which is
the faster the better it fits the processor's own cache."""

_PAGE_BYTES = 16_384

_REINDEXED_SHARE = 4
"""Indexes are made anew if more than one row in so many changes."""

_ROW_COST = 3
"""How much longer it takes to add a row than to put it into an index, about."""

_EVENTS = ("INSERT", "UPDATE", "DELETE")

_BOOKKEEPING = """
CREATE TABLE IF NOT EXISTS load_receipt (
    table_name TEXT NOT NULL PRIMARY KEY,
    receipt TEXT NOT NULL,
    row_count INTEGER NOT NULL,
    size_bytes INTEGER,
    loaded_at DATETIME NOT NULL
);
CREATE TABLE IF NOT EXISTS retained_member (
    table_name TEXT NOT NULL,
    member_key INTEGER NOT NULL,
    PRIMARY KEY (table_name, member_key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS loaded_part (
    number INTEGER NOT NULL PRIMARY KEY,
    part TEXT NOT NULL,
    log_kind TEXT NOT NULL,
    content TEXT NOT NULL,
    load TEXT NOT NULL,
    row_count INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS log_tally (
    number INTEGER NOT NULL,
    point_log_inst_id INTEGER NOT NULL,
    log_kind TEXT NOT NULL,
    record_count INTEGER NOT NULL,
    first_recorded_at DATETIME,
    last_recorded_at DATETIME,
    PRIMARY KEY (point_log_inst_id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS data_dictionary (
    table_name TEXT NOT NULL,
    column_name TEXT NOT NULL,
    type TEXT NOT NULL,
    description TEXT NOT NULL,
    PRIMARY KEY (table_name, column_name)
);
"""


_KEPT_BESIDE = {
    "load_receipt",
    "retained_member",
    "loaded_part",
    "log_tally",
    "data_dictionary",
}


def database_path(url: str) -> Path:
    """The file behind a warehouse URL.

    Raises:
        PipelineError: The URL names no SQLite file.
    """
    if not url.startswith(_PREFIX) or url == _PREFIX or ":memory:" in url:
        scheme = url.partition(":")[0]
        raise PipelineError(
            f"warehouse_url: a file database of SQLite is needed, not {scheme}.",
            remedy="Give it as sqlite:///data_warehouse.db, or sqlite:////folder/file.db.",
        )
    return Path(url.removeprefix(_PREFIX))


def connect(url: str) -> sa.Engine:
    """An engine that reads the warehouse. Dispose of it when done."""
    import sqlalchemy as sa

    path = database_path(url).absolute()
    return sa.create_engine(
        "sqlite://",
        creator=lambda: _open_read_only(path),
        poolclass=sa.pool.NullPool,
    )


def _open_read_only(path: Path) -> sqlite3.Connection:
    # Not mode=ro: such a connection leaves its -wal and -shm files behind when it closes.
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=_SHORT_WAIT_S)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute("SELECT 1 FROM sqlite_schema")
    except sqlite3.OperationalError as error:
        connection.close()
        if "unable to open" not in str(error) and "readonly" not in str(error):
            raise
        # In a folder that may not be written to nobody else writes either.
        return sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    return connection


# --- receipts --------------------------------------------------------------------------------


def load_receipt(url: str, table: str) -> Receipt | None:
    """The receipt of a table's last load; None if the table or the receipt is not there."""
    return once(("receipts", url), lambda: _load_receipts(url)).get(table)


def _load_receipts(url: str) -> dict[str, Receipt]:
    """The receipts that can be believed: of tables that have all that a load gives them."""
    answers = _ask(url, "SELECT table_name, receipt FROM load_receipt", _PARTS)
    if answers is None:
        return {}
    receipts, parts = answers
    there = {(table, name) for table, name in parts}
    found = {}
    for table, text in receipts:
        receipt = Receipt.from_json(text)
        if table in TABLES and receipt is not None and _parts(TABLES[table]) <= there:
            found[table] = receipt
    return found


class LoadSize(NamedTuple):
    """How large a table is, with its indexes, as its last load left it.

    Attributes:
        rows: Rows.
        size_bytes: Pages of the table and its indexes, about; None if it is not known.
    """

    rows: int
    size_bytes: int | None


def load_sizes(url: str) -> dict[str, LoadSize]:
    """The tables that are as they were loaded, and how large they are."""
    answers = _ask(url, "SELECT table_name, row_count, size_bytes FROM load_receipt")
    return {} if answers is None else {name: LoadSize(*size) for name, *size in answers[0]}


class LoadedPart(NamedTuple):
    """What the warehouse knows of a part of the log records that was loaded.

    Attributes:
        number: Of the part; its rows have `log_id` from `number * PART_ROWS + 1` on.
        part: Its name.
        log_kind: B or F.
        content: Digest of what its rows were made from.
        load: Of the load that brought them; another one each time.
        row_count: How many there are.
    """

    number: int
    part: str
    log_kind: str
    content: str
    load: str
    row_count: int


def loaded_parts(url: str) -> list[LoadedPart]:
    """The parts of the log records that are loaded, by number."""
    answers = _ask(url, f"SELECT {', '.join(LoadedPart._fields)} FROM loaded_part ORDER BY number")
    return [] if answers is None else [LoadedPart(*row) for row in answers[0]]


class PartCounts(NamedTuple):
    """The facts of one part, counted.

    Attributes:
        of_kind: Those of the kind that its records have.
        per_unit: Unit -> facts.
    """

    of_kind: int
    per_unit: dict[int, int]


def count_parts(url: str, parts: Iterable[LoadedPart]) -> dict[str, PartCounts]:
    """Count the facts of some parts, by name; each costs what its facts are."""
    path = database_path(url).absolute()
    with closing(_open_read_only(path)) as connection:
        (total,) = connection.execute("SELECT sum(row_count) FROM loaded_part").fetchone()

    def count(part: LoadedPart) -> PartCounts:
        first, last = part.number * PART_ROWS, (part.number + 1) * PART_ROWS
        mine = f"WHERE log_id > {first} AND log_id <= {last}"
        # Where they are many of all, it is faster to run over the index than to sort them.
        many = part.row_count * _REINDEXED_SHARE > total
        index = "INDEXED BY ix_fact_logs_unit_id" if many else "NOT INDEXED"
        with closing(_open_read_only(path)) as connection:
            connection.execute(f"PRAGMA cache_size = -{_SORT_KIB}")
            (of_kind,) = connection.execute(
                f"SELECT count(*) FROM fact_logs {mine} AND log_kind = ?", (part.log_kind,)
            ).fetchone()
            units = connection.execute(
                f"SELECT unit_id, count(*) FROM fact_logs {index} {mine} GROUP BY unit_id"
            ).fetchall()
        return PartCounts(of_kind, dict(units))

    counted = list(parts)
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip((part.part for part in counted), pool.map(count, counted), strict=True))


def tally_log_instances(url: str) -> dict[str, dict[int, int]]:
    """Kind of log record -> log instance -> its records."""
    answers = _ask(
        url,
        "SELECT log_kind, point_log_inst_id, sum(record_count) FROM log_tally"
        " GROUP BY point_log_inst_id, log_kind",
    )
    tally: dict[str, dict[int, int]] = {}
    for kind, instance, count in [] if answers is None else answers[0]:
        tally.setdefault(kind, {})[instance] = count
    return tally


def _ask(url: str, *queries: str) -> list[list[tuple]] | None:
    """The answers of the warehouse; None if it is not there or lacks what is asked for."""
    path = database_path(url).absolute()
    if not path.exists():
        return None
    try:
        with closing(_open_read_only(path)) as connection:
            return [connection.execute(query).fetchall() for query in queries]
    except sqlite3.Error:
        return None  # If it is damaged, the load will tell.


_PARTS = """
    SELECT tbl_name, name FROM sqlite_schema
    UNION ALL SELECT table_name, column_name FROM data_dictionary
"""


def _parts(table: Table) -> set[tuple[str, str]]:
    """What a loaded table has: itself, its triggers, its indexes, its dictionary."""
    names = {
        *(f"ix_{table.name}_{column}" for column in table.indexes),
        *(column.name for column in table.columns),
    }
    return {*_watched(table.name), *((table.name, name) for name in names)}


def _watched(table: str) -> set[tuple[str, str]]:
    """A table and what is kept beside it, with the triggers that see changes by others."""
    return {
        (on, name)
        for on in _beside(table)
        for name in (on, *(f"{on}_{event}_voids_receipt" for event in _EVENTS))
    }


def _beside(table: str) -> tuple[str, ...]:
    """The table, and those in which is noted what its parts are."""
    return (table, "log_tally", "loaded_part") if table == FACT_LOGS.name else (table,)


def catalog_digest(url: str) -> str | None:
    """The digest of the warehouse's catalog, whoever made what is in it; None if there is none."""
    answers = _ask(url, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")
    return None if answers is None else digest_of(answers)


def forget_load(url: str, table: str) -> None:
    """Remove a load's receipt; its rows stay."""
    path = database_path(url)
    if path.exists():
        with _writing(path) as connection:
            connection.executescript(_BOOKKEEPING)
            connection.execute("DELETE FROM load_receipt WHERE table_name = ?", (table,))
            if table == FACT_LOGS.name:
                connection.execute("DELETE FROM loaded_part")


# --- loading ---------------------------------------------------------------------------------


class PartRows(NamedTuple):
    """The facts of one part of the log records.

    Attributes:
        part: Its name.
        number: Its number; the rows' `log_id` begins with it.
        log_kind: B or F.
        content: Digest of what they are made from.
        row_count: Tells how many they are.
        batches: Gives them, with columns as declared.
    """

    part: str
    number: int
    log_kind: str
    content: str
    row_count: Callable[[], int]
    batches: Callable[[], Iterable[pa.RecordBatch]]


def replace_rows(
    url: str,
    table: Table,
    batches: Iterable[pa.RecordBatch],
    receipt: Receipt,
    before_commit: Callable[[], None] = lambda: None,
    progress: Progress = UNTOLD,
) -> int:
    """Replace all rows of a table, in one transaction with the receipt.

    Members of a dimension that the new rows lack stay while rows of other tables refer to them;
    the load that removes the last such reference removes them.

    Args:
        url: The warehouse.
        table: Declaration of the table.
        batches: Its rows, with columns as declared.
        receipt: What they were made from.
        before_commit: Called when all is loaded and checked; may raise. It must not open the
            database: closing any connection of Python's own SQLite would drop the locks of the
            one that loads.
        progress: Told the phases and the rows.

    Returns:
        The number of rows loaded.

    Raises:
        PipelineError: The rows do not fit the table. The former ones then still stand.
    """
    with _loading(url, table, receipt, before_commit) as load:
        load.empty()
        load.ingest((_as_stored(batch) for batch in batches), progress.advance)
        load.finish(progress)
        load.rows = load.count()
    return load.rows


def replace_parts(
    url: str,
    parts: Collection[PartRows],
    receipt: Receipt,
    before_commit: Callable[[], None] = lambda: None,
    progress: Progress = UNTOLD,
) -> tuple[list[str], int]:
    """Replace the facts of the parts that changed, in one transaction with the receipt.

    Args:
        url: The warehouse.
        parts: All parts that there are; the facts of others are removed.
        receipt: What all of them were made from.
        before_commit: As for `replace_rows`.
        progress: Likewise.

    Returns:
        The parts whose facts were loaded, and the number of all facts.

    Raises:
        PipelineError: The rows do not fit the table. The former ones then still stand.
    """
    with _loading(url, FACT_LOGS, receipt, before_commit) as load:
        former = load.believed_parts()
        kept = {
            part.number: former[part.number].row_count
            for part in parts
            if part.number in former and part.content == former[part.number].content
        }
        stale = sorted(
            (part for part in parts if part.number not in kept), key=lambda part: part.number
        )
        if kept:
            gone = load.present_parts() - set(kept)
            touched = sum(former[number].row_count for number in gone if number in former)
            touched += sum(part.row_count() for part in stale)
            load.remove_parts(gone, kept, reindex=touched * _REINDEXED_SHARE > sum(kept.values()))
        else:
            load.empty()
        tallies = {part.number: _Tally() for part in stale}
        rows = sum(part.row_count() for part in stale)
        progress.begin("loading", rows * (_ROW_COST + len(load.missing_indexes())))
        load.ingest(
            (tallies[part.number].count(batch) for part in stale for batch in part.batches()),
            lambda amount, added: progress.advance(_ROW_COST * amount, added),
        )
        load.finish(progress, rows)
        load.mark_parts(
            [(part, tallies[part.number]) for part in stale], receipt.outputs.get("load", "")
        )
        load.rows = sum(kept.values()) + sum(tally.rows for tally in tallies.values())
    return [part.part for part in stale], load.rows


@contextlib.contextmanager
def _loading(
    url: str, table: Table, receipt: Receipt, before_commit: Callable[[], None]
) -> Iterator[_Load]:
    """A load, begun; committed at the end with its receipt, or rolled back."""
    import adbc_driver_manager
    import adbc_driver_sqlite

    path = database_path(url)
    _prepare(path)
    try:
        with (
            closing(adbc_driver_sqlite.connect(str(path))) as database,
            closing(adbc_driver_manager.AdbcConnection(database)) as connection,
        ):
            try:
                connection.set_autocommit(False)
                load = _Load(connection, table)
                load.begin()
                load.make_table()
                yield load
                before_commit()
                load.record(receipt)
                connection.commit()
            except BaseException:
                # On a full disk SQLite has rolled back by itself, and says so by an error.
                with contextlib.suppress(adbc_driver_manager.Error):
                    connection.rollback()
                raise
    except adbc_driver_manager.Error as error:
        raise _explained(
            f"{table.name} could not be loaded into {path}; the former rows stand.", path, error
        ) from error
    if table == FACT_LOGS:
        _keep_readers_apart(path)


def watch(table: str) -> list[str]:
    """Statements that make any change of a table's rows void its receipt."""
    if table != FACT_LOGS.name:
        return [_trigger(table, event, table, {}) for event in _EVENTS]
    rows = {"INSERT": ("NEW",), "UPDATE": ("OLD", "NEW"), "DELETE": ("OLD",)}
    in_facts = {event: [f"{row}.log_id / {PART_ROWS}" for row in rows[event]] for event in _EVENTS}
    by_number = {event: [f"{row}.number" for row in rows[event]] for event in _EVENTS}
    return [
        _trigger(on, event, table, in_facts if on == table else by_number)
        for on in _beside(table)
        for event in _EVENTS
    ]


def _trigger(on: str, event: str, table: str, parts: Mapping[str, list[str]]) -> str:
    voided = [f"DELETE FROM load_receipt WHERE table_name = '{table}'"]
    voided += [
        f"DELETE FROM loaded_part WHERE number = {number}" for number in parts.get(event, [])
    ]
    return (
        f"CREATE TRIGGER {on}_{event}_voids_receipt AFTER {event} ON {on}"
        f" BEGIN {'; '.join(voided)}; END"
    )


def unwatch(table: str) -> list[str]:
    """Statements that take these triggers away."""
    return [
        f"DROP TRIGGER IF EXISTS {on}_{event}_voids_receipt"
        for on in _beside(table)
        for event in _EVENTS
    ]


class _Tally:
    """Counts the records of one part while they pass by."""

    def __init__(self) -> None:
        self._batches: list[pa.Table] = []
        self.rows = 0

    def count(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Count a batch of facts and give it on, as it is stored."""
        import pyarrow as pa

        self._batches.append(
            pa.Table.from_batches([batch.select(["point_log_inst_id", "recorded_at"])])
            .group_by("point_log_inst_id", use_threads=False)
            .aggregate([([], "count_all"), ("recorded_at", "min"), ("recorded_at", "max")])
        )
        self.rows += len(batch)
        return _as_stored(batch)

    def by_instance(self, part: PartRows) -> pa.Table:
        """The rows of `log_tally` of that part, as they are stored."""
        import pyarrow as pa

        whole = pa.concat_tables(self._batches).group_by("point_log_inst_id", use_threads=False)
        tally = whole.aggregate(
            [("count_all", "sum"), ("recorded_at_min", "min"), ("recorded_at_max", "max")]
        )
        instances, counts, firsts, lasts = (
            _column_as_stored(column.combine_chunks()) for column in tally
        )
        rows = len(tally)
        return pa.table(
            {
                "number": pa.repeat(pa.scalar(part.number, pa.int64()), rows),
                "point_log_inst_id": instances,
                "log_kind": pa.repeat(part.log_kind, rows),
                "record_count": counts,
                "first_recorded_at": firsts,
                "last_recorded_at": lasts,
            }
        )


def _ahead(batches: Iterable[pa.RecordBatch], advance: Advance) -> Iterator[pa.RecordBatch]:
    """The same batches, each made while the one before is being loaded.

    Args:
        batches: The batches.
        advance: Told the rows of each when the next one is asked for. Here, since another generator
            around this one would keep another batch in memory.
    """
    source = iter(batches)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, source, None)
        while (batch := following.result()) is not None:
            following = pool.submit(next, source, None)
            yield batch
            advance(len(batch), len(batch))


def _as_stored(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The columns as they are stored."""
    import pyarrow as pa

    arrays = [_column_as_stored(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _column_as_stored(column: pa.Array) -> pa.Array:
    """Times as SQLAlchemy and SQLite's own functions write them, so that they compare as text."""
    import pyarrow as pa

    if not pa.types.is_timestamp(column.type):
        return column
    return column.cast(pa.timestamp("us")).cast(pa.string())


def _prepare(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Another run may be loading for the first time: then even a look has to wait.
    with _writing(path, _WAIT_MS / 1000) as connection:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # Of a file that is new.
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        if not names >= _KEPT_BESIDE:
            connection.executescript(_BOOKKEEPING)
        columns = {row[1] for row in connection.execute("PRAGMA table_info(load_receipt)")}
        if "size_bytes" not in columns:  # A warehouse of version 0.1.
            connection.execute("ALTER TABLE load_receipt ADD COLUMN size_bytes INTEGER")
    # Until facts have been loaded for the first time there is nothing to read beside a load,
    # and without a write-ahead log every page is written once.
    if FACT_LOGS.name in names:
        _keep_readers_apart(path)


def _keep_readers_apart(path: Path) -> None:
    """From now on readers see the former rows while a load is under way."""
    with _writing(path) as connection:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            # Somebody else is at the database. Their load, or the next one, sees to it.


@contextlib.contextmanager
def _writing(path: Path, wait_s: float = _SHORT_WAIT_S) -> Iterator[sqlite3.Connection]:
    """A connection of Python's SQLite that writes a little, and commits."""
    try:
        with closing(sqlite3.connect(path, timeout=wait_s)) as connection, connection:
            yield connection
    except sqlite3.Error as error:
        raise _explained(f"The warehouse {path} cannot be opened:", path, error) from error


_REMEDIES = {
    "locked": "Another program writes to it: try again when it is done.",
    "malformed": "The file is damaged: move it away and run again: all of it is made from the CSV "
    "files.",
    "not a database": "The file is damaged or no database: move it away and run again: all of it "
    "is made from the CSV files.",
}


def _explained(what: str, path: Path, error: Exception) -> PipelineError:
    """An error of SQLite with its cause, which SQLite's own words often leave open.

    Ask for it when all connections are closed: the file may be opened here, which drops locks.
    """
    said = str(error).partition("\nquery was:")[0]  # Which may be long, and hold any word.
    for words, remedy in _REMEDIES.items():
        if words in said:
            return PipelineError(what, [said], remedy)
    place, cause = _obstacle(path)
    if "disk is full" in said:  # It need not be any more.
        place, cause = path.parent, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if cause is None:
        return PipelineError(what, [said])
    return PipelineError(what, [said, f"{place}: {cause.strerror or cause}"], advice(cause))


def _obstacle(path: Path) -> tuple[Path, OSError | None]:
    """What the system says if the folder of the warehouse, or its file, is written to."""
    place = path.parent
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(bytes(_PAGE_BYTES))
        place = path
        if os.path.lexists(path):
            path.open("r+b").close()
    except OSError as error:
        return place, error
    return place, None


class _Load:
    """The steps of one load, in one transaction of one cursor."""

    def __init__(self, connection: adbc_driver_manager.AdbcConnection, table: Table):
        from sqlalchemy.dialects import sqlite
        from sqlalchemy.schema import CreateIndex, CreateTable

        from tasks.warehouse.tables import metadata

        self.connection = connection
        self.table = table
        self.columns = ", ".join(column.name for column in table.columns)
        self.referred: dict[str, set[int]] = {name: set() for name in table.references}
        self.former = False
        self.rows = 0
        declared = metadata().tables[table.name]
        dialect = sqlite.dialect()
        self.create_table = str(CreateTable(declared).compile(dialect=dialect)).strip()
        self.create_indexes = {
            str(index.name): str(CreateIndex(index).compile(dialect=dialect))
            for index in sorted(declared.indexes, key=lambda index: str(index.name))
        }

    def query(self, sql: str) -> list[tuple]:
        """Run a statement and fetch what it gives."""
        import adbc_driver_manager
        import pyarrow as pa

        with closing(adbc_driver_manager.AdbcStatement(self.connection)) as statement:
            statement.set_sql_query(sql)
            handle, _ = statement.execute_query()
            with pa.RecordBatchReader._import_from_c(handle.address) as reader:
                columns = reader.read_all().to_pydict().values()
        return list(zip(*columns, strict=True))

    def run(self, sql: str) -> None:
        """Run a statement that gives nothing."""
        import adbc_driver_manager

        with closing(adbc_driver_manager.AdbcStatement(self.connection)) as statement:
            statement.set_sql_query(sql)
            statement.execute_update()

    def begin(self) -> None:
        """Take the write lock, by a first statement that writes; wait if another run has it."""
        from adbc_driver_manager import Error

        # What looks at the catalog, as this does, waits for another run's first load.
        self.query(f"PRAGMA busy_timeout = {_WAIT_MS}")
        self.query(f"PRAGMA cache_size = -{_SORT_KIB}")
        self.query("PRAGMA threads = 2")
        # A first statement that writes takes the lock.
        first = f"UPDATE load_receipt SET receipt = '' WHERE table_name = '{self.table.name}'"
        try:
            self.query("PRAGMA busy_timeout = 0")
            self.run(first)
        except Error as error:
            if "locked" not in str(error):
                raise
            logger.warning("%s: another program writes to the warehouse; waiting", self.table.name)
            self.query(f"PRAGMA busy_timeout = {_WAIT_MS}")
            self.run(first)
        # The commit waits for readers.
        self.query(f"PRAGMA busy_timeout = {_WAIT_MS}")
        mine = f"FROM load_receipt WHERE table_name = '{self.table.name}'"
        self.former_bytes = self.query(f"SELECT size_bytes {mine} AND size_bytes IS NOT NULL")
        self.run(f"DELETE {mine}")
        self.former_pages = self._pages()
        self.catalog = set(self.query("SELECT tbl_name, name FROM sqlite_schema"))
        self.tables = [name for name in TABLES if (name, name) in self.catalog]
        self._forget_unwatched()
        for name in TABLES:
            for statement in unwatch(name):
                self.run(statement)

    def _forget_unwatched(self) -> None:
        """Forget the loads of all tables that could be changed unseen.

        This load makes the triggers of every table anew; without this, a table that lacked them
        would look as if nobody could have changed it.
        """
        for name in TABLES:
            if not _watched(name) <= self.catalog:
                self.run(f"DELETE FROM load_receipt WHERE table_name = '{name}'")
                if name == FACT_LOGS.name:
                    self.run("DELETE FROM loaded_part")

    def _pages(self) -> int:
        """The pages in use."""
        ((pages,),) = self.query("PRAGMA page_count")
        ((free,),) = self.query("PRAGMA freelist_count")
        return int(pages - free)

    def _size_bytes(self) -> int | None:
        """How large the table is, by how many pages the load added; None if not known before."""
        new = (self.table.name, self.table.name) not in self.catalog
        if not new and not self.former_bytes:
            return None
        ((page_bytes,),) = self.query("PRAGMA page_size")
        former = sum(size for (size,) in self.former_bytes)
        return int(former + (self._pages() - self.former_pages) * page_bytes)

    def make_table(self) -> None:
        """See that the table is there as declared; columns that someone added may stay."""
        if self.table.name in self.tables:
            if self._fits():
                return
            surplus = [name for name in self._live_columns() if name not in self._declared()]
            if surplus:
                raise PipelineError(
                    f"{self.table.name} is declared anew and has to be made again, but it has "
                    f"columns that are not declared: {', '.join(surplus)}.",
                    remedy="Declare them in config/warehouse.py, or drop them. "
                    "The former rows stand.",
                )
        else:
            self.tables.append(self.table.name)
            self.run(self.create_table)

    def _fits(self) -> bool:
        declared = self._declared()
        live = self._live_columns()
        return all(live.get(name) == shape for name, shape in declared.items()) and (
            set(live) != set(declared) or self._live_sql() == self.create_table
        )

    def _live_sql(self) -> str:
        (row,) = self.query(
            f"SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = '{self.table.name}'"
        )
        return str(row[0]).strip()

    def _live_columns(self) -> dict[str, tuple]:
        """Column -> type, NOT NULL, place in the primary key."""
        rows = self.query(f"PRAGMA table_info({self.table.name})")
        return {name: (kind, notnull, key) for _, name, kind, notnull, _, key in rows}

    def _declared(self) -> dict[str, tuple]:
        with closing(sqlite3.connect(":memory:")) as scratch:
            scratch.execute(self.create_table)
            rows = scratch.execute(f"PRAGMA table_info({self.table.name})").fetchall()
        return {name: (kind, notnull, key) for _, name, kind, notnull, _, key in rows}

    def empty(self) -> None:
        """Remove all rows, keeping in `former` those of a dimension that others may refer to."""
        name = self.table.name
        if name == FACT_LOGS.name:
            self.run("DELETE FROM loaded_part")
            self.run("DELETE FROM log_tally")
        elif self._children() and self.query(f"SELECT 1 FROM {name} LIMIT 1"):
            self.former = True
            self.run(f"CREATE TEMP TABLE former AS SELECT * FROM {name}")
        self._drop_indexes()
        if self._fits():
            self.run(f"DELETE FROM {name}")
        else:
            self.run(f"DROP TABLE {name}")
            self.run(self.create_table)

    def _drop_indexes(self) -> None:
        for index in self.create_indexes:
            self.run(f"DROP INDEX IF EXISTS {index}")

    def _children(self) -> list[tuple[str, str]]:
        """Tables and columns that refer to this table."""
        return [
            (child.name, column)
            for child in TABLES.values()
            for column, (parent, _) in child.references.items()
            if parent == self.table.name and child.name in self.tables
        ]

    def believed_parts(self) -> dict[int, LoadedPart]:
        """The parts whose facts are there as they were loaded, by number.

        None, if the table is not as declared.
        """
        if not self._fits():
            return {}
        columns = ", ".join(LoadedPart._fields)
        rows = self.query(f"SELECT {columns} FROM loaded_part")
        return {row[0]: LoadedPart(*row) for row in rows}

    def present_parts(self) -> set[int]:
        """The numbers of all parts of which there is something, whoever brought it."""
        self.run("DELETE FROM fact_logs WHERE log_id <= 0")
        # From one part to the next: the facts within are not looked at.
        following = f"SELECT (min(log_id) - 1) / {PART_ROWS} FROM fact_logs"
        rows = self.query(
            f"WITH RECURSIVE present(number) AS ({following} UNION ALL"
            f" SELECT ({following} WHERE log_id > (number + 1) * {PART_ROWS})"
            " FROM present WHERE number IS NOT NULL)"
            " SELECT number FROM present WHERE number IS NOT NULL"
            " UNION SELECT number FROM loaded_part"
        )
        return {int(number) for (number,) in rows}

    def remove_parts(self, numbers: Collection[int], kept: Collection[int], reindex: bool) -> None:
        """Remove the facts of some parts.

        Args:
            numbers: Of these parts.
            kept: The numbers of the parts that stay; nothing is tallied of any other.
            reindex: Whether so much changes that the indexes are better made anew.
        """
        if reindex:
            self._drop_indexes()
        else:
            self.query(f"PRAGMA cache_size = -{_CACHE_KIB}")
        for number in numbers:
            first, last = number * PART_ROWS, (number + 1) * PART_ROWS
            self.run(f"DELETE FROM fact_logs WHERE log_id > {first} AND log_id <= {last}")
            self.run(f"DELETE FROM loaded_part WHERE number = {number}")
        staying = ", ".join(map(str, kept))
        self.run(f"DELETE FROM log_tally WHERE number NOT IN ({staying})")

    def ingest(self, stored: Iterable[pa.RecordBatch], advance: Advance) -> None:
        """Add rows, noting to which members they refer.

        Args:
            stored: The rows, with columns as they are stored.
            advance: Told the rows that were added.
        """
        batches = _ahead(self._noting(stored), advance)
        first = next(batches, None)
        if first is None:
            return
        self._append(self.table.name, first.schema, itertools.chain([first], batches))

    def _append(self, table: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        """Add rows to a table."""
        import adbc_driver_manager
        import pyarrow as pa

        with closing(adbc_driver_manager.AdbcStatement(self.connection)) as statement:
            statement.set_options(
                **{
                    "adbc.ingest.target_table": table,
                    "adbc.ingest.mode": "adbc.ingest.mode.append",
                }
            )
            statement.bind_stream(pa.RecordBatchReader.from_batches(schema, batches))
            statement.execute_update()

    def _noting(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow.compute as pc

        for batch in batches:
            for name, referred in self.referred.items():
                referred.update(pc.unique(batch[name]).drop_null().to_pylist())
            yield batch

    def count(self) -> int:
        """How many rows there are, those aside that were kept for others."""
        name = self.table.name
        kept = f"(SELECT count(*) FROM retained_member WHERE table_name = '{name}')"
        ((rows,),) = self.query(f"SELECT count(*) - {kept} FROM {name}")
        return int(rows)

    def missing_indexes(self) -> dict[str, str]:
        """The indexes that the table is to have and has not, by name."""
        there = {name for (name,) in self.query("SELECT name FROM sqlite_schema")}
        return {name: sql for name, sql in self.create_indexes.items() if name not in there}

    def finish(self, progress: Progress, index_cost: int = 0) -> None:
        """Put back what is still referred to, index, check.

        Args:
            progress: Told of each index that is made.
            index_cost: How much that is.
        """
        name = self.table.name
        if self.former:
            self._retain()
        self._drop_retained()
        progress.begin("indexing" if self.create_indexes else "checking")
        for statement in self.missing_indexes().values():
            self.run(statement)
            progress.advance(index_cost, 0)
        if any(self._lacking(column) for column in self.referred):
            violations = self.query(f"PRAGMA foreign_key_check({name})")
            raise PipelineError(
                f"{name}: {len(violations):,} rows refer to rows that are not there; "
                "the former rows stand.",
                [f"row {row} refers to {parent}" for _, row, parent, _ in violations[:5]],
            )

    def _lacking(self, column: str) -> bool:
        """Whether a member that the new rows refer to is not there."""
        parent, key = self.table.references[column]
        members = json.dumps(sorted(self.referred[column]))
        lacking = f"value NOT IN (SELECT {key} FROM {parent})"
        return bool(self.query(f"SELECT 1 FROM json_each('{members}') WHERE {lacking} LIMIT 1"))

    def _retain(self) -> None:
        """Keep the members that are gone but still referred to."""
        name, key = self.table.name, self.table.primary_key
        self.run(f"DELETE FROM retained_member WHERE table_name = '{name}'")
        self.run(f"DELETE FROM former WHERE {key} IN (SELECT {key} FROM {name})")
        if self.query("SELECT 1 FROM former LIMIT 1"):
            referred = " UNION ".join(
                f"SELECT {column} FROM {child}" for child, column in self._children()
            )
            self.run(f"DELETE FROM former WHERE {key} NOT IN ({referred})")
            self.run(f"INSERT INTO retained_member SELECT '{name}', {key} FROM former")
            self.run(f"INSERT INTO {name} ({self.columns}) SELECT {self.columns} FROM former")
        self.run("DROP TABLE former")

    def _drop_retained(self) -> None:
        """Remove the retained members that no row refers to any more, children first."""
        for parent in reversed(DIMENSIONS.values()):
            if parent.name not in self.tables:
                continue
            mine = f"(SELECT member_key FROM retained_member WHERE table_name = '{parent.name}')"
            if self.query(f"SELECT count(*) FROM {mine}") == [(0,)]:
                continue
            free = " AND ".join(
                f"{parent.primary_key} NOT IN (SELECT {column} FROM {child.name})"
                for child in TABLES.values()
                for column, (name, _) in child.references.items()
                if name == parent.name and child.name in self.tables
            )
            self.query(f"DELETE FROM {parent.name} WHERE {parent.primary_key} IN {mine} AND {free}")
            self.query(
                f"DELETE FROM retained_member WHERE table_name = '{parent.name}'"
                f" AND member_key NOT IN (SELECT {parent.primary_key} FROM {parent.name})"
            )

    def mark_parts(self, tallies: Collection[tuple[PartRows, _Tally]], load: str) -> None:
        """Note which parts were loaded, and how many records each log instance has in each."""
        import pyarrow as pa

        for part, tally in tallies:
            marker = LoadedPart(
                part.number, part.part, part.log_kind, part.content, load, tally.rows
            )
            self.run(f"INSERT INTO loaded_part VALUES ({_values(marker)})")
        tables = [tally.by_instance(part) for part, tally in tallies if tally.rows]
        if tables:
            in_order = [("point_log_inst_id", "ascending"), ("number", "ascending")]
            whole = pa.concat_tables(tables).sort_by(in_order)
            self._append("log_tally", whole.schema, whole.to_batches())

    def record(self, receipt: Receipt) -> None:
        """Write the receipt and the data dictionary, and watch for changes by others."""
        name = self.table.name
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        self.run(
            "INSERT INTO load_receipt (table_name, receipt, row_count, size_bytes, loaded_at)"
            f" VALUES ({_values((name, receipt.to_json(), self.rows, self._size_bytes(), now))})"
        )
        self.run(f"DELETE FROM data_dictionary WHERE table_name = '{name}'")
        entries = [("", "table", self.table.grain)]
        entries += [(c.name, c.type.value, c.description) for c in self.table.columns]
        rows = ", ".join(f"({_values((name, *entry))})" for entry in entries)
        self.run(f"INSERT INTO data_dictionary VALUES {rows}")
        for watched in self.tables:
            for statement in watch(watched):
                self.run(statement)


def _values(values: Iterable[object]) -> str:
    """Values as SQL spells them.

    >>> _values((7, "it's", None))
    "7, 'it''s', NULL"
    """
    return ", ".join(
        "NULL"
        if value is None
        else str(value)
        if isinstance(value, int)
        else "'" + str(value).replace("'", "''") + "'"
        for value in values
    )
