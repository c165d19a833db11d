"""What the warehouse has of facts that are in the lake: counts, days and gaps, and receipts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
import pyarrow as pa

from config.aggregates import AGGREGATES
from config.bookkeeping import LOAD_RECEIPT, LOG_INSTANCE_ACTIVITY, LoadReceipt
from config.warehouse import FACT_LOGS
from tasks.core.arrow import read_parquet
from tasks.core.files import read_json
from tasks.core.partition import Partition
from tasks.core.progress import Phases
from tasks.warehouse.digests import digested
from tasks.warehouse.log_days import Derivation, append_derived
from tasks.warehouse.log_instance_activity import append_counts
from tasks.warehouse.members import remove_unreferenced
from tasks.warehouse.steps import (
    begin,
    check_references,
    create_if_missing,
    create_views,
    empty,
    receipt_of,
    write_receipts,
)

if TYPE_CHECKING:
    from tasks.warehouse.interface import Transaction, Warehouse


class Derived(NamedTuple):
    """What is derived from all facts.

    Attributes:
        rows: Of `fact_log_days` and of `fact_log_gaps`, as `measure_days` returns them.
        by: How they were made.
    """

    rows: tuple[pd.DataFrame, pd.DataFrame]
    by: Derivation


class Stored(NamedTuple):
    """A partition in the lake.

    Attributes:
        digest: Of what its facts are made from.
        files: What `split_by_day` has written as "files".
        activity: The same, as "activity".
    """

    digest: str
    files: Path
    activity: Path


def replace_derived(
    warehouse: Warehouse,
    partitions: Mapping[Partition, Stored],
    derived: Derived,
    receipt: str,
    before_commit: Callable[[], None],
    progress: Phases,
) -> int:
    """Replace all that is derived from facts, in one transaction; `fact_logs` is emptied.

    Args:
        warehouse: Where.
        partitions: Every partition that exists.
        derived: What is derived from their facts.
        receipt: What the facts of all partitions are made from.
        before_commit: As for `replace_dimension`.
        progress: The phases and the rows.

    Returns:
        The number of facts in the lake.

    Raises:
        PipelineError: A fact refers to a row that no dimension has, or a view has the name of one
            of ours.
    """
    with warehouse.transaction(FACT_LOGS) as db:
        begin(db, FACT_LOGS)
        for table in (FACT_LOGS, *AGGREGATES.values()):
            create_if_missing(db, table)
            empty(db, table)
        receipts = _replace_counts(db, partitions, progress)
        of_days = append_derived(db, derived.rows, {}, derived.by.digest)
        create_views(db, derived.by.rules.alarms)
        before_commit()
        total = sum(one.row_count for one in receipts)
        whole = receipt_of(FACT_LOGS, receipt, total, None)
        write_receipts(db, [whole, *receipts, *of_days], FACT_LOGS)
    return total


def _replace_counts(
    db: Transaction, partitions: Mapping[Partition, Stored], progress: Phases
) -> list[LoadReceipt]:
    """Replace the counts by log instance; the receipts of the partitions."""
    of_facts = f"FROM {LOAD_RECEIPT.name} WHERE table_name = '{FACT_LOGS.name}'"
    rows = db.query(f"SELECT partition_name, receipt, rows_digest, load_id {of_facts}")
    before = {(name, receipt, digest): load for name, receipt, digest, load in rows}
    db.run(f"DELETE FROM {LOG_INSTANCE_ACTIVITY.name}")
    db.run(f"DELETE {of_facts}")
    progress.begin("loading", len(partitions))
    digests: Counter[str] = Counter()
    referenced: dict[str, set[int]] = {column: set() for column in FACT_LOGS.references}
    receipts, activity = [], list[pa.RecordBatch]()
    for partition in sorted(partitions, key=lambda one: one.id):
        stored, listed = partitions[partition], read_json(partitions[partition].files)
        for column, keys in listed["keys"].items():
            referenced[column].update(keys)
        activity += digested(read_parquet(stored.activity).to_batches(), digests, partition.name)
        count = sum(file["rows"] for file in listed["files"])
        digest = digests[partition.name]
        loaded = receipt_of(FACT_LOGS, stored.digest, count, digest, partition)
        # A partition that stays as it is need not be checked again.
        found = (loaded.partition_name, loaded.receipt, loaded.rows_digest)
        receipts.append(loaded._replace(load_id=before.get(found, loaded.load_id)))
        progress.advance(1, count)
    append_counts(db, activity)
    remove_unreferenced(db)
    check_references(db, FACT_LOGS, referenced)
    return receipts
