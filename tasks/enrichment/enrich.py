"""Enrichment: every log record with its log instance, point, application and unit.

The chain from a log instance to its unit is resolved once, in memory: it is as long as
LOG_INSTANCE. The log records then pass by in batches and take their keys from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from config.declarations import UNKNOWN
from config.sources import LOG_KINDS
from config.warehouse import PART_ROWS
from tasks.core.errors import PipelineError
from tasks.parsing.numbers import INSTANT
from tasks.run.progress import Advance, untold
from tasks.staging.stage import PARQUET

_EXAMPLES = 5
_BATCH_ROWS = 65_536

HOPS: tuple[tuple[str, str], ...] = (
    ("LOG_INSTANCE", "point_log_inst_id"),
    ("POINT", "point_id"),
    ("APP_INSTANCE", "app_instance_id"),
    ("APP_TYPE_REF", "app_type_ref_id"),
    ("APP_TYPE", "app_type_id"),
)
"""The parents on the way from a log record to its application type, and the keys to them."""

ENRICHED_SCHEMA = pa.schema(
    [
        pa.field("log_id", pa.int64()),
        pa.field("log_kind", pa.string()),
        pa.field("point_log_inst_id", pa.int64()),
        pa.field("point_id", pa.int64()),
        pa.field("app_instance_id", pa.int64()),
        pa.field("app_type_ref_id", pa.int64()),
        pa.field("app_type_id", pa.int64()),
        pa.field("unit_id", pa.int64()),
        pa.field("recorded_at", INSTANT),
        pa.field("value", pa.float64()),
        pa.field("status", pa.string()),
    ]
)
"""One row per log record. Keys are -1 where a parent is missing."""


@dataclass
class Hop:
    """What was lost on one hop of the chain.

    Attributes:
        parent: The source in which the parent was looked for.
        key: By which column.
        log_instances: Log instances whose chain ends here.
        records: Kind of log record -> records whose chain ends here.
        examples: Some of the keys that the parent does not have.
    """

    parent: str
    key: str
    log_instances: int = 0
    records: dict[str, int] = field(default_factory=dict)
    examples: list[int] = field(default_factory=list)


def look_up(keys: pa.Array, parent: pa.Table, key: str) -> pa.Array:
    """The row of `parent` for each key; null where it has none. Many-to-one, and checked so.

    >>> parent = pa.table({"id": [7, 9]})
    >>> look_up(pa.array([9, 8, 9]), parent, "id").to_pylist()
    [1, None, 1]

    Raises:
        PipelineError: `parent` holds a key twice.
    """
    column = parent[key].combine_chunks()
    if pc.count_distinct(column).as_py() != len(column):
        counts = pc.value_counts(column).to_pylist()
        twice = [str(item["values"]) for item in counts if item["counts"] > 1]
        raise PipelineError(
            f"{key} is to be unique in the table that is joined, and is not:", twice[:_EXAMPLES]
        )
    return pc.index_in(keys, column)


def _reached(parent: pa.Table, key: str, keys: pa.Array) -> pa.Table:
    """The rows of a large parent that some of few keys lead to."""
    return parent.filter(pc.is_in(parent[key], pc.unique(keys)))


def _take(parent: pa.Table, column: str, rows: pa.Array) -> pa.Array:
    return pc.fill_null(parent[column].combine_chunks().take(rows), UNKNOWN)


def resolve_application_instances(
    app_instance: pa.Table, app_type_ref: pa.Table, app_type: pa.Table
) -> pa.Table:
    """Each application instance with its type reference, type and unit; -1 where one is missing.

    Grain: one row per application instance, in the order of `app_instance`.

    Raises:
        PipelineError: A parent holds a key twice.
    """
    # The references first: there are far fewer of them than instances.
    type_rows = look_up(app_type_ref["app_type_id"].combine_chunks(), app_type, "app_type_id")
    references = app_type_ref.set_column(
        app_type_ref.schema.get_field_index("app_type_id"),
        "app_type_id",
        _take(app_type, "app_type_id", type_rows),
    )
    ref_rows = look_up(
        app_instance["app_type_ref_id"].combine_chunks(), references, "app_type_ref_id"
    )
    columns = ("app_type_ref_id", "app_type_id", "unit_id")
    return pa.table(
        {
            "app_instance_id": app_instance["app_instance_id"],
            **{column: _take(references, column, ref_rows) for column in columns},
        }
    )


def resolve_log_instances(
    log_instance: pa.Table,
    point: pa.Table,
    app_instance: pa.Table,
    app_type_ref: pa.Table,
    app_type: pa.Table,
) -> pa.Table:
    """Each log instance with its chain: point, application instance, type reference, type, unit.

    Grain: one row per log instance, in the order of `log_instance`. The column `lost_at` names
    the parent that was not found, `lost_key` the key that it does not have; both null where
    the chain is whole.

    Raises:
        PipelineError: A parent holds a key twice.
    """
    # Only what a log instance reaches: there are far fewer than points and instances.
    point_ids = log_instance["point_id"].combine_chunks()
    point = _reached(point, "point_id", point_ids)
    point_rows = look_up(point_ids, point, "point_id")
    instance_ids = point["app_instance_id"].combine_chunks().take(point_rows)
    app_instance = _reached(app_instance, "app_instance_id", instance_ids)
    instance_rows = look_up(instance_ids, app_instance, "app_instance_id")
    instances = app_instance.take(instance_rows)
    ref_ids = instances["app_type_ref_id"].combine_chunks()
    ref_rows = look_up(ref_ids, app_type_ref, "app_type_ref_id")
    type_ids = app_type_ref["app_type_id"].combine_chunks().take(ref_rows)
    type_rows = look_up(type_ids, app_type, "app_type_id")

    missing = [
        ("POINT", point_rows, point_ids),
        ("APP_INSTANCE", instance_rows, instance_ids),
        ("APP_TYPE_REF", ref_rows, ref_ids),
        ("APP_TYPE", type_rows, type_ids),
    ]
    lost_at = pa.nulls(len(log_instance), pa.string())
    lost_key = pa.nulls(len(log_instance), pa.int64())
    for parent, rows, keys in reversed(missing):  # The first hop that fails is the one to name.
        fails = pc.is_null(rows)
        lost_at = pc.if_else(fails, parent, lost_at)
        lost_key = pc.if_else(fails, keys, lost_key)
    return pa.table(
        {
            "point_log_inst_id": log_instance["point_log_inst_id"],
            "point_id": log_instance["point_id"],
            "app_instance_id": pc.fill_null(instances["app_instance_id"], UNKNOWN),
            "app_type_ref_id": _take(app_type_ref, "app_type_ref_id", ref_rows),
            "app_type_id": _take(app_type, "app_type_id", type_rows),
            "unit_id": _take(app_type_ref, "unit_id", ref_rows),
            "eng_unit_id": log_instance["eng_unit_id"],
            "log_interval": log_instance["log_interval"],
            "lost_at": lost_at,
            "lost_key": lost_key,
        }
    )


def enrich(
    records: pa.Table, chains: pa.Table, log_kind: str, first_log_id: int, rows: pa.Array = None
) -> pa.Table:
    """Log records with the keys of their chain; -1 throughout where their log instance is missing.

    Args:
        records: Staged log records; rows keep their number and order.
        chains: As `resolve_log_instances` gives them.
        log_kind: B or F.
        first_log_id: `log_id` of the first row; the others follow.
        rows: The row of `chains` for each record, if it is known already.

    Raises:
        PipelineError: `chains` holds a log instance twice.
    """
    if rows is None:
        rows = look_up(records["point_log_inst_id"].combine_chunks(), chains, "point_log_inst_id")
    keys = (
        "point_log_inst_id",
        "point_id",
        "app_instance_id",
        "app_type_ref_id",
        "app_type_id",
        "unit_id",
    )
    ids = np.arange(first_log_id, first_log_id + len(records))
    return pa.table(
        {
            "log_id": pa.array(ids, pa.int64()),
            "log_kind": pa.repeat(log_kind, len(records)),
            **{key: _take(chains, key, rows) for key in keys},
            "recorded_at": records["recorded_at"],
            "value": records["value"],
            "status": _without_blanks(records["status"].combine_chunks()),
        },
        schema=ENRICHED_SCHEMA,
    )


def _without_blanks(status: pa.Array) -> pa.StringArray:
    """Null in place of blank texts; a status repeats itself, so each is looked at once."""
    encoded = status if isinstance(status, pa.DictionaryArray) else status.dictionary_encode()
    texts = encoded.dictionary
    blank = pc.equal(pc.utf8_trim_whitespace(texts), "")
    return pc.if_else(blank, pa.scalar(None, pa.string()), texts).take(encoded.indices)


@dataclass
class PartLosses:
    """What was lost on the way of one part's records.

    Attributes:
        records: Parent that was not found -> records whose chain ends there.
        orphans: Some of the log instances that LOG_INSTANCE does not have.
    """

    records: dict[str, int] = field(default_factory=dict)
    orphans: list[int] = field(default_factory=list)

    def add(self, keys: pa.Array, chains: pa.Table, rows: pa.Array) -> None:
        """Count a batch of staged log records.

        Args:
            keys: Their log instances.
            chains: As `resolve_log_instances` gives them.
            rows: The row of `chains` for each record.
        """
        if rows.null_count:
            orphans = keys.filter(pc.is_null(rows))
            self.records["LOG_INSTANCE"] = self.records.get("LOG_INSTANCE", 0) + len(orphans)
            missing = {*self.orphans, *pc.unique(orphans).to_pylist()}
            self.orphans = sorted(missing)[:_EXAMPLES]
        # By chain first: there are far fewer chains than records.
        counts = np.bincount(rows.drop_null().to_numpy(), minlength=len(chains))
        for parent, count in zip(chains["lost_at"].to_pylist(), counts.tolist(), strict=True):
            if parent is not None and count:
                self.records[parent] = self.records.get(parent, 0) + count


def add_up_losses(chains: pa.Table, parts: Iterable[tuple[str, PartLosses]]) -> list[Hop]:
    """What was lost at each hop: the log instances, and the records of all parts.

    Args:
        chains: As `resolve_log_instances` gives them.
        parts: Kind of log record and losses of each part.
    """
    hops = {parent: Hop(parent, key, 0, dict.fromkeys(LOG_KINDS, 0)) for parent, key in HOPS}
    for parent, hop in hops.items():
        lost = chains.filter(pc.fill_null(pc.equal(chains["lost_at"], parent), False))
        hop.log_instances = len(lost)
        hop.examples = sorted(set(lost["lost_key"].to_pylist()))[:_EXAMPLES]
    for kind, losses in parts:
        for parent, count in losses.records.items():
            hops[parent].records[kind] += count
        first = hops["LOG_INSTANCE"]
        first.examples = sorted({*first.examples, *losses.orphans})[:_EXAMPLES]
    return list(hops.values())


def enrich_file(
    staged: Path,
    chains: pa.Table,
    log_kind: str,
    number: int,
    into: Path,
    *,
    advance: Advance = untold,
) -> PartLosses:
    """Enrich the staged log records of one part, streaming.

    Args:
        staged: The part, staged.
        chains: As `resolve_log_instances` gives them.
        log_kind: B or F.
        number: Of the part.
        into: The Parquet file to write.
        advance: Told the rows enriched, as amount too.
    """
    losses = PartLosses()
    next_id = number * PART_ROWS + 1
    with pq.ParquetWriter(into, ENRICHED_SCHEMA, **PARQUET, **_WRITTEN) as writer:
        for records in _batches(staged):
            keys = records["point_log_inst_id"].combine_chunks()
            rows = look_up(keys, chains, "point_log_inst_id")
            writer.write_table(enrich(records, chains, log_kind, next_id, rows))
            losses.add(keys, chains, rows)
            next_id += len(records)
            advance(len(records), len(records))
    return losses


_WRITTEN: Mapping[str, object] = {
    # Every other column repeats itself, this one counts.
    "use_dictionary": [name for name in ENRICHED_SCHEMA.names if name != "log_id"],
    "column_encoding": {"log_id": "DELTA_BINARY_PACKED"},
}


def _batches(staged: Path) -> Iterator[pa.Table]:
    columns = ["point_log_inst_id", "recorded_at", "value", "status"]
    with pq.ParquetFile(staged, read_dictionary=["status"]) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
            yield pa.Table.from_batches([batch])
