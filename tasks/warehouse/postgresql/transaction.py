"""One load into PostgreSQL, through ADBC."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.schema import AddConstraint

from config.aggregates import AGGREGATES
from config.bookkeeping import ALL_TABLES, BOOKKEEPING, LOAD_RECEIPT
from config.declarations import Table
from config.warehouse import FACT_LOGS, NO_INSTANT, TABLES
from tasks.core.progress import Advance, no_progress
from tasks.core.waiting import Limit
from tasks.warehouse.postgresql.tables import (
    DIALECT,
    PostgresqlTables,
    create_sql,
    declared_shape,
)
from tasks.warehouse.tables import metadata


class PostgresqlTransaction(PostgresqlTables):
    """One load: its beginning, its rows and its end."""

    batches_of_insert = 16
    """A million rows: the checks of their keys have to fit into memory."""

    def begin(self, schema: str, wait_s: float) -> None:
        """Begin; fail if another load is under way for so many seconds."""
        # What executors commit meanwhile has to be seen, whatever the default is.
        self.run("BEGIN ISOLATION LEVEL READ COMMITTED")
        if not self.query(f"SELECT 1 FROM pg_namespace WHERE nspname = '{schema}'"):
            self.run(f"CREATE SCHEMA {schema}")
        self.run(f"SET LOCAL search_path = {schema}")
        self.run("SET LOCAL timezone = 'UTC'")
        self.run("SET LOCAL idle_in_transaction_session_timeout = 0")
        self.run("SET LOCAL work_mem = '64MB'")
        self.run(f"SET LOCAL lock_timeout = {max(1, int(wait_s * 1000))}")
        number = "hashtext(''controller-logs '' || current_schema())"
        # Arrow would report an error of a query as one of its own.
        self.run(f"DO 'BEGIN PERFORM pg_advisory_xact_lock({number}); END'")
        self.run("SET LOCAL lock_timeout = 0")
        self.run("SET LOCAL controller_logs.is_loading = 'on'")

    def prepare(self, function: str, wait: Limit, table: Table) -> None:
        """Create the bookkeeping tables and the function of the triggers.

        Raises:
            PipelineError: A table of someone else has the name of one of the load.
        """
        self._wait = wait
        ours: set[str] = set()
        if self.columns(LOAD_RECEIPT.name):
            names = self.query(f"SELECT DISTINCT table_name FROM {LOAD_RECEIPT.name}")
            ours = {name for (name,) in names} | set(BOOKKEEPING)
        derived = AGGREGATES.values() if table.name == FACT_LOGS.name else ()
        for one in (*BOOKKEEPING.values(), table, *derived):
            if one.name not in ours and self._comment(one.name) != one.grain:
                other = "schema in luigi.cfg: warehouse_schema"
                self.live_shape(one.name).refuse(one.name, declared_shape(one), other)
        for own in BOOKKEEPING.values():
            if not self.fits(own):
                self.create(own)
        self.run(function)

    def commit(self) -> None:
        """Add the foreign keys that are missing, and commit."""
        for name in (*TABLES, *AGGREGATES):
            if self.columns(name):
                declared = metadata().tables[name]
                present = self.references_of(name)
                for key in declared.foreign_key_constraints:
                    if key.name not in present and self.columns(key.referred_table.name):
                        added = AddConstraint(key, isolate_from_table=False)
                        self.run(str(added.compile(dialect=DIALECT)))
        self.run("COMMIT")

    def roll_back(self) -> None:
        """Undo everything."""
        self.run("ROLLBACK")

    # --- rows --------------------------------------------------------------------------------

    def as_stored(self, batch: pa.RecordBatch, keys: Sequence[str]) -> pa.RecordBatch:
        """Times in UTC without a zone; NO_INSTANT where a key has none."""
        columns = []
        for field, column in zip(batch.schema, batch.columns, strict=True):
            if pa.types.is_timestamp(field.type):
                column = column.cast(pa.timestamp("us"))
                if field.name in keys and column.null_count:
                    absent = pa.scalar(NO_INSTANT, pa.timestamp("us"))
                    column = pc.fill_null(column, absent)
            columns.append(column)
        return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)

    def create_temporary(self, table: Table, rows: pa.Table) -> None:
        """Create a temporary table with these rows."""
        sql = create_sql(table).replace("CREATE TABLE", "CREATE TEMPORARY TABLE", 1)
        self.run(f"{sql} ON COMMIT DROP")
        self.append(table.name, rows.to_batches(), no_progress, temporary=True)
        self.run(f"ANALYZE {table.name}")

    def replace(self, table: Table, batches: Iterable[pa.RecordBatch], advance: Advance) -> None:
        """Put rows in the place of all rows; only what differs is written.

        So readers have to wait only if members vanish, and then no longer than it takes to remove
        them: PostgreSQL would else look for the facts of each one.
        """
        name, (key,) = table.name, table.key_columns
        if not self.query(f"SELECT 1 FROM {name} LIMIT 1"):
            self.append(name, batches, advance)
            return
        columns = [column.name for column in table.columns]
        others = [column for column in columns if column != key]
        self.run(f"CREATE TEMPORARY TABLE incoming (LIKE {name}) ON COMMIT DROP")
        self.append("incoming", batches, advance, temporary=True)
        self.run("ANALYZE incoming")
        new, old = (", ".join(f"{of}.{column}" for column in others) for of in ("incoming", name))
        self.remove(table, f"SELECT {key} FROM {name} EXCEPT SELECT {key} FROM incoming")
        self.run(
            f"UPDATE {name} SET ({', '.join(others)}) = ROW({new}) FROM incoming"
            f" WHERE {name}.{key} = incoming.{key} AND ({old}) IS DISTINCT FROM ({new})"
        )
        listed = ", ".join(columns)
        self.run(
            f"INSERT INTO {name} ({listed}) SELECT {listed} FROM incoming"
            f" WHERE NOT EXISTS (SELECT FROM {name} WHERE {name}.{key} = incoming.{key})"
        )
        self.run("DROP TABLE incoming")

    def empty(self, table: Table) -> None:
        """Remove all rows.

        The foreign keys stay, though rows would be loaded faster without them: readers would have
        to wait until the commit.
        """
        self.run(f"DELETE FROM {table.name}")

    def remove(self, table: Table, keys: str) -> None:
        """Remove the rows whose keys a query finds."""
        columns = ", ".join(table.key_columns)
        self.run(f"CREATE TEMPORARY TABLE removed ({columns}) ON COMMIT DROP AS {keys}")
        if self.query("SELECT 1 FROM removed LIMIT 1"):
            self.run("ANALYZE removed")
            for child, constraint in self.references_to(table.name):
                self.release(child, {constraint})
            same = " AND ".join(f"{table.name}.{key} = removed.{key}" for key in table.key_columns)
            self.run(f"DELETE FROM {table.name} USING removed WHERE {same}")
        self.run("DROP TABLE removed")

    def any_missing(self, parent: str, key: str, values: Iterable[int]) -> bool:
        """Whether a table lacks a row for one of some keys."""
        listed = ",".join(map(str, values))
        found = f"SELECT 1 FROM unnest('{{{listed}}}'::bigint[]) AS value"
        return bool(self.query(f"{found} WHERE value NOT IN (SELECT {key} FROM {parent}) LIMIT 1"))

    def violations(self, table: str) -> list[str]:
        """The parent of each row that has none."""
        parents = []
        for column, (parent, key) in ALL_TABLES[table].references.items():
            ((count,),) = self.query(
                f"SELECT count(*) FROM {table} WHERE {column} IS NOT NULL"
                f" AND {column} NOT IN (SELECT {key} FROM {parent})"
            )
            parents += [parent] * count
        return parents
