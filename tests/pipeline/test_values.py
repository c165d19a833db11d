"""The report on values: its figures are those of SQL on the facts themselves."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from tasks.reports.page import _section, _table
from tasks.reports.registry import TABLES_FOLDER, Outputs, Results
from tasks.reports.templates import render_section
from tasks.reports.values import (
    REPORT,
    TYPES,
    _alarm_days,
    alarms,
    by_day,
    by_eng_unit,
    duty_cycle,
    duty_days,
    status_days,
)
from tests.conftest import Project

ANALOG = "point_log_inst_id NOT IN (SELECT point_log_inst_id FROM fact_logs WHERE log_kind = 'B')"
VALUES = f"FROM fact_logs WHERE value IS NOT NULL AND recorded_at <> '' AND {ANALOG}"
DAYS = ["point_log_inst_id", "log_instance_label", "unit_name", "eng_unit_id", "day"]
DAYS += ["record_count", "value_count", "alarm_count", "value_min", "value_mean", "value_max"]
DAYS += ["seconds_on", "seconds_known", "statuses", "is_digital"]
LACKING = (None, None, "{}", 0)
"""No state of a digital point, and no status; not digital."""


def approximately(number: float) -> object:
    return pytest.approx(number, rel=1e-12)


def test_values_by_engineering_unit(sample: Project) -> None:
    known = VALUES.replace(
        "FROM fact_logs", "FROM fact_logs JOIN dim_log_instance USING (point_log_inst_id)"
    )
    expected = sample.query(
        "SELECT eng_unit_id, count(DISTINCT point_log_inst_id), count(*), min(value), avg(value),"
        f" max(value) {known} AND point_log_inst_id <> -1 GROUP BY 1"
    )
    rows = sample.report("values_by_eng_unit.csv")
    names = ("log_instance_count", "value_count", "value_min", "value_mean", "value_max")
    found = {row["eng_unit_id"]: [float(row[name]) for name in names] for row in rows}
    assert len(found) > 1
    assert found == {
        "" if unit is None else str(unit): [*counts, low, approximately(mean), high]
        for unit, *counts, low, mean, high in expected
    }
    for row in rows:
        assert sum(json.loads(row["bins"])) == int(row["value_count"])


def test_values_by_day(sample: Project) -> None:
    rows = sample.report("values_by_day.csv")
    chosen = {row["point_log_inst_id"] for row in rows}
    expected = sample.query(
        "SELECT point_log_inst_id, substr(recorded_at, 1, 10), count(*), min(value), avg(value),"
        f" max(value) {VALUES} AND point_log_inst_id IN ({', '.join(chosen)}) GROUP BY 1, 2"
    )
    found = {(int(row["point_log_inst_id"]), row["day"]): row for row in rows}
    assert len(found) == len(rows) == len(expected) > 0
    for key, day, count, low, mean, high in expected:
        row = found[key, day]
        assert int(row["value_count"]) == count
        ends = [float(row[name]) for name in ("value_min", "value_mean", "value_max")]
        assert ends == [low, approximately(mean), high]


def test_alarms_and_statuses(sample: Project) -> None:
    alarmed = "upper(trim(status)) IN ('ALARM', 'ALM', 'FAULT')"
    expected = sample.query(
        f"SELECT point_log_inst_id, sum({alarmed}), count(*) FROM fact_logs"
        f" WHERE recorded_at <> '' GROUP BY 1 HAVING sum({alarmed}) > 0 ORDER BY 2 DESC, 1"
    )
    rows = sample.report("alarms.csv")
    names = ("point_log_inst_id", "alarm_count", "record_count")
    assert [tuple(int(row[name]) for name in names) for row in rows] == expected
    by_status: dict[str, Counter[str]] = {}
    statuses = "coalesce(nullif(trim(status), ''), '(none)')"
    for day, status, count in sample.query(
        f"SELECT substr(recorded_at, 1, 10), {statuses}, count(*) FROM fact_logs"
        " WHERE recorded_at <> '' GROUP BY 1, 2"
    ):
        by_status.setdefault(day, Counter())[status] += count
    for row in sample.report("status_days.csv"):
        of_day = by_status.pop(row["day"])
        records = int(row["record_count"])
        assert records == of_day.total()
        shares = {n.removeprefix("share_"): v for n, v in row.items() if n.startswith("share_")}
        assert {status: round(float(share) * records) for status, share in shares.items()} == {
            status: of_day[status] for status in shares
        }
    assert not by_status


def test_duty_cycles(sample: Project) -> None:
    expected = sample.query(
        "SELECT point_log_inst_id, sum(seconds_on) / sum(seconds_known),"
        " min(seconds_on / seconds_known), max(seconds_on / seconds_known), count(*)"
        " FROM fact_log_days WHERE seconds_known > 0 GROUP BY 1"
    )
    names = ("point_log_inst_id", "on_share", "lowest_day_share", "highest_day_share", "day_count")
    rows = sample.report("duty_cycle.csv")
    assert len(rows) > 1
    shares = [float(row["on_share"]) for row in rows]
    assert shares == sorted(shares, reverse=True)
    found = sorted(tuple(float(row[name]) for name in names) for row in rows)
    assert found == [pytest.approx(row) for row in sorted(expected)]


def test_duty_cycles_by_day(sample: Project) -> None:
    expected = sample.query(
        "SELECT day, sum(seconds_on) / sum(seconds_known), min(seconds_on / seconds_known),"
        " max(seconds_on / seconds_known), count(*), round(sum(seconds_known) / 3600, 1)"
        " FROM fact_log_days WHERE seconds_known > 0 GROUP BY 1 ORDER BY 1"
    )
    rows = [list(row.values()) for row in sample.report("duty_days.csv")]
    assert len(rows) > 1
    assert [day for day, *_ in rows] == [day for day, *_ in expected]
    for (_, *found), (_, *numbers) in zip(rows, expected, strict=True):
        assert [float(one) for one in found] == pytest.approx(numbers)


def test_the_page_says_what_it_leaves_out(sample: Project) -> None:
    page = sample.report("index.html")
    counts = "count(DISTINCT nullif(unit_id, -1)), count(DISTINCT nullif(point_log_inst_id, -1))"
    of_unknown = "sum(unit_id = -1)"
    ((units, points, unknown),) = sample.query(f"SELECT {counts}, {of_unknown} FROM v_alarms")
    assert f", {unknown:,} of them of an unknown unit." in page
    assert f"<figcaption>The 12 of {points} points with the most alarms</figcaption>" in page
    shown = f"The 12 of {units}" if units > 12 else f"Alarms of all {units}"
    assert f"<figcaption>{shown} units" in page


def test_alarms_by_day_have_the_days_between() -> None:
    chart = _alarm_days({"day": ["2024-06-01", "2024-06-04"], "alarm_count": [5, 3]})
    names = [f"2024-06-0{day}" for day in (1, 2, 3, 4)]
    assert chart["alarm_days"] == list(zip(names, [5, 0, 0, 3], strict=True))
    assert not chart["alarm_days_uneven"]
    far = _alarm_days({"day": ["2009-06-01", "2024-06-04"], "alarm_count": [5, 3]})
    assert (len(far["alarm_days"]), far["alarm_days_uneven"]) == (2, True)


def test_a_table_of_too_many_rows_has_the_most_alarms_and_says_so(
    monkeypatch: pytest.MonkeyPatch, sample: Project, tmp_path: Path
) -> None:
    monkeypatch.setattr("tasks.reports.page.SHOWN_ROWS", 2)
    section = _section(REPORT, Results(sample.reports, sample.staging), {})
    text = render_section(section.template, o={}, quarantine="", **section.values)
    for name in ("duty_cycle", "duty_days", "alarms", "status_days"):
        assert f"<p>2 of {len(sample.report(f'{name}.csv'))} rows, " in text

    rows = {"point_log_inst_id": [7, 8, 9], "alarm_count": [1, 5, 3], "record_count": [9, 8, 7]}
    folder = tmp_path / TABLES_FOLDER
    folder.mkdir()
    paths = {"alarms.csv": tmp_path / "alarms.csv", "alarms.parquet": folder / "alarms.parquet"}
    Outputs(paths).write_table("alarms", pd.DataFrame(rows))
    body = str(_table("alarms", Results(tmp_path, tmp_path), ())["body"])
    assert re.findall(r"<tr><td[^>]*>(\d+)", body) == ["8", "9"]


def test_the_page_says_what_is_missing(project: Project) -> None:
    for name in ("LOG_RCD_B.csv", "LOG_RCD_F.csv"):
        path = project.data / name
        header, _, _ = path.read_text(encoding="utf-8").partition("\n")
        path.write_text(f"{header}\n", encoding="utf-8")
    project.passes("AllReports")
    page = project.report("index.html")
    for text in ("No analog point has", "No state of a digital point", "No log record has a"):
        assert text in page


def days(*rows: tuple[object, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=DAYS).astype(TYPES)


def test_nothing_gives_tables_without_rows() -> None:
    none = days()
    for made in (by_eng_unit, by_day, duty_cycle, duty_days, alarms, status_days):
        assert len(made(none)) == 0


def test_quantiles_weigh_each_day_by_its_values() -> None:
    of_unit = ("A (Unit 1)", "Unit 1", 2)
    made = by_eng_unit(
        days(
            (1, *of_unit, "2024-06-01", 9, 9, 0, -1.0, 1.0, 2.0, *LACKING),
            (1, *of_unit, "2024-06-02", 1, 1, 0, 7.0, 7.0, 7.0, *LACKING),
        )
    )
    (row,) = made.to_dict("records")
    assert (row["value_p5"], row["value_median"], row["value_p95"]) == (1.0, 1.0, 7.0)
    assert (row["value_min"], row["value_mean"], row["value_max"]) == (-1.0, 1.6, 7.0)


@pytest.mark.parametrize(
    ("means", "bins"),
    [
        ((5.0, 5.0), {12: 4}),
        ((0.1, 0.1 + 2**-56, 0.1 + 2**-55), {0: 2, 12: 2, 23: 2}),
        ((-1.7e308, 1.7e308), {0: 2, 23: 2}),
        ((0.0, 5e-324), {12: 4}),
        ((0.0, 1.0, 2.0, 24.0), {0: 2, 1: 2, 2: 2, 23: 2}),
    ],
)
def test_bins_of_any_numbers(means: tuple[float, ...], bins: dict[int, int]) -> None:
    made = by_eng_unit(
        days(
            *(
                (1, "A (Unit 1)", "Unit 1", 2, f"2024-06-0{at}", 2, 2, 0, *[mean] * 3, *LACKING)
                for at, mean in enumerate(means, 1)
            )
        )
    )
    (row,) = made.to_dict("records")
    assert {at: n for at, n in enumerate(json.loads(row["bins"])) if n} == bins
    assert min(means) <= row["value_mean"] <= max(means)


@pytest.mark.parametrize("value", ["0.1", "72.3", "1.7e308"])
def test_a_log_instance_whose_value_never_changes(project: Project, value: str) -> None:
    """The sums of floats, and so the daily means, differ by rounding, or overflow."""
    path = project.data / "LOG_RCD_F.csv"
    header, _, _ = path.read_text(encoding="utf-8").partition("\n")
    times = [f"2024-06-0{day} 00:{at:02}:00" for day in (1, 2, 3) for at in range(20 * day - 10)]
    lines = [f"{key},1,{time},{value},OK" for key, time in enumerate(times, 1)]
    path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    project.passes("ValuesReport")
    # Log instance 7 has one digital record: its state is never known, and it is not analog.
    (row,) = project.report("values_by_eng_unit.csv")
    ends = [float(row[name]) for name in ("value_min", "value_p5", "value_mean", "value_max")]
    assert ends == [float(value)] * 4
    assert int(row["value_count"]) == len(times)
