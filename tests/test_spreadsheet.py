"""CSV files for people: read back as they were written, and no text runs as a formula."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.spreadsheet import spreadsheet_text, write_csv
from tests.conftest import Project


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts=st.lists(st.tuples(st.text(), st.text(alphabet='=+-@\t\r\n",x'))))
def test_every_row_is_read_back_and_nothing_begins_like_a_formula(
    tmp_path: Path, texts: list[tuple[str, str]]
) -> None:
    path = tmp_path / "x.csv"
    write_csv(path, ("one", "two"), [{"one": one, "two": two} for one, two in texts])
    with path.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["one", "two"]
    assert rows == [[spreadsheet_text(text) for text in row] for row in texts]
    assert not any(
        cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row
    )


def test_numbers_stay_numbers_and_nothing_stays_empty(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    write_csv(path, ("a", "b", "c"), [{"a": -1, "b": -2.5, "d": "left out"}])
    assert path.read_bytes() == b"a,b,c\n-1,-2.5,\n"


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)"])
def test_a_summary_shows_a_name_that_is_a_formula_as_text(project: Project, name: str) -> None:
    project.edit("APP_TYPE.csv", "3,Suction Group", f'3,"{name}"')
    result = project.luigi("AllReports")
    assert result.status == 0, result.log
    with (project.reports / "summary_by_app_type_id.csv").open(encoding="utf-8") as stream:
        shown = {row["app_type_id"]: row["app_type_description"] for row in csv.DictReader(stream)}
    assert (shown["3"], shown["1"]) == (f"'{name}", "Dairy Case")
    assert (name,) in project.query("SELECT app_type_description FROM dim_application_type")
