"""Loads into the warehouse, independent of the database.

A load replaces one table's rows, or those of the partitions that changed, in one transaction:
readers see the previous rows or the new ones, and a failed load leaves the previous ones. The
receipt is committed with the rows; triggers remove it when anyone else changes a row, so that the
next run loads the table again.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from config.aggregates import AGGREGATES
from config.bookkeeping import (
    ALL_TABLES,
    DATA_DICTIONARY,
    LOAD_RECEIPT,
    LOG_INSTANCE_ACTIVITY,
    LoadReceipt,
)
from config.declarations import Table
from config.views import VIEWS
from config.warehouse import FACT_LOGS, TABLES
from tasks.core.errors import PipelineError
from tasks.core.partition import Partition
from tasks.core.progress import Phases, no_progress
from tasks.enrichment.further import as_loaded
from tasks.enrichment.star import arrow_schema, facts
from tasks.warehouse.digests import digest_text, digested
from tasks.warehouse.log_days import Derivation, are_current, derive, remember_changes
from tasks.warehouse.log_instance_activity import counted, facts_of
from tasks.warehouse.members import keep_previous, remove_unreferenced, retain
from tasks.warehouse.tables import dictionary_rows, further_digest

if TYPE_CHECKING:
    from tasks.warehouse.interface import Transaction, Warehouse

_FACTS = FACT_LOGS.name
_ACTIVITY = LOG_INSTANCE_ACTIVITY.name


def replace_dimension(
    warehouse: Warehouse,
    table: Table,
    batches: Iterable[pa.RecordBatch],
    receipt: str,
    before_commit: Callable[[], None],
    progress: Phases,
) -> int:
    """Replace all rows of a dimension, in one transaction with the receipt.

    Members that the new rows lack stay, with `is_retained` 1, while rows of other tables refer
    to them; the load that removes the last such reference removes them.

    Args:
        warehouse: Where.
        table: The dimension.
        batches: Its rows, with columns as declared.
        receipt: What they were made from.
        before_commit: Called after all checks; may raise. It must not open the database: a second
            connection that closes drops the locks of the load.
        progress: Receives the phases and row counts.

    Returns:
        The number of rows loaded.

    Raises:
        PipelineError: The rows do not fit the table. The previous ones then stay.
    """
    with warehouse.transaction(table) as db:
        before = _begin(db, table)
        table = as_loaded(table, _described(db, table))
        _create_if_missing(db, table)
        previous = keep_previous(db, table)
        if not db.fits(table):
            db.create(table)
        digests = Counter({"": further_digest(table)})
        referenced: dict[str, set[int]] = {column: set() for column in table.references}
        filled = (_with_all_columns(batch, table) for batch in batches)
        rows_as_loaded = _collecting_keys(digested(filled, digests, ""), referenced)
        db.replace(table, rows_as_loaded, progress.advance)
        if previous:
            retain(db, table, previous)
        remove_unreferenced(db)
        progress.begin("checking")
        _check_references(db, table, referenced)
        ((rows,),) = db.query(f"SELECT count(*) FROM {table.name} WHERE is_retained = 0")
        before_commit()
        loaded = _receipt_of(table, receipt, rows, digests[""])
        _write_receipts(db, [loaded._replace(size_bytes=before.size_now(db))], table)
    return int(rows)


def replace_partitions(
    warehouse: Warehouse,
    partitions: Mapping[Partition, Enriched],
    derivation: Derivation,
    receipt: str,
    before_commit: Callable[[], None],
    progress: Phases,
) -> tuple[list[str], int]:
    """Replace the facts of the partitions that changed, and what is derived, in one transaction.

    Args:
        warehouse: Where.
        partitions: Every partition that exists. The facts of other partitions are removed.
        derivation: How the tables by day, and the views, are made.
        receipt: What the facts of all partitions are made from.
        before_commit: As for `replace_dimension`.
        progress: The phases and the rows.

    Returns:
        Names of the partitions that were loaded, and the number of all facts.

    Raises:
        PipelineError: The rows do not fit, or a view has the name of one of ours.
    """
    with warehouse.transaction(FACT_LOGS) as db:
        before = _begin(db, FACT_LOGS)
        is_derived = before.is_whole and are_current(db, derivation.digest)
        for table in (FACT_LOGS, *AGGREGATES.values()):
            _create_if_missing(db, table)
        kept = _unchanged(db, partitions)
        derive_all = not (is_derived and kept)
        others = f"partition_id NOT IN ({', '.join(map(str, kept))})"
        if not derive_all:
            remember_changes(db, others)
        _remove_others(db, kept, before.is_whole)
        changed = {one: partitions[one] for one in partitions if one.id not in kept}
        loaded = _load_facts(db, changed, progress)
        size = before.size_now(db)
        if derive_all:
            for table in AGGREGATES.values():
                _empty(db, table)
        else:
            remember_changes(db, others)
        derived = derive(db, derivation, derive_all, progress)
        _create_views(db, derivation.rules.alarms)
        before_commit()
        total = sum(kept.values()) + sum(one.row_count for one in loaded)
        of_table = _receipt_of(FACT_LOGS, receipt, total, None)._replace(size_bytes=size)
        _write_receipts(db, [of_table, *loaded, *derived], FACT_LOGS)
    return [one.partition_name for one in loaded], total


class Enriched(NamedTuple):
    """The enriched records of a partition.

    Attributes:
        digest: Of what its facts are made from.
        file: The Parquet file.
    """

    digest: str
    file: Path


class _Before(NamedTuple):
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


def _begin(db: Transaction, table: Table) -> _Before:
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
        return _Before(is_whole, None)
    return _Before(is_whole, others - sum(found))


def _create_if_missing(db: Transaction, table: Table) -> None:
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


def _described(db: Transaction, table: Table) -> dict[str, str]:
    """Column -> description, as earlier loads wrote them."""
    rows = db.query(
        f"SELECT column_name, description FROM {DATA_DICTIONARY.name}"
        f" WHERE table_name = '{table.name}'"
    )
    return dict(rows)


def _with_all_columns(batch: pa.RecordBatch, table: Table) -> pa.RecordBatch:
    """A batch with the columns of the table that it lacks, NULL: those that its source lost."""
    for name in arrow_schema(table).names:
        if name not in batch.schema.names:
            batch = batch.append_column(name, pa.nulls(len(batch), pa.string()))
    return batch


def _empty(db: Transaction, table: Table) -> None:
    """Remove all rows, with the table if it is not as declared."""
    if db.fits(table):
        db.empty(table)
    else:
        db.create(table)


# --- facts of partitions ---------------------------------------------------------------------


def _unchanged(db: Transaction, partitions: Mapping[Partition, Enriched]) -> dict[int, int]:
    """partition_id -> row count, of the partitions whose loaded facts are up to date."""
    if not db.fits(FACT_LOGS):
        return {}
    rows = db.query(
        f"SELECT partition_id, receipt, row_count FROM {LOAD_RECEIPT.name}"
        f" WHERE table_name = '{_FACTS}'"
    )
    present = {partition.id: found.digest for partition, found in partitions.items()}
    return {number: count for number, digest, count in rows if present.get(number) == digest}


def _remove_others(db: Transaction, kept: Mapping[int, int], is_whole: bool) -> None:
    """Remove the facts of all partitions but those kept.

    Args:
        db: The load.
        kept: The partition_ids.
        is_whole: Whether the counts by log instance say where the facts are; else all are read.
    """
    of_facts = f"FROM {LOAD_RECEIPT.name} WHERE table_name = '{_FACTS}'"
    if not kept:
        _empty(db, FACT_LOGS)
        db.run(f"DELETE {of_facts}")
        db.run(f"DELETE FROM {_ACTIVITY}")
        return
    db.prepare_updates()
    others = f"partition_id NOT IN ({', '.join(map(str, kept))})"
    if is_whole:
        keys = ", ".join(FACT_LOGS.key_columns)
        db.remove(FACT_LOGS, facts_of(others, keys, db.no_time))
    else:
        db.run(f"DELETE FROM {_FACTS} WHERE {others}")
    db.run(f"DELETE {of_facts} AND {others}")
    db.run(f"DELETE FROM {_ACTIVITY} WHERE {others}")


def _load_facts(
    db: Transaction, partitions: Mapping[Partition, Enriched], progress: Phases
) -> list[LoadReceipt]:
    """Append facts, and their counts by log instance; the receipts of the partitions."""
    rows = {
        partition: pq.read_metadata(partitions[partition].file).num_rows
        for partition in sorted(partitions, key=lambda partition: partition.id)
    }
    progress.begin("loading", sum(rows.values()))
    digests: Counter[str] = Counter()
    activity: list[pa.RecordBatch] = []
    batches = (
        batch
        for one in rows
        for batch in counted(
            one, digested(facts(partitions[one].file), digests, one.name), digests, activity
        )
    )
    referenced: dict[str, set[int]] = {column: set() for column in FACT_LOGS.references}
    db.append(_FACTS, _collecting_keys(batches, referenced), progress.advance)
    if activity:
        keys = [(name, "ascending") for name in LOG_INSTANCE_ACTIVITY.key_columns]
        counts = pa.Table.from_batches(activity).sort_by(keys)
        db.append(_ACTIVITY, counts.to_batches(), no_progress)
    remove_unreferenced(db)
    progress.begin("checking")
    _check_references(db, FACT_LOGS, referenced)
    return [
        _receipt_of(FACT_LOGS, partitions[one].digest, number, digests[one.name], one)
        for one, number in rows.items()
    ]


def _create_views(db: Transaction, alarms: Sequence[str]) -> None:
    """Create our views; PipelineError if something else has the name of one."""
    for view in VIEWS.values():
        if db.is_taken(view.name):
            raise PipelineError(
                f"{view.name} exists in the warehouse and is not the pipeline's view.",
                remedy="Rename it and run again. The previous rows are unchanged.",
            )
        db.create_view(view, alarms)


# --- rows, checks, receipts ------------------------------------------------------------------


def _collecting_keys(
    batches: Iterable[pa.RecordBatch], referenced: Mapping[str, set[int]]
) -> Iterator[pa.RecordBatch]:
    """The same batches; the distinct keys in each foreign key column are collected."""
    for batch in batches:
        for column, keys in referenced.items():
            keys.update(pc.unique(batch[column]).drop_null().to_pylist())
        yield batch


def _check_references(db: Transaction, table: Table, referenced: Mapping[str, set[int]]) -> None:
    """Raise PipelineError if new rows refer to rows that do not exist.

    Looks up the distinct keys, not every row.
    """
    if any(
        db.any_missing(*table.references[column], sorted(keys))
        for column, keys in referenced.items()
    ):
        violations = Counter(db.violations(table.name))
        raise PipelineError(
            f"{table.name}: {violations.total():,} rows refer to rows that do not exist; "
            "the previous rows are unchanged.",
            [f"{rows:,} refer to {parent}" for parent, rows in sorted(violations.items())],
        )


def _receipt_of(
    table: Table, receipt: str, rows: int, digest: int | None, partition: Partition | None = None
) -> LoadReceipt:
    name, number = (partition.name, partition.id) if partition else ("", None)
    load, text = uuid.uuid4().hex, "" if digest is None else digest_text(digest)
    return LoadReceipt(table.name, name, number, receipt, load, int(rows), text, None)


def _write_receipts(db: Transaction, receipts: Sequence[LoadReceipt], table: Table) -> None:
    """Write receipts and the data dictionary; create the triggers."""
    now = datetime.now(UTC)
    _insert(db, LOAD_RECEIPT, [{**receipt._asdict(), "loaded_at": now} for receipt in receipts])
    further = [as_loaded(one, _described(db, one)) for one in TABLES.values() if one.further_from]
    described = ", ".join(f"'{name}'" for name in (*ALL_TABLES, *VIEWS))
    db.run(f"DELETE FROM {DATA_DICTIONARY.name} WHERE table_name IN ({described})")
    _insert(db, DATA_DICTIONARY, dictionary_rows([*further, table]))
    for (name,) in db.query(f"SELECT DISTINCT table_name FROM {LOAD_RECEIPT.name}"):
        db.create_triggers(name)


def _insert(db: Transaction, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    batch = pa.RecordBatch.from_pylist(rows, schema=arrow_schema(table))
    db.append(table.name, [batch], no_progress)
