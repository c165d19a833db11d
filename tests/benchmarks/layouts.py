"""Ways to store the facts in SQLite, measured on the same rows: loads, and queries.

All times are processor time of this process, medians of three.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import adbc_driver_manager
import adbc_driver_sqlite
import pyarrow as pa
import pyarrow.parquet as pq

from config.warehouse import FACT_LOGS
from tasks.enrichment.star import arrow_schema
from tasks.warehouse.sqlite.transaction import SqliteTransaction
from tests.benchmarks.projects import LOGS, Project

TYPES = {"integer": "INTEGER", "number": "DOUBLE", "text": "TEXT", "timestamp": "DATETIME"}
COLUMNS = ", ".join(
    f"{column.name} {TYPES[column.type]}"
    + (" NOT NULL" if not column.nullable or column.name in FACT_LOGS.key_columns else "")
    for column in FACT_LOGS.columns
)
BY_FILE = f"CREATE TABLE fact_logs ({COLUMNS}, PRIMARY KEY (log_id))"
CLUSTERED = (
    f"CREATE TABLE fact_logs ({COLUMNS}, PRIMARY KEY (point_log_inst_id, recorded_at, log_id))"
    " WITHOUT ROWID"
)
LEVELS = ("unit_id", "app_instance_id", "app_type_id")
BY_TIME = "point_log_inst_id, recorded_at"


class Layout(NamedTuple):
    """A table with its indexes, and the order in which its rows come."""

    table: str
    indexes: tuple[str, ...] = ()
    sorted_rows: int = 0  # At a time.


LAYOUTS = {
    "in the order of the files, three indexes": Layout(BY_FILE, LEVELS),
    "in the order of the files, one index (log instance, time)": Layout(BY_FILE, (BY_TIME,)),
    "in the order of the files, four indexes": Layout(BY_FILE, (*LEVELS, BY_TIME)),
    "clustered, rows as they come": Layout(CLUSTERED),
    "clustered, sorted in pieces of 64 K": Layout(CLUSTERED, (), 65_536),
    "clustered, sorted in pieces of 256 K": Layout(CLUSTERED, (), 262_144),
    "clustered, sorted as a whole": Layout(CLUSTERED, (), 1 << 40),
}
QUERIES = {
    "a log instance's day, ms": "SELECT * FROM fact_logs WHERE point_log_inst_id = {instance}"
    " AND recorded_at >= '2024-06-02' AND recorded_at < '2024-06-03'",
    "a unit by its log instances, ms": "SELECT sum(value), count(*) FROM fact_logs WHERE"
    " point_log_inst_id IN (SELECT point_log_inst_id FROM owner WHERE unit_id = {unit})",
    "a unit by unit_id, ms": "SELECT sum(value), count(*) FROM fact_logs WHERE unit_id = {unit}",
    "unit x day, ms": "SELECT unit_id, substr(recorded_at, 1, 10), count(*) FROM fact_logs"
    " GROUP BY 1, 2",
    "last value of each, ms": "SELECT point_log_inst_id, max(recorded_at), value FROM fact_logs"
    " GROUP BY 1",
}


def sorted_in_pieces(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """The rows in pieces, each in the order of the key."""
    piece: list[pa.RecordBatch] = []
    order = [(name, "ascending") for name in FACT_LOGS.key_columns]
    for batch in batches:
        piece.append(batch)
        if sum(map(len, piece)) >= max(rows, 1):
            table = pa.Table.from_batches(piece)
            yield table.sort_by(order) if rows else table
            piece = []
    if piece:
        yield pa.Table.from_batches(piece).sort_by(order)


def load(path: Path, layout: Layout, batches: list[pa.RecordBatch]) -> tuple[float, float]:
    """Seconds of inserting, and of indexing."""
    with (
        closing(adbc_driver_sqlite.connect(str(path))) as database,
        closing(adbc_driver_manager.AdbcConnection(database)) as connection,
    ):

        def run(sql: str) -> None:
            with closing(adbc_driver_manager.AdbcStatement(connection)) as statement:
                statement.set_sql_query(sql)
                statement.execute_update()

        for sql in ("page_size = 16384", "cache_size = -4096", "threads = 2"):
            run(f"PRAGMA {sql}")
        begun = time.process_time()
        run("BEGIN EXCLUSIVE")
        run(layout.table)
        for piece in sorted_in_pieces(batches, layout.sorted_rows):
            with closing(adbc_driver_manager.AdbcStatement(connection)) as statement:
                options = {"adbc.ingest.target_table": "fact_logs"}
                statement.set_options(**options, **{"adbc.ingest.mode": "adbc.ingest.mode.append"})
                as_stored = SqliteTransaction(connection).as_stored
                stored = [as_stored(one, FACT_LOGS.key_columns) for one in piece.to_batches()]
                statement.bind_stream(pa.RecordBatchReader.from_batches(stored[0].schema, stored))
                statement.execute_update()
        inserted = time.process_time()
        for at, columns in enumerate(layout.indexes):
            run(f"CREATE INDEX ix_{at} ON fact_logs ({columns})")
        run("COMMIT")
    return inserted - begun, time.process_time() - inserted


def seconds(work: Callable[[], object]) -> float:
    def once() -> float:
        begun = time.process_time()
        work()
        return time.process_time() - begun

    return statistics.median(once() for _ in range(3))


def ask(path: Path) -> Iterator[str]:
    """Milliseconds of each query."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute(
            "CREATE TEMPORARY TABLE owner AS SELECT DISTINCT unit_id, point_log_inst_id"
            " FROM fact_logs"
        )
        found = connection.execute(
            "SELECT point_log_inst_id, unit_id FROM fact_logs WHERE unit_id > 0 LIMIT 1"
        )
        instance, unit = found.fetchone()
        for query in QUERIES.values():
            sql = query.format(instance=instance, unit=unit)
            took = seconds(lambda sql=sql: connection.execute(sql).fetchall())  # type: ignore[misc]
            yield f"{1000 * took:,.1f}"


def time_layouts(seed: Project) -> Iterator[str]:
    """Storing the facts in different orders."""
    folder = seed.folder / "staging" / "enriched_logs"
    schema = arrow_schema(FACT_LOGS)
    batches = [
        batch.cast(schema)
        for name in LOGS
        for batch in pq.ParquetFile(folder / f"{name}.parquet").iter_batches(columns=schema.names)
    ]
    yield f"| layout | insert, s | indexes, s | MB | {' | '.join(QUERIES)} |"
    yield f"|---|---|---|---|{'---|' * len(QUERIES)}"
    for name, layout in LAYOUTS.items():
        with tempfile.TemporaryDirectory(dir=seed.folder) as scratch:
            paths = [Path(scratch, f"{turn}.db") for turn in range(3)]
            loads = [load(path, layout, batches) for path in paths]
            insert, index = (statistics.median(steps) for steps in zip(*loads, strict=True))
            size = paths[0].stat().st_size / 1e6
            yield (
                f"| {name} | {insert:.1f} | {index:.1f} | {size:.0f} |"
                f" {' | '.join(ask(paths[0]))} |"
            )
