"""The report page: what it shows is what the files and the database hold."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import time
from pathlib import Path

import jsonschema
import pytest

from config.warehouse import SUMMARY_LEVELS, TABLES, origin_path
from tasks.reports.overview import read_json
from tasks.reports.page import write_page
from tests.conftest import ROOT, Project, make_project
from tests.hostile import NAMES
from tests.html_page import Page

SECTIONS = [
    "run",
    "summaries",
    "time",
    "trust",
    "profile",
    "star",
    "schema-change",
    "lineage",
]
PAGES = ("index.html", "schema_change.html")


@pytest.fixture
def page(ran: Project) -> Page:
    return Page(ran.reports / "index.html")


@pytest.fixture
def figures(ran: Project) -> dict:
    content: dict = read_json(ran.reports / "run.json")
    return content


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


# --- what it is made of ----------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_nothing_and_runs_only_its_own_script(ran: Project, name: str) -> None:
    page = Page(ran.reports / name)
    for _, attribute, value in page.attributes:
        assert attribute not in ("src", "srcset", "background", "action", "onclick"), value
        if attribute == "href":
            assert not re.match(r"(https?:)?//|javascript:", value), value
    assert not re.search(r"@import|url\(", page.text)
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [
        v for tag, n, v in page.attributes if (tag, n) == ("meta", "content") and "-src" in v
    ]
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert "http" not in policy


def test_the_parts_stand_in_their_order(page: Page) -> None:
    tops = re.findall(r'^<section id="([a-z-]+)"', page.text, flags=re.MULTILINE)
    assert [name for name in tops if name in SECTIONS] == SECTIONS


def test_every_link_leads_somewhere(ran: Project, page: Page) -> None:
    links = {value for tag, name, value in page.attributes if (tag, name) == ("a", "href")}
    assert {"gaps.csv", "run.json", "schema_change.html", "#star"} <= links
    for link in links:
        if link.startswith("#"):
            assert link[1:] in page.texts, link
        else:
            assert (ran.reports / link.partition("#")[0]).exists(), link


def test_every_chart_has_its_table_and_says_what_it_shows(page: Page) -> None:
    figures = re.findall(r"<figure>.*?</figure>", page.text, flags=re.DOTALL)
    assert len(figures) == 8
    for figure in figures:
        assert '<svg class="' in figure
        assert re.search(r'aria-label="[^"]+"', figure)
        if "chart" in figure:
            assert "The table behind it" in figure
            assert "<tbody>" in figure


# --- numbers: page, CSV, database ------------------------------------------------------------


def test_the_figures_are_those_of_the_database(ran: Project, page: Page, figures: dict) -> None:
    ((facts,),) = ran.query("SELECT count(*) FROM fact_logs")
    ((unknown,),) = ran.query("SELECT count(*) FROM fact_logs WHERE unit_id = -1")
    members = sum(
        ran.query(f"SELECT count(*) FROM {name}")[0][0] for name in TABLES if name != "fact_logs"
    )
    assert page.number("facts") == figures["totals"]["facts"] == facts == 13
    assert page.number("unknown-unit") == unknown == 4
    assert page.number("members") == members
    lines = sum(
        len(path.read_text(encoding="utf-8").splitlines()) - 1 for path in ran.data.glob("*.csv")
    )
    assert page.number("rows-in") == lines
    assert page.number("quarantined") == 0
    counts = read_csv(ran.reports / "reconciliation.csv")
    assert page.texts["checks"] == f"{len(counts)} of {len(counts)}"
    for row in page.rows("unknown"):
        ((count,),) = ran.query(f"SELECT count(*) FROM fact_logs WHERE {row['dimension']} = -1")
        assert int(row["log records under -1"]) == count


@pytest.mark.parametrize("level", SUMMARY_LEVELS)
def test_a_summary_is_the_same_on_the_page_in_its_file_and_in_the_database(
    ran: Project, page: Page, level: str
) -> None:
    shown = page.rows(f"table-{level}")
    assert shown == read_csv(ran.reports / f"summary_by_{level}.csv")
    counts = ran.query(f"SELECT {level}, count(*) FROM fact_logs GROUP BY 1 ORDER BY 1")
    assert [(int(row[level]), int(row["record_count"])) for row in shown] == counts


def test_gaps_are_the_same_on_the_page_and_in_the_file(ran: Project, page: Page) -> None:
    rows = read_csv(ran.reports / "gaps.csv")
    assert len(rows) == 8
    shown = page.rows("table-gaps")
    for column in ("point_log_inst_id", "basis", "expected", "actual", "missing"):
        assert [row[column] for row in shown] == [row[column] for row in rows]


def test_hops_and_tables_are_those_of_the_warehouse(ran: Project, page: Page) -> None:
    hops = json.loads((ran.staging / "audit" / "hops.json").read_text())
    assert [int(row["log records"]) for row in page.rows("hops")] == [
        sum(hop["records"].values()) for hop in hops
    ]
    for row in page.rows("tables"):
        ((count,),) = ran.query(f"SELECT count(*) FROM {row['table']}")
        assert int(row["rows"]) == count


def test_the_diagram_has_every_column_and_every_key(ran: Project, page: Page) -> None:
    (star,) = re.findall(r'<svg class="diagram".*?</svg>', page.text, flags=re.DOTALL)[:1]
    for table in TABLES.values():
        ((rows,),) = ran.query(f"SELECT count(*) FROM {table.name}")
        assert f">{table.name} ({rows})</text>" in star
        for name, (parent, key) in table.references.items():
            assert f"<title>{parent}.{key} to {table.name}.{name}</title>" in star


def test_a_column_that_someone_added_stands_in_the_diagram_wherever_it_points(ran: Project) -> None:
    ran.change("ALTER TABLE dim_unit ADD COLUMN above INTEGER REFERENCES dim_unit (unit_id)")
    result = ran.luigi("AllReports")
    assert result.status == 0, result.log
    page = Page(ran.reports / "index.html")
    assert ">FK above</text>" in page.text
    assert "not declared" in page.texts["table-dim_unit"]


def test_the_lineage_leads_from_every_source_file_to_the_reports(page: Page) -> None:
    lineage = re.findall(r'<svg class="diagram".*?</svg>', page.text, flags=re.DOTALL)[1]
    for line in (
        "LOG_RCD_F to CsvToParquet:LOG_RCD_F",
        "CsvToParquet:LOG_RCD_F to EnrichedLogs",
        "EnrichedLogs to LoadFactLogs",
        "LoadDimension:dim_log_instance to LoadFactLogs",
        "LoadFactLogs to CheckWarehouse",
        "CheckWarehouse to SummaryReport:unit_id",
    ):
        assert f"<title>{line}</title>" in lineage


def test_where_each_warehouse_column_comes_from_is_a_declared_source_column() -> None:
    from config.sources import SOURCES

    known = {f"{n}.{c.name}" for n, source in SOURCES.items() for c in source.columns}
    known |= {f"LOG_RCD.{column.name}" for column in SOURCES["LOG_RCD_F"].columns}
    for table in TABLES.values():
        for column in table.columns:
            path = origin_path(table, column)
            assert path or column.name == "is_retained", column
            for origin in path:
                assert origin in known or origin.startswith("LOG_RCD ("), origin
            if column.name in ("unit_id", "app_type_id", "app_instance_id"):
                assert path[-1].endswith(f".{column.name}")


def test_run_json_has_the_documented_shape(ran: Project, hostile: Project) -> None:
    schema = json.loads((ROOT / "docs" / "run.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    for project in (ran, hostile):
        jsonschema.validate(read_json(project.reports / "run.json"), schema)


def check_profiles(project: Project) -> None:
    """The page says of each column what `profile.json` has."""
    page = Page(project.reports / "index.html")
    for name, source in read_json(project.reports / "profile.json").items():
        for row, column in zip(page.rows(f"columns-{name}"), source["columns"], strict=True):
            assert row["column"].startswith(column["name"])
            about = "" if column["distinct_is_exact"] else "about "
            assert row["distinct"] == f"{about}{column['distinct']:,}"
            unique = column["distinct"] == column["rows"] - column["nulls"] > 0
            told = "none stands twice" in row["most frequent (rows)"]
            assert told == (unique and column["distinct_is_exact"]), (name, column["name"])
            if column["histogram"] is not None:
                (classes,) = re.findall(
                    rf"<caption>{name}.{column['name']}, rows by class</caption>.*?</table>",
                    page.text,
                    flags=re.DOTALL,
                )
                counts = re.findall(r'<td class="n">([\d,]+)</td>', classes)
                assert [int(n.replace(",", "")) for n in counts] == column["histogram"]["counts"]


def test_profiles_are_those_of_the_file(ran: Project) -> None:
    check_profiles(ran)


# --- from run to run -------------------------------------------------------------------------


def test_the_page_tells_what_changed_since_the_run_before(ran: Project) -> None:
    before = read_json(ran.reports / "run.json")
    assert before["since"] is None
    assert {task["done"] for task in before["tasks"]} == {"built", "under way"}
    with (ran.data / "LOG_RCD_B.csv").open("a", encoding="utf-8") as stream:
        stream.write("6,3,2024-06-01 00:03:00,1,OK\n7,broken\n")
    with (ran.folder / "luigi.cfg").open("a", encoding="utf-8") as stream:
        stream.write("[LOG_RCD_B]\nmax_rejected = 1\n")
    result = ran.luigi("AllReports")
    assert result.status == 0, result.log

    now = read_json(ran.reports / "run.json")
    assert now["since"]["run"] == before["run"] != now["run"]
    assert (now["since"]["changed"], now["since"]["new"]) == (["LOG_RCD_B.csv"], [])
    assert now["since"]["totals"]["facts"] == {"before": 13, "now": 14}
    assert now["since"]["totals"]["rows_quarantined"] == {"before": 0, "now": 1}
    done = {task["task"]: task["done"] for task in now["tasks"]}
    assert done["CsvToParquet:LOG_RCD_B"] == done["LoadFactLogs"] == "built"
    assert done["CsvToParquet:POINT"] == done["LoadDimension:dim_unit"] == "up to date"
    page = Page(ran.reports / "index.html")
    assert "Changed: LOG_RCD_B.csv" in page.text
    (rejected,) = page.rows("rejected")
    assert (rejected["source"], rejected["file"], rejected["line"]) == (
        "LOG_RCD_B",
        "LOG_RCD_B.csv",
        "8",
    )
    assert rejected["the row as it came"] == "7,broken"
    (link,) = {v for t, n, v in page.attributes if (t, n) == ("a", "href") and "quarantine" in v}
    assert (ran.reports / link).read_text(encoding="utf-8").count("\n") == 2


def test_the_page_tells_of_more_that_is_unknown_than_before(ran: Project) -> None:
    ran.edit("APP_TYPE_REF.csv", "12,4,8", "99,4,8")
    assert ran.luigi("AllReports").status == 0
    totals = read_json(ran.reports / "run.json")["since"]["totals"]
    assert totals["facts_unknown unit_id"] == {"before": 4, "now": 7}
    assert "facts unknown unit id: 4 before, 7 now" in (ran.reports / "index.html").read_text()


def test_every_task_that_ran_tells_how_long_it_took(page: Page, figures: dict) -> None:
    shown = {row["task"]: row for row in page.rows("tasks")}
    assert {task["task"] for task in figures["tasks"]} == set(shown)
    assert "CsvToParquet:POINT" in shown
    for task in figures["tasks"]:
        if task["task"] == "ReportPage":
            assert (task["done"], task["seconds"]) == ("under way", None)
        else:
            assert task["seconds"] >= 0
            assert float(shown[task["task"]]["seconds"]) == pytest.approx(task["seconds"], abs=0.01)


def test_a_page_that_was_deleted_or_edited_is_made_again(ran: Project) -> None:
    (ran.reports / "index.html").unlink()
    result = ran.luigi("AllReports")
    assert result.built == ["ReportPage"], result.log
    assert "No source file has changed since" in (ran.reports / "index.html").read_text()
    (ran.reports / "schema_change.html").write_text("edited")
    assert "SchemaChangeReport" in ran.luigi("AllReports").built


def test_a_damaged_record_of_the_run_before_does_no_harm(ran: Project) -> None:
    odd = read_json(ran.reports / "run.json")
    odd["totals"]["facts"] = "many"
    for content in ("{", "[]", '{"files": 3}', "", json.dumps(odd)):
        (ran.reports / "run.json").write_text(content)
        assert ran.luigi("AllReports").status == 0
        assert read_json(ran.reports / "run.json")["since"] is None


# --- hostile values --------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_hostile_values_do_not_become_markup(hostile: Project, name: str) -> None:
    page = Page(hostile.reports / name)  # Each tag that is opened is closed, each id stands once.
    assert len(page.scripts) == 1
    assert not [value for tag, _, value in page.attributes if tag in ("img", "h1") and value == "x"]
    assert "window.hacked" not in page.scripts[0]
    for tag, attribute, value in page.attributes:
        assert not attribute.startswith("on"), (tag, value)
        assert "javascript:" not in value if attribute == "href" else True
    assert "\u202e" not in page.text
    assert len(page.text) < 400_000


def test_hostile_values_are_shown_as_they_are(hostile: Project) -> None:
    page = Page(hostile.reports / "index.html")
    names = {row["app_type_description"] for row in page.rows("table-app_type_id")}
    assert NAMES[0] in names
    assert {"{{ 7 * 7 }}{% raw %}", "=1+1", "@SUM(1)"} <= names
    told = read_json(hostile.reports / "run.json")["summaries"]["app_type_id"]["largest"]
    assert "=1+1 (2)" in {item["name"] for item in told}
    assert all(len(name) <= 200 for name in names)
    assert any("<script>" in row["the row as it came"] for row in page.rows("rejected"))


def test_links_to_the_quarantine_lead_there(hostile: Project) -> None:
    page = Page(hostile.reports / "index.html")
    links = {v for t, n, v in page.attributes if (t, n) == ("a", "href") and "quarantine" in v}
    assert links
    for link in links:
        assert (hostile.reports / link).is_file()


def test_a_spreadsheet_runs_no_value_as_a_formula(hostile: Project) -> None:
    for path in hostile.reports.glob("*.csv"):
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for row in csv.reader(stream):
                for cell in row:
                    assert cell[:1] not in "=+@\t\r" or cell == "", (path, cell)
                    assert not cell.startswith("-") or re.fullmatch(r"-\d+", cell), (path, cell)
    assert ("=1+1",) in hostile.query("SELECT app_type_description FROM dim_application_type")


# --- extremes --------------------------------------------------------------------------------


def test_files_without_rows_give_a_page_too(project: Project) -> None:
    for path in project.data.glob("*.csv"):
        path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    result = project.luigi("AllReports")
    assert result.status == 0, result.log
    page = Page(project.reports / "index.html")
    assert page.number("facts") == page.number("rows-in") == 0


def test_at_the_samples_size_a_page_is_small_and_quickly_made(tmp_path: Path) -> None:
    project = make_project(tmp_path / "sample", data=None)
    # As many units, log instances and types as there are in real files; fewer log records.
    assert project.luigi("SampleData", "--scale", "0.1").status == 0
    names = ("LOG_INSTANCE.csv",)
    assert all((project.data / name).exists() for name in names)
    assert project.luigi("AllReports").status == 0
    page = project.reports / "index.html"
    overview = read_json(project.reports / "run.json")
    began = time.process_time()
    write_page(overview, project.reports, project.staging / "quarantine", tmp_path / "again.html")
    assert time.process_time() - began < 1
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()
    assert page.stat().st_size < 2_000_000
    check_profiles(project)


# --- how files were read ---------------------------------------------------------------------


def test_the_page_shows_how_each_file_was_read_and_what_may_be_wrong(project: Project) -> None:
    rows = [f"1;2024-06-02 00:0{n}:30;2024-06-01 00:0{n}:00;{n}" for n in range(9)]
    (project.data / "LOG_RCD_F.csv").write_text(
        "\n".join(["point_log_inst_id;created_at;sample_time;value", *rows, ""])
    )
    rows = [f"1,2024-06-01,0{n}:00,{'active' if n else 'Inactive'}" for n in range(9)]
    (project.data / "LOG_RCD_B.csv").write_text(
        "\n".join(["point_log_inst_id,Date,Time,log_value", *rows, "1,2055-01-01,00:00,on", ""])
    )
    with (project.folder / "luigi.cfg").open("a", encoding="utf-8") as stream:
        stream.write("[LOG_RCD_B]\nrecorded_at = Date, Time\n")
    result = project.luigi("AllReports")
    assert result.status == 0, result.log
    page = Page(project.reports / "index.html")
    assert page.texts["reading-LOG_RCD_F"].split("\n")[1:-1] == [
        "recognisedfields separated by semicolons",
        "columnsrecorded_at from created_at",
    ]
    assert page.texts["reading-LOG_RCD_B"].split("\n")[1:-1] == [
        "columnsrecorded_at from Date and Time; value from log_value",
        "read as 1active (8 rows), on (1 row)",
        "read as 0Inactive (1 row)",
        "odd times1 outside time_window",
    ]
    assert "reading-POINT" not in page.texts
    warnings = [
        {
            "source": "LOG_RCD_B",
            "warning": "1 time outside time_window (2000-01-01 to 2050-01-01), loaded as written",
        },
        {
            "source": "LOG_RCD_F",
            "warning": "recorded_at was guessed from created_at, which is named like the time at "
            "which the row was written:\n[LOG_RCD_F]\nrecorded_at = sample_time",
        },
    ]
    assert read_json(project.reports / "run.json")["warnings"] == warnings
    for item in warnings:
        first, _, lines = item["warning"].partition("\n")
        for place in ("all-warnings", f"source-{item['source']}"):
            assert first in page.texts[place]
            assert lines in page.texts[place]
    assert "<pre>[LOG_RCD_F]\nrecorded_at = sample_time</pre>" in page.text


def test_a_run_without_warnings_shows_none(project: Project) -> None:
    with (project.folder / "luigi.cfg").open("a", encoding="utf-8") as stream:
        stream.write("[source defaults]\nmax_sentinels = 0.2\n")
    result = project.luigi("AllReports")
    assert result.status == 0, result.log
    assert read_json(project.reports / "run.json")["warnings"] == []
    assert 'class="warnings"' not in Page(project.reports / "index.html").text


def test_hostile_headers_in_warnings_do_not_become_markup(project: Project) -> None:
    header = f'"{{0}} created \u202e{NAMES[0]}\n```\n</pre>"'
    (project.data / "LOG_RCD_F.csv").write_text(
        f"point_log_inst_id,{header},value\n1,2024-06-01 00:00,1\n1,2024-06-02 00:00,2\n"
    )
    result = project.luigi("AllReports")
    assert result.status == 0, result.log
    page = Page(project.reports / "index.html")
    assert len(page.scripts) == 1
    (warning,) = [
        item["warning"]
        for item in read_json(project.reports / "run.json")["warnings"]
        if item["source"] == "LOG_RCD_F"
    ]
    assert "no column was recognised as recorded_at, but {0} created \\u202e<script>" in warning
    assert warning.partition("\n")[0] in page.texts["all-warnings"]
    for name in ("index.html", "run.json", "data_quality.md"):
        assert "\u202e" not in (project.reports / name).read_text(encoding="utf-8")
    report = (project.reports / "data_quality.md").read_text(encoding="utf-8")
    assert report.count("\n````\n") == 2


def test_totals_that_the_run_before_did_not_have_are_not_compared(ran: Project) -> None:
    before = read_json(ran.reports / "run.json")
    del before["totals"]["cells_emptied"]
    (ran.reports / "run.json").write_text(json.dumps(before))
    ran.edit("APP_TYPE_REF.csv", "12,4,8", "99,4,8")
    assert ran.luigi("AllReports").status == 0
    totals = read_json(ran.reports / "run.json")["since"]["totals"]
    assert totals["facts_unknown unit_id"] == {"before": 4, "now": 7}
    assert "cells_emptied" not in totals
