"""The rows of the star: dimensions from staged tables, facts from enriched log records.

Pure functions. Every dimension has the unknown member -1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from config.declarations import UNKNOWN, Table
from config.warehouse import (
    DIM_APPLICATION_INSTANCE,
    DIM_APPLICATION_TYPE,
    DIM_LOG_INSTANCE,
    DIM_POINT,
    DIM_UNIT,
    FACT_LOGS,
    LOG_INSTANCE_CHAINS,
)
from tasks.core.arrow import BATCH_ROWS, open_parquet
from tasks.enrichment.lookup import look_up, resolve
from tasks.parsing.numbers import ARROW_TYPES

NO_NAME = "(no name)"
NOT_IN_POINT = "(not in POINT)"
_UNKNOWN_NAME = "Unknown"


def arrow_schema(table: Table) -> pa.Schema:
    """A warehouse table's columns as Arrow types."""
    return pa.schema([pa.field(c.name, ARROW_TYPES[c.type], c.nullable) for c in table.columns])


def members(table: Table, staged: Mapping[str, pa.Table]) -> pa.Table:
    """All rows of a dimension, the unknown member among them, sorted by key.

    Args:
        table: The dimension.
        staged: The tables that it is made from: as `source_columns` names them, or for log
            instances `LOG_INSTANCE_CHAINS` and POINT. POINT may have only the rows that are used.
    """
    rows = _BUILD.get(table.name, resolve)(staged, table)
    schema = arrow_schema(table)
    unknown = {
        field.name: [
            None if field.nullable else _UNKNOWN_NAME if field.type == "string" else UNKNOWN
        ]
        for field in schema
    }
    rows = rows.append_column("is_retained", pa.repeat(pa.scalar(0, pa.int64()), len(rows)))
    first = pa.table({**unknown, "is_retained": [0]}, schema=schema)
    whole = pa.concat_tables([first, rows.select(schema.names).cast(schema)])
    (key,) = table.key_columns
    keys = whole[key].to_numpy()
    in_order = bool((keys[1:] > keys[:-1]).all())
    return whole if in_order else whole.sort_by(key)


def _application_types(staged: Mapping[str, pa.Table], _table: Table) -> pa.Table:
    """One row per application type."""
    app_type = staged["APP_TYPE"]
    names = pc.fill_null(_not_blank(app_type["name"]), NO_NAME)
    return pa.table({"app_type_id": app_type["app_type_id"], "app_type_description": names})


def _units(staged: Mapping[str, pa.Table], _table: Table) -> pa.Table:
    """One row per unit that APP_TYPE_REF names, but the unknown one."""
    keys = _known(pc.unique(staged["APP_TYPE_REF"]["unit_id"]))
    return pa.table({"unit_id": keys, "unit_name": _numbered("Unit", keys)})


def _application_instances(staged: Mapping[str, pa.Table], table: Table) -> pa.Table:
    """One row per application instance."""
    rows = resolve(staged, table)
    names = _named(rows["app_instance_name"], "Application instance", rows["app_instance_id"])
    return _with(rows, "app_instance_name", names)


def _points(staged: Mapping[str, pa.Table], table: Table) -> pa.Table:
    """One row per point that LOG_INSTANCE names or `staged` has, but the unknown one."""
    logged, points = staged["LOG_INSTANCE"]["point_id"], staged["POINT"]
    keys = _known(pc.unique(pa.chunked_array(logged.chunks + points["point_id"].chunks)))
    rows = resolve({**staged, "LOG_INSTANCE": pa.table({"point_id": keys})}, table)
    for column in table.columns:
        if column.source == table.further_from and column.nullable:
            rows = _with(rows, column.name, _not_blank(rows[column.name]))
    return _with(rows, "point_name", _point_names(keys, points))


def _log_instances(staged: Mapping[str, pa.Table], _table: Table) -> pa.Table:
    """One row per log instance, labelled by its point and unit."""
    rows = staged[LOG_INSTANCE_CHAINS.name]
    units = rows["unit_id"]
    unit = pc.if_else(pc.equal(units, UNKNOWN), "unknown unit", _numbered("Unit", units))
    points = rows["point_id"].combine_chunks()
    names = _point_names(points, staged["POINT"])
    point = pc.if_else(pc.equal(points, UNKNOWN), _UNKNOWN_NAME, names)
    labels = pc.binary_join_element_wise(point, " (", unit, ")", "")
    return rows.append_column("log_instance_label", labels)


_BUILD: dict[str, Callable[[Mapping[str, pa.Table], Table], pa.Table]] = {
    DIM_APPLICATION_TYPE.name: _application_types,
    DIM_UNIT.name: _units,
    DIM_APPLICATION_INSTANCE.name: _application_instances,
    DIM_POINT.name: _points,
    DIM_LOG_INSTANCE.name: _log_instances,
}


def _known(keys: pa.Array) -> pa.Array:
    return keys.filter(pc.not_equal(keys, UNKNOWN))


def _numbered(kind: str, keys: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(kind, keys.cast(pa.string()), " ")


def _not_blank(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Texts without padding; null in place of blank ones."""
    trimmed = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _named(texts: pa.Array | pa.ChunkedArray, kind: str, keys: pa.Array) -> pa.Array:
    """Texts without padding; in place of blank ones the kind and the key, such as Point 17."""
    names = _not_blank(texts)
    blank = pc.is_null(names)
    if not pc.any(blank).as_py():
        return names
    return pc.if_else(blank, _numbered(kind, keys), names)


def _with(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), name, values)


def _point_names(keys: pa.Array, points: pa.Table) -> pa.Array:
    """The name of each point; a label where it is blank, or where POINT has no such row."""
    rows = look_up(keys, points, "point_id")
    names = points["point_name"].combine_chunks().take(rows)
    return pc.if_else(pc.is_null(rows), NOT_IN_POINT, _named(names, "Point", keys))


def facts(enriched: Path) -> Iterator[pa.RecordBatch]:
    """The rows of `fact_logs` in a file of enriched log records, streamed.

    Each batch is in the order of the key, in which the warehouse stores them.
    """
    schema = arrow_schema(FACT_LOGS)
    order = [(name, "ascending") for name in FACT_LOGS.key_columns]
    with open_parquet(enriched) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=schema.names):
            yield batch.select(schema.names).cast(schema).sort_by(order)
