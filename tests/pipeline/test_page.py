"""The report page: what it shows is what the files and the database hold."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import statistics
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from config.warehouse import SUMMARY_LEVELS, TABLES, origin_path
from tasks.reports.page import write_page
from tasks.reports.registry import Results
from tasks.run.marks import page_digest
from tests.conftest import ROOT, Project, make_project
from tests.html_page import Page

SECTIONS = "run summaries time trust profile star schema-change lineage".split()
PAGES = ("index.html", "schema_change.html")


@pytest.fixture
def page(ran: Project) -> Page:
    return Page(ran.reports / "index.html")


@pytest.fixture
def figures(ran: Project) -> Any:
    return ran.report("run.json")


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


def test_the_sections_are_in_their_order(page: Page) -> None:
    tops = re.findall(r'^<section id="([a-z-]+)"', page.text, flags=re.MULTILINE)
    assert [name for name in tops if name in SECTIONS] == SECTIONS


def test_every_link_leads_somewhere(ran: Project, page: Page) -> None:
    assert {"gaps.csv", "run.json", "schema_change.html", "#star"} <= page.links
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.texts, link
        else:
            assert (ran.reports / link.partition("#")[0]).exists(), link


def test_every_chart_says_what_it_shows_and_has_its_numbers(page: Page) -> None:
    figures = re.findall(r"<figure>.*?</figure>.{0,60}", page.text, flags=re.DOTALL)
    assert len(figures) == 11
    for figure in figures:
        assert re.search(r'role="region" aria-label="[^"]+"', figure)
        if '<svg class="chart' in figure:
            assert "The table behind it" in figure
        elif "<svg" not in figure:
            assert "<tbody>" in figure or '<p class="alike">' in figure


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
    counts = ran.report("reconciliation.csv")
    assert page.texts["checks"] == f"{len(counts)} of {len(counts)}"
    for row in page.rows("unknown"):
        ((count,),) = ran.query(f"SELECT count(*) FROM fact_logs WHERE {row['dimension']} = -1")
        assert int(row["log records under -1"]) == count


@pytest.mark.parametrize("level", SUMMARY_LEVELS)
def test_a_summary_is_the_same_on_the_page_in_its_file_and_in_the_database(
    ran: Project, page: Page, level: str
) -> None:
    shown = page.rows(f"table-{level}")
    assert shown == ran.report(f"summary_by_{level}.csv")
    counts = ran.query(f"SELECT {level}, count(*) FROM fact_logs GROUP BY 1 ORDER BY 1")
    assert [(int(row[level]), int(row["record_count"])) for row in shown] == counts


def test_holes_are_the_same_on_the_page_and_in_the_warehouse(ran: Project, page: Page) -> None:
    assert len(ran.report("gaps.csv")) == 8
    (hole,) = page.rows("table-holes")
    gaps = ran.query("SELECT began_at, ended_at, missing_count, point_log_inst_id FROM v_gaps")
    columns = ("began_at", "ended_at", "missing_count", "log_instances")
    assert [tuple(hole[name] for name in columns)] == [tuple(map(str, gap)) for gap in gaps]


def test_unmatched_records_and_tables_are_those_of_the_warehouse(ran: Project, page: Page) -> None:
    hops = json.loads((ran.staging / "audit" / "hops.json").read_text())
    assert [int(row["log records"]) for row in page.rows("hops")] == [
        sum(hop["records"].values()) for hop in hops
    ]
    for row in page.rows("tables"):
        ((count,),) = ran.query(f"SELECT count(*) FROM {row['table']}")
        assert int(row["rows"]) == count


def test_the_diagram_has_every_column_and_every_key(ran: Project, page: Page) -> None:
    (star,) = re.findall(r'<svg class="diagram".*?</svg>', page.text, flags=re.DOTALL)
    for table in TABLES.values():
        ((rows,),) = ran.query(f"SELECT count(*) FROM {table.name}")
        assert f">{table.name} ({rows})</text>" in star
        for name, (parent, key) in table.references.items():
            assert f"<title>{parent}.{key} to {table.name}.{name}</title>" in star


def test_a_column_that_someone_added_is_in_the_diagram_wherever_it_points(ran: Project) -> None:
    ran.change("ALTER TABLE dim_unit ADD COLUMN above INTEGER REFERENCES dim_unit (unit_id)")
    ran.passes("AllReports")
    page = Page(ran.reports / "index.html")
    assert ">FK above</text>" in page.text
    assert "not declared" in page.texts["table-dim_unit"]


def test_the_lineage_leads_from_every_source_file_to_the_reports(page: Page) -> None:
    comes_from = {row["task"]: row["comes from"] for row in page.rows("lineage-tasks")}
    assert comes_from["CsvToParquet:LOG_RCD_F"] == "LOG_RCD_F.csv"
    assert "CsvToParquet:LOG_RCD_F" in comes_from["EnrichedLogs"]
    assert "EnrichedLogs" in comes_from["LoadFactLogs"]
    assert "LoadDimension:dim_log_instance" in comes_from["LoadFactLogs"]
    assert comes_from["CheckWarehouse"] == "LoadFactLogs"
    assert comes_from["SummaryReport:unit_id"] == "CheckWarehouse"


def test_the_heat_map_has_the_records_of_each_unit_and_bucket(ran: Project, page: Page) -> None:
    rows = {row[0]: row[1:] for row in page.tables["heat"][1:]}
    buckets = page.tables["heat"][0][1:]
    for row in ran.report("unit_days.csv"):
        name = "Unknown" if row["unit_id"] == "-1" else f"Unit {row['unit_id']}"
        cell = rows[name][buckets.index(row["bucket_start"][:10])]
        assert int(cell.replace(",", "")) == int(row["record_count"])
    whole = [[int(cell) for cell in row[1:-1]] for row in rows.values()]
    spread = [
        sum(abs(n - statistics.median(days)) for n in days)
        / len(days)
        / max(statistics.median(days), 1)
        for days in whole
    ]
    assert spread == sorted(spread, reverse=True)
    assert "deviate most from their own typical (median) day come first" in page.text
    total = sum(int(cell.replace(",", "")) for cells in rows.values() for cell in cells)
    assert ran.query("SELECT count(*) FROM fact_logs WHERE recorded_at > ''") == [(total,)]


def test_where_each_warehouse_column_comes_from_is_a_declared_source_column() -> None:
    from config.sources import SOURCES

    known = {f"{n}.{c.name}" for n, source in SOURCES.items() for c in source.columns}
    known |= {f"LOG_RCD.{column.name}" for column in SOURCES["LOG_RCD_F"].columns}
    for table in TABLES.values():
        for column in table.columns:
            path = origin_path(table, column)
            assert path or column.name in ("is_retained", "log_instance_label"), column
            for origin in path:
                assert origin in known or origin.startswith("LOG_RCD ("), origin
            if column.name in ("unit_id", "app_type_id", "app_instance_id"):
                assert path[-1].endswith(f".{column.name}")


def test_run_json_has_the_documented_shape(ran: Project, hostile: Project) -> None:
    schema = json.loads((ROOT / "docs" / "run.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    for project in (ran, hostile):
        jsonschema.validate(project.report("run.json"), schema)


def check_profiles(project: Project) -> None:
    """The page says of each column what `profile.json` has."""
    page = Page(project.reports / "index.html")
    for name, source in project.report("profile.json").items():
        for row, column in zip(page.rows(f"columns-{name}"), source["columns"], strict=True):
            assert row["column"].startswith(column["name"])
            about = "" if column["distinct_is_exact"] else "about "
            assert row["distinct"] == f"{about}{column['distinct']:,}"
            unique = column["distinct"] == column["rows"] - column["nulls"] > 0
            is_unique = "none is duplicated" in row["most frequent (rows)"]
            assert is_unique == (unique and column["distinct_is_exact"]), (name, column["name"])
            shown = row["quantiles"].split("±")[0]
            assert (shown == "") == (column["mean"] is None)
            if column["histogram"] is not None:
                (classes,) = re.findall(
                    rf"<caption>{name}.{column['name']}, rows by class</caption>.*?</table>",
                    page.text,
                    flags=re.DOTALL,
                )
                counts = re.findall(r'<td class="n">([\d,]+)</td>', classes)
                assert [int(n.replace(",", "")) for n in counts] == column["histogram"]["counts"]


def test_profiles_are_those_of_the_file_and_of_the_database(ran: Project) -> None:
    check_profiles(ran)
    of_values = "FROM fact_logs WHERE log_kind = 'F' AND value IS NOT NULL"
    (ends,) = ran.query(f"SELECT min(value), avg(value), max(value), count(*) {of_values}")
    low, mean, high, count = ends
    middle = f"ORDER BY value LIMIT 1 OFFSET {math.ceil(count / 2) - 1}"
    ((median,),) = ran.query(f"SELECT value {of_values} {middle}")
    (column,) = (
        c for c in ran.report("profile.json")["LOG_RCD_F"]["columns"] if c["name"] == "value"
    )
    assert (column["minimum"], column["maximum"], column["quantiles"]["p50"]) == (low, high, median)
    assert column["mean"] == pytest.approx(mean, rel=1e-14)
    page = Page(ran.reports / "index.html")
    (row,) = (
        row for row in page.rows("columns-LOG_RCD_F") if row["column"].startswith("valuefrom")
    )
    assert row["range"] == f"min{low:g}mean{mean:.6g}max{high:g}"
    assert f"p50{median:g}p75" in row["quantiles"]
    (described,) = (
        r for r in ran.report("profile.csv") if (r["source"], r["column"]) == ("LOG_RCD_F", "value")
    )
    assert (float(described["p50"]), float(described["mean"])) == (median, column["mean"])


@pytest.mark.soak
def test_at_the_samples_size_a_page_is_small_and_quickly_made(tmp_path: Path) -> None:
    project = make_project(tmp_path / "sample", data=None)
    # As many units, log instances and types as in real files; fewer log records.
    assert project.luigi("SampleData", "--scale", "0.1").status == 0
    assert project.luigi("AllReports").status == 0
    page = project.reports / "index.html"
    overview = project.report("run.json")
    began = time.process_time()
    results = Results(project.reports, project.staging)
    write_page(overview, results, tmp_path / "again.html")
    assert time.process_time() - began < 1
    assert page_digest(tmp_path / "again.html") == page_digest(page)
    assert page.stat().st_size < 2_000_000
    check_profiles(project)
