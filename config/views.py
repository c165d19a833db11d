"""The warehouse's views: the star in names, for people who ask it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from config.declarations import Column
from config.warehouse import FACT_LOGS, TABLES


@dataclass(frozen=True)
class View:
    """A view of the star.

    Attributes:
        name: Under which it is in the database.
        grain: What a row is.
        columns: Those of tables, as `table.column`.
        source: What follows FROM. `{alarms}` are the statuses that are alarms, `{unknown}` is the
            key of the unknown member.
    """

    name: str
    grain: str
    columns: tuple[str, ...]
    source: str

    def described(self) -> tuple[Column, ...]:
        """The declared columns."""
        names = (column.split(".") for column in self.columns)
        columns = (TABLES[table].column(name) for table, name in names)
        return tuple(_OF_VIEWS.get(column.name, column) for column in columns)


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
_NAMED = """dim_log_instance CROSS JOIN fact_logs
JOIN dim_unit ON dim_unit.unit_id = dim_log_instance.unit_id
JOIN dim_application_instance
  ON dim_application_instance.app_instance_id = dim_log_instance.app_instance_id
JOIN dim_application_type ON dim_application_type.app_type_id = dim_log_instance.app_type_id
JOIN dim_point ON dim_point.point_id = dim_log_instance.point_id
WHERE fact_logs.point_log_inst_id = dim_log_instance.point_log_inst_id
"""

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

VIEWS: dict[str, View] = {view.name: view for view in (V_LOGS, V_ALARMS, V_LAST_VALUE)}
