"""The warehouse: every table's grain, columns and keys.

DDL, Arrow schemas, the columns that enrichment looks up, the checks and the data dictionary derive
from it.
"""

from datetime import UTC, datetime

from config.added import added_columns
from config.declarations import Column, Table, Type
from config.sources import LOG_RCD_B, LOOKUPS, SOURCES

PARTITION_ROWS = 10_000_000_000
"""`log_id` is `partition_id` times this, plus 1, 2, ... in the partition."""

NO_TIME = ""
"""What `fact_logs.recorded_at` has in SQLite where the export has no time: a key takes no NULL."""

NO_INSTANT = datetime(1, 1, 1, tzinfo=UTC)
"""The first instant that Python has. Systems in .NET write it for no time at all, and so do we in
warehouses on servers, where times are no texts."""

NO_TIME_OF_SERVERS = "'0001-01-01 00:00:00'"

_UNIT = Column(
    "unit_id",
    Type.INTEGER,
    "The controller (unit); -1 if unknown.",
    references="dim_unit.unit_id",
    origin="APP_TYPE_REF.unit_id",
)
_APP_INSTANCE = Column(
    "app_instance_id",
    Type.INTEGER,
    "The application instance; -1 if unknown.",
    references="dim_application_instance.app_instance_id",
    origin="APP_INSTANCE.app_instance_id",
)
_APP_TYPE = Column(
    "app_type_id",
    Type.INTEGER,
    "The application type; -1 if unknown.",
    references="dim_application_type.app_type_id",
    origin="APP_TYPE.app_type_id",
)
_APP_TYPE_REF = Column(
    "app_type_ref_id",
    Type.INTEGER,
    "The type reference it is an instance of; -1 if APP_TYPE_REF has no such row.",
    origin="APP_TYPE_REF.app_type_ref_id",
)
_RETAINED = Column(
    "is_retained",
    Type.INTEGER,
    "1 for a member that the source no longer has, kept while rows refer to it; else 0.",
)

DIM_APPLICATION_TYPE = Table(
    name="dim_application_type",
    grain="one row per application type, and -1 for the unknown one",
    columns=(
        Column(
            "app_type_id",
            Type.INTEGER,
            "Natural key, from APP_TYPE.",
            origin="APP_TYPE.app_type_id",
        ),
        Column(
            "app_type_description",
            Type.TEXT,
            "APP_TYPE's name without padding; '(no name)' where it is blank.",
            origin="APP_TYPE.name",
        ),
        _RETAINED,
    ),
    primary_key="app_type_id",
)

DIM_UNIT = Table(
    name="dim_unit",
    grain="one row per controller (unit) that APP_TYPE_REF names, and -1 for the unknown one",
    columns=(
        Column(
            "unit_id",
            Type.INTEGER,
            "Natural key, from APP_TYPE_REF.",
            origin="APP_TYPE_REF.unit_id",
        ),
        Column(
            "unit_name",
            Type.TEXT,
            "A label made from the number: no source names the units.",
            origin="APP_TYPE_REF.unit_id",
        ),
        _RETAINED,
    ),
    primary_key="unit_id",
)

DIM_APPLICATION_INSTANCE = Table(
    name="dim_application_instance",
    grain="one row per application instance, and -1 for the unknown one",
    columns=(
        Column(
            "app_instance_id",
            Type.INTEGER,
            "Natural key, from APP_INSTANCE.",
            origin="APP_INSTANCE.app_instance_id",
        ),
        Column(
            "app_instance_name",
            Type.TEXT,
            "APP_INSTANCE's name; a label made from the number where it is blank.",
            origin="APP_INSTANCE.app_instance_name",
        ),
        _APP_TYPE_REF,
        _APP_TYPE,
        _UNIT,
        _RETAINED,
    ),
    primary_key="app_instance_id",
)

DIM_POINT = Table(
    name="dim_point",
    grain="one row per point that is logged, and -1 for the unknown one",
    columns=(
        Column(
            "point_id",
            Type.INTEGER,
            "Natural key, from LOG_INSTANCE.",
            origin="LOG_INSTANCE.point_id",
        ),
        Column(
            "point_name",
            Type.TEXT,
            "POINT's name; a label made from the number where it is blank; '(not in POINT)' where "
            "POINT has no such row.",
            origin="POINT.point_name",
        ),
        Column(
            "point_type",
            Type.TEXT,
            "What kind of point it is, as exported.",
            nullable=True,
            origin="POINT.point_type",
        ),
        _APP_INSTANCE,
        _UNIT,
        _RETAINED,
    ),
    primary_key="point_id",
    further_from="POINT",
)

DIM_LOG_INSTANCE = Table(
    name="dim_log_instance",
    grain="one row per log instance, and -1 for the unknown one",
    columns=(
        Column(
            "point_log_inst_id",
            Type.INTEGER,
            "Natural key, from LOG_INSTANCE.",
            origin="LOG_INSTANCE.point_log_inst_id",
        ),
        Column(
            "point_id",
            Type.INTEGER,
            "The point that is logged; -1 for the unknown member.",
            references="dim_point.point_id",
            origin="LOG_INSTANCE.point_id",
        ),
        Column(
            "log_instance_label",
            Type.TEXT,
            "A label: the point's name, and the unit.",
        ),
        _APP_INSTANCE,
        _APP_TYPE,
        _UNIT,
        Column(
            "eng_unit_id",
            Type.INTEGER,
            "Engineering unit of its values, by number; the export does not name them.",
            nullable=True,
            origin="LOG_INSTANCE.eng_unit_id",
        ),
        Column(
            "log_interval",
            Type.INTEGER,
            "How often it logs, as exported; plausibly seconds.",
            nullable=True,
            origin="LOG_INSTANCE.log_interval",
        ),
        _RETAINED,
    ),
    primary_key="point_log_inst_id",
)

FACT_LOGS = Table(
    name="fact_logs",
    grain="one row per log record, digital (B) and float (F) together",
    columns=(
        Column(
            "log_id",
            Type.INTEGER,
            "Surrogate key: partition_id times ten billion, plus the row in the partition.",
            origin="LOG_RCD (the file and the row in it)",
        ),
        _UNIT,
        _APP_INSTANCE,
        _APP_TYPE,
        Column(
            "point_id",
            Type.INTEGER,
            "The point that was logged, as LOG_INSTANCE names it; -1 if unknown.",
            references="dim_point.point_id",
            origin="LOG_INSTANCE.point_id",
        ),
        Column(
            "point_log_inst_id",
            Type.INTEGER,
            "The log instance that made the record; -1 if LOG_INSTANCE has no such row.",
            references="dim_log_instance.point_log_inst_id",
            origin="LOG_INSTANCE.point_log_inst_id",
        ),
        Column(
            "recorded_at",
            Type.TIMESTAMP,
            "When the value was recorded, UTC; if the export has no time, a value before every "
            "time (in SQLite the empty text).",
            nullable=True,
            origin="LOG_RCD.recorded_at",
        ),
        Column(
            "value",
            Type.NUMBER,
            "The value, in the log instance's engineering unit; 1 or 0 for digital records; "
            "NULL where the export has a word in its place.",
            nullable=True,
            origin="LOG_RCD.value",
        ),
        Column(
            "value_text",
            Type.TEXT,
            "The word that the export has in place of a value, such as POINT FAIL.",
            nullable=True,
            origin="LOG_RCD.value_text",
        ),
        Column(
            "status",
            Type.TEXT,
            "The record's status as exported.",
            nullable=True,
            origin="LOG_RCD.status",
        ),
        Column(
            "log_kind",
            Type.TEXT,
            "'B' for a digital record, 'F' for a float record.",
            origin="LOG_RCD (which of the two files)",
        ),
        Column(
            "partition_id",
            Type.INTEGER,
            "The file of log records: 0 for LOG_RCD_B.csv, 1 for LOG_RCD_F.csv, for a file of a "
            "folder a number made from its name; load_receipt has the names.",
            origin="LOG_RCD (the file)",
        ),
        *added_columns("fact_logs", origin="LOG_RCD"),
    ),
    # In this order the rows are stored: a log instance's day is a few pages.
    primary_key=("point_log_inst_id", "recorded_at", "log_id"),
)

ENRICHED_LOGS = Table(
    name="enriched_logs",
    grain=FACT_LOGS.grain,
    columns=(*FACT_LOGS.columns, _APP_TYPE_REF),
    primary_key="log_id",
)
"""The Parquet files of enriched log records, one for each partition."""

LOG_INSTANCE_CHAINS = Table(
    name="log_instance_chains",
    grain="one row per log instance",
    columns=tuple(
        {
            column.name: column
            for table in (DIM_LOG_INSTANCE, ENRICHED_LOGS)
            for column in table.columns
            if column.source in LOOKUPS
        }.values()
    ),
    primary_key="point_log_inst_id",
)
"""The Parquet file of what is looked up for each log instance, for all tables together."""

DIMENSIONS: dict[str, Table] = {
    table.name: table
    for table in (
        DIM_APPLICATION_TYPE,
        DIM_UNIT,
        DIM_APPLICATION_INSTANCE,
        DIM_POINT,
        DIM_LOG_INSTANCE,
    )
}
"""Parents come before the tables that refer to them."""

TABLES: dict[str, Table] = {**DIMENSIONS, FACT_LOGS.name: FACT_LOGS}
"""The star."""

SUMMARY_LEVELS: tuple[str, ...] = ("unit_id", "app_instance_id", "app_type_id")


def source_columns(table: Table) -> dict[str, tuple[str, ...]]:
    """The columns that the rows of a table are made from, by source: keys of lookups, and origins.

    >>> source_columns(DIM_UNIT)
    {'APP_TYPE_REF': ('app_type_ref_id', 'app_type_id', 'unit_id')}
    """
    own = table.columns[0].source
    chain = list(LOOKUPS) if own in LOOKUPS else [own]
    origins = [column for column in table.columns if column.source in chain]
    first = chain.index(own)
    last = max(chain.index(column.source) for column in origins)
    return {
        name: (
            *SOURCES[name].required,
            *(
                column.source_column
                for column in origins
                if column.source == name and column.source_column not in SOURCES[name].required
            ),
        )
        for name in chain[first : last + 1]
    }


def origin_path(table: Table, column: Column) -> list[str]:
    """The source columns that lead to a value, from the row's own source on.

    >>> origin_path(DIM_LOG_INSTANCE, DIM_LOG_INSTANCE.column("app_instance_id"))
    ['LOG_INSTANCE.point_id', 'POINT.app_instance_id', 'APP_INSTANCE.app_instance_id']
    """
    chain = ["LOG_RCD", *LOOKUPS]
    if column.source not in LOOKUPS:
        return [column.origin] if column.origin else []
    own = table.columns[0].source
    steps = chain[chain.index(own) if own in chain else 0 : chain.index(column.source)]
    references = {name: next(iter(SOURCES.get(name, LOG_RCD_B).references)) for name in steps}
    return [*(f"{name}.{reference}" for name, reference in references.items()), column.origin]
