"""The star schema: every table's grain, columns and keys.

DDL, Arrow schemas, the checks and the data dictionary in the documentation derive from it.
"""

from config.declarations import Column, Table, Type

_FROM_RECORD = ("LOG_RCD.point_log_inst_id",)
_FROM_LOG_INSTANCE = ("LOG_INSTANCE.point_id",)
_FROM_POINT = ("POINT.app_instance_id",)
_FROM_INSTANCE = ("APP_INSTANCE.app_type_ref_id",)


def _unit(*way: str) -> Column:
    """The unit, which is reached from the table's own source by these columns."""
    return Column(
        "unit_id",
        Type.INTEGER,
        "The controller (unit); -1 if unknown.",
        references="dim_unit.unit_id",
        origin=(*way, "APP_TYPE_REF.unit_id"),
    )


def _app_type(*way: str) -> Column:
    """The application type, likewise."""
    return Column(
        "app_type_id",
        Type.INTEGER,
        "The application type; -1 if unknown.",
        references="dim_application_type.app_type_id",
        origin=(*way, "APP_TYPE_REF.app_type_id"),
    )


def _app_instance(*way: str) -> Column:
    """The application instance, likewise."""
    return Column(
        "app_instance_id",
        Type.INTEGER,
        "The application instance; -1 if unknown.",
        references="dim_application_instance.app_instance_id",
        origin=(*way, "POINT.app_instance_id"),
    )


DIM_APPLICATION_TYPE = Table(
    name="dim_application_type",
    grain="one row per application type, and -1 for the unknown one",
    columns=(
        Column(
            "app_type_id",
            Type.INTEGER,
            "Natural key, from APP_TYPE.",
            origin=("APP_TYPE.app_type_id",),
        ),
        Column(
            "app_type_description",
            Type.TEXT,
            "APP_TYPE's name without padding; '(no name)' where it is blank.",
            origin=("APP_TYPE.name",),
        ),
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
            origin=("APP_TYPE_REF.unit_id",),
        ),
        Column(
            "unit_name",
            Type.TEXT,
            "A label made from the number: no source names the units.",
            origin=("APP_TYPE_REF.unit_id",),
        ),
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
            origin=("APP_INSTANCE.app_instance_id",),
        ),
        Column(
            "app_type_ref_id",
            Type.INTEGER,
            "The type reference it is an instance of; -1 if APP_TYPE_REF has no such row.",
            origin=("APP_INSTANCE.app_type_ref_id",),
        ),
        _app_type(*_FROM_INSTANCE),
        _unit(*_FROM_INSTANCE),
    ),
    primary_key="app_instance_id",
)

DIM_LOG_INSTANCE = Table(
    name="dim_log_instance",
    grain="one row per log instance, and -1 for the unknown one",
    columns=(
        Column(
            "point_log_inst_id",
            Type.INTEGER,
            "Natural key, from LOG_INSTANCE.",
            origin=("LOG_INSTANCE.point_log_inst_id",),
        ),
        Column(
            "point_id",
            Type.INTEGER,
            "The point that is logged; -1 for the unknown member.",
            origin=("LOG_INSTANCE.point_id",),
        ),
        _app_instance(*_FROM_LOG_INSTANCE),
        _app_type(*_FROM_LOG_INSTANCE, *_FROM_POINT, *_FROM_INSTANCE),
        _unit(*_FROM_LOG_INSTANCE, *_FROM_POINT, *_FROM_INSTANCE),
        Column(
            "eng_unit_id",
            Type.INTEGER,
            "Engineering unit of its values, by number; the export does not name them.",
            nullable=True,
            origin=("LOG_INSTANCE.eng_unit_id",),
        ),
        Column(
            "log_interval",
            Type.INTEGER,
            "How often it logs, as exported; plausibly seconds.",
            nullable=True,
            origin=("LOG_INSTANCE.log_interval",),
        ),
    ),
    primary_key="point_log_inst_id",
)

PART_ROWS = 10_000_000_000
"""`log_id` is the number of a part of the log records times this, plus 1, 2, ... in the part."""

FACT_LOGS = Table(
    name="fact_logs",
    grain="one row per log record, digital (B) and float (F) together",
    columns=(
        Column(
            "log_id",
            Type.INTEGER,
            "Surrogate key: the number of the part (0 for LOG_RCD_B.csv, 1 for LOG_RCD_F.csv, for "
            "a file of a folder one made from its name) times ten billion, plus the row in it.",
            origin=("LOG_RCD (the file and the row in it)",),
        ),
        _unit(*_FROM_RECORD, *_FROM_LOG_INSTANCE, *_FROM_POINT, *_FROM_INSTANCE),
        _app_instance(*_FROM_RECORD, *_FROM_LOG_INSTANCE),
        _app_type(*_FROM_RECORD, *_FROM_LOG_INSTANCE, *_FROM_POINT, *_FROM_INSTANCE),
        Column(
            "point_id",
            Type.INTEGER,
            "The point that was logged, as LOG_INSTANCE names it; -1 if unknown.",
            origin=(*_FROM_RECORD, "LOG_INSTANCE.point_id"),
        ),
        Column(
            "point_log_inst_id",
            Type.INTEGER,
            "The log instance that made the record; -1 if LOG_INSTANCE has no such row.",
            references="dim_log_instance.point_log_inst_id",
            origin=_FROM_RECORD,
        ),
        Column(
            "recorded_at",
            Type.TIMESTAMP,
            "When the value was recorded, UTC; NULL if the export does not tell.",
            nullable=True,
            origin=("LOG_RCD.recorded_at",),
        ),
        Column(
            "value",
            Type.NUMBER,
            "The value, in the log instance's engineering unit; 1 or 0 for digital records; "
            "NULL where a word stood in its place.",
            nullable=True,
            origin=("LOG_RCD.value",),
        ),
        Column(
            "status",
            Type.TEXT,
            "The record's status as exported, and the word that stood in place of a value.",
            nullable=True,
            origin=("LOG_RCD.status", "LOG_RCD.value"),
        ),
        Column(
            "log_kind",
            Type.TEXT,
            "'B' for a digital record, 'F' for a float record.",
            origin=("LOG_RCD (which of the two files)",),
        ),
    ),
    primary_key="log_id",
    indexes=("unit_id", "app_instance_id", "app_type_id"),
)

DIMENSIONS: dict[str, Table] = {
    table.name: table
    for table in (DIM_APPLICATION_TYPE, DIM_UNIT, DIM_APPLICATION_INSTANCE, DIM_LOG_INSTANCE)
}
"""Parents stand before the tables that refer to them."""

TABLES: dict[str, Table] = {**DIMENSIONS, FACT_LOGS.name: FACT_LOGS}

SUMMARY_LEVELS: tuple[str, ...] = ("unit_id", "app_instance_id", "app_type_id")
