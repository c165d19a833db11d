"""What is derived from the facts of the lake: each day by itself, then all days together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from config.aggregates import Rules
from config.warehouse import FACT_LOGS
from tasks.core.arrow import PARQUET, read_parquet
from tasks.core.progress import Advance, no_progress
from tasks.lake.store import Lake, LakeFile
from tasks.measures.days import RECORDS, Intervals, join_days, measure_day

_READ = [*FACT_LOGS.key_columns, "value", "status", "log_kind"]
_ORDER = [(name, "ascending") for name in FACT_LOGS.key_columns]


def measure_lake_day(
    lake_url: str,
    files: Sequence[LakeFile],
    chains: Path,
    rules: Rules,
    out: Mapping[str, Path],
    advance: Advance = no_progress,
) -> None:
    """Measure a day, whose facts are held in memory.

    Args:
        lake_url: As Lake takes it.
        files: All files of the day.
        chains: The lookup chains of the log instances.
        rules: How days and gaps are made.
        out: Parquet files to write: "days" and "gaps", as `measure_day` returns them.
        advance: Called with the facts that were read.
    """
    lake = Lake(lake_url)
    tables = [
        pq.read_table(pa.BufferReader(lake.read(one)), columns=_READ, use_threads=False)
        for one in files
    ]
    facts = pa.concat_tables(tables).sort_by(_ORDER).combine_chunks()
    records = {
        "point_log_inst_id": facts["point_log_inst_id"],
        "recorded_at": facts["recorded_at"].cast(pa.timestamp("us")),
        "value": facts["value"],
        "is_digital": pc.equal(facts["log_kind"], "B"),
        "status": pc.fill_null(facts["status"], ""),
    }
    found = measure_day(pa.table(records, schema=RECORDS), rules, read_intervals(chains))
    for name, rows in zip(("days", "gaps"), found, strict=True):
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), out[name], **PARQUET)
    advance(len(facts), len(facts))


def join_lake_days(
    measured: Iterable[Mapping[str, Path]], chains: Path, rules: Rules
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of `fact_log_days` and `fact_log_gaps`, as `measure_days` returns them."""
    found = (
        (read_parquet(files["days"]).to_pandas(), read_parquet(files["gaps"]).to_pandas())
        for files in measured
    )
    return join_days(found, rules, read_intervals(chains))


def read_intervals(chains: Path) -> Intervals:
    """The intervals of the log instances that have one."""
    found = read_parquet(chains, "point_log_inst_id", "log_interval")
    known = found.filter(pc.greater(found["log_interval"], 0)).sort_by("point_log_inst_id")
    return Intervals(known["point_log_inst_id"].to_numpy(), known["log_interval"].to_numpy())
