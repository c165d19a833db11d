"""The graph end to end on the miniature: every expected number stands here."""

from __future__ import annotations

import json
import re
import sqlite3

import pyarrow.parquet as pq
import pytest

from config.warehouse import DIMENSIONS as DECLARED
from config.warehouse import FACT_LOGS
from tests.conftest import Project
from tests.runs import soak
from tests.terminal import spawning

FACTS = [
    # log_id, unit, instance, type, point, log instance, recorded_at, value, word, status, kind,
    # partition
    (1, 8, 102, 4, 1002, 3, "2024-06-01 00:00:00.000000", 1.0, None, "OK", "B", 0),
    (2, 8, 102, 4, 1002, 3, "2024-06-01 00:01:00.000000", 0.0, None, "OK", "B", 0),
    (3, 8, 102, 4, 1002, 3, "2024-06-01 00:02:00.000000", None, "NO DATA", None, "B", 0),
    (4, 7, 100, 1, 1006, 7, "2024-06-01 01:30:00.000000", 1.0, None, "OK", "B", 0),
    (5, -1, -1, -1, -1, -1, "2024-06-01 02:00:00.000000", 0.0, None, "OK", "B", 0),
    (10000000001, 7, 100, 1, 1000, 1, "2024-06-01 00:00:00.000000", 4.5, None, "OK", "F", 1),
    (10000000002, 7, 100, 1, 1000, 1, "2024-05-31 22:03:00.000000", 4.75, None, "OK", "F", 1),
    (10000000003, 7, 101, 3, 1001, 2, "2024-06-01 00:00:00.000000", -21.0, None, "ALARM", "F", 1),
    (10000000004, 7, 101, 3, 1001, 2, "", -20.5, None, None, "F", 1),
    (10000000005, 9, 103, -1, 1003, 4, "2024-06-01 00:00:00.250000", 100.0, None, "OK", "F", 1),
    (
        10000000006,
        -1,
        104,
        -1,
        1004,
        5,
        "2024-06-02 00:00:00.000000",
        None,
        "POINT FAIL",
        "2",
        "F",
        1,
    ),
    (10000000007, -1, -1, -1, 1005, 6, "2024-06-02 00:03:00.000000", 3.0, None, "OK", "F", 1),
    (10000000008, -1, -1, -1, 8888, 8, "2024-06-02 00:06:00.000000", 4.0, None, "OK", "F", 1),
]

DIMENSIONS: dict[str, list[tuple]] = {
    "dim_application_type": [
        (-1, "Unknown"),
        (1, "Dairy Case"),
        (2, "(no name)"),
        (3, "Suction Group"),
        (4, "Fan, Condenser"),
    ],
    "dim_unit": [(-1, "Unknown"), (7, "Unit 7"), (8, "Unit 8"), (9, "Unit 9")],
    "dim_application_instance": [
        (-1, "Unknown", -1, -1, -1),
        (100, "Case 1", 0, 1, 7),
        (101, "Rack A", 11, 3, 7),
        (102, "Fan 1", 12, 4, 8),
        (103, "Odd one", 13, -1, 9),
        (104, "No such reference", -1, -1, -1),
        (105, "Case 2", 0, 1, 7),
    ],
    "dim_point": [
        (-1, "Unknown", None, -1, -1),
        (1000, "Point 1000", None, 100, 7),
        (1001, "Point 1001", None, 101, 7),
        (1002, "Point 1002", None, 102, 8),
        (1003, "Point 1003", None, 103, 9),
        (1004, "Point 1004", None, 104, -1),
        (1005, "Point 1005", None, -1, -1),
        (1006, "Point 1006", None, 100, 7),
        (8888, "(not in POINT)", None, -1, -1),
    ],
    "dim_log_instance": [
        (-1, -1, "Unknown", -1, -1, -1, None, None),
        (1, 1000, "Point 1000 (Unit 7)", 100, 1, 7, 2, 180),
        (2, 1001, "Point 1001 (Unit 7)", 101, 3, 7, 2, 180),
        (3, 1002, "Point 1002 (Unit 8)", 102, 4, 8, 74, 60),
        (4, 1003, "Point 1003 (Unit 9)", 103, -1, 9, 2, 180),
        (5, 1004, "Point 1004 (unknown unit)", 104, -1, -1, 2, 180),
        (6, 1005, "Point 1005 (unknown unit)", -1, -1, -1, 2, 180),
        (7, 1006, "Point 1006 (Unit 7)", 100, 1, 7, None, 5400),
        (8, 8888, "(not in POINT) (unknown unit)", -1, -1, -1, 2, 180),
    ],
}

COUNTS = {
    "summary_by_unit_id": """\
unit_id,unit_name,log_count,record_count,digital_count,float_count,app_instance_count,first_recorded_at,last_recorded_at
-1,Unknown,3,4,1,3,1,2024-06-01 02:00:00,2024-06-02 00:06:00
7,Unit 7,3,5,1,4,2,2024-05-31 22:03:00,2024-06-01 01:30:00
8,Unit 8,1,3,3,0,1,2024-06-01 00:00:00,2024-06-01 00:02:00
9,Unit 9,1,1,0,1,1,2024-06-01 00:00:00.250000,2024-06-01 00:00:00.250000
""",
    "summary_by_app_instance_id": """\
app_instance_id,log_count,record_count,digital_count,float_count,unit_id,app_type_id,app_type_description,first_recorded_at,last_recorded_at
-1,2,3,1,2,-1,-1,Unknown,2024-06-01 02:00:00,2024-06-02 00:06:00
100,2,3,1,2,7,1,Dairy Case,2024-05-31 22:03:00,2024-06-01 01:30:00
101,1,2,0,2,7,3,Suction Group,2024-06-01 00:00:00,2024-06-01 00:00:00
102,1,3,3,0,8,4,"Fan, Condenser",2024-06-01 00:00:00,2024-06-01 00:02:00
103,1,1,0,1,9,-1,Unknown,2024-06-01 00:00:00.250000,2024-06-01 00:00:00.250000
104,1,1,0,1,-1,-1,Unknown,2024-06-02 00:00:00,2024-06-02 00:00:00
""",
    "summary_by_app_type_id": """\
app_type_id,app_type_description,log_count,record_count,digital_count,float_count,app_instance_count,unit_count,first_recorded_at,last_recorded_at
-1,Unknown,4,5,1,4,2,1,2024-06-01 00:00:00.250000,2024-06-02 00:06:00
1,Dairy Case,2,3,1,2,1,1,2024-05-31 22:03:00,2024-06-01 01:30:00
3,Suction Group,1,2,0,2,1,1,2024-06-01 00:00:00,2024-06-01 00:00:00
4,"Fan, Condenser",1,3,3,0,1,1,2024-06-01 00:00:00,2024-06-01 00:02:00
""",
    "records_over_time": """\
bucket_start,bucket,digital_count,float_count
2024-05-31 22:00:00,hour,0,1
2024-06-01 00:00:00,hour,3,3
2024-06-01 01:00:00,hour,1,0
2024-06-01 02:00:00,hour,1,0
2024-06-02 00:00:00,hour,0,3
,no time,0,1
""",
    "unit_days": """\
unit_id,bucket_start,bucket,record_count
-1,2024-06-01 00:00:00,day,1
-1,2024-06-02 00:00:00,day,3
7,2024-05-31 00:00:00,day,1
7,2024-06-01 00:00:00,day,3
8,2024-06-01 00:00:00,day,3
9,2024-06-01 00:00:00,day,1
""",
}

ROWS = {"APP_TYPE": 4, "APP_TYPE_REF": 4, "APP_INSTANCE": 6, "POINT": 8, "LOG_INSTANCE": 8}
ROWS |= {"LOG_RCD_B": 5, "LOG_RCD_F": 8}

HOPS = {
    # parent: log instances lost, B records, F records, missing keys
    "LOG_INSTANCE": (0, 1, 0, [77]),
    "POINT": (1, 0, 1, [8888]),
    "APP_INSTANCE": (1, 0, 1, [999]),
    "APP_TYPE_REF": (1, 0, 1, [55]),
    "APP_TYPE": (1, 0, 1, [99]),
}


def test_the_facts_are_the_log_records_with_their_chain(ran: Project) -> None:
    assert ran.facts() == FACTS


@pytest.mark.parametrize("table", DIMENSIONS)
def test_each_dimension_has_its_members_and_the_unknown_one(ran: Project, table: str) -> None:
    members = [(*member, 0) for member in DIMENSIONS[table]]  # None is retained.
    columns = ", ".join(column.name for column in DECLARED[table].columns)
    assert ran.query(f"SELECT {columns} FROM {table} ORDER BY 1") == members


@pytest.mark.parametrize("name", COUNTS)
def test_instances_records_and_activity_are_counted(ran: Project, name: str) -> None:
    assert (ran.reports / f"{name}.csv").read_text(encoding="utf-8-sig") == COUNTS[name]


def test_gaps_tell_of_every_log_instance(ran: Project) -> None:
    rows = ran.report("gaps.csv")
    assert [int(row["point_log_inst_id"]) for row in rows] == list(range(1, 9))
    assert [int(row["actual"]) for row in rows] == [2, 2, 3, 1, 1, 1, 1, 1]
    assert {row["basis"] for row in rows} == {"none"}  # Too few records to judge.


def test_the_profile_tells_of_every_column(ran: Project) -> None:
    sources = ran.report("profile.json")
    assert {name: source["rows"] for name, source in sources.items()} == ROWS
    columns = {column["name"]: column for column in sources["LOG_RCD_F"]["columns"]}
    assert list(columns) == [
        "point_log_inst_id",
        "recorded_at",
        "value",
        "value_text",
        "status",
        "log_rcd_id",
    ]
    assert columns["recorded_at"]["header"] == "log_time"
    assert columns["recorded_at"]["minimum"] == "2024-05-31 22:03:00"
    assert (columns["value"]["nulls"], columns["value"]["maximum"]) == (1, 100.0)
    assert columns["log_rcd_id"]["origin"] == "carried"
    assert columns["status"]["frequent"] == [
        {"value": "OK", "count": 5},
        {"value": "2", "count": 1},
        {"value": "ALARM", "count": 1},
    ]
    assert (columns["status"]["nulls"], columns["status"]["empty"]) == (1, 0)


def test_what_is_lost_at_each_hop_is_counted(ran: Project) -> None:
    hops = json.loads((ran.staging / "audit" / "hops.json").read_text())
    assert {
        hop["parent"]: (hop["log_instances"], *hop["records"].values(), hop["examples"])
        for hop in hops
    } == HOPS


def test_the_warehouse_has_the_declared_keys(ran: Project) -> None:
    keys = ran.query('SELECT "from", "table" FROM pragma_foreign_key_list(\'fact_logs\')')
    assert sorted(keys) == [
        ("app_instance_id", "dim_application_instance"),
        ("app_type_id", "dim_application_type"),
        ("point_id", "dim_point"),
        ("point_log_inst_id", "dim_log_instance"),
        ("unit_id", "dim_unit"),
    ]
    assert ran.query("PRAGMA foreign_key_check") == []
    key = ran.query("SELECT name FROM pragma_table_info('fact_logs') WHERE pk > 0 ORDER BY pk")
    assert key == [("point_log_inst_id",), ("recorded_at",), ("log_id",)]
    required = ran.query("SELECT name FROM pragma_table_info('fact_logs') WHERE \"notnull\"")
    nullable = {"value", "value_text", "status"}
    assert {name for (name,) in required} == {c.name for c in FACT_LOGS.columns} - nullable


def test_every_column_is_described_in_the_warehouse(ran: Project) -> None:
    columns = ran.query(
        "SELECT m.name, p.name FROM sqlite_schema m, pragma_table_info(m.name) p"
        " WHERE m.type IN ('table', 'view') ORDER BY 1, 2"
    )
    described = ran.query(
        "SELECT table_name, column_name FROM data_dictionary"
        " WHERE column_name <> '' AND length(description) > 10 ORDER BY 1, 2"
    )
    assert columns == described


def test_times_compare_as_sqlalchemy_and_sqlite_write_them(ran: Project) -> None:
    timed = "SELECT count(*) FROM fact_logs WHERE recorded_at > ''"
    assert ran.query(f"{timed} AND recorded_at < '2024-06-01 00:01:00'") == [(5,)]
    assert ran.query("SELECT datetime(recorded_at) FROM fact_logs WHERE log_id = 4") == [
        ("2024-06-01 01:30:00",)
    ]


def test_staging_carries_what_is_not_declared_as_it_came(ran: Project) -> None:
    point = pq.read_table(ran.staging / "POINT.parquet")
    assert point.column_names[-1] == "io_address"
    assert point["io_address"].to_pylist()[3:5] == ["NA", " 01.05"]


def test_reconciliation_lists_every_count_and_they_agree(ran: Project) -> None:
    rows = ran.report("reconciliation.csv")
    assert {row["what"]: int(row["found"]) for row in rows} == {
        **{f"rows of {name}": rows for name, rows in ROWS.items()},
        "members of dim_application_type": 5,
        "members of dim_unit": 4,
        "members of dim_application_instance": 7,
        "members of dim_point": 9,
        "members of dim_log_instance": 9,
        "B records": 5,
        "B records of unit -1": 1,
        "B records of unit 7": 1,
        "B records of unit 8": 3,
        "F records": 8,
        "F records of unit -1": 3,
        "F records of unit 7": 4,
        "F records of unit 9": 1,
        "records with a time": 12,
    }
    assert all(row["expected"] == row["found"] for row in rows)


TOOK = r"It took \d+\.\d s\."
VERDICT = [
    "Needs attention: 9 items, the first: Find out whether the export of LOG_INSTANC…",
    "The page with the details: reports/index.html",
]


def test_the_console_shows_files_summaries_assumptions_and_places(project: Project) -> None:
    result = project.passes("AllReports")
    for line in (
        "  POINT.csv            8        3       8            0",
        "Summary by unit_id (4 rows)",
        "  7        Unit 7        3        5        1      4",
        "Summary by app_instance_id (6 rows)",
        "Summary by app_type_id (4 rows)",
        "  OK         Each application instance belongs to one application type.",
        "  warehouse   sqlite:///data_warehouse.db",
    ):
        assert line in result.out
    assert "Staged POINT: 8 rows, 3 columns" in result.log

    assert max(map(len, [*result.out.splitlines(), *result.err.splitlines()])) <= 80
    first, *others = result.out.splitlines()[-3:]
    assert re.fullmatch(rf"31 tasks: 31 built\. {TOOK}", first)
    assert others == VERDICT

    again = project.passes("AllReports")
    first, *others = again.out.splitlines()
    assert re.fullmatch(rf"Everything is up to date\. {TOOK}", first)
    assert (others, again.err, again.ran) == (VERDICT, "", [])


def test_the_verdict_counts_tasks_and_what_needs_attention(ran: Project) -> None:
    ran.configure("[source defaults]\nmax_sentinels = 1\n[POINT]\nmax_rejected = 0.5")
    ran.edit("POINT.csv", "1007,105", "x,105")
    *_, blank, first, second, _ = ran.passes("AllReports").out.splitlines()
    assert re.fullmatch(rf"31 tasks: \d+ built, \d+ found nothing new\. {TOOK}", first)
    assert (blank, second) == ("", VERDICT[0].replace("9 items", "10 items").replace("NC…", "N…"))
    advice = ran.report("index.html").partition('<ol class="advice">')[2].partition("</ol>")[0]
    assert len(re.findall('class="verdict (?:attention|failed)"', advice)) == 10


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        (["CsvToParquet", "--table", "POINT"], "staging/POINT.parquet"),
        soak(["EnrichedLogs"], "staging/enriched_logs/LOG_RCD_F.parquet"),
        (["LoadDimension", "--table", "dim_unit"], "data_warehouse.db"),
        soak(["LoadFactLogs"], "data_warehouse.db"),
        (["SummaryReport", "--level", "unit_id"], "reports/summary_by_unit_id.csv"),
        (["SchemaChangeReport"], "reports/schema_change.md"),
        soak(["ActivityReport"], "reports/gaps.csv"),
        soak(["ProfileReport"], "reports/profile.csv"),
    ],
)
def test_each_task_runs_by_itself(project: Project, arguments: list[str], made: str) -> None:
    result = project.passes(*arguments)
    assert (project.folder / made).exists()
    assert "AllReports" not in result.ran


def test_two_workers_give_what_one_gives(ran: Project, project: Project) -> None:
    project.passes("AllReports", "--workers", "2")
    assert project.outputs() == ran.outputs()


@pytest.mark.soak
def test_workers_that_are_spawned_give_the_same(ran: Project, project: Project) -> None:
    result = project.run(*spawning(project), "--workers", "2")
    assert result.status == 0, result.log
    assert project.outputs() == ran.outputs()


def test_paths_come_from_the_environment_first(project: Project) -> None:
    (project.folder / "elsewhere").mkdir()
    places = {
        "PIPELINE_WAREHOUSE_URL": "sqlite:///elsewhere/other.db",
        "PIPELINE_STAGING_DIR": "elsewhere/staged",
    }
    project.passes("LoadDimension", "--table", "dim_unit", env=places)
    assert (project.folder / "elsewhere" / "other.db").exists()
    assert (project.folder / "elsewhere" / "staged" / "APP_TYPE_REF.parquet").exists()
    assert not project.database.exists()


def test_the_warehouse_can_be_read_while_it_is_open_elsewhere(ran: Project) -> None:
    reader = sqlite3.connect(ran.database)
    reader.execute("BEGIN")
    before = reader.execute("SELECT count(*) FROM fact_logs").fetchall()
    ran.edit("LOG_RCD_F.csv", "8,8,2024-06-02 00:06:00,4,OK\n", "")
    result = ran.luigi("AllReports")
    during = reader.execute("SELECT count(*) FROM fact_logs").fetchall()
    reader.execute("COMMIT")
    after = reader.execute("SELECT count(*) FROM fact_logs").fetchall()
    reader.close()
    assert result.status == 0, result.log
    assert (before, during, after) == ([(13,)], [(13,)], [(12,)])


def test_the_drivers_of_other_databases_need_not_be_installed(project: Project) -> None:
    blocked = project.folder / "blocked"
    blocked.mkdir()
    drivers = ("adbc_driver_postgresql", "psycopg", "pymysql")
    (blocked / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({drivers}))\n"
    )
    result = project.passes("AllReports", env={"PYTHONPATH": str(blocked)})
    assert "Traceback" not in result.log
