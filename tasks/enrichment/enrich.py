"""Enrichment: every log record with its log instance, point, application and unit.

The log records pass by in batches and take their keys from the resolved lookup chain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from config.declarations import Type
from config.warehouse import ENRICHED_LOGS, NO_INSTANT, PARTITION_ROWS
from tasks.core.arrow import BATCH_ROWS, PARQUET, open_parquet
from tasks.core.partition import Partition
from tasks.core.progress import Advance, no_progress
from tasks.enrichment.lookup import Unmatched, look_up, take
from tasks.enrichment.star import arrow_schema

_KEY = "point_log_inst_id"
_OF_RECORDS = {
    column.name: column for column in ENRICHED_LOGS.columns if column.source == "LOG_RCD"
}

ENRICHED_SCHEMA = arrow_schema(ENRICHED_LOGS)


def enrich(
    records: pa.Table, chains: pa.Table, rows: pa.Array, partition: Partition, first_row: int = 1
) -> pa.Table:
    """Log records with the columns of `ENRICHED_LOGS`; keys are -1 where a lookup found no row.

    Args:
        records: Staged log records; rows keep their number and order.
        chains: As from `resolve_log_instances`.
        rows: The row of `chains` for each record.
        partition: The file that they are from.
        first_row: Number of the first record in it, from 1.
    """
    first_id = partition.id * PARTITION_ROWS + first_row
    columns: dict[str, pa.Array] = {
        "log_id": pa.array(np.arange(first_id, first_id + len(records))),
        "log_kind": pa.repeat(partition.kind, len(records)),
        "partition_id": pa.repeat(pa.scalar(partition.id, pa.int64()), len(records)),
    }
    for column in ENRICHED_LOGS.columns:
        if column.name in _OF_RECORDS:
            values = records[column.source_column].combine_chunks()
            if column.type is Type.TEXT:
                values = _not_blank(values)
            elif column.type is Type.TIMESTAMP:
                none_at_all = pc.equal(values, pa.scalar(NO_INSTANT, values.type))
                values = pc.if_else(none_at_all, pa.scalar(None, values.type), values)
            columns[column.name] = values
        elif column.name not in columns:
            columns[column.name] = take(chains, column.name, rows, column.nullable)
    return pa.table(columns).select(ENRICHED_SCHEMA.names).cast(ENRICHED_SCHEMA)


def _not_blank(texts: pa.Array) -> pa.StringArray:
    """Null in place of blank texts; texts repeat, so each is trimmed once."""
    encoded = texts if isinstance(texts, pa.DictionaryArray) else texts.dictionary_encode()
    distinct = encoded.dictionary
    blank = pc.equal(pc.utf8_trim_whitespace(distinct), "")
    return pc.if_else(blank, pa.scalar(None, pa.string()), distinct).take(encoded.indices)


def enrich_file(
    staged: Path, chains: pa.Table, partition: Partition, into: Path, advance: Advance
) -> Unmatched:
    """Enrich the staged log records of one partition, streaming.

    Args:
        staged: Its staged records.
        chains: As from `resolve_log_instances`.
        partition: The partition.
        into: The Parquet file to write.
        advance: Called with the rows enriched, as amount too.
    """
    unmatched = Unmatched()
    row = 1
    with pq.ParquetWriter(into, ENRICHED_SCHEMA, **PARQUET, **_WRITTEN) as writer:
        for records in _batches(staged):
            keys = records[_KEY].combine_chunks()
            rows = look_up(keys, chains, _KEY)
            writer.write_table(enrich(records, chains, rows, partition, row))
            unmatched.add(keys, chains, rows)
            row += len(records)
            advance(len(records), len(records))
    return unmatched


class EnrichedCounts(NamedTuple):
    """Enriched records, counted.

    Attributes:
        timed: Those with a time.
        units: unit_id -> records.
    """

    timed: int
    units: dict[int, int]


def count_enriched(enriched: Path, advance: Advance = no_progress) -> EnrichedCounts:
    """Count the records in a file of enriched log records."""
    units: Counter[int] = Counter()
    timed = 0
    with open_parquet(enriched) as file:
        for batch in file.iter_batches(columns=["unit_id", "recorded_at"]):
            timed += len(batch) - batch["recorded_at"].null_count
            found, counts = pc.value_counts(batch["unit_id"]).flatten()
            units.update(dict(zip(found.to_pylist(), counts.to_pylist(), strict=True)))
            advance(len(batch), len(batch))
    return EnrichedCounts(timed, dict(units))


_WRITTEN: Mapping[str, object] = {
    # Every other column repeats itself, this one counts.
    "use_dictionary": [name for name in ENRICHED_SCHEMA.names if name != "log_id"],
    "column_encoding": {"log_id": "DELTA_BINARY_PACKED"},
}


def _batches(staged: Path) -> Iterator[pa.Table]:
    columns = [_KEY, *(column.source_column for column in _OF_RECORDS.values())]
    texts = [column.source_column for column in _OF_RECORDS.values() if column.type is Type.TEXT]
    with open_parquet(staged, texts) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            yield pa.Table.from_batches([batch])
