"""The rows of the star: dimensions from staged tables, facts from enriched log records.

Pure functions. Every dimension has the unknown member -1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from config.declarations import UNKNOWN, Table
from config.warehouse import DIM_APPLICATION_TYPE, DIM_UNIT, FACT_LOGS, LOG_INSTANCE_CHAINS
from tasks.core.arrow import BATCH_ROWS, open_parquet
from tasks.enrichment.lookup import resolve
from tasks.parsing.numbers import ARROW_TYPES

NO_NAME = "(no name)"
_UNKNOWN_NAME = "Unknown"


def arrow_schema(table: Table) -> pa.Schema:
    """A warehouse table's columns as Arrow types."""
    return pa.schema([pa.field(c.name, ARROW_TYPES[c.type], c.nullable) for c in table.columns])


def members(table: Table, staged: Mapping[str, pa.Table]) -> pa.Table:
    """All rows of a dimension, the unknown member among them, sorted by key.

    Args:
        table: The dimension.
        staged: The tables that it is made from: as `source_columns` names them, or for log
            instances `LOG_INSTANCE_CHAINS`.
    """
    if LOG_INSTANCE_CHAINS.name in staged:
        rows = staged[LOG_INSTANCE_CHAINS.name]
    elif table.name in _BUILD:
        rows = _BUILD[table.name](staged)
    else:
        rows = resolve(staged, table)
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


def _application_types(staged: Mapping[str, pa.Table]) -> pa.Table:
    """One row per application type; names without padding, NO_NAME where blank."""
    app_type = staged["APP_TYPE"]
    trimmed = pc.fill_null(pc.utf8_trim_whitespace(app_type["name"]), "")
    names = pc.if_else(pc.equal(trimmed, ""), NO_NAME, trimmed)
    return pa.table({"app_type_id": app_type["app_type_id"], "app_type_description": names})


def _units(staged: Mapping[str, pa.Table]) -> pa.Table:
    """One row per unit that APP_TYPE_REF names, but the unknown one."""
    keys = pc.unique(staged["APP_TYPE_REF"]["unit_id"])
    keys = keys.filter(pc.not_equal(keys, UNKNOWN))
    names = pc.binary_join_element_wise("Unit", keys.cast(pa.string()), " ")
    return pa.table({"unit_id": keys, "unit_name": names})


_BUILD: dict[str, Callable[[Mapping[str, pa.Table]], pa.Table]] = {
    DIM_APPLICATION_TYPE.name: _application_types,
    DIM_UNIT.name: _units,
}
"""The dimensions whose columns are more than looked up."""


def facts(enriched: Path) -> Iterator[pa.RecordBatch]:
    """The rows of `fact_logs` in a file of enriched log records, streamed.

    Each batch is in the order of the key, in which the warehouse stores them.
    """
    schema = arrow_schema(FACT_LOGS)
    order = [(name, "ascending") for name in FACT_LOGS.key_columns]
    with open_parquet(enriched) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=schema.names):
            yield batch.select(schema.names).cast(schema).sort_by(order)
