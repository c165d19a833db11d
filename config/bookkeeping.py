"""The warehouse's bookkeeping: what loads write beside the star."""

from typing import NamedTuple

from config.aggregates import AGGREGATES
from config.declarations import Column, Table, Type
from config.warehouse import TABLES

LOG_INSTANCE_ACTIVITY = Table(
    name="log_instance_activity",
    grain="one row per partition and log instance that has records in it",
    columns=(
        Column(
            "point_log_inst_id",
            Type.INTEGER,
            "The log instance; -1 for records whose log instance is unknown.",
        ),
        Column("partition_id", Type.INTEGER, "The file of log records, as in fact_logs."),
        Column("log_kind", Type.TEXT, "'B' for digital records, 'F' for float records."),
        Column("record_count", Type.INTEGER, "How many facts there are."),
        Column(
            "first_recorded_at",
            Type.TIMESTAMP,
            "The earliest of their times, UTC; NULL if none has a time.",
            nullable=True,
        ),
        Column(
            "last_recorded_at",
            Type.TIMESTAMP,
            "The latest of their times, UTC; NULL if none has a time.",
            nullable=True,
        ),
    ),
    primary_key=("point_log_inst_id", "partition_id"),
)

LOAD_RECEIPT = Table(
    name="load_receipt",
    grain="one row per table that is as it was loaded, and one per partition of fact_logs",
    columns=(
        Column("table_name", Type.TEXT, "Name of the table."),
        Column(
            "partition_name",
            Type.TEXT,
            "The file, such as LOG_RCD_F/2024-06; '' for the table.",
        ),
        Column("partition_id", Type.INTEGER, "As in fact_logs; NULL for the table.", nullable=True),
        Column("receipt", Type.TEXT, "What the rows were made from: digests."),
        Column("load_id", Type.TEXT, "The load that wrote the rows; another one each time."),
        Column("row_count", Type.INTEGER, "How many rows were loaded."),
        Column(
            "rows_digest",
            Type.TEXT,
            "Digest of the values of the loaded rows; '' for all partitions together.",
        ),
        Column(
            "size_bytes",
            Type.INTEGER,
            "Size of the table and its indexes, about; NULL if unknown.",
            nullable=True,
        ),
        Column("loaded_at", Type.TIMESTAMP, "When the load ended, UTC."),
    ),
    primary_key=("table_name", "partition_name"),
)


class LoadReceipt(NamedTuple):
    """A row of `load_receipt`, but for its time."""

    table_name: str
    partition_name: str
    partition_id: int | None
    receipt: str
    load_id: str
    row_count: int
    rows_digest: str
    size_bytes: int | None


DATA_DICTIONARY = Table(
    name="data_dictionary",
    grain="one row per table or view, and one per column of each",
    columns=(
        Column("table_name", Type.TEXT, "Name of the table or view."),
        Column("column_name", Type.TEXT, "The column; '' for the table or view itself."),
        Column("type", Type.TEXT, "Type of the column's values, 'table' or 'view'."),
        Column("description", Type.TEXT, "What the column holds; the grain of the table or view."),
    ),
    primary_key=("table_name", "column_name"),
)

BOOKKEEPING: dict[str, Table] = {
    table.name: table for table in (LOG_INSTANCE_ACTIVITY, LOAD_RECEIPT, DATA_DICTIONARY)
}
"""What loads write beside the star."""

ALL_TABLES: dict[str, Table] = {**TABLES, **AGGREGATES, **BOOKKEEPING}
"""The tables of the warehouse."""
