"""What a database has to offer to be a warehouse: `open.py` names those that exist.

Nothing outside `tasks/warehouse/` knows which database it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from config.bookkeeping import LoadReceipt
from config.declarations import Table
from config.views import View
from tasks.core.progress import Advance

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

    from tasks.core.partition import Partition
    from tasks.warehouse.collected import Collected

    Copy = Callable[["Transaction", Mapping[Partition, Path]], Sequence[Collected] | None]
    """Loads the facts of partitions from their enriched records; what is known of each.

    None if it cannot: nothing was loaded.
    """


class Warehouse(Protocol):
    """A database with the star. Holds no connection between calls.

    Attributes:
        name: Under which messages name it; without a password.
        file: Whose change other than by a load has the rows compared with what was loaded; None if
            the database is no file, and nothing but triggers notices what others change.
        no_time: In SQL, what `fact_logs.recorded_at` has where the export has no time: less than
            every time.
    """

    name: str
    file: Path | None
    no_time: str

    def connect(self) -> sa.Connection:
        """A connection that cannot write, and sees the rows of one moment."""

    def exists(self) -> bool:
        """Whether there is a database to read."""

    def receipts(self) -> dict[tuple[str, str], LoadReceipt]:
        """(table, partition) -> receipt of the loads whose rows nobody has changed."""

    def missing_tables(self) -> list[str]:
        """Tables that were loaded and do not exist any more."""

    def changed_loads(self) -> list[tuple[str, str]] | None:
        """(table, partition) of the loads whose rows are no longer as they were loaded.

        Reads every row. None if there is no database, or if it is damaged beyond its rows.
        """

    def forget(self, table: str, partitions: Iterable[str] | None = None) -> None:
        """Remove receipts of partitions, or all of a table; the rows stay."""

    def catalog_digest(self) -> str | None:
        """The digest of tables, columns, indexes and triggers; None if there is no database."""

    def size_bytes(self, connection: sa.Connection, table: str) -> int | None:
        """The size of a table and its indexes; None if the database cannot say."""

    def triggers(self, table: str) -> dict[str, str]:
        """The triggers that invalidate a table's receipts: name -> CREATE statement."""

    def transaction(self, table: Table) -> AbstractContextManager[Transaction]:
        """A load of a table: committed at the end, or rolled back; waits for other writers.

        Raises:
            PipelineError: The database refuses something, or a table of the name is someone
                else's, and different: why, and what to do.
        """

    def copying(
        self, call: Callable[..., Any], at_once: Callable[[], int]
    ) -> AbstractContextManager[Copy | None]:
        """How other processes load facts, each those of a partition; None if they cannot.

        The context is that of a load.

        Args:
            call: Calls a function with arguments in another process; several threads use it.
            at_once: How many threads there may be.
        """


class Transaction(Protocol):
    """One load.

    Attributes:
        no_time: As of the warehouse.
    """

    no_time: str

    def query(self, sql: str) -> list[tuple]:
        """The rows."""

    def read(self, sql: str) -> Iterator[pa.RecordBatch]:
        """The rows, in batches; each is read while the one before is used."""

    def run(self, sql: str) -> None:
        """Run a statement that returns nothing."""

    def append(self, table: str, batches: Iterable[pa.RecordBatch], advance: Advance) -> None:
        """Add rows."""

    def replace(self, table: Table, batches: Iterable[pa.RecordBatch], advance: Advance) -> None:
        """Put rows in the place of all rows of a table that is as declared."""

    def create_temporary(self, table: Table, rows: pa.Table) -> None:
        """Create a temporary table with these rows."""

    def empty(self, table: Table) -> None:
        """Remove all rows of a table that is as declared."""

    def remove(self, table: Table, keys: str) -> None:
        """Remove the rows whose keys a query finds."""

    def columns(self, table: str) -> list[str]:
        """In their order, in lower case; none if the table does not exist."""

    def fits(self, table: Table) -> bool:
        """Whether a table has the declared columns, types and keys; others may have added more."""

    def create(self, table: Table) -> None:
        """Create a table, in place of one that does not fit."""

    def add_column(self, table: Table, name: str) -> None:
        """Add a declared column that may be NULL; the rows stay."""

    def create_view(self, view: View, alarms: Sequence[str]) -> None:
        """Create a view, in place of the one of its name; `alarms` are statuses in any case."""

    def is_taken(self, name: str) -> bool:
        """Whether a table or view of someone else has the name."""

    def prepare_updates(self) -> None:
        """Rows all over the table will be changed."""

    def any_missing(self, parent: str, key: str, values: Iterable[int]) -> bool:
        """Whether a table lacks a row for one of some keys."""

    def violations(self, table: str) -> list[str]:
        """The parent of each row that has none."""

    def is_guarded(self, table: str) -> bool:
        """Whether changes of a table, and of what is counted of it, would invalidate receipts."""

    def drop_triggers(self) -> None:
        """What this load changes invalidates no receipts."""

    def create_triggers(self, table: str) -> None:
        """From now on, changes of a table and of what is counted of it invalidate receipts."""

    def used_bytes(self) -> int | None:
        """What the database uses on disk; None if it cannot say."""
