"""Changes of the source columns are reported; what contracts on new columns ask for is done."""

from __future__ import annotations

import html
import re
import shutil

from tasks.reports.source_columns import NewColumn, read_new_columns
from tests.conftest import Project, unwrapped


def test_columns_that_appear_vanish_or_change_type_are_reported(ran: Project) -> None:
    ran.edit("POINT.csv", "point_id,app_instance_id,io_address", "point_id,app_instance_id,io")
    log = ran.data / "LOG_RCD_F.csv"
    log.write_text(
        re.sub(r"(?m)$", ",x", log.read_text().strip()).replace("status,x", "status,<b>|new")
    )
    ran.edit("APP_INSTANCE.csv", "Case 1", "1")
    for name in ("Rack A", "Fan 1", "Odd one", "No such reference", "Case 2"):
        ran.edit("APP_INSTANCE.csv", name, "2.5")
    (ran.data / "LOG_RCD_B.csv").write_text(
        "point_log_inst_id,log_time,log_value\n3,2024-06-01 00:00:00,1\n"
    )
    (ran.data / "LOG_RCD_F").mkdir()
    (ran.data / "LOG_RCD_F" / "2024-05.csv").write_text(
        "point_log_inst_id,log_time,log_value,status,Quality\n"
        "1,2024-05-01 00:00:00,1,OK,192\n1,2024-05-01 00:01:00,1,OK,\n"
        "1,2024-05-01 00:02:00,1,OK,0.5\n"
    )
    ran.configure("[LOG_RCD_F]\nnew_columns = evolve")
    result = ran.passes("AllReports")
    text = ran.report("schema_change.md")
    page = html.unescape(ran.report("index.html"))
    assert "Since the last run that recorded them (" in text
    console = re.sub(r"\n {5}(?=\S)", " ", result.out)
    assert "Source columns that changed since " in console
    for source, *lines in (
        (
            "POINT",
            "new: io, passed through staging as text: 8 of 8 rows have a value, type text",
            "vanished: io_address; it was passed through",
            "perhaps io_address was renamed io; nothing was assumed",
        ),
        ("APP_INSTANCE", "app_instance_name looked like text and now looks like number"),
        (
            "LOG_RCD_B",
            "vanished: log_rcd_id; it was passed through",
            "vanished: status; status is NULL now",
        ),
        (
            "LOG_RCD_F",
            "new: <b>|new, passed through staging as text in 1 of 2 files: 8 of 11 rows have a "
            "value, type text",
            "new: quality, passed through staging as text in 1 of 2 files: 2 of 11 rows have a "
            "value, type number",
        ),
    ):
        for line in lines:
            assert f"\n  {source}: {line}\n" in console
            assert f"<li>{line}</li>" in page
        marked = [re.sub(r"([<>|])", r"\\\1", line) for line in lines]
        assert "".join([f"- {source}\n", *(f"  - {line}\n" for line in marked)]) in text
    assert "LOG_RCD_B: vanished: status; status is NULL now" in unwrapped(result.err)

    *_, quality = new = read_new_columns(ran.reports / "schema_change.json")
    assert [one.header for one in new] == ["io", "<b>|new", "Quality"]
    assert quality == NewColumn(
        source="LOG_RCD_F",
        header="Quality",
        since=quality.since,
        recognised="",
        type="number",
        values=2,
        rows=11,
        files=1,
        all_files=2,
        contract="evolve",
        table="fact_logs",
        column="quality",
        in_table=False,
    )
    assert new[0].in_table  # dim_point has the further columns of POINT.
    plans = [
        "luigi --module tasks SchemaChangePlan --table fact_logs --column b_new --type text "
        "--local-scheduler",
        "luigi --module tasks SchemaChangePlan --table fact_logs --column quality --type number "
        "--local-scheduler",
    ]
    for command in plans:
        assert f"\n  {command}\n" in result.out
        assert f"\n{command}\n" in text
        assert f"<pre>{command}</pre>" in page
    assert ran.report("schema_change.json")["plans"] == plans
    planned = [path.stem for path in sorted((ran.reports / "schema_change").glob("*.md"))]
    assert planned == ["plan_fact_logs_b_new", "plan_fact_logs_quality"]
    assert "ADD COLUMN quality DOUBLE" in ran.report("schema_change/plan_fact_logs_quality.md")

    ran.edit("APP_TYPE.csv", "3,Suction Group", "3,Pump")
    ran.passes("SchemaChangeReport")
    text = ran.report("schema_change.md")
    assert "No column appeared, vanished or changed its type" in text
    assert "The last change was first seen " in text
    assert "vanished: io_address" in text
    assert plans[1] in text

    (ran.reports / "schema_change.md").unlink()
    ran.passes("SchemaChangeReport")
    assert "vanished: io_address" in ran.report("schema_change.md")


def test_a_frozen_source_fails_until_its_new_columns_are_accepted(ran: Project) -> None:
    ran.configure("[source defaults]\nnew_columns = freeze")
    rows = [line.split(",") for line in (ran.data / "POINT.csv").read_text().splitlines()]
    reordered = [[address, key, instance] for key, instance, address in rows]
    note = ["#note", *("x" for _ in rows[1:])]
    (ran.data / "POINT.csv").write_text(
        "".join(",".join([*row, text]) + "\n" for row, text in zip(reordered, note, strict=True))
    )
    (ran.data / "LOG_RCD_F").mkdir()
    (ran.data / "LOG_RCD_F" / "2024-05.csv").write_text(
        "point_log_inst_id,log_time,log_value,status,Quality\n1,2024-05-01 00:00:00,1,OK,192\n"
    )
    # The page and the history of headers are no record of what was accepted.
    shutil.rmtree(ran.reports)
    (ran.staging / "audit" / "header_history.json").unlink()
    ran.edit("APP_TYPE.csv", "app_type_id,name", "app_type_id,NAME,name")
    ran.edit("LOG_INSTANCE.csv", "point_log_inst_id,point_id", "point_log_inst_id,point")
    problems = (
        "  APP_TYPE.csv: column 'name' is duplicated, as number 2 and 3: rename or remove one\n"
        "  POINT.csv: column '#note' is new, and new_columns = freeze\n"
        "  LOG_INSTANCE.csv: column 'point_id' is missing; the file has: point_log_inst_id, point, "
        "eng_unit_id, log_interval\n"
        "  LOG_RCD_F/2024-05.csv: column 'Quality' is new, and new_columns = freeze\n"
    )
    assert problems in ran.fails("AllStaged").log
    ran.edit("APP_TYPE.csv", "app_type_id,NAME,name", "app_type_id,name")
    ran.edit("LOG_INSTANCE.csv", "point_log_inst_id,point,", "point_log_inst_id,point_id,")
    accepted = (
        "[POINT]\naccepted_columns = \\x23note\n[LOG_RCD_F]\naccepted_columns = quality\n"
        "accepted_columns accepts the new columns; new_columns = ignore accepts all that come."
    )
    assert accepted in ran.fails("AllStaged").log

    shipped = (ran.folder / "luigi.cfg").read_text()
    ran.configure(accepted.rpartition("\n")[0])
    result = ran.passes("AllStaged")
    assert set(result.built) == {"CheckSources", "CsvToParquet:POINT", "CsvToParquet:LOG_RCD_F"}
    # What was staged is accepted; the lines are no longer needed.
    (ran.folder / "luigi.cfg").write_text(shipped)
    assert ran.passes("CheckSources").built == ["CheckSources"]
    assert ran.passes("AllStaged").built == []


def test_a_frozen_source_of_which_nothing_is_recorded_accepts_its_columns(
    project: Project,
) -> None:
    project.configure("[POINT]\nnew_columns = freeze")
    result = project.passes("CheckSources")
    assert "POINT: new_columns = freeze, but no columns are recorded yet" in unwrapped(result.err)


def test_a_column_whose_values_no_longer_have_its_type_fails_above_the_limit(ran: Project) -> None:
    path = ran.data / "LOG_INSTANCE.csv"
    header, *rows = path.read_text().splitlines()
    units = [re.sub(r"^(\d+,\d*,)[^,]*", r"\1Celsius", row) for row in rows]
    path.write_text("\n".join([header, *units]) + "\n")
    error = ran.fails("CsvToParquet", "--table", "LOG_INSTANCE").log
    assert "8 x eng_unit_id is not an integer" in error
    assert ran.query("SELECT count(*) FROM dim_log_instance WHERE eng_unit_id > 0") != [(0,)]


def test_columns_that_are_joined_are_recognised_both(ran: Project) -> None:
    (ran.data / "LOG_RCD_F.csv").write_text(
        "point_log_inst_id,Date,Time,value,more\n1,2024-06-01,00:00,1,x\n1,2024-06-01,00:03,2,x\n"
    )
    ran.configure("[LOG_RCD_F]\nrecorded_at = Date, Time")
    ran.passes("SchemaChangeReport")
    text = ran.report("schema_change.md")
    recognised = "recognised as recorded_at: 2 of 2 rows have a value, type timestamp"
    assert f"  - new: date, {recognised}\n" in text
    assert f"  - new: time, {recognised}\n" in text
    assert "  - new: more, passed through staging as text: 2 of 2 rows have a value" in text


def test_a_damaged_history_starts_again(ran: Project) -> None:
    assert "This is the first run that was recorded" in ran.report("schema_change.md")
    (ran.staging / "audit" / "header_history.json").write_text("[{")
    ran.passes("SchemaChangeReport")
    assert "This is the first run that was recorded" in ran.report("schema_change.md")


def test_the_report_describes_the_live_tables(ran: Project) -> None:
    text = ran.report("schema_change.md")
    row = next(line for line in text.splitlines() if line.startswith("| fact_logs |"))
    assert "| 13 |" in row
    assert "| point_log_inst_id, recorded_at, log_id | none |" in row
    dim_unit = next(line for line in text.splitlines() if line.startswith("| dim_unit |"))
    assert "fact_logs.unit_id" in dim_unit
    assert "SchemaChangePlan --table fact_logs --column NAME" in text


def test_a_load_keeps_a_column_that_was_added_natively(ran: Project) -> None:
    ran.change("ALTER TABLE fact_logs ADD COLUMN new_column INTEGER")
    ran.edit("LOG_RCD_F.csv", "1e2", "1e3")
    ran.passes("LoadFactLogs")
    names = [name for (name,) in ran.query("SELECT name FROM pragma_table_info('fact_logs')")]
    assert names[-1] == "new_column"
