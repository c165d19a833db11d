"""Reconciliation: what the files hold against what the warehouse holds, count by count."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from config.declarations import UNKNOWN
from config.sources import LOG_KINDS
from config.warehouse import DIMENSIONS, FACT_LOGS
from tasks.errors import PipelineError
from tasks.staging import Audit
from tasks.star_schema import metadata
from tasks.warehouse import connect

HEADER = ("what", "expected_in", "expected", "found_in", "found")
_SHOWN = 10

_DIMENSION_SOURCES = {
    "dim_application_type": ("APP_TYPE", "app_type_id"),
    "dim_unit": ("APP_TYPE_REF", "unit_id"),
    "dim_application_instance": ("APP_INSTANCE", "app_instance_id"),
    "dim_log_instance": ("LOG_INSTANCE", "point_log_inst_id"),
}


class Count(NamedTuple):
    """A count that has to be the same in two places."""

    what: str
    expected_in: str
    expected: int
    found_in: str
    found: int


def reconcile(
    audits: Mapping[str, Path],
    enriched: Mapping[str, Path],
    staged: Mapping[str, Path],
    warehouse_url: str,
    into: Path,
) -> int:
    """Compare all counts, write them down, and return how many there are.

    Args:
        audits: Source -> its audit.
        enriched: Kind of log record -> its enriched records.
        staged: Source -> its staged rows.
        warehouse_url: The warehouse.
        into: CSV file with the columns of Count.

    Raises:
        PipelineError: Listing the counts that differ; the file is written all the same.
    """
    counts = [*_count_files(audits, staged), *_count_warehouse(enriched, staged, warehouse_url)]
    with into.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(counts)
    different = [count for count in counts if count.expected != count.found]
    if different:
        shown = [
            f"{c.what}: {c.expected_in} {c.expected:,}, {c.found_in} {c.found:,}"
            for c in different[:_SHOWN]
        ]
        more = len(different) - len(shown)
        raise PipelineError(
            "The warehouse does not hold what the files hold:",
            [*shown, *([f"... and {more:,} more"] if more else [])],
            "Load again: python -m tasks forget LoadDimension --downstream, then run.",
        )
    return len(counts)


def _count_files(audits: Mapping[str, Path], staged: Mapping[str, Path]) -> list[Count]:
    counts = []
    for name, path in audits.items():
        audit = Audit.from_json(path.read_text(encoding="utf-8"))
        rows = pq.read_metadata(staged[name]).num_rows
        counts.append(
            Count(
                f"rows of {name}", "file", audit.rows, "staged + quarantined", rows + audit.rejected
            )
        )
    return counts


def _count_warehouse(
    enriched: Mapping[str, Path], staged: Mapping[str, Path], warehouse_url: str
) -> list[Count]:
    tables = metadata().tables
    facts = tables[FACT_LOGS.name]
    engine = connect(warehouse_url)
    with engine.connect() as connection:
        members = {
            name: connection.scalar(sa.select(sa.func.count()).select_from(tables[name]))
            for name in DIMENSIONS
        }
        per_unit = {
            (kind, unit): count
            for kind, unit, count in connection.execute(
                sa.select(facts.c.log_kind, facts.c.unit_id, sa.func.count()).group_by(
                    facts.c.log_kind, facts.c.unit_id
                )
            )
        }
    engine.dispose()

    counts = []
    for name, (source, key) in _DIMENSION_SOURCES.items():
        keys = pc.unique(pq.read_table(staged[source], columns=[key])[key])
        # The unknown member comes on top.
        expected = len(keys.filter(pc.not_equal(keys, UNKNOWN))) + 1
        counts.append(Count(f"members of {name}", "staged", expected, name, members[name] or 0))
    for kind, source in LOG_KINDS.items():
        rows = pq.read_metadata(staged[source]).num_rows
        loaded = sum(count for (of, _), count in per_unit.items() if of == kind)
        counts.append(Count(f"{kind} records", "staged", rows, FACT_LOGS.name, loaded))
        units = _records_per_unit(enriched[kind])
        for unit in sorted({*units, *(unit for of, unit in per_unit if of == kind)}):
            found = per_unit.get((kind, unit), 0)
            what = f"{kind} records of unit {unit}"
            counts.append(Count(what, "enriched", units[unit], FACT_LOGS.name, found))
    return counts


def _records_per_unit(enriched: Path) -> Counter[int]:
    counts: Counter[int] = Counter()
    with pq.ParquetFile(enriched) as file:
        for batch in file.iter_batches(columns=["unit_id"]):
            for item in pc.value_counts(batch["unit_id"]).to_pylist():
                counts[item["values"]] += item["counts"]
    return counts
