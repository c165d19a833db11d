"""Reading and loading through ADBC, which several databases have a driver for."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import adbc_driver_manager
import pyarrow as pa

from config.bookkeeping import ALL_TABLES
from tasks.core.progress import Advance, no_progress


class AdbcTransaction:
    """One transaction of one ADBC connection: what is the same in all databases."""

    read_options: dict[str, str] = {}
    """Of statements that are read in batches."""

    batches_of_insert = sys.maxsize
    """How many one statement adds."""

    def __init__(self, connection: adbc_driver_manager.AdbcConnection):
        self._connection = connection

    def query(self, sql: str) -> list[tuple]:
        """The rows, of types that Arrow finds."""
        with closing(adbc_driver_manager.AdbcStatement(self._connection)) as statement:
            statement.set_sql_query(sql)
            handle, _ = statement.execute_query()
            with pa.RecordBatchReader._import_from_c(handle.address) as reader:
                columns = reader.read_all().to_pydict().values()
        return list(zip(*columns, strict=True))

    def read(self, sql: str) -> Iterator[pa.RecordBatch]:
        """The rows, in batches; each is read while the one before is used.

        A column is of the type that Arrow finds in its first rows.
        """
        with closing(adbc_driver_manager.AdbcStatement(self._connection)) as statement:
            statement.set_options(**self.read_options)
            statement.set_sql_query(sql)
            handle, _ = statement.execute_query()
            with pa.RecordBatchReader._import_from_c(handle.address) as reader:
                yield from _ahead(reader, no_progress)

    def run(self, sql: str) -> None:
        """Run a statement that returns nothing."""
        with closing(adbc_driver_manager.AdbcStatement(self._connection)) as statement:
            statement.set_sql_query(sql)
            statement.execute_update()

    def append(
        self,
        table: str,
        batches: Iterable[pa.RecordBatch],
        advance: Advance,
        temporary: bool = False,
    ) -> None:
        """Add rows by ADBC's bulk insert."""
        keys = ALL_TABLES[table].key_columns if table in ALL_TABLES else ()
        stored = _ahead((self.as_stored(batch, keys) for batch in batches), advance)
        options = {
            "adbc.ingest.target_table": table,
            "adbc.ingest.mode": "adbc.ingest.mode.append",
            **({"adbc.ingest.temporary": "true"} if temporary else {}),
        }
        while first := next(stored, None):
            others = itertools.islice(stored, self.batches_of_insert - 1)
            some = pa.RecordBatchReader.from_batches(first.schema, itertools.chain([first], others))
            with closing(adbc_driver_manager.AdbcStatement(self._connection)) as statement:
                statement.set_options(**options)
                statement.bind_stream(some)
                statement.execute_update()

    def as_stored(self, batch: pa.RecordBatch, keys: Sequence[str]) -> pa.RecordBatch:
        """A batch with values of the types that the database has.

        Args:
            batch: The rows.
            keys: Columns that take no NULL: a time that is absent has a value that is no time.
        """
        raise NotImplementedError


def _ahead(batches: Iterable[pa.RecordBatch], advance: Advance) -> Iterator[pa.RecordBatch]:
    """The same batches, each made while the one before is used.

    Args:
        batches: The batches.
        advance: Called with the rows of each when the next one is asked for. Here, since another
            generator around this one would keep another batch in memory.
    """
    source = iter(batches)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, source, None)
        while (batch := following.result()) is not None:
            following = pool.submit(next, source, None)
            yield batch
            advance(len(batch), len(batch))
