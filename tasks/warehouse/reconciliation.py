"""Reconciliation: what the files hold against what the warehouse holds, count by count."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from config.declarations import UNKNOWN
from config.sources import LOG_KINDS, SOURCES
from config.warehouse import DIMENSIONS, FACT_LOGS
from tasks.core.arrow import read_parquet
from tasks.core.errors import PipelineError
from tasks.core.spreadsheet import write_csv
from tasks.staging.audit import Audit
from tasks.warehouse.load import connect, count_parts, loaded_parts
from tasks.warehouse.tables import metadata

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
    staged: Mapping[str, Path],
    enriched: Mapping[str, Path],
    warehouse_url: str,
    checked: Path,
    into: Path,
    checked_now: Path,
    bom: bool | None = None,
) -> int:
    """Compare all counts, write them down, and return how many there are.

    Args:
        audits: Source -> its audit.
        staged: Source, or part of the log records -> its staged rows.
        enriched: Part of the log records -> its enriched records.
        warehouse_url: The warehouse.
        checked: JSON file with the counts of the parts as they were checked before; those that
            have not been loaded since are not counted again.
        into: CSV file with the columns of Count.
        checked_now: JSON file as `checked`, to write.
        bom: As for `write_csv`.

    Raises:
        PipelineError: Listing the counts that differ; the file is written all the same.
    """
    parts = _count_parts(staged, enriched, warehouse_url, _read_checked(checked))
    rows = {
        name: pq.read_metadata(path).num_rows for name, path in staged.items() if name in audits
    }
    for kind, source in LOG_KINDS.items():
        rows[source] = sum(part.staged for part in parts.values() if part.log_kind == kind)
    counts = [
        *_count_files(audits, rows),
        *_count_members(staged, rows, warehouse_url),
        *_count_records(parts, rows),
    ]
    write_csv(into, Count._fields, (count._asdict() for count in counts), bom)
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
    content = {name: asdict(part) for name, part in parts.items()}
    checked_now.write_text(json.dumps(content) + "\n", encoding="utf-8", newline="\n")
    return len(counts)


@dataclass
class CheckedPart:
    """The counts of one part of the log records.

    Attributes:
        load: The load that brought its facts.
        log_kind: B or F.
        staged: Its staged rows.
        of_kind: Its facts.
        enriched: Unit -> its enriched records.
        found: Unit -> its facts.
    """

    load: str
    log_kind: str
    staged: int
    of_kind: int
    enriched: dict[str, int]
    found: dict[str, int]


def _read_checked(path: Path) -> dict[str, CheckedPart]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: CheckedPart(**part) for name, part in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # Then everything is counted.


def _count_parts(
    staged: Mapping[str, Path],
    enriched: Mapping[str, Path],
    warehouse_url: str,
    checked: Mapping[str, CheckedPart],
) -> dict[str, CheckedPart]:
    loaded = [part for part in loaded_parts(warehouse_url) if part.part in enriched]
    stale = [
        part for part in loaded if part.part not in checked or checked[part.part].load != part.load
    ]
    counted = count_parts(warehouse_url, stale)
    parts = {part.part: checked[part.part] for part in loaded if part not in stale}
    for part in stale:
        found = counted[part.part]
        parts[part.part] = CheckedPart(
            part.load,
            part.log_kind,
            pq.read_metadata(staged[part.part]).num_rows,
            found.of_kind,
            _records_per_unit(enriched[part.part]),
            {str(unit): count for unit, count in found.per_unit.items()},
        )
    for name in enriched.keys() - parts.keys():  # As if nothing of it had been loaded.
        kind = next(kind for kind, source in LOG_KINDS.items() if source == name.partition("/")[0])
        rows, units = pq.read_metadata(staged[name]).num_rows, _records_per_unit(enriched[name])
        parts[name] = CheckedPart("", kind, rows, 0, units, {})
    return parts


def _count_files(audits: Mapping[str, Path], rows: Mapping[str, int]) -> list[Count]:
    counts = []
    for name, path in audits.items():
        audit = Audit.from_json(path.read_text(encoding="utf-8"))
        found = rows[name] + audit.rejected
        counts.append(Count(f"rows of {name}", "file", audit.rows, "staged + quarantined", found))
    return counts


def _count_members(
    staged: Mapping[str, Path], rows: Mapping[str, int], warehouse_url: str
) -> list[Count]:
    tables = metadata().tables
    engine = connect(warehouse_url)
    with engine.connect() as connection:
        members = {
            name: connection.scalar(sa.select(sa.func.count()).select_from(tables[name]))
            for name in DIMENSIONS
        }
    engine.dispose()
    counts = []
    for name, (source, key) in _DIMENSION_SOURCES.items():
        if key == SOURCES[source].primary_key:  # Unique as staged, and never the unknown member.
            known = rows[source]
        else:
            keys = pc.unique(read_parquet(staged[source], key)[key])
            known = len(keys.filter(pc.not_equal(keys, UNKNOWN)))
        # The unknown member comes on top.
        counts.append(Count(f"members of {name}", "staged", known + 1, name, members[name] or 0))
    return counts


def _count_records(parts: Mapping[str, CheckedPart], rows: Mapping[str, int]) -> list[Count]:
    counts = []
    for kind, source in LOG_KINDS.items():
        mine = [part for part in parts.values() if part.log_kind == kind]
        loaded = sum(part.of_kind for part in mine)
        counts.append(Count(f"{kind} records", "staged", rows[source], FACT_LOGS.name, loaded))
        expected, found = Counter[str](), Counter[str]()
        for part in mine:
            expected.update(part.enriched)
            found.update(part.found)
        for unit in sorted({*expected, *found}, key=int):
            what = f"{kind} records of unit {unit}"
            counts.append(Count(what, "enriched", expected[unit], FACT_LOGS.name, found[unit]))
    return counts


def _records_per_unit(enriched: Path) -> dict[str, int]:
    counts: Counter[str] = Counter()
    with pq.ParquetFile(enriched) as file:
        for batch in file.iter_batches(columns=["unit_id"]):
            for item in pc.value_counts(batch["unit_id"]).to_pylist():
                counts[str(item["values"])] += item["counts"]
    return dict(counts)
