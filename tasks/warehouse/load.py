"""Loads into the warehouse, independent of the database.

A load replaces one table's rows, or those of the partitions that changed, in one transaction:
readers see the previous rows or the new ones, and a failed load leaves the previous ones. The
receipt is committed with the rows; triggers remove it when anyone else changes a row, so that the
next run loads the table again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from config.aggregates import AGGREGATES
from config.bookkeeping import LOAD_RECEIPT, LOG_INSTANCE_ACTIVITY, LoadReceipt
from config.declarations import Table
from config.warehouse import FACT_LOGS
from tasks.core.arrow import parquet_rows
from tasks.core.partition import Partition
from tasks.core.progress import Phases
from tasks.enrichment.further import as_loaded
from tasks.enrichment.star import arrow_schema
from tasks.warehouse.collected import Collected
from tasks.warehouse.digests import digested
from tasks.warehouse.log_days import Derivation, are_current, derive, remember_changes
from tasks.warehouse.log_instance_activity import append_counts, facts_of
from tasks.warehouse.members import keep_previous, remove_unreferenced, retain
from tasks.warehouse.steps import (
    begin,
    check_references,
    collecting_keys,
    create_if_missing,
    create_views,
    described,
    empty,
    receipt_of,
    write_receipts,
)
from tasks.warehouse.tables import further_digest

if TYPE_CHECKING:
    from tasks.warehouse.interface import Copy, Transaction, Warehouse

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
        before = begin(db, table)
        table = as_loaded(table, described(db, table))
        create_if_missing(db, table)
        previous = keep_previous(db, table)
        if not db.fits(table):
            db.create(table)
        digests = Counter({"": further_digest(table)})
        referenced: dict[str, set[int]] = {column: set() for column in table.references}
        filled = (_with_all_columns(batch, table) for batch in batches)
        rows_as_loaded = collecting_keys(digested(filled, digests, ""), referenced)
        db.replace(table, rows_as_loaded, progress.advance)
        if previous:
            retain(db, table, previous)
        remove_unreferenced(db)
        progress.begin("checking")
        check_references(db, table, referenced)
        ((rows,),) = db.query(f"SELECT count(*) FROM {table.name} WHERE is_retained = 0")
        before_commit()
        loaded = receipt_of(table, receipt, rows, digests[""])
        write_receipts(db, [loaded._replace(size_bytes=before.size_now(db))], table)
    return int(rows)


def replace_partitions(
    warehouse: Warehouse,
    partitions: Mapping[Partition, Enriched],
    derivation: Derivation,
    receipt: str,
    course: Course,
) -> tuple[list[str], int]:
    """Replace the facts of the partitions that changed, and what is derived, in one transaction.

    Args:
        warehouse: Where.
        partitions: Every partition that exists. The facts of other partitions are removed.
        derivation: How the tables by day, and the views, are made.
        receipt: What the facts of all partitions are made from.
        course: What is called in the course of it.

    Returns:
        Names of the partitions that were loaded, and the number of all facts.

    Raises:
        PipelineError: The rows do not fit, or a view has the name of one of ours.
    """
    with warehouse.transaction(FACT_LOGS) as db:
        before = begin(db, FACT_LOGS)
        for table in (FACT_LOGS, *AGGREGATES.values()):
            create_if_missing(db, table)
        kept = _unchanged(db, partitions)
        derive_all = not (before.is_whole and kept and are_current(db, derivation.digest))
        others = f"partition_id NOT IN ({', '.join(map(str, kept))})"
        if not derive_all:
            remember_changes(db, others)
        _remove_others(db, kept, before.is_whole)
        changed = {one: partitions[one] for one in partitions if one.id not in kept}
        loaded = _load_facts(db, changed, course)
        size = before.size_now(db)
        if derive_all:
            for table in AGGREGATES.values():
                empty(db, table)
        else:
            remember_changes(db, others)
        derived = derive(db, derivation, derive_all, course.progress)
        remove_unreferenced(db)
        create_views(db, derivation.rules.alarms)
        course.before_commit()
        total = sum(kept.values()) + sum(one.row_count for one in loaded)
        of_table = receipt_of(FACT_LOGS, receipt, total, None)._replace(size_bytes=size)
        write_receipts(db, [of_table, *loaded, *derived], FACT_LOGS)
    return [one.partition_name for one in loaded], total


class Course(NamedTuple):
    """What is called in the course of a load of facts.

    Attributes:
        before_commit: As for `replace_dimension`.
        progress: The phases and the rows.
        copy: Loads the facts, as `Warehouse.copying` returns it; None: this process does.
    """

    before_commit: Callable[[], None]
    progress: Phases
    copy: Copy | None = None


class Enriched(NamedTuple):
    """The enriched records of a partition.

    Attributes:
        digest: Of what its facts are made from.
        file: The Parquet file.
    """

    digest: str
    file: Path


def _with_all_columns(batch: pa.RecordBatch, table: Table) -> pa.RecordBatch:
    """A batch with the columns of the table that it lacks, NULL: those that its source lost."""
    for name in arrow_schema(table).names:
        if name not in batch.schema.names:
            batch = batch.append_column(name, pa.nulls(len(batch), pa.string()))
    return batch


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
        empty(db, FACT_LOGS)
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
    db: Transaction, partitions: Mapping[Partition, Enriched], course: Course
) -> list[LoadReceipt]:
    """Append facts, and their counts by log instance; the receipts of the partitions."""
    rows = {
        partition: parquet_rows(partitions[partition].file)
        for partition in sorted(partitions, key=lambda partition: partition.id)
    }
    course.progress.begin("loading", sum(rows.values()))
    files = {one: partitions[one].file for one in rows}
    collected = Collected()
    copied = course.copy(db, files) if course.copy else None
    for of_partition in copied or ():
        collected.add(of_partition)
    if copied is None:
        db.append(_FACTS, collected.pass_facts(files.items()), course.progress.advance)
    append_counts(db, collected.activity)
    course.progress.begin("checking")
    check_references(db, FACT_LOGS, collected.referenced)
    return [
        receipt_of(FACT_LOGS, partitions[one].digest, number, collected.digests[one.name], one)
        for one, number in rows.items()
    ]
