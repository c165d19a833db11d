"""The facts of a partition of log records, as one file of the lake for each day."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from config.bookkeeping import LOG_INSTANCE_ACTIVITY
from config.warehouse import FACT_LOGS
from tasks.core.arrow import PARQUET
from tasks.core.files import scratch_folder, write_json
from tasks.core.partition import Partition
from tasks.core.progress import Advance, no_progress
from tasks.enrichment.star import arrow_schema, facts
from tasks.lake.store import NO_DAY, Lake, LakeFile
from tasks.measures.days import Calendar
from tasks.warehouse.log_instance_activity import counted
from tasks.warehouse.steps import collecting_keys

_DAY = "day"
_OPEN_FILES = 128
"""Of 1,024 that a process may have open by default, for each of four partitions at once."""
_LONGEST_NAME = 150
"""Letters of a file's name that come from the partition; the digest makes it unique."""
_ORDER = [(name, "ascending") for name in FACT_LOGS.key_columns]


def split_by_day(
    enriched: Path,
    partition: Partition,
    lake_url: str,
    timezone: str,
    out: Mapping[str, Path],
    advance: Advance = no_progress,
) -> None:
    """Store the facts of a partition in the lake; nobody sees them before a manifest lists them.

    Its rows go through files in the folder for temporary files; a day is held in memory at a time.

    Args:
        enriched: Its enriched log records.
        partition: The partition.
        lake_url: As Lake takes it.
        timezone: In which days begin and end.
        out: Files to write: "files", the LakeFile of each day, and the keys that the facts refer
            to, as JSON; "activity", the rows of `log_instance_activity`.
        advance: Called with the facts that are stored.
    """
    lake = Lake(lake_url)
    activity: list[pa.RecordBatch] = []
    referenced: dict[str, set[int]] = {column: set() for column in FACT_LOGS.references}
    rows = collecting_keys(
        counted(partition, facts(enriched), Counter[str](), activity), referenced
    )
    stored = []
    with scratch_folder() as folder:
        _write_days(rows, Calendar(timezone), folder)
        for path in sorted(folder.iterdir()):
            table = pq.read_table(path, partitioning=None).sort_by(_ORDER)
            stored.append(_store(lake, table, path.name.removeprefix(f"{_DAY}="), partition.name))
            advance(len(table), len(table))
    counts = pa.Table.from_batches(activity, arrow_schema(LOG_INSTANCE_ACTIVITY))
    expected, found = pc.sum(counts["record_count"]).as_py() or 0, sum(one.rows for one in stored)
    if found != expected:
        raise RuntimeError(f"{partition.name}: {found:,} of {expected:,} facts are in the lake")
    keys = {column: sorted(found) for column, found in referenced.items()}
    write_json({"files": [one._asdict() for one in stored], "keys": keys}, out["files"])
    pq.write_table(counts, out["activity"], **PARQUET)


def _write_days(rows: Iterator[pa.RecordBatch], calendar: Calendar, folder: Path) -> None:
    """Write facts into a folder for each day."""
    schema = arrow_schema(FACT_LOGS).append(pa.field(_DAY, pa.string()))
    batches = (batch.append_column(_DAY, _days(batch, calendar)) for batch in rows)
    ds.write_dataset(
        pa.RecordBatchReader.from_batches(schema, batches),
        folder,
        format="parquet",
        partitioning=ds.partitioning(pa.schema([(_DAY, pa.string())]), flavor="hive"),
        use_threads=False,
        max_partitions=1 << 20,
        max_open_files=_OPEN_FILES,
    )


def _days(batch: pa.RecordBatch, calendar: Calendar) -> pa.Array:
    """The day of each fact, as text."""
    times = batch["recorded_at"]
    days = calendar.days(pc.fill_null(times.cast(pa.int64()), 0).to_numpy())
    texts = pa.array(days.astype("datetime64[D]")).cast(pa.string())
    return pc.if_else(times.is_null(), NO_DAY, texts)


def _store(lake: Lake, facts_of_day: pa.Table, day: str, partition: str) -> LakeFile:
    into = pa.BufferOutputStream()
    pq.write_table(facts_of_day, into, **PARQUET)
    content = into.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    name = quote(partition.replace("/", "-"), safe="", errors="surrogateescape")[:_LONGEST_NAME]
    path = f"{FACT_LOGS.name}/{_DAY}={day}/{name}-{digest[:16]}.parquet"
    lake.put(path, content)
    return LakeFile(path, day, partition, len(facts_of_day), content.size, digest)
