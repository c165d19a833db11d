"""The views: the facts in names; each finds what is asked for without reading all facts."""

from __future__ import annotations

import pytest

from config.aggregates import AGGREGATES
from config.views import VIEWS
from config.warehouse import FACT_LOGS, NO_TIME
from tasks.warehouse.log_instance_activity import facts_of
from tasks.warehouse.sqlite.transaction import removal
from tests.conftest import Project
from tests.runs import soak

NAMED = """
SELECT log_id, coalesce(unit_name, '?'), app_type_description, point_name
FROM fact_logs LEFT JOIN dim_unit USING (unit_id)
LEFT JOIN dim_application_type USING (app_type_id) LEFT JOIN dim_point USING (point_id)
ORDER BY 1
"""
OF_VIEW = "SELECT log_id, unit_name, app_type_description, point_name FROM v_logs ORDER BY 1"


def test_all_facts_are_in_the_view_with_their_names(ran: Project) -> None:
    rows = ran.query(OF_VIEW)
    assert rows == ran.query(NAMED)
    assert (5, "Unknown", "Unknown", "Unknown") in rows
    times = ran.query("SELECT recorded_at FROM v_logs WHERE point_log_inst_id IN (2, 4) ORDER BY 1")
    assert times == [(None,), ("2024-06-01 00:00:00",), ("2024-06-01 00:00:00.250000",)]


def test_alarms_have_the_statuses_that_the_configuration_names(ran: Project) -> None:
    assert ran.query("SELECT log_id, status FROM v_alarms") == [(10000000003, "ALARM")]
    receipts = "SELECT * FROM load_receipt WHERE partition_name <> ''"
    before = ran.query(receipts)
    result = ran.passes("LoadFactLogs", env={"PIPELINE_ALARM_STATUSES": "2, it's"})
    assert "LoadFactLogs" in result.built
    assert "fact_logs: 13 rows from 0 of 2 files" in result.err
    assert ran.query("SELECT log_id, status FROM v_alarms") == [(10000000006, "2")]
    assert ran.query(receipts) == before
    ran.passes("LoadFactLogs", env={"PIPELINE_ALARM_STATUSES": "none"})
    assert ran.query("SELECT * FROM v_alarms") == []


@pytest.mark.parametrize("word", ["Störung", soak("STÖRUNG"), soak("störung")])
def test_an_alarm_may_have_letters_beyond_ascii(project: Project, word: str) -> None:
    project.edit("LOG_RCD_F.csv", ",ALARM", ",Störung ")
    project.passes("LoadFactLogs", env={"PIPELINE_ALARM_STATUSES": word})
    assert project.query("SELECT status FROM v_alarms") == [("Störung ",)]


def test_the_last_value_of_a_log_instance_is_its_latest_record(ran: Project) -> None:
    of_view = "SELECT point_log_inst_id, recorded_at, value, status FROM v_last_value ORDER BY 1"
    assert ran.query(of_view) == [
        (1, "2024-06-01 00:00:00", 4.5, "OK"),
        (2, "2024-06-01 00:00:00", -21.0, "ALARM"),
        (3, "2024-06-01 00:02:00", None, None),
        (4, "2024-06-01 00:00:00.250000", 100.0, "OK"),
        (5, "2024-06-02 00:00:00", None, "2"),
        (6, "2024-06-02 00:03:00", 3.0, "OK"),
        (7, "2024-06-01 01:30:00", 1.0, "OK"),
        (8, "2024-06-02 00:06:00", 4.0, "OK"),
    ]


OF_DAYS = """
SELECT point_log_inst_id, day, record_count, value_count, alarm_count, value_min, value_mean,
    value_max, value_last, seconds_on, seconds_known, statuses
FROM v_point_day WHERE point_log_inst_id IN (1, 3, 5) ORDER BY 1, 2
"""
OF_GAPS = "SELECT point_log_inst_id, began_at, ended_at, gap_seconds, missing_count FROM v_gaps"
GAP = (1, "2024-05-31 22:03:00", "2024-06-01 00:00:00", 7020.0, 38)


def test_days_say_what_a_log_instance_recorded(ran: Project) -> None:
    one = [1, 1, 0]
    assert ran.query(OF_DAYS) == [
        (1, "2024-05-31", *one, 4.75, 4.75, 4.75, 4.75, None, None, '{"OK": 1}'),
        (1, "2024-06-01", *one, 4.5, 4.5, 4.5, 4.5, None, None, '{"OK": 1}'),
        (3, "2024-06-01", 3, 2, 0, 0.0, 0.5, 1.0, 0.0, 60.0, 120.0, '{"": 1, "OK": 2}'),
        (5, "2024-06-02", 1, 0, 0, None, None, None, None, None, None, '{"2": 1}'),
    ]
    counts = "log_instance_count, record_count, value_count, alarm_count"
    assert ran.query(f"SELECT unit_id, day, {counts} FROM v_unit_day ORDER BY 1, 2") == ran.query(
        "SELECT unit_id, substr(recorded_at, 1, 10), count(DISTINCT point_log_inst_id), count(*),"
        " count(value), sum(coalesce(status, '') = 'ALARM')"
        " FROM fact_logs WHERE recorded_at > '' GROUP BY 1, 2 ORDER BY 1, 2"
    )


def test_a_gap_is_from_the_last_record_before_it_to_the_first_after_it(ran: Project) -> None:
    assert ran.query(OF_GAPS) == [GAP]


def test_days_and_gaps_follow_the_settings(ran: Project) -> None:
    ran.passes("LoadFactLogs", env={"PIPELINE_REPORT_TIMEZONE": "Europe/Berlin"})
    days = "SELECT day, record_count FROM v_point_day WHERE point_log_inst_id = 1"
    assert ran.query(days) == [("2024-06-01", 2)]
    assert ran.query(OF_GAPS) == [GAP]
    ran.passes("LoadFactLogs", env={"PIPELINE_MAX_GAP": "40"})
    assert ran.query(OF_GAPS) == []
    assert ran.query(days) == [("2024-05-31", 1), ("2024-06-01", 1)]


def test_changed_intervals_change_the_gaps_and_no_facts(ran: Project) -> None:
    ran.edit("LOG_INSTANCE.csv", "1,1000,2,180", "1,1000,2,7200")
    result = ran.passes("LoadFactLogs")
    assert "fact_logs: 13 rows from 0 of 2 files" in result.err
    assert ran.query(OF_GAPS) == []


@pytest.mark.parametrize("table", AGGREGATES)
@pytest.mark.parametrize(
    "damage", ["DELETE FROM {} WHERE point_log_inst_id = 1", soak("DROP TABLE {}")]
)
def test_what_is_derived_is_made_again_if_someone_changed_it(
    ran: Project, table: str, damage: str
) -> None:
    before = ran.query(f"SELECT * FROM {table}")
    ran.change(damage.format(table))
    assert "fact_logs: 13 rows from 0 of 2 files" in ran.passes("LoadFactLogs").err
    assert ran.query(f"SELECT * FROM {table}") == before
    assert ran.passes("LoadFactLogs").built == []


KEYS = ("unit_id", "point_id", "point_log_inst_id")


@pytest.mark.parametrize(
    ("view", "key"),
    [
        (view.name, key)
        for view in VIEWS.values()
        for key in KEYS
        if key in {column.name for column in view.described()}
    ],
)
def test_a_key_finds_the_log_instances_first_and_their_facts_by_the_key(
    ran: Project, view: str, key: str
) -> None:
    asked = f"EXPLAIN QUERY PLAN SELECT * FROM {view} WHERE {key} = 1"
    plan = [row[3] for row in ran.query(asked)]
    facts = [step for step in plan if "fact_log" in step or step.split()[1] in "fgd"]
    assert any("dim_log_instance" in step for step in plan[: plan.index(facts[0])])
    assert all("USING PRIMARY KEY (point_log_inst_id=?" in step for step in facts), plan


def test_a_view_of_someone_else_is_not_replaced(ran: Project) -> None:
    ran.change("DROP VIEW v_logs")
    ran.change("CREATE VIEW V_Logs AS SELECT 1 AS mine")
    ran.edit("LOG_RCD_F.csv", ",4.75,", ",4.8,")
    result = ran.fails("LoadFactLogs")
    assert (
        "v_logs exists in the warehouse and is not the pipeline's view.\n"
        "Rename it and run again. The previous rows are unchanged.\n"
    ) in result.err
    assert ran.query("SELECT * FROM v_logs") == [(1,)]
    ran.change("DROP VIEW v_logs")
    ran.passes("LoadFactLogs")
    assert ran.query(OF_VIEW) == ran.query(NAMED)


def test_a_view_that_is_missing_is_made_again(ran: Project) -> None:
    ran.change("DROP VIEW v_alarms")
    assert "fact_logs: 13 rows from 0 of 2 files" in ran.passes("LoadFactLogs").err
    assert ran.query("SELECT count(*) FROM v_alarms") == [(1,)]


def test_facts_of_a_partition_are_removed_by_their_keys(ran: Project) -> None:
    keys = ", ".join(FACT_LOGS.key_columns)
    removed = removal(FACT_LOGS, facts_of("partition_id = 1", keys, f"'{NO_TIME}'"))
    plan = [step for _, _, _, step in ran.query(f"EXPLAIN QUERY PLAN {removed}")]
    assert plan[0].startswith("SEARCH fact_logs USING PRIMARY KEY"), plan
    assert not [step for step in plan if step.startswith(("SCAN fact", "SCAN fact_logs"))], plan
