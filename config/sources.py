"""The seven source files: what each row is, which columns are recognised, how they relate.

Only columns that are not nullable must be in a file. A column that is not declared here is
passed through staging as text. A header is recognised by its name or one of its aliases, in
any case; `luigi.cfg` can name another one for a single installation.
"""

from config.added import added_columns
from config.declarations import Column, Source, Type

_RECORD_STATUS = Column(
    "status",
    Type.TEXT,
    "The record's status as exported.",
    nullable=True,
    aliases=("log_status", "record_status", "status_code", "point_status", "quality"),
)
_VALUE_TEXT = Column(
    "value_text",
    Type.TEXT,
    "The word that was in place of the value, such as POINT FAIL.",
    nullable=True,
    derived=True,
)
_RECORD_TIME = Column(
    "recorded_at",
    Type.TIMESTAMP,
    "When the value was recorded, UTC.",
    nullable=True,
    aliases=(
        "log_time",
        "log_timestamp",
        "log_datetime",
        "log_date",
        "record_time",
        "timestamp",
        "date_time",
        "datetime",
        "time_stamp",
        "time",
        "ts",
        "log_dt",
        "created_at",
        "date",
    ),
)
_VALUE_ALIASES = (
    "log_value",
    "record_value",
    "point_value",
    "log_val",
    "val",
    "reading",
    "measurement",
    "data",
)
_RECORD_INSTANCE = Column(
    "point_log_inst_id",
    Type.INTEGER,
    "The log instance that made the record.",
    references="LOG_INSTANCE.point_log_inst_id",
)

APP_TYPE = Source(
    name="APP_TYPE",
    grain="one row per application type",
    columns=(
        Column("app_type_id", Type.INTEGER, "Natural key."),
        Column(
            "name",
            Type.TEXT,
            "What the type is called; blank, padded and repeated names occur.",
            nullable=True,
            aliases=("app_type_name", "description", "app_type_description"),
        ),
    ),
    primary_key="app_type_id",
)

APP_TYPE_REF = Source(
    name="APP_TYPE_REF",
    grain="one row per use of an application type by a unit",
    columns=(
        Column("app_type_ref_id", Type.INTEGER, "Natural key; 0 is a real one."),
        Column("app_type_id", Type.INTEGER, "The type in use.", references="APP_TYPE.app_type_id"),
        Column("unit_id", Type.INTEGER, "The controller (unit) that uses the type."),
    ),
    primary_key="app_type_ref_id",
)

APP_INSTANCE = Source(
    name="APP_INSTANCE",
    grain="one row per application instance",
    columns=(
        Column("app_instance_id", Type.INTEGER, "Natural key."),
        Column(
            "app_type_ref_id",
            Type.INTEGER,
            "The type reference it is an instance of.",
            references="APP_TYPE_REF.app_type_ref_id",
        ),
        Column(
            "app_instance_name",
            Type.TEXT,
            "What the application instance is called.",
            nullable=True,
            aliases=("app_inst_name", "instance_name", "app_name", "name"),
        ),
    ),
    primary_key="app_instance_id",
)

POINT = Source(
    name="POINT",
    grain="one row per point (an input, output or setting of an application instance)",
    columns=(
        Column("point_id", Type.INTEGER, "Natural key."),
        Column(
            "app_instance_id",
            Type.INTEGER,
            "The application instance that the point belongs to.",
            references="APP_INSTANCE.app_instance_id",
        ),
        Column(
            "point_name",
            Type.TEXT,
            "What the point is called.",
            nullable=True,
            aliases=("point_label", "name", "label"),
        ),
        Column(
            "point_type",
            Type.TEXT,
            "What kind of point it is, as exported.",
            nullable=True,
            aliases=("type",),
        ),
    ),
    primary_key="point_id",
)

LOG_INSTANCE = Source(
    name="LOG_INSTANCE",
    grain="one row per log instance (a point that is logged, and how often)",
    columns=(
        Column("point_log_inst_id", Type.INTEGER, "Natural key."),
        Column("point_id", Type.INTEGER, "The point that is logged.", references="POINT.point_id"),
        Column(
            "eng_unit_id",
            Type.INTEGER,
            "Engineering unit of the values, by number; the export does not name them.",
            nullable=True,
        ),
        Column(
            "log_interval",
            Type.INTEGER,
            "How often the point is logged, as exported; plausibly seconds.",
            nullable=True,
        ),
    ),
    primary_key="point_log_inst_id",
)

LOG_RCD_B = Source(
    name="LOG_RCD_B",
    grain="one row per digital log record",
    columns=(
        _RECORD_INSTANCE,
        _RECORD_TIME,
        Column(
            "value",
            Type.SWITCH,
            "The recorded state, 1 or 0.",
            nullable=True,
            aliases=(*_VALUE_ALIASES, "state", "log_state"),
        ),
        _VALUE_TEXT,
        _RECORD_STATUS,
        *added_columns("fact_logs"),
    ),
    in_partitions=True,
)

LOG_RCD_F = Source(
    name="LOG_RCD_F",
    grain="one row per float log record",
    columns=(
        _RECORD_INSTANCE,
        _RECORD_TIME,
        Column(
            "value",
            Type.NUMBER,
            "The recorded value, in the log instance's engineering unit.",
            nullable=True,
            aliases=_VALUE_ALIASES,
        ),
        _VALUE_TEXT,
        _RECORD_STATUS,
        *added_columns("fact_logs"),
    ),
    in_partitions=True,
)

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (APP_TYPE, APP_TYPE_REF, APP_INSTANCE, POINT, LOG_INSTANCE, LOG_RCD_B, LOG_RCD_F)
}

LOG_KINDS: dict[str, str] = {"B": "LOG_RCD_B", "F": "LOG_RCD_F"}
"""Kind of log record -> the source that holds it, in the order in which `log_id` numbers them."""


def _lookups(first: Source) -> dict[str, str]:
    """The sources that the references lead to from a source on, and the key of each.

    Raises:
        ValueError: A source refers to more than one other: then no chain follows from them.
    """
    found: dict[str, str] = {}
    source = first
    while source.references:
        ((parent, key),) = source.references.values()
        found[parent] = key
        source = SOURCES[parent]
    return found


LOOKUPS: dict[str, str] = _lookups(LOG_RCD_B)
"""Lookup chain of a log record: parent source -> its key, from LOG_INSTANCE to APP_TYPE.

Each source refers to the next one by its declared reference.
"""
