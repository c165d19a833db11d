"""The steps that loads of all tables have in common.

A load begins by removing the receipt of its table, and ends by writing it, in one transaction.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from config.aggregates import AGGREGATES
from config.bookkeeping import ALL_TABLES, DATA_DICTIONARY, LOAD_RECEIPT, LoadReceipt
from config.declarations import Table
from config.views import VIEWS
from config.warehouse import TABLES
from tasks.core.errors import PipelineError
from tasks.core.partition import Partition
from tasks.core.progress import no_progress
from tasks.enrichment.further import as_loaded
from tasks.enrichment.star import arrow_schema
from tasks.warehouse.digests import digest_text
from tasks.warehouse.tables import dictionary_rows

if TYPE_CHECKING:
    from tasks.warehouse.interface import Transaction


class Before(NamedTuple):
    """What a load found.

    Attributes:
        is_whole: Whether the table was as its receipts say.
        other_bytes: Bytes that the rest of the database uses, from which the table's size follows;
            None if that is unknown.
    """

    is_whole: bool
    other_bytes: int | None

    def size_now(self, db: Transaction) -> int | None:
        """The bytes that the table uses now; None if that is unknown."""
        used = db.used_bytes()
        if used is None or self.other_bytes is None:
            return None
        return max(0, used - self.other_bytes)  # Pages of other tables may have become free.


def begin(db: Transaction, table: Table) -> Before:
    """Remove the receipt of a table, and those of tables whose triggers are missing."""
    others = db.used_bytes()
    exists = bool(db.columns(table.name))
    receipts = f"FROM {LOAD_RECEIPT.name} WHERE table_name = '{table.name}'"
    own = f"{receipts} AND partition_name = ''"
    # If the counts of the partitions do not add up, somebody changed the receipts.
    added_up = f"(SELECT sum(row_count) {receipts} AND partition_name <> '')"
    db.run(f"DELETE {receipts} AND {added_up} <> (SELECT row_count {own})")
    found = [size for (size,) in db.query(f"SELECT size_bytes {own}")]
    is_whole = bool(found) and db.is_guarded(table.name)
    db.run(f"DELETE {own}")
    for name in (*TABLES, *AGGREGATES):
        if not db.is_guarded(name):
            db.run(f"DELETE FROM {LOAD_RECEIPT.name} WHERE table_name = '{name}'")
    db.drop_triggers()
    if others is None or (exists and found in ([], [None])):
        return Before(is_whole, None)
    return Before(is_whole, others - sum(found))


def create_if_missing(db: Transaction, table: Table) -> None:
    """Create a table if it does not exist; add the columns that may be NULL and do not exist.

    Raises:
        PipelineError: It has to be rebuilt, and would lose columns that are not declared.
    """
    live = db.columns(table.name)
    if not live:
        db.create(table)
        return
    for column in table.columns:
        if column.name not in live and column.nullable and not column.references:
            db.add_column(table, column.name)
    if not db.fits(table):
        surplus = set(live) - {column.name for column in table.columns}
        if surplus:
            raise PipelineError(
                f"{table.name} is declared differently and has to be rebuilt, but it has columns "
                f"that are not declared: {', '.join(name for name in live if name in surplus)}.",
                remedy="Declare them in config/warehouse.py, or drop them. "
                "The previous rows are unchanged.",
            )


def described(db: Transaction, table: Table) -> dict[str, str]:
    """Column -> description, as earlier loads wrote them."""
    rows = db.query(
        f"SELECT column_name, description FROM {DATA_DICTIONARY.name}"
        f" WHERE table_name = '{table.name}'"
    )
    return dict(rows)


def empty(db: Transaction, table: Table) -> None:
    """Remove all rows, with the table if it is not as declared."""
    if db.fits(table):
        db.empty(table)
    else:
        db.create(table)


def create_views(db: Transaction, alarms: Sequence[str]) -> None:
    """Create our views; PipelineError if something else has the name of one."""
    for view in VIEWS.values():
        if db.is_taken(view.name):
            raise PipelineError(
                f"{view.name} exists in the warehouse and is not the pipeline's view.",
                remedy="Rename it and run again. The previous rows are unchanged.",
            )
        db.create_view(view, alarms)


def collecting_keys(
    batches: Iterable[pa.RecordBatch], referenced: Mapping[str, set[int]]
) -> Iterator[pa.RecordBatch]:
    """The same batches; the distinct keys in each foreign key column are collected."""
    for batch in batches:
        for column, keys in referenced.items():
            keys.update(pc.unique(batch[column]).drop_null().to_pylist())
        yield batch


def check_references(db: Transaction, table: Table, referenced: Mapping[str, set[int]]) -> None:
    """Raise PipelineError if new rows refer to rows that do not exist.

    Looks up the distinct keys, not every row.
    """
    missing = [
        table.references[column][0]
        for column, keys in referenced.items()
        if db.any_missing(*table.references[column], sorted(keys))
    ]
    if missing:
        violations = Counter(db.violations(table.name))
        # Facts in the lake are not counted here.
        counted = [f"{rows:,} refer to {parent}" for parent, rows in sorted(violations.items())]
        raise PipelineError(
            f"{table.name}: {violations.total() or 'some':,} rows refer to rows that do not exist; "
            "the previous rows are unchanged.",
            counted or [f"some refer to {parent}" for parent in missing],
        )


def receipt_of(
    table: Table, receipt: str, rows: int, digest: int | None, partition: Partition | None = None
) -> LoadReceipt:
    """The receipt of a load: of a table, or of the facts of a partition."""
    name, number = (partition.name, partition.id) if partition else ("", None)
    load, text = uuid.uuid4().hex, "" if digest is None else digest_text(digest)
    return LoadReceipt(table.name, name, number, receipt, load, int(rows), text, None)


def write_receipts(db: Transaction, receipts: Sequence[LoadReceipt], table: Table) -> None:
    """Write receipts and the data dictionary; create the triggers."""
    now = datetime.now(UTC)
    _insert(db, LOAD_RECEIPT, [{**receipt._asdict(), "loaded_at": now} for receipt in receipts])
    further = [as_loaded(one, described(db, one)) for one in TABLES.values() if one.further_from]
    names = ", ".join(f"'{name}'" for name in (*ALL_TABLES, *VIEWS))
    db.run(f"DELETE FROM {DATA_DICTIONARY.name} WHERE table_name IN ({names})")
    _insert(db, DATA_DICTIONARY, dictionary_rows([*further, table]))
    for (name,) in db.query(f"SELECT DISTINCT table_name FROM {LOAD_RECEIPT.name}"):
        db.create_triggers(name)


def _insert(db: Transaction, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    batch = pa.RecordBatch.from_pylist(rows, schema=arrow_schema(table))
    db.append(table.name, [batch], no_progress)
