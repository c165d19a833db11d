"""The tables that a load of facts derives from them, so that questions by day are answered fast."""

from dataclasses import dataclass

from config.declarations import Column, Table, Type

_LOG_INSTANCE = Column(
    "point_log_inst_id",
    Type.INTEGER,
    "The log instance; -1 if LOG_INSTANCE has no such row.",
    references="dim_log_instance.point_log_inst_id",
)

FACT_LOG_DAYS = Table(
    name="fact_log_days",
    grain="one row per log instance and day with a record or a known state",
    columns=(
        _LOG_INSTANCE,
        Column("day", Type.TEXT, "The day in report_timezone, such as 2024-06-01."),
        Column("record_count", Type.INTEGER, "Records of the day."),
        Column("value_count", Type.INTEGER, "Those with a value."),
        Column(
            "alarm_count",
            Type.INTEGER,
            "Those whose status is one of alarm_statuses in luigi.cfg.",
        ),
        Column("value_min", Type.NUMBER, "The smallest value.", nullable=True),
        Column("value_mean", Type.NUMBER, "The mean of the values.", nullable=True),
        Column("value_max", Type.NUMBER, "The largest value.", nullable=True),
        Column("value_last", Type.NUMBER, "The last value.", nullable=True),
        Column(
            "seconds_on",
            Type.NUMBER,
            "Seconds in state 1; NULL if the day has neither a digital record nor its state.",
            nullable=True,
        ),
        Column(
            "seconds_known",
            Type.NUMBER,
            "Seconds in state 1 or 0: each record's state lasts until the next record, at most "
            "max_gap intervals (a day if LOG_INSTANCE has no interval).",
            nullable=True,
        ),
        Column(
            "statuses",
            Type.TEXT,
            'Records by status, as JSON: {"OK": 287, "ALARM": 1}; "" for those without one.',
        ),
    ),
    primary_key=("point_log_inst_id", "day"),
)

FACT_LOG_GAPS = Table(
    name="fact_log_gaps",
    grain="one row per log instance and time without records of more than max_gap intervals",
    columns=(
        _LOG_INSTANCE,
        Column("began_at", Type.TIMESTAMP, "The last record before it, UTC."),
        Column("ended_at", Type.TIMESTAMP, "The first record after it, UTC."),
        Column("gap_seconds", Type.NUMBER, "Its length."),
        Column(
            "missing_count",
            Type.INTEGER,
            "Records that the log instance's interval lets expect in between.",
        ),
    ),
    primary_key=("point_log_inst_id", "began_at"),
)

AGGREGATES: dict[str, Table] = {table.name: table for table in (FACT_LOG_DAYS, FACT_LOG_GAPS)}
"""They are replaced with the facts, in the same transaction."""


@dataclass(frozen=True)
class Rules:
    """How days and gaps are made of records.

    Attributes:
        timezone: In which days begin and end.
        max_gap: How many intervals a state lasts at most; more without a record are a gap.
        alarms: Statuses that are alarms, in any case.
    """

    timezone: str
    max_gap: float
    alarms: tuple[str, ...]
