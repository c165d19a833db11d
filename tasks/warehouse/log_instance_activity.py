"""The rows of `log_instance_activity`: facts are counted by log instance while they are loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import pyarrow as pa

from config.warehouse import LOG_INSTANCE_ACTIVITY
from tasks.core.partition import Partition
from tasks.enrichment.star import arrow_schema
from tasks.warehouse.digests import digested


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
