"""Rows that are rejected and cells that are emptied: why, and on which line."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.declarations import Source
from config.sources import APP_TYPE, APP_TYPE_REF, LOG_INSTANCE, LOG_RCD_B, LOG_RCD_F, POINT
from tests.staged import Cell, Quarantined, advice, failure, stage


@pytest.mark.parametrize(
    ("source", "columns", "row", "reason"),
    [
        (APP_TYPE, ",name", "x,Fan", "app_type_id is not an integer: 'x'"),
        (APP_TYPE, ",name", "7.5,Fan", "app_type_id is not an integer: '7.5'"),
        (APP_TYPE, ",name", f"{2**63},a", f"app_type_id is not an integer: '{2**63}'"),
        (APP_TYPE, ",name", ",Fan", "app_type_id is empty: ''"),
        (APP_TYPE, ",name", '" ","Fan"', "app_type_id is empty: ' '"),
        (APP_TYPE, ",name", "NULL,Fan", "app_type_id is empty: 'NULL'"),
        (APP_TYPE, ",name", "-1,a", "app_type_id is -1, the key of the unknown member: '-1'"),
        (APP_TYPE, ",name", "1", "too few fields: 1 instead of 2"),
        (APP_TYPE, ",name", "  ", "too few fields: 1 instead of 2"),
        (APP_TYPE, ",name", "1,a,b,", "too many fields: 4 instead of 2"),
        (APP_TYPE, ",name", '1,"a\r\n""b""",c', "too many fields: 3 instead of 2"),
        (APP_TYPE, ",name", '1,"a"b', "text after a closing quote"),
        (APP_TYPE, ",name", "1,a\0b", "a NUL character"),
        (APP_TYPE_REF, ",app_type_id,unit_id", "1,2,", "unit_id is empty: ''"),
        (LOG_RCD_F, ",time", "1,01.06.2024", "recorded_at is not a timestamp: '01.06.2024'"),
        (LOG_RCD_F, ",value", '1,"21,5"', "value is not a number: '21,5' (it has a comma)"),
        (LOG_RCD_B, ",value", "1,0x1", "value is not a switch: '0x1' (it has letters)"),
        (LOG_RCD_F, ",value,time", "y,12abc,z", "point_log_inst_id is not an integer: 'y'"),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_what_cannot_be_read_is_quarantined_with_its_line_its_reason_and_the_row_as_it_came(
    tmp_path: Path, source: Source, columns: str, row: str, reason: str, line_end: str
) -> None:
    header = f"{source.columns[0].name}{columns}"

    staged = stage(tmp_path, f"{header}{line_end}{row}{line_end}", source)

    kind = reason.partition(": ")[0]
    column = kind.partition(" is ")[0] if " is " in kind else ""
    file = f"{source.name}.csv"
    assert staged.quarantined == [Quarantined(file, 2, column, kind, reason, row)]
    assert staged.audit.staged == 0


def test_in_a_reference_source_an_invalid_cell_that_may_be_null_is_emptied(tmp_path: Path) -> None:
    staged = stage(
        tmp_path,
        "point_log_inst_id,point_id,eng_unit_id,log_interval\n"
        "1,2,C,5m\n"
        '2,2,"a\nb",\n'
        "3,x,F,60\n"  # 5: the row is lost, not its cell alone.
        "1,2,K,5m\n",
        LOG_INSTANCE,
    )

    assert staged.columns == {
        "point_log_inst_id": [1, 2],
        "point_id": [2, 2],
        "eng_unit_id": [None, None],
        "log_interval": [None, None],
    }
    assert staged.reasons == [
        (5, "point_id is not an integer: 'x'"),
        (6, "point_log_inst_id is duplicated: 1; line 2 has the same values"),
    ]
    assert staged.cells == [
        Cell(2, "eng_unit_id", "eng_unit_id is not an integer: 'C'", "C"),
        Cell(2, "log_interval", "log_interval is not an integer: '5m'", "5m"),
        Cell(3, "eng_unit_id", "eng_unit_id is not an integer: 'a\\nb'", "a\nb"),
    ]
    assert staged.audit.emptied == {
        "eng_unit_id is not an integer": 2,
        "log_interval is not an integer": 1,
    }


def test_emptied_cells_count_like_rejected_rows(tmp_path: Path) -> None:
    rows = "".join(f"{n},1,{'C' if n < 3 else n}\n" for n in range(99)) + "x,1,1\n"
    content = f"point_log_inst_id,point_id,eng_unit_id\n{rows}"

    assert stage(tmp_path, content, LOG_INSTANCE, max_rejected=0.04).audit.rejected_or_emptied == 4
    assert failure(tmp_path, content, LOG_INSTANCE, max_rejected=0.03).startswith(
        "LOG_INSTANCE.csv: 4 of 100 rows cannot be read as declared; at most 3.0% may be rejected."
    )


@pytest.mark.parametrize(
    "row",
    [
        b"2,K\xf6ln",
        b'2,"K\xf6ln, \xff\xfe\r\n"',
        b"\xa02,K",
        b"2,\xed\xa0\x80",
        b"K\xf6ln",
        b"2,K\xf6ln,3",
        b'2,"K\xf6ln\n",\xc3',
    ],
)
@pytest.mark.parametrize("block_bytes", [64, None])
def test_bytes_that_are_no_utf_8_are_quarantined_byte_for_byte(
    tmp_path: Path, row: bytes, block_bytes: int | None
) -> None:
    before, after = "1,größe\n".encode() * 3, "9,温度\n".encode() * 3
    staged = stage(
        tmp_path,
        b"point_log_inst_id,x\n" + before + row + b"\n" + after,
        LOG_RCD_F,
        block_bytes=block_bytes,
    )

    assert staged.columns["x"] == ["größe"] * 3 + ["温度"] * 3
    assert staged.audit.quarantined == {"not UTF-8": 1}
    (quarantined,) = staged.quarantined
    assert quarantined.line == 5
    assert quarantined.row.encode(errors="surrogateescape") == row


@pytest.mark.parametrize(
    ("content", "encoding", "row"),
    [
        (b"app_type_id,name\n1,a\n2,Caf\xc3", None, b"2,Caf\xc3"),
        (b"app_type_id,name\n1,a\n\xe6\xb8", None, b"\xe6\xb8"),
        (b"app_type_id,name\n1,a\n2,\xd9\x81", "cp1255", b"2,\xff\x81"),
        ("\ufeffapp_type_id,name\n1,a\n2,".encode("utf-16-be") + b"\xd8=", None, b"2,\xff\x80"),
        ("\ufeffapp_type_id,name\n1,a\n2,".encode("utf-16-be") + b"\xc3", None, b"2,\xff"),
    ],
)
def test_no_part_of_a_character_is_lost_or_read_as_another_one(
    tmp_path: Path, content: bytes, encoding: str | None, row: bytes
) -> None:
    staged = stage(tmp_path, content, encoding=encoding)

    assert staged.columns == {"app_type_id": [1], "name": ["a"]}
    (quarantined,) = staged.quarantined
    assert (quarantined.line, quarantined.kind[:4]) == (3, "not ")
    assert quarantined.row.encode(errors="surrogateescape") == row


def test_the_refusal_shows_bytes_that_are_no_utf_8_and_an_encoding_that_reads_them(
    tmp_path: Path,
) -> None:
    content = b"app_type_id,name\n" + b"1,K\xf6ln\n"

    message = failure(tmp_path, content, max_rejected=0)

    assert "\n  line 2: not UTF-8: '1,K\ufffdln'\n" in message
    assert advice(message).endswith("\n[APP_TYPE]\nencoding = cp1252")
    assert stage(tmp_path, content, encoding="cp1252").columns["name"] == ["Köln"]


def test_of_rows_with_the_same_key_the_first_stays(tmp_path: Path) -> None:
    staged = stage(
        tmp_path,
        "app_type_id,name\n"
        "7,first\n"
        "x,bad\n"
        "8,other\n"
        "7,first\n"  # 5
        "few\n"
        "007,first\n"  # 7: the same key, written otherwise
        "7,changed\n"
        "8,other\n",
    )

    assert staged.columns == {"app_type_id": [7, 8], "name": ["first", "other"]}
    assert staged.reasons == [
        (3, "app_type_id is not an integer: 'x'"),
        (5, "app_type_id is duplicated: 7; line 2 has the same values"),
        (6, "too few fields: 1 instead of 2"),
        (7, "app_type_id is duplicated: 7; line 2 has the same values"),
        (8, "app_type_id is duplicated: 7; line 2 has other values"),
        (9, "app_type_id is duplicated: 8; line 4 has the same values"),
    ]
    assert staged.audit.quarantined["app_type_id is duplicated"] == 4
    assert staged.audit.repeated_keys == {"same": 3, "different": 1}


def test_a_quarantined_row_does_not_take_the_key_from_a_good_one(tmp_path: Path) -> None:
    staged = stage(tmp_path, "point_id,app_instance_id\n7,x\n7,1\n7,2\n", POINT)

    assert (staged.columns["point_id"], staged.columns["app_instance_id"]) == ([7], [1])
    assert staged.reasons == [
        (2, "app_instance_id is not an integer: 'x'"),
        (4, "point_id is duplicated: 7; line 3 has other values"),
    ]


def test_log_records_may_be_alike(tmp_path: Path) -> None:
    staged = stage(tmp_path, "point_log_inst_id,value\n-1,2\n1,2\n1,2\n", LOG_RCD_F, max_rejected=0)

    assert staged.columns["point_log_inst_id"] == [-1, 1, 1]


def test_only_the_primary_key_must_not_be_minus_one(tmp_path: Path) -> None:
    staged = stage(tmp_path, "point_id,app_instance_id\n0,-1\n1,0\n-1,0\n", POINT)

    assert (staged.columns["point_id"], staged.columns["app_instance_id"]) == ([0, 1], [-1, 0])
    assert staged.reasons == [(4, "point_id is -1, the key of the unknown member: '-1'")]
