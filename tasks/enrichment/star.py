"""The rows of the star: dimensions from staged tables, facts from enriched log records.

Pure functions. Every dimension has the unknown member -1.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from config.declarations import UNKNOWN, Table
from config.warehouse import (
    DIM_APPLICATION_INSTANCE,
    DIM_APPLICATION_TYPE,
    DIM_LOG_INSTANCE,
    DIM_UNIT,
    FACT_LOGS,
)
from tasks.enrichment.enrich import resolve_application_instances
from tasks.parsing.numbers import ARROW_TYPES

_BATCH_ROWS = 65_536
NO_NAME = "(no name)"


def arrow_schema(table: Table) -> pa.Schema:
    """A warehouse table's columns as Arrow types."""
    return pa.schema([pa.field(c.name, ARROW_TYPES[c.type], c.nullable) for c in table.columns])


def application_types(app_type: pa.Table) -> pa.Table:
    """`dim_application_type`, from APP_TYPE.

    >>> rows = application_types(pa.table({"app_type_id": [3, 2], "name": ["", " Rack "]}))
    >>> rows["app_type_description"].to_pylist()
    ['Unknown', 'Rack', '(no name)']
    """
    trimmed = pc.fill_null(pc.utf8_trim_whitespace(app_type["name"]), "")
    names = pc.if_else(pc.equal(trimmed, ""), NO_NAME, trimmed)
    rows = {"app_type_id": app_type["app_type_id"], "app_type_description": names}
    return _with_unknown(DIM_APPLICATION_TYPE, pa.table(rows), app_type_description="Unknown")


def units(app_type_ref: pa.Table) -> pa.Table:
    """`dim_unit`: the units that APP_TYPE_REF names.

    >>> units(pa.table({"unit_id": [7, 7]}))["unit_name"].to_pylist()
    ['Unknown', 'Unit 7']
    """
    keys = pc.unique(app_type_ref["unit_id"])
    keys = keys.filter(pc.not_equal(keys, UNKNOWN))
    names = pc.binary_join_element_wise("Unit", keys.cast(pa.string()), " ")
    return _with_unknown(
        DIM_UNIT, pa.table({"unit_id": keys, "unit_name": names}), unit_name="Unknown"
    )


def application_instances(
    app_instance: pa.Table, app_type_ref: pa.Table, app_type: pa.Table
) -> pa.Table:
    """`dim_application_instance`."""
    rows = resolve_application_instances(app_instance, app_type_ref, app_type)
    return _with_unknown(DIM_APPLICATION_INSTANCE, rows)


def log_instances(chains: pa.Table) -> pa.Table:
    """`dim_log_instance`, from the chains as `resolve_log_instances` gives them."""
    return _with_unknown(DIM_LOG_INSTANCE, chains)


def facts(enriched: Path) -> Iterator[pa.RecordBatch]:
    """The rows of `fact_logs` in a file of enriched log records, streamed."""
    schema = arrow_schema(FACT_LOGS)
    with pq.ParquetFile(enriched) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=schema.names):
            yield batch.select(schema.names).cast(schema)


def _with_unknown(table: Table, rows: pa.Table, **texts: str) -> pa.Table:
    """The rows and the unknown member, sorted by key, columns as declared."""
    schema = arrow_schema(table)
    unknown = {c.name: [texts.get(c.name, None if c.nullable else UNKNOWN)] for c in table.columns}
    whole = pa.concat_tables(
        [pa.table(unknown, schema=schema), rows.select(schema.names).cast(schema)]
    )
    keys = whole[table.primary_key].to_numpy()
    in_order = bool((keys[1:] > keys[:-1]).all())
    return whole if in_order else whole.sort_by(table.primary_key)
