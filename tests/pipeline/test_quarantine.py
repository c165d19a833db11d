"""Rejected rows of every kind: a run goes on, people can read them, and nothing of them is lost."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import NamedTuple

import jsonschema
import pytest

from tasks.core.text import visible_lines
from tasks.sources.csv_records import Rejected
from tasks.staging.audit import read_quarantine, write_cells, write_quarantine
from tests.conftest import ROOT, Project
from tests.html_page import Page

LONG = b"x" * 5_000_000


class Kind(NamedTuple):
    """A row that is rejected."""

    row: bytes
    kind: str  # Of the reason.
    shown: str  # How it begins for people.


KINDS = [
    Kind(b"7,caf\xe9,1,OK", "not UTF-8", "7,caf\N{REPLACEMENT CHARACTER},1,OK"),
    # Like a surrogate.
    Kind(b"7,2024-06-01,\xed\xb0\x80,OK", "not UTF-8", "7,2024-06-01,\N{REPLACEMENT CHARACTER}"),
    Kind(b"7,2024-06-01,1,O\0K", "a NUL character", "7,2024-06-01,1,O?K"),
    Kind(b'7,"2024-06-01"x,1,OK', "text after a closing quote", '7,"2024-06-01"x,1,OK'),
    Kind(b"7,2024-06-01,1", "too few fields", "7,2024-06-01,1"),
    Kind(b"7,2024-06-01,1,OK,more", "too many fields", "7,2024-06-01,1,OK,more"),
    Kind(b"7,2024-06-01,1," + LONG + b",", "too many fields", "7,2024-06-01,1,xxxx"),
    Kind(b'7,"so\r\non\ron",1,OK', "recorded_at is not a timestamp", '7,"so on on",1,OK'),
    # Formulas, and control codes of a terminal.
    Kind(b"=1+1,@SUM(1),-2,+3", "point_log_inst_id is not an integer", "=1+1,@SUM(1)"),
    Kind(b"\x1b[2J\x07,soon,1,OK", "point_log_inst_id is not an integer", "?[2J?,soon,1,OK"),
]


def with_rows(project: Project, rows: list[bytes]) -> None:
    """Rows at the end of a file in which they are few, yet more than one in a hundred."""
    good = [f"{n % 8 + 1},2024-06-01 {n // 60:02}:{n % 60:02}:00,{n},OK" for n in range(600)]
    content = "\n".join(["point_log_inst_id,log_time,log_value,status", *good, ""]).encode()
    (project.data / "LOG_RCD_F.csv").write_bytes(content + b"".join(row + b"\n" for row in rows))
    project.configure("[LOG_RCD_F]\nmax_rejected = 0.02")


def check(project: Project, kinds: list[Kind]) -> None:
    """Everything is there after a run, readable, and the rows byte for byte."""
    run = project.report("run.json")
    jsonschema.validate(run, json.loads((ROOT / "docs" / "run.schema.json").read_text("utf-8")))
    quarantined = run["sources"]["LOG_RCD_F"]["quarantined"]
    assert sum(quarantined.values()) == len(kinds)
    assert set(quarantined) == {kind.kind for kind in kinds}
    rejected = {row["kind"]: row for row in run["rejected"] if row["source"] == "LOG_RCD_F"}
    assert set(rejected) == set(quarantined)
    page = Page(project.reports / "index.html")
    shown = {row["reason of the first"]: row for row in page.rows("rejected")}
    for number, kind in enumerate(kinds):
        row = rejected[kind.kind]
        if kind != next(one for one in kinds if one.kind == kind.kind):
            continue  # Only the first of a kind is shown.
        assert row["row"].startswith(kind.shown), row["row"][:200]
        if b"\r" not in b"".join(one.row for one in kinds[:number]):
            assert row["line"] == 602 + number
        for part in (row["row"], row["reason"]):
            part.encode()  # No lone surrogates.
            assert part.isprintable()
        (on_page,) = (r for reason, r in shown.items() if reason.startswith(kind.kind))
        assert on_page["the row as it came"].startswith(kind.shown[:100])
    raw = (project.staging / "quarantine" / "LOG_RCD_F.csv").read_bytes()
    for kind in kinds:
        assert kind.row.replace(b'"', b'""') in raw
    assert [row["kind"] for row in rows_of(raw)] == [kind.kind for kind in kinds]
    assert [row["row"].encode(errors="surrogateescape") for row in rows_of(raw)] == [
        kind.row for kind in kinds
    ]


def rows_of(raw: bytes) -> list[dict[str, str]]:
    """The rows of a quarantine file, as any reader of CSV has them."""
    csv.field_size_limit(2**31 - 1)
    text = raw.decode(errors="surrogateescape")
    lines = text.split("\n")
    return list(csv.DictReader(line + "\n" for line in lines if line or line != lines[-1]))


def test_rows_of_every_kind_let_a_run_end_well(project: Project) -> None:
    with_rows(project, [kind.row for kind in KINDS])
    result = project.passes("AllReports")
    assert "Traceback" not in result.log
    assert "\x1b" not in result.out + result.err
    check(project, KINDS)
    assert project.passes("AllReports").built == []


def test_emptied_cells_are_listed_apart_and_are_no_rejected_rows(project: Project) -> None:
    project.edit("LOG_INSTANCE.csv", "8,8888,2,180", "8,8888,2,180\nx,1,1,1")
    project.edit("LOG_INSTANCE.csv", "3,1002,74,60", '3,1002,"=1+1\r7",60')
    project.configure("[LOG_INSTANCE]\nmax_rejected = 0.3")
    result = project.passes("AllReports")
    assert "LOG_INSTANCE.csv     9        4       8            1        1\n" in result.out
    run = project.report("run.json")
    assert [row["row"] for row in run["rejected"]] == ["x,1,1,1"]
    assert [row["quarantine"] for row in run["rejected"]] == ["LOG_INSTANCE.csv"]
    page = Page(project.reports / "index.html")
    (emptied,) = page.rows("emptied")
    assert [*emptied.values()] == ["LOG_INSTANCE", "1", "eng_unit_id is not an integer", "cells"]
    (cells,) = (link for link in page.links if link.endswith("/LOG_INSTANCE.cells.csv"))
    (listed,) = read_quarantine(project.reports / cells)
    assert (listed["line"], listed["column"], listed["text"]) == ("4", "eng_unit_id", "=1+1\r7")
    assert project.query(
        "SELECT count(*) FROM dim_log_instance WHERE point_log_inst_id = 3 AND eng_unit_id IS NULL"
    ) == [(1,)]


def test_rows_of_a_partition_that_is_named_like_a_file_of_cells_are_shown(project: Project) -> None:
    folder = project.data / "LOG_RCD_F"
    folder.mkdir()
    (project.data / "LOG_RCD_F.csv").rename(folder / "a.cells.csv")
    with (folder / "a.cells.csv").open("a", encoding="utf-8") as stream:
        stream.write("9,1,soon,1,OK\n")
    project.configure("[LOG_RCD_F]\nmax_rejected = 0.2")
    project.passes("AllReports")
    run = project.report("run.json")
    (row,) = run["rejected"]
    assert (row["row"], row["quarantine"]) == ("9,1,soon,1,OK", "LOG_RCD_F/a.cells.csv")


@pytest.mark.parametrize("text", ["a\rb", "a\nb", "a\r\nb", 'a"b', "\0", "", " "])
def test_what_is_written_to_a_quarantine_file_is_read_again(tmp_path: Path, text: str) -> None:
    one = Rejected(3, "value", "kind", "reason", text)
    path = tmp_path / "rows.csv"
    write_quarantine(path, "B.csv", [one, one])
    assert [tuple(row.values()) for row in read_quarantine(path)] == [
        ("B.csv", "3", "value", "kind", "reason", text)
    ] * 2
    write_cells(path, [one, one])
    assert [row["text"] for row in read_quarantine(path)] == [text] * 2


def test_a_text_of_several_lines_keeps_them_and_shows_what_cannot_be_seen() -> None:
    assert visible_lines("a \x1b\n    b\u202e\udc80\n") == "a \\x1b\n    b\\u202e\\udc80\n"
