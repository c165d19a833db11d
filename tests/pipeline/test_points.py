"""The dimension of points: which points it has, their names, and further columns of POINT."""

from __future__ import annotations

import pytest

from tests.conftest import Project
from tests.runs import soak

FURTHER = "SELECT point_id, io_address, fitted FROM dim_point WHERE point_id IN (-1, 1000, 1004)"


def columns(project: Project) -> list[str]:
    return [name for (name,) in project.query("SELECT name FROM pragma_table_info('dim_point')")]


def described(project: Project) -> dict[str, str]:
    sql = "SELECT column_name, description FROM data_dictionary WHERE table_name = 'dim_point'"
    return dict(project.query(sql))


def add_column(project: Project, header: str, values: dict[str, str]) -> None:
    """Give POINT one more column, with values by point; blank for the others."""
    path = project.data / "POINT.csv"
    first, *rows = path.read_text().splitlines()
    added = [f"{row},{values.get(row.partition(',')[0], '')}" for row in rows]
    path.write_text("\n".join([f"{first},{header}", *added, ""]))


def test_names_and_types_of_points_are_those_of_the_file(project: Project) -> None:
    add_column(project, "Name", {"1000": " Supply Air ", "1001": "Türkontakt"})
    add_column(project, "TYPE", {"1000": "AI"})
    project.passes("LoadFactLogs")
    assert project.query(
        "SELECT point_name, point_type FROM dim_point WHERE point_id BETWEEN 1000 AND 1002"
    ) == [("Supply Air", "AI"), ("Türkontakt", None), ("Point 1002", None)]
    labels = "SELECT log_instance_label FROM dim_log_instance WHERE point_log_inst_id IN (1, 2, 3)"
    assert [label for (label,) in project.query(labels)] == [
        "Supply Air (Unit 7)",
        "Türkontakt (Unit 7)",
        "Point 1002 (Unit 8)",
    ]


def test_a_new_column_is_added_and_a_vanished_one_stays_without_values(ran: Project) -> None:
    ran.change("CREATE VIEW mine AS SELECT * FROM dim_point")
    ran.change("ALTER TABLE dim_point ADD COLUMN my_note TEXT")
    before = columns(ran)
    source = (ran.data / "POINT.csv").read_text()
    add_column(ran, "Fitted", {"1000": "2019"})
    assert "LoadDimension:dim_point" in ran.passes("LoadFactLogs").built
    assert columns(ran) == [*before, "fitted"]
    assert ran.query(FURTHER) == [(-1, None, None), (1000, "01.01", "2019"), (1004, "01.05", None)]
    assert described(ran)["fitted"] == "POINT.Fitted, as exported."
    assert ran.tasks("verify").status == 0

    (ran.data / "POINT.csv").write_text(source.replace("io_address", "IO"))
    ran.passes("LoadFactLogs")
    assert columns(ran) == [*before, "fitted", "io"]
    assert ran.query(FURTHER) == [(-1, None, None), (1000, None, None), (1004, None, None)]
    assert ran.query("SELECT io FROM dim_point WHERE point_id = 1004") == [("01.05",)]
    assert described(ran)["fitted"] == "POINT.Fitted, as exported."
    ran.edit("APP_TYPE.csv", "Dairy", "Daily")
    ran.passes("LoadFactLogs")
    assert {"fitted", "io", "io_address"} <= described(ran).keys()
    assert ran.tasks("verify").status == 0
    assert ran.passes("LoadFactLogs").built == []


@pytest.mark.parametrize(
    ("wanted", "found", "warning"),
    [
        ("IO_Address", {"io_address"}, ""),
        soak("All", {"io_address", "fitted"}, ""),
        soak(" ", set(), ""),
        ("io_address, nothing", {"io_address"}, "POINT has no column nothing for dim_point"),
    ],
)
def test_the_configuration_chooses_columns(
    project: Project, wanted: str, found: set[str], warning: str
) -> None:
    add_column(project, "fitted", {})
    env = {"PIPELINE_DIM_POINT_COLUMNS": wanted}
    result = project.passes("LoadDimension", "--table", "dim_point", env=env)
    assert warning in result.err
    assert {"io_address", "fitted"} & set(columns(project)) == found


def test_points_that_nobody_logs_are_loaded_too_if_wanted(ran: Project) -> None:
    source = ran.data / "POINT.csv"
    source.write_text(source.read_text() + "2000,102,02.01\n2001,999,\n")
    logged = ran.query("SELECT * FROM dim_point")
    ran.passes("LoadFactLogs")
    assert ran.query("SELECT * FROM dim_point") == logged
    config = ran.folder / "luigi.cfg"
    config.write_text(config.read_text().replace("all_points = false", "all_points = true"))
    ran.passes("CheckWarehouse")
    further = [(1007, "Point 1007", 105, 7), (2000, "Point 2000", 102, 8)]
    further += [(2001, "Point 2001", -1, -1)]
    found = "SELECT point_id, point_name, app_instance_id, unit_id FROM dim_point"
    assert ran.query(f"{found} WHERE point_id NOT IN (SELECT point_id FROM dim_log_instance)") == (
        further
    )
    (counted,) = [
        row for row in ran.report("reconciliation.csv") if row["what"] == "members of dim_point"
    ]
    assert counted["expected"] == counted["found"] == str(len(logged) + len(further))


def test_a_column_of_someone_else_in_another_case_is_the_same(ran: Project) -> None:
    ran.change("ALTER TABLE dim_point ADD COLUMN Fitted TEXT")
    add_column(ran, "fitted", {"1000": "2019"})
    ran.passes("LoadDimension", "--table", "dim_point")
    assert ran.query("SELECT fitted FROM dim_point WHERE point_id = 1000") == [("2019",)]


def test_odd_headers_become_names_that_every_database_takes(project: Project) -> None:
    odd = ["nothing", "ORDER", "1st", "unit_id", "Unit ID", "ä" * 80, "%s", "{x}", "is_retained"]
    odd += ["a.b", "a b", "'quoted'", "log_instance_label"]
    for place, header in enumerate(odd):
        add_column(project, header, {"1000": f"v{place}"})
    project.passes("LoadFactLogs")
    values = project.query("SELECT * FROM dim_point WHERE point_id = 1000")[0]
    assert {f"v{place}" for place in range(len(odd))} <= set(values)
    assert {"nothing", "order", "a.b", "1st"}.isdisjoint(columns(project))
    assert max(len(name.encode()) for name in columns(project)) <= 63
    assert project.tasks("verify").status == 0


def test_a_log_instance_without_a_point_is_labelled_so(project: Project) -> None:
    project.edit("LOG_INSTANCE.csv", "8,8888,", "8,-1,")
    project.passes("LoadFactLogs")
    label = "SELECT log_instance_label FROM dim_log_instance WHERE point_log_inst_id = 8"
    assert project.query(label) == [("Unknown (unknown unit)",)]
