"""The rows of `log_instance_activity`: facts are counted by log instance while they are loaded.

They also say where the facts of a partition are: which log instances, from when to when.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from config.bookkeeping import LOG_INSTANCE_ACTIVITY
from config.warehouse import FACT_LOGS
from tasks.core.partition import Partition
from tasks.core.progress import no_progress
from tasks.enrichment.star import arrow_schema
from tasks.warehouse.digests import digested

if TYPE_CHECKING:
    from tasks.warehouse.interface import Transaction


def counted(
    partition: Partition,
    batches: Iterable[pa.RecordBatch],
    digests: Counter[str],
    activity: list[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """The same facts, counted by log instance while they pass; the counts go to `activity`."""
    counts: list[pa.Table] = []
    for batch in batches:
        counts.append(
            pa.Table.from_batches([batch.select(["point_log_inst_id", "recorded_at"])])
            .group_by("point_log_inst_id", use_threads=False)
            .aggregate([([], "count_all"), ("recorded_at", "min"), ("recorded_at", "max")])
        )
        yield batch
    if counts:
        instances, records, first, last = (
            pa.concat_tables(counts)
            .group_by("point_log_inst_id", use_threads=False)
            .aggregate(
                [("count_all", "sum"), ("recorded_at_min", "min"), ("recorded_at_max", "max")]
            )
            .columns
        )
        numbers = pa.repeat(pa.scalar(partition.id, pa.int64()), len(instances))
        kinds = pa.repeat(partition.kind, len(instances))
        columns = [instances, numbers, kinds, records, first, last]
        rows = pa.table(columns, schema=arrow_schema(LOG_INSTANCE_ACTIVITY))
        activity += digested(rows.to_batches(), digests, partition.name)


def append_counts(db: Transaction, activity: list[pa.RecordBatch]) -> None:
    """Add the counts of all partitions that were loaded, in the order of the key."""
    if activity:
        keys = [(name, "ascending") for name in LOG_INSTANCE_ACTIVITY.key_columns]
        counts = pa.Table.from_batches(activity).sort_by(keys)
        db.append(LOG_INSTANCE_ACTIVITY.name, counts.to_batches(), no_progress)


def facts_of(partitions: str, columns: str, no_time: str) -> str:
    """A query for facts of some partitions that reads no others, but for those between them.

    Args:
        partitions: A condition on the partition_id of `log_instance_activity`.
        columns: Of `fact_logs`.
        no_time: As the warehouse has it.
    """
    selected = ", ".join(f"fact.{column.strip()}" for column in columns.split(","))
    # The order of a cross join is kept: each log instance's times are a range of the key.
    found = (
        f"SELECT {selected} FROM (SELECT * FROM {LOG_INSTANCE_ACTIVITY.name} WHERE {partitions})"
        f" AS own CROSS JOIN {FACT_LOGS.name} AS fact"
        " WHERE fact.point_log_inst_id = own.point_log_inst_id"
        " AND fact.partition_id = own.partition_id AND fact.recorded_at"
    )
    timed = f"{found} BETWEEN own.first_recorded_at AND own.last_recorded_at"
    return f"{timed} UNION ALL {found} = {no_time}"
