"""CSV files for people: read back as they were written, and no text runs as a formula."""

from __future__ import annotations

import codecs
import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.files import spreadsheet_text, write_csv
from tests.conftest import Project
from tests.runs import soak


@given(texts=st.lists(st.tuples(st.text(), st.text(alphabet='=+-@\t\r\n",x'))))
def test_every_row_is_read_back_and_nothing_begins_like_a_formula(
    tmp_path: Path, texts: list[tuple[str, str]]
) -> None:
    path = tmp_path / "x.csv"
    write_csv(path, ("one", "two"), [{"one": one, "two": two} for one, two in texts])
    marked = not "".join(text for row in texts for text in row).isascii()
    assert path.read_bytes().startswith(codecs.BOM_UTF8) is marked
    with path.open(encoding="utf-8-sig", newline="") as stream:
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


@pytest.mark.parametrize(
    ("bom", "text", "expected"),
    [
        (None, "Fan", b"a\nFan\n"),
        (None, "K\xe4lte", b"\xef\xbb\xbfa\nK\xc3\xa4lte\n"),
        (True, "Fan", b"\xef\xbb\xbfa\nFan\n"),
        (False, "K\xe4lte", b"a\nK\xc3\xa4lte\n"),
    ],
)
def test_a_byte_order_mark_is_written_as_chosen(
    tmp_path: Path, bom: bool | None, text: str, expected: bytes
) -> None:
    path = tmp_path / "x.csv"
    write_csv(path, ("a",), [{"a": text}], bom)
    assert path.read_bytes() == expected


def marked(project: Project) -> set[str]:
    """The files that begin with a byte order mark, of all that was made."""
    return {
        path.name
        for folder in (project.reports, project.staging)
        for path in folder.rglob("*")
        if path.is_file() and path.read_bytes().startswith(codecs.BOM_UTF8)
    }


@pytest.mark.parametrize("chosen", ["auto", soak("true"), soak("false")])
def test_the_files_for_people_are_marked_as_chosen_and_no_others(
    project: Project, chosen: str
) -> None:
    project.edit("APP_TYPE.csv", "3,Suction Group", "3,K\xe4lteverbund")
    project.edit("POINT.csv", "1007,105", "\xe4,105")  # To be quarantined.
    project.configure("[POINT]\nmax_rejected = 0.5")
    result = project.passes("AllReports", env={"PIPELINE_CSV_BOM": chosen})
    assert "K\xe4lteverbund" in result.out
    every = {path.name for path in project.reports.glob("*.csv")}
    assert len(every) == 17
    beyond_ascii = {
        "profile.csv",
        "summary_by_app_instance_id.csv",
        "summary_by_app_type_id.csv",
    }
    assert marked(project) == {"auto": beyond_ascii, "true": every, "false": set()}[chosen]
    figures = project.report("run.json")
    assert list(figures["summaries"]) == ["unit_id", "app_instance_id", "app_type_id"]
    assert "\ufeff" not in json.dumps(figures, ensure_ascii=False)


@pytest.mark.soak
def test_the_choice_of_a_mark_builds_the_files_for_people_again(ran: Project) -> None:
    result = ran.passes("AllReports", env={"PIPELINE_CSV_BOM": "true"})
    assert {label.partition(":")[0] for label in result.built} == {
        "ActivityReport",
        "CheckWarehouse",
        "ProfileReport",
        "ReportPage",
        "SummaryReport",
        "ValuesReport",
    }
