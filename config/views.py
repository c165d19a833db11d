"""The warehouse's views: the star in names, for people who ask it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from config.aggregates import AGGREGATES
from config.declarations import Column, Type
from config.warehouse import FACT_LOGS, TABLES


@dataclass(frozen=True)
class Computed:
    """A column of a view that is no column of a table."""

    sql: str
    column: Column


@dataclass(frozen=True)
class View:
    """A view of the star.

    Attributes:
        name: Under which it is in the database.
        grain: What a row is.
        columns: Those of tables, as `table.column`, and others.
        source: What follows FROM. `{alarms}` are the statuses that are alarms, `{unknown}` is the
            key of the unknown member.
    """

    name: str
    grain: str
    columns: tuple[str | Computed, ...]
    source: str

    def described(self) -> tuple[Column, ...]:
        """The declared columns."""
        return tuple(
            column.column if isinstance(column, Computed) else declared_column(column)
            for column in self.columns
        )


def declared_column(path: str) -> Column:
    """A column of a table, as a view has it; `path` is `table.column`."""
    table, _, name = path.partition(".")
    return _OF_VIEWS.get(name) or (TABLES | AGGREGATES)[table].column(name)


_OF_VIEWS = {
    "recorded_at": replace(
        FACT_LOGS.column("recorded_at"),
        description="When the value was recorded, UTC; NULL if the export has no time.",
    )
}
"""Columns that differ from those of the tables."""

_COLUMNS = (
    "fact_logs.recorded_at",
    "dim_unit.unit_name",
    "dim_application_instance.app_instance_name",
    "dim_application_type.app_type_description",
    "dim_point.point_name",
    "dim_point.point_type",
    "fact_logs.value",
    "fact_logs.value_text",
    "fact_logs.status",
    "fact_logs.log_kind",
    "dim_log_instance.eng_unit_id",
    "dim_log_instance.log_interval",
    "dim_log_instance.log_instance_label",
    "dim_log_instance.unit_id",
    "dim_log_instance.app_instance_id",
    "dim_log_instance.app_type_id",
    "dim_log_instance.point_id",
    "dim_log_instance.point_log_inst_id",
    "fact_logs.partition_id",
    "fact_logs.log_id",
)

# The order of a cross join is kept: whatever the condition, the log instances that fulfil it are
# found first, and their facts are ranges of the key.
_NAMES = """JOIN dim_unit ON dim_unit.unit_id = dim_log_instance.unit_id
JOIN dim_application_instance
  ON dim_application_instance.app_instance_id = dim_log_instance.app_instance_id
JOIN dim_application_type ON dim_application_type.app_type_id = dim_log_instance.app_type_id
JOIN dim_point ON dim_point.point_id = dim_log_instance.point_id
"""


def _named(table: str) -> str:
    return f"""dim_log_instance CROSS JOIN {table}
{_NAMES}WHERE {table}.point_log_inst_id = dim_log_instance.point_log_inst_id
"""


_NAMED = _named("fact_logs")

V_LOGS = View("v_logs", "one row per log record, with all names", _COLUMNS, _NAMED)

V_ALARMS = View(
    "v_alarms",
    "one row per log record whose status is one of alarm_statuses in luigi.cfg, with all names",
    _COLUMNS,
    _NAMED + "  AND upper(trim(fact_logs.status)) IN ({alarms})\n",
)

V_LAST_VALUE = View(
    "v_last_value",
    "one row per log instance that has records: the last one, with all names",
    _COLUMNS,
    _NAMED
    + """  AND dim_log_instance.point_log_inst_id <> {unknown}
  AND fact_logs.recorded_at = (
    SELECT max(f.recorded_at) FROM fact_logs AS f
    WHERE f.point_log_inst_id = dim_log_instance.point_log_inst_id)
  AND fact_logs.log_id = (
    SELECT max(f.log_id) FROM fact_logs AS f
    WHERE f.point_log_inst_id = dim_log_instance.point_log_inst_id
      AND f.recorded_at = fact_logs.recorded_at)
""",
)

_NAMES_OF_LOG_INSTANCE = (
    "dim_unit.unit_name",
    "dim_application_instance.app_instance_name",
    "dim_application_type.app_type_description",
    "dim_point.point_name",
    "dim_point.point_type",
    "dim_log_instance.eng_unit_id",
    "dim_log_instance.log_interval",
    "dim_log_instance.log_instance_label",
    "dim_log_instance.unit_id",
    "dim_log_instance.app_instance_id",
    "dim_log_instance.app_type_id",
    "dim_log_instance.point_id",
    "dim_log_instance.point_log_inst_id",
)

V_UNIT_DAY = View(
    "v_unit_day",
    "one row per unit and day with a record",
    (
        "dim_log_instance.unit_id",
        "dim_unit.unit_name",
        "fact_log_days.day",
        Computed(
            "count(*)",
            Column("log_instance_count", Type.INTEGER, "Its log instances that recorded."),
        ),
        *(
            Computed(f"sum(fact_log_days.{name})", AGGREGATES["fact_log_days"].column(name))
            for name in ("record_count", "value_count", "alarm_count")
        ),
    ),
    """dim_log_instance CROSS JOIN fact_log_days
JOIN dim_unit ON dim_unit.unit_id = dim_log_instance.unit_id
WHERE fact_log_days.point_log_inst_id = dim_log_instance.point_log_inst_id
  AND fact_log_days.record_count > 0
GROUP BY dim_log_instance.unit_id, dim_unit.unit_name, fact_log_days.day
""",
)

V_POINT_DAY = View(
    "v_point_day",
    "one row per day of a log instance, with the names of its point and the rest",
    (
        "fact_log_days.day",
        *_NAMES_OF_LOG_INSTANCE[:5],
        *(
            f"fact_log_days.{column.name}"
            for column in AGGREGATES["fact_log_days"].columns
            if column.name not in ("point_log_inst_id", "day")
        ),
        *_NAMES_OF_LOG_INSTANCE[5:],
    ),
    _named("fact_log_days"),
)

V_GAPS = View(
    "v_gaps",
    "one row per gap of a log instance, with all names; without those of log instances that log "
    "changes: more than half of their records are followed by a gap",
    (
        "fact_log_gaps.began_at",
        "fact_log_gaps.ended_at",
        "fact_log_gaps.gap_seconds",
        "fact_log_gaps.missing_count",
        *_NAMES_OF_LOG_INSTANCE,
    ),
    _named("fact_log_gaps")
    + """  AND (
    SELECT count(*) FROM fact_log_gaps AS g
    WHERE g.point_log_inst_id = dim_log_instance.point_log_inst_id
  ) * 2 <= (
    SELECT sum(d.record_count) FROM fact_log_days AS d
    WHERE d.point_log_inst_id = dim_log_instance.point_log_inst_id)
""",
)

VIEWS: dict[str, View] = {
    view.name: view for view in (V_LOGS, V_ALARMS, V_LAST_VALUE, V_UNIT_DAY, V_POINT_DAY, V_GAPS)
}
