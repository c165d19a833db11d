"""The examples of docs/extending.md: each diff does what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Project, make_project
from tests.html_page import Page
from tests.runs import soak

Run = Callable[..., None]
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def diff_of(heading: str) -> str:
    """The diff below a heading."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    (diff,) = re.findall(r"^```diff\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    return str(diff)


def extended(folder: Path, heading: str) -> tuple[Project, Run]:
    """A copy of the project with an example's diff, and what runs a command in it."""
    project = make_project(folder)
    for name in ("config", "tasks"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True, ignore=ignored)
    apply = ("git", "apply", "--whitespace=error", "-")
    subprocess.run(apply, cwd=folder, input=diff_of(heading), encoding="utf-8", check=True)

    def luigi(*arguments: str, built: list[str] | None = None) -> None:
        result = project.passes(*arguments, env={"PYTHONPATH": str(folder)})
        if built is not None:
            assert result.built == built

    return project, luigi


@needs_git
def test_a_report(tmp_path: Path) -> None:
    project, luigi = extended(tmp_path / "project", "A report")
    luigi("AllReports")
    counted = project.report("records_by_eng_unit.csv")
    rows = [(row["eng_unit_id"], int(row["record_count"])) for row in counted]
    counts = project.query(
        "SELECT coalesce(eng_unit_id, ''), count(*) FROM fact_logs"
        " JOIN dim_log_instance USING (point_log_inst_id) GROUP BY 1"
    )
    assert sorted(rows) == sorted((str(unit), count) for unit, count in counts)
    page = Page(project.reports / "index.html")
    assert {"#eng-units", "records_by_eng_unit.csv"} <= page.links
    shown = [(row["eng_unit_id"], int(row["record_count"])) for row in page.rows("table-eng-units")]
    assert shown == rows
    luigi("AllReports", built=[])
    (project.reports / "records_by_eng_unit.csv").unlink()
    luigi("EngUnitReport", built=["EngUnitReport"])


@needs_git
@pytest.mark.parametrize(
    ("heading", "column", "values"),
    [
        soak("A column of fact_logs", "log_interval", [60, 60, 60, 5400, None]),
        ("A column of the log records", "log_rcd_id", [1, 2, 3, 4, 5]),
    ],
)
def test_a_column_of_the_facts(
    tmp_path: Path, heading: str, column: str, values: list[int | None]
) -> None:
    project, luigi = extended(tmp_path / "project", heading)
    luigi("LoadFactLogs")
    found = project.query(f"SELECT {column} FROM fact_logs WHERE log_kind = 'B' ORDER BY log_id")
    assert [value for (value,) in found] == values
    described = f"SELECT type FROM data_dictionary WHERE column_name = '{column}'"
    assert ("integer",) in project.query(f"{described} AND table_name = 'fact_logs'")


@needs_git
def test_a_source_file(tmp_path: Path) -> None:
    project, luigi = extended(tmp_path / "project", "A source file")
    luigi("SampleData")
    unit = project.data / "ENG_UNIT.csv"
    assert unit.read_text(encoding="utf-8").splitlines()[:2] == ["eng_unit_id,name", "0,unit 0"]
    unit.write_text("symbol,eng_unit_id\ndegC,2\n,74\n", encoding="utf-8")
    luigi("AllReports")
    members = project.query("SELECT eng_unit_id, eng_unit_name FROM dim_eng_unit ORDER BY 1")
    assert members == [(-1, None), (2, "degC"), (74, None)]
    counts = (project.reports / "reconciliation.csv").read_text(encoding="utf-8")
    assert "members of dim_eng_unit,staged,3,dim_eng_unit,3\n" in counts
