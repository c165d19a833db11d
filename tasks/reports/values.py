"""Values: what the log instances measured, how long points were on, and which statuses came.

All of it is from `fact_log_days`, whose rows a load of facts keeps up to date; which log instances
are digital is in `log_instance_activity`, also of those whose state is never known.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from config.declarations import UNKNOWN
from tasks.core.text import readable
from tasks.reports.charts import band, columns, days_between
from tasks.reports.registry import Inputs, Json, Outputs, Report, Results

if TYPE_CHECKING:
    import pandas as pd

DAYS = """
SELECT day.point_log_inst_id, chain.log_instance_label, unit.unit_name, chain.eng_unit_id, day.day,
    day.record_count, day.value_count, day.alarm_count,
    day.value_min, day.value_mean, day.value_max,
    day.seconds_on, day.seconds_known, day.statuses,
    CASE WHEN day.point_log_inst_id IN
        (SELECT point_log_inst_id FROM log_instance_activity WHERE log_kind = 'B')
        THEN 1 ELSE 0 END AS is_digital
FROM fact_log_days AS day
JOIN dim_log_instance AS chain ON chain.point_log_inst_id = day.point_log_inst_id
JOIN dim_unit AS unit ON unit.unit_id = chain.unit_id
ORDER BY day.point_log_inst_id, day.day
"""

TYPES = {
    **dict.fromkeys(("point_log_inst_id", "eng_unit_id", "is_digital"), "Int64"),
    **dict.fromkeys(("record_count", "value_count", "alarm_count"), "Int64"),
    **dict.fromkeys(("value_min", "value_mean", "value_max"), "Float64"),
    **dict.fromkeys(("seconds_on", "seconds_known"), "Float64"),
}
"""The numbers among these columns: in a column without any, pandas cannot find out what it is."""

MOST_POINTS, MOST_DAYS = 100, 92
"""Log instances whose values by day can be chosen on the page, and how many of the last days."""

LARGEST = 12
MOST_STATUSES = 6
"""The most frequent statuses have a column each; the others share one."""

NO_STATUS, OTHER_STATUSES = "(none)", "(others)"
_UNKNOWN_NAME = "Unknown"
"""Of the member -1 of a dimension."""

_BINS = 24
_LABEL = ["point_log_inst_id", "log_instance_label", "unit_name"]


def build(inputs: Inputs, outputs: Outputs) -> str:
    """Write the tables."""
    days = inputs.query(DAYS).astype(TYPES)
    outputs.write_table("values_by_eng_unit", by_eng_unit(days))
    outputs.write_table("values_by_day", by_day(days))
    outputs.write_table("duty_cycle", duty_cycle(days))
    outputs.write_table("duty_days", duty_days(days))
    outputs.write_table("alarms", alarms(days))
    outputs.write_table("status_days", status_days(days))
    return f"{int(days['value_count'].sum()):,} values"


def by_eng_unit(days: pd.DataFrame) -> pd.DataFrame:
    """The values of analog log instances, one row for each engineering unit.

    `value_p5`, `value_median` and `value_p95` are quantiles of the daily means of the log
    instances, each day weighted by its values; `bins` are the values of days whose mean is in each
    of 24 equal bins from the smallest daily mean to the largest.
    """
    import pandas as pd

    rows = []
    analog = _analog(days)
    for unit, of_unit in analog.groupby("eng_unit_id", dropna=False, sort=True):
        ordered = of_unit.sort_values("value_mean", kind="stable")
        means = ordered["value_mean"].to_numpy(float)
        counts = ordered["value_count"].to_numpy(int)
        rows.append(
            {
                "eng_unit_id": None if pd.isna(unit) else unit,
                "log_instance_count": ordered["point_log_inst_id"].nunique(),
                "value_count": int(counts.sum()),
                "value_min": float(ordered["value_min"].min()),
                **_quantiles(means, counts),
                "value_mean": float((means * (counts / counts.sum())).sum().clip(*means[[0, -1]])),
                "value_max": float(ordered["value_max"].max()),
                "bins": json.dumps(_bins(means, counts)),
            }
        )
    names = ["eng_unit_id", "log_instance_count", "value_count", "value_min", "value_p5"]
    names += ["value_median", "value_mean", "value_p95", "value_max", "bins"]
    table = pd.DataFrame(rows, columns=names).astype({"eng_unit_id": "Int64"})
    return table.sort_values("value_count", ascending=False, kind="stable")


def _analog(days: pd.DataFrame) -> pd.DataFrame:
    """Days with values of log instances that have no digital record; not of the unknown one."""
    others = (days["is_digital"] == 0) & (days["point_log_inst_id"] != UNKNOWN)
    rows = days[others & (days["value_count"] > 0)]
    # Rounding takes the mean of equal values out of their range, an overflow makes it infinite.
    return rows.assign(value_mean=rows["value_mean"].clip(rows["value_min"], rows["value_max"]))


def _quantiles(means: Any, counts: Any) -> dict[str, float]:
    """Of sorted numbers that count so often, the smallest that so many do not exceed."""
    import numpy as np

    ends = np.cumsum(counts)
    shares = {"value_p5": 0.05, "value_median": 0.5, "value_p95": 0.95}
    return {
        name: float(means[np.searchsorted(ends, share * ends[-1])])
        for name, share in shares.items()
    }


def _bins(means: Any, counts: Any) -> list[int]:
    """The counts of sorted numbers in equal bins; in the middle if the numbers are equal.

    `numpy.histogram` fails where the numbers differ by rounding alone, or where their range is no
    float: here halves are subtracted.
    """
    import numpy as np

    above = means / 2 - means[0] / 2
    shares = above / above[-1] if above[-1] > 0 else np.full(len(means), 0.5)
    places = np.minimum((shares * _BINS).astype(int), _BINS - 1)
    return [int(count) for count in np.bincount(places, counts, _BINS)]


def by_day(days: pd.DataFrame) -> pd.DataFrame:
    """The last days of the log instances that can be chosen on the page.

    They are those with the most alarms, then those with the widest range of values.
    """
    rows = _analog(days)
    rows = rows[rows["day"].isin(sorted(rows["day"].unique())[-MOST_DAYS:])]
    of_instance = rows.groupby("point_log_inst_id").agg(
        alarms=("alarm_count", "sum"), low=("value_min", "min"), high=("value_max", "max")
    )
    of_instance["width"] = of_instance["high"] - of_instance["low"]
    order = of_instance.sort_values(["alarms", "width"], ascending=False, kind="stable").index
    chosen = order[:MOST_POINTS]
    names = [*_LABEL, "eng_unit_id", "day", "value_count", "value_min", "value_mean", "value_max"]
    place = {key: at for at, key in enumerate(chosen)}
    rows = rows[rows["point_log_inst_id"].isin(chosen)]
    return rows.sort_values("point_log_inst_id", key=lambda keys: keys.map(place), kind="stable")[
        names
    ]


def duty_cycle(days: pd.DataFrame) -> pd.DataFrame:
    """How long digital points were on: a row for each log instance with a known state.

    Shares are of the seconds whose state is known; the lowest and the highest are those of a day.
    """
    known = days[days["seconds_known"].fillna(0) > 0].copy()
    known["share"] = known["seconds_on"] / known["seconds_known"]
    rows = known.groupby(_LABEL, sort=False, as_index=False).agg(
        on=("seconds_on", "sum"),
        seconds=("seconds_known", "sum"),
        lowest_day_share=("share", "min"),
        highest_day_share=("share", "max"),
        day_count=("day", "size"),
    )
    rows.insert(len(_LABEL), "on_share", rows["on"] / rows["seconds"])
    rows["known_hours"] = (rows["seconds"] / 3600).round(1)
    return rows.drop(columns=["on", "seconds"]).sort_values(
        ["on_share", "point_log_inst_id"], ascending=[False, True], kind="stable"
    )


def duty_days(days: pd.DataFrame) -> pd.DataFrame:
    """How long digital points were on, all of a day together: a row for each day."""
    known = days[days["seconds_known"].fillna(0) > 0].copy()
    known["share"] = known["seconds_on"] / known["seconds_known"]
    rows = known.groupby("day", as_index=False).agg(
        on=("seconds_on", "sum"),
        seconds=("seconds_known", "sum"),
        lowest_point_share=("share", "min"),
        highest_point_share=("share", "max"),
        log_instance_count=("share", "size"),
    )
    rows.insert(1, "on_share", rows["on"] / rows["seconds"])
    rows["known_hours"] = (rows["seconds"] / 3600).round(1)
    return rows.drop(columns=["on", "seconds"])


def alarms(days: pd.DataFrame) -> pd.DataFrame:
    """The log instances that have alarms, those with the most first."""
    rows = days.groupby(_LABEL, sort=False, as_index=False)[["alarm_count", "record_count"]].sum()
    rows = rows[rows["alarm_count"] > 0]
    rows = rows.assign(alarm_share=rows["alarm_count"] / rows["record_count"])
    order = ["alarm_count", "point_log_inst_id"]
    return rows.sort_values(order, ascending=[False, True], kind="stable")


def status_days(days: pd.DataFrame) -> pd.DataFrame:
    """The records of each day, those that are alarms, and the shares of the statuses."""
    import pandas as pd

    by_status: dict[str, Counter[str]] = {}
    for day, text in zip(days["day"], days["statuses"], strict=True):
        of_day = by_status.setdefault(day, Counter())
        for status, count in json.loads(text).items():
            of_day[status.strip() or NO_STATUS] += count
    total = sum(by_status.values(), Counter[str]())
    names = sorted(total, key=lambda status: (-total[status], status))
    kept = names[:MOST_STATUSES]
    counts = days.groupby("day")[["record_count", "alarm_count"]].sum()
    rows = []
    for day, of_day in sorted(by_status.items()):
        records, alarmed = (int(number) for number in counts.loc[day])
        if not records:
            continue  # A state that began the day before lasted into it.
        shares = {f"share_{status}": of_day[status] / records for status in kept}
        if len(names) > len(kept):
            rest = sum(of_day[status] for status in names[MOST_STATUSES:])
            shares[f"share_{OTHER_STATUSES}"] = rest / records
        rows.append(
            {
                "day": day,
                "record_count": records,
                "alarm_count": alarmed,
                "alarm_share": alarmed / records,
                **shares,
            }
        )
    return pd.DataFrame(rows, columns=None if rows else ["day", "record_count", "alarm_count"])


def values(results: Results, overview: Json) -> dict[str, Any]:
    """The charts: histograms, bands by day, alarms by day, and the largest of each kind."""
    alarmed = results.table("alarms").to_pandas()
    # Records of unknown members come from many, which would be one long bar.
    of_units = alarmed[alarmed["unit_name"] != _UNKNOWN_NAME]
    units = of_units.groupby("unit_name")["alarm_count"].sum()
    units = units.sort_values(ascending=False, kind="stable")
    points = alarmed[alarmed["point_log_inst_id"] != UNKNOWN]
    largest = points.head(LARGEST)
    return {
        "eng_units": results.table("values_by_eng_unit").to_pylist(),
        "histograms": [
            json.loads(bins) for bins in results.table("values_by_eng_unit")["bins"].to_pylist()
        ],
        "points": _points(results.table("values_by_day").to_pandas()),
        "most_days": MOST_DAYS,
        "alarm_units": [(name, int(count)) for name, count in units[:LARGEST].items()],
        "alarm_points": list(
            zip(largest["log_instance_label"], largest["alarm_count"].tolist(), strict=True)
        ),
        "alarm_unit_count": len(units),
        "alarm_point_count": len(points),
        "alarm_count": int(alarmed["alarm_count"].sum()),
        "alarms_of_unknown": int(alarmed["alarm_count"].sum() - units.sum()),
        **_alarm_days(results.table("status_days").to_pydict()),
    }


def _alarm_days(by_status: Mapping[str, list[Any]]) -> dict[str, Any]:
    """The chart of alarms by day, with the days between on which nothing was recorded."""
    found = dict(zip(by_status["day"], by_status["alarm_count"], strict=True))
    if not found:
        return {}
    every_day = days_between(min(found), max(found))
    counts = {day: found.get(day, 0) for day in every_day or found}
    return {
        "alarm_days": list(counts.items()),
        "alarms_by_day": columns(list(counts), {"alarms": list(counts.values())}),
        "alarm_days_uneven": not every_day,
    }


def _points(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The log instances that can be chosen, each with its chart."""
    import pandas as pd

    points = []
    for key, of_instance in rows.groupby("point_log_inst_id", sort=False):
        first = of_instance.iloc[0]
        ends = [of_instance[name].tolist() for name in ("value_min", "value_mean", "value_max")]
        unit = first["eng_unit_id"]
        points.append(
            {
                "label": f"{readable(first['log_instance_label'], 80)}, log instance {key}",
                "unit": "no engineering unit" if pd.isna(unit) else f"engineering unit {unit:g}",
                "table": [
                    (day, *(float(f"{value:.6g}") for value in of_day))
                    for day, *of_day in zip(of_instance["day"], *ends, strict=True)
                ],
                "chart": band(of_instance["day"].tolist(), *ends),
            }
        )
    return points


REPORT = Report(
    name="ValuesReport",
    summary="What was measured: values by engineering unit and day, duty cycles, statuses, alarms.",
    reads=("warehouse",),
    build=build,
    anchor="values",
    title="Values",
    position=15,
    tables=(
        "values_by_eng_unit",
        "values_by_day",
        "duty_cycle",
        "duty_days",
        "alarms",
        "status_days",
    ),
    leading=("log_instance_label", "unit_name", "on_share", "alarm_count", "alarm_share"),
    values=values,
    code_version=2,
)
