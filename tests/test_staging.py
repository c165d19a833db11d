"""Whole files, staged: what is kept, what is quarantined and why, where each row stood."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import hashlib
import io
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from config.declarations import Source
from config.sources import APP_TYPE, APP_TYPE_REF, LOG_INSTANCE, LOG_RCD_B, LOG_RCD_F, POINT
from tasks.staging.audit import Audit
from tests.staged import Cell, Quarantined, advice, refusal, stage

moderate = settings(max_examples=60, deadline=None)


# Forms of files


@pytest.mark.parametrize(
    "content",
    [
        "app_type_id,name,zone\n0,Fan,N\n7,Pump,S\n",
        "app_type_id,name,zone\n0,Fan,N\n7,Pump,S",
        "app_type_id,name,zone\r\n0,Fan,N\r\n7,Pump,S\r\n",
        "app_type_id,name,zone\r0,Fan,N\r7,Pump,S\r",
        "\ufeffapp_type_id,name,zone\n0,Fan,N\n7,Pump,S\n",
        '\ufeff"app_type_id","name","zone"\r\n"0","Fan","N"\r\n"7","Pump","S"\r\n',
        "\n\napp_type_id,name,zone\n\n0,Fan,N\n\r\n\n7,Pump,S\n\n",
        "APP_TYPE_ID, Name ,zone\n 0 ,Fan,N\n007,Pump,S\n",
        "zone,name,app_type_id\nN,Fan,0\nS,Pump,7\n",
        "zone,app_type_id,description\nN,0,Fan\nS,+7,Pump\n",
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".CSV", ".CSV.GZ"])
def test_however_a_file_is_written_the_same_rows_are_staged(
    tmp_path: Path, content: str, ending: str
) -> None:
    raw = content.encode()
    packed = gzip.compress(raw) if ending.lower().endswith(".gz") else raw

    staged = stage(tmp_path, packed, name=f"app_type{ending}")

    assert staged.table.column_names == ["app_type_id", "name", "zone"]
    assert staged.table.schema.types == [pa.int64(), pa.string(), pa.string()]
    assert staged.columns == {"app_type_id": [0, 7], "name": ["Fan", "Pump"], "zone": ["N", "S"]}
    assert staged.audit.file == f"app_type{ending}"
    assert staged.quarantine is None


@pytest.mark.parametrize("line_end", ["", "\n", "\r\n", "\r", "\n\n\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_a_file_of_a_header_alone_is_staged_as_no_rows(
    tmp_path: Path, start: str, line_end: str
) -> None:
    staged = stage(tmp_path, f"{start}point_log_inst_id,log_time,x{line_end}", LOG_RCD_F)

    assert staged.audit.rows == 0
    assert staged.columns == {
        name: [] for name in ("point_log_inst_id", "recorded_at", "value", "status", "x")
    }
    assert staged.audit.absent == ["value", "status"]


def test_commas_quotes_and_line_breaks_in_quoted_fields_belong_to_the_text(tmp_path: Path) -> None:
    staged = stage(
        tmp_path, 'app_type_id,name,x\n1,"a, ""b""\nc\r\n\rd",""\n2,5" pipe,"""",\n3,z," y "\n'
    )

    assert staged.columns["app_type_id"] == [1, 3]
    assert staged.columns["name"] == ['a, "b"\nc\r\n\rd', "z"]
    assert staged.columns["x"] == ["", " y "]
    assert [(q.line, q.row) for q in staged.quarantined] == [(6, '2,5" pipe,"""",')]


def test_carried_columns_keep_what_number_readers_lose(tmp_path: Path) -> None:
    kept = ["007", "  x", "x  ", "NA", "NULL", "nan", "", " ", "1.50", "1e5", "TRUE", "#N/A", "-0"]
    rows = "".join(f"{number},{text}\n" for number, text in enumerate(kept))

    staged = stage(tmp_path, f"app_type_id,name\n{rows}")
    carried = stage(tmp_path, f"app_type_id,Other\n{rows}")

    # Blank texts and those of `na_values` are missing in declared columns alone.
    missing = ("", " ", "NULL")
    assert staged.columns["name"] == [None if text in missing else text for text in kept]
    assert carried.columns["Other"] == kept
    assert carried.table.schema.field("Other").type == pa.string()


def test_columns_without_a_name_are_staged_under_their_place(tmp_path: Path) -> None:
    staged = stage(tmp_path, "app_type_id,,  \n1,a,b\n")

    assert staged.columns == {
        "app_type_id": [1],
        "name": [None],
        "column_2": ["a"],
        "column_3": ["b"],
    }


def test_declared_columns_come_first_typed_as_declared_then_the_others(tmp_path: Path) -> None:
    staged = stage(
        tmp_path,
        "Zone,STATUS,log_value,Log_Time,unit,point_log_inst_id\n"
        "n,ok,21.5,2024-06-01 12:00,C,4\n"
        ",,,,,5\n",
        LOG_RCD_F,
    )

    assert staged.table.schema == pa.schema(
        {
            "point_log_inst_id": pa.int64(),
            "recorded_at": pa.timestamp("us", tz="UTC"),
            "value": pa.float64(),
            "status": pa.string(),
            "Zone": pa.string(),
            "unit": pa.string(),
        }
    )
    assert staged.columns == {
        "point_log_inst_id": [4, 5],
        "recorded_at": [datetime(2024, 6, 1, 12, tzinfo=UTC), None],
        "value": [21.5, None],
        "status": ["ok", None],
        "Zone": ["n", ""],
        "unit": ["C", ""],
    }


def test_an_absent_optional_column_is_null_and_named(tmp_path: Path) -> None:
    staged = stage(tmp_path, "point_log_inst_id,value\n1,2\n3,4\n", LOG_RCD_F)

    assert staged.columns == {
        "point_log_inst_id": [1, 3],
        "recorded_at": [None, None],
        "value": [2.0, 4.0],
        "status": [None, None],
    }
    assert staged.audit.absent == ["recorded_at", "status"]
    assert staged.audit.nulls == {
        "point_log_inst_id": 0,
        "recorded_at": 2,
        "value": 0,
        "status": 2,
    }


def test_the_audit_tells_what_the_file_was(tmp_path: Path) -> None:
    audit = stage(
        tmp_path,
        "Point_Log_Inst_Id, log_time ,VALUE,x,y\n"
        "1,2024-06-01 00:00,on,1.5,\n"
        "2,,NO DATA,2,\n"
        "x,2024-06-01 00:01,off,3,\n",
        LOG_RCD_B,
    ).audit

    assert audit == Audit(
        source="LOG_RCD_B",
        file="LOG_RCD_B.csv",
        header=["Point_Log_Inst_Id", "log_time", "VALUE", "x", "y"],
        recognised={
            "point_log_inst_id": "Point_Log_Inst_Id",
            "recorded_at": "log_time",
            "value": "VALUE",
        },
        absent=["status"],
        observed_types={
            "Point_Log_Inst_Id": "text",
            "log_time": "timestamp",
            "VALUE": "text",
            "x": "number",
            "y": "empty",
        },
        rows=3,
        staged=2,
        warnings=[
            "1 of 3 values are sentinels in place of a number (33.3%, max_sentinels is 5.0%): "
            "NO DATA (1)",
            "recorded_at was guessed from log_time, which is the same in all rows:\n"
            "[LOG_RCD_B]\nrecorded_at = log_time",
        ],
        quarantined={"point_log_inst_id is not an integer": 1},
        nulls={"point_log_inst_id": 0, "recorded_at": 1, "value": 1, "status": 1},
        values=3,
        words={"NO DATA": 1},
        word_rows=1,
        states={"on": (1.0, 1), "off": (0.0, 1)},
    )
    assert Audit.from_json(audit.to_json()) == audit


def test_the_audit_tells_what_the_first_rows_look_like(tmp_path: Path) -> None:
    rows = "".join(f"{number},2.5\n" for number in range(50))

    audit = stage(tmp_path, f"app_type_id,x\n90,NA\n{rows}", block_bytes=64).audit

    assert audit.observed_types == {"app_type_id": "integer", "x": "text"}


def test_times_are_read_in_the_source_timezone_or_the_declared_format(tmp_path: Path) -> None:
    local = dataclasses.replace(LOG_RCD_F, source_timezone="Europe/Berlin")
    declared = dataclasses.replace(local, time_format=("%d.%m.%Y %H:%M",))
    noon = [datetime(2024, 7, 1, 10, tzinfo=UTC)]

    by_zone = stage(tmp_path, "point_log_inst_id,time\n1,2024-07-01 12:00\n", local)
    by_format = stage(tmp_path, "point_log_inst_id,time\n1,01.07.2024 12:00\n", declared)

    assert by_zone.columns["recorded_at"] == noon
    assert by_format.columns["recorded_at"] == noon


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    content = (
        "app_type_id,name,x\n" + "".join(f"{n},n{n % 7},{n * n}\n" for n in range(500)) + "x\n"
    )

    first = stage(tmp_path, content, block_bytes=512)
    second = stage(tmp_path, content, block_bytes=512)

    assert first.audit.rejected == 1
    assert first == second


# Words in place of values


def test_a_word_in_place_of_a_value_becomes_the_status(tmp_path: Path) -> None:
    staged = stage(
        tmp_path,
        "point_log_inst_id,value,status\n"
        "1,NO DATA,\n"
        "2, POINT FAIL ,7\n"
        "3,21.5,OK\n"
        "4,NO DATA,  \n"
        "5,,OK\n",
        LOG_RCD_F,
        max_rejected=0,
    )

    assert staged.columns["value"] == [None, None, 21.5, None, None]
    assert staged.columns["status"] == ["NO DATA", "7; POINT FAIL", "OK", "NO DATA", "OK"]
    assert staged.audit.words == {"NO DATA": 2, "POINT FAIL": 1}
    assert staged.audit.word_rows == 3


def test_a_word_becomes_the_status_where_the_file_has_none(tmp_path: Path) -> None:
    staged = stage(tmp_path, "point_log_inst_id,value\n1,on\n2,ERROR\n3,off\n", LOG_RCD_B)

    assert staged.columns["value"] == [1.0, None, 0.0]
    assert staged.columns["status"] == [None, "ERROR", None]
    assert staged.audit.absent == ["recorded_at", "status"]


def test_the_most_frequent_words_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    words = [f"w{chr(ord('a') + kind)}" for kind in range(25) for _ in range(25 - kind)]
    rows = "".join(f"1,{word}\n" for word in words)

    audit = stage(tmp_path, f"point_log_inst_id,value\n{rows}x,wa\n1,1\n", LOG_RCD_F).audit

    assert audit.word_rows == len(words)  # The word of the quarantined row does not count.
    assert list(audit.words.items()) == Counter(words).most_common(20)


# Quarantine


@pytest.mark.parametrize(
    ("source", "header", "row", "reason"),
    [
        (APP_TYPE, "app_type_id,name", "x,Fan", "app_type_id is not an integer: 'x'"),
        (APP_TYPE, "app_type_id,name", "7.5,Fan", "app_type_id is not an integer: '7.5'"),
        (APP_TYPE, "app_type_id,name", f"{2**63},a", f"app_type_id is not an integer: '{2**63}'"),
        (APP_TYPE, "app_type_id,name", ",Fan", "app_type_id is empty: ''"),
        (APP_TYPE, "app_type_id,name", '" ","Fan"', "app_type_id is empty: ' '"),
        (APP_TYPE, "app_type_id,name", "NULL,Fan", "app_type_id is empty: 'NULL'"),
        (
            APP_TYPE,
            "app_type_id,name",
            "-1,Fan",
            "app_type_id is -1, the key of the unknown member: '-1'",
        ),
        (APP_TYPE, "app_type_id,name", "1", "too few fields: 1 instead of 2"),
        (APP_TYPE, "app_type_id,name", "  ", "too few fields: 1 instead of 2"),
        (APP_TYPE, "app_type_id,name", "1,a,b,", "too many fields: 4 instead of 2"),
        (APP_TYPE, "app_type_id,name", '1,"a\r\n""b""",c', "too many fields: 3 instead of 2"),
        (APP_TYPE, "app_type_id,name", '1,"a"b', "text after a closing quote"),
        (APP_TYPE, "app_type_id,name", "1,a\0b", "a NUL character"),
        (APP_TYPE_REF, "app_type_ref_id,app_type_id,unit_id", "1,2,", "unit_id is empty: ''"),
        (
            LOG_RCD_F,
            "point_log_inst_id,time",
            "1,01.06.2024",
            "recorded_at is not a timestamp: '01.06.2024'",
        ),
        (
            LOG_RCD_F,
            "point_log_inst_id,value",
            '1,"21,5"',
            "value is not a number: '21,5' (it has a comma)",
        ),
        (
            LOG_RCD_B,
            "point_log_inst_id,value",
            "1,0x1",
            "value is not a switch: '0x1' (it has letters)",
        ),
        (
            LOG_RCD_F,
            "point_log_inst_id,value,time",
            "y,12abc,z",
            "point_log_inst_id is not an integer: 'y'",
        ),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_what_cannot_be_read_is_quarantined_with_its_line_its_reason_and_the_row_as_it_came(
    tmp_path: Path, source: Source, header: str, row: str, reason: str, line_end: str
) -> None:
    staged = stage(tmp_path, f"{header}{line_end}{row}{line_end}", source)

    kind = reason.partition(": ")[0]
    column = kind.partition(" is ")[0] if " is " in kind else ""
    file = f"{source.name}.csv"
    assert staged.quarantined == [Quarantined(file, 2, column, kind, reason, row)]
    assert staged.audit.staged == 0


def test_in_a_describing_table_an_invalid_cell_that_may_be_null_is_emptied(tmp_path: Path) -> None:
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
    assert refusal(tmp_path, content, LOG_INSTANCE, max_rejected=0.03).startswith(
        "LOG_INSTANCE.csv: 4 of 100 rows cannot be read as declared; at most 3.0% may be rejected."
    )


def test_a_bad_row_harms_no_other_and_lines_are_counted_as_an_editor_counts_them(
    tmp_path: Path,
) -> None:
    staged = stage(
        tmp_path,
        "point_log_inst_id,time,value\n"  # 1
        "1,2024-06-01,1\n"
        "\n"  # 3: an empty line is no row, but a line
        '2,2024-06-01,"2"\n'
        "x,2024-06-01,3\n"  # 5
        '4,2024-06-01,"NO\nDATA"\n'  # 6 and 7
        "5,2024-02-30,5\n"  # 8
        "6,2024-06-01\n"  # 9
        "7,2024-06-01,7,7\n"  # 10
        "8,2024-06-01,8\n",
        LOG_RCD_F,
    )

    assert staged.columns["point_log_inst_id"] == [1, 2, 4, 8]
    assert staged.columns["value"] == [1.0, 2.0, None, 8.0]
    assert staged.columns["status"] == [None, None, "NO\nDATA", None]
    assert [(row.line, row.reason, row.row) for row in staged.quarantined] == [
        (5, "point_log_inst_id is not an integer: 'x'", "x,2024-06-01,3"),
        (8, "recorded_at is not a timestamp: '2024-02-30'", "5,2024-02-30,5"),
        (9, "too few fields: 2 instead of 3", "6,2024-06-01"),
        (10, "too many fields: 4 instead of 3", "7,2024-06-01,7,7"),
    ]


def test_a_blank_time_or_value_is_no_reason_to_quarantine(tmp_path: Path) -> None:
    staged = stage(tmp_path, "point_log_inst_id,time,value\n1,,\n2, , \n", LOG_RCD_F)

    assert staged.columns["recorded_at"] == [None, None]
    assert staged.columns["value"] == [None, None]
    assert staged.columns["status"] == [None, None]
    assert staged.audit.staged == 2


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


def test_the_refusal_shows_bytes_that_are_no_utf_8_and_an_encoding_that_reads_them(
    tmp_path: Path,
) -> None:
    content = b"app_type_id,name\n" + b"1,K\xf6ln\n"

    message = refusal(tmp_path, content, max_rejected=0)

    assert "\n  line 2: not UTF-8: '1,K\ufffdln'\n" in message
    assert advice(message).endswith("\n[APP_TYPE]\nencoding = cp1252")
    assert stage(tmp_path, content, encoding="cp1252").columns["name"] == ["Köln"]


# Keys that stand twice


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

    assert staged.columns == {"point_id": [7], "app_instance_id": [1]}
    assert staged.reasons == [
        (2, "app_instance_id is not an integer: 'x'"),
        (4, "point_id is duplicated: 7; line 3 has other values"),
    ]


def test_a_key_is_found_again_in_a_later_block(tmp_path: Path) -> None:
    rows = "".join(f"{number},name {number}\n" for number in range(40))

    staged = stage(tmp_path, f"app_type_id,name\n{rows}3,again\n", block_bytes=64)

    assert staged.columns["app_type_id"] == list(range(40))
    assert staged.reasons == [(42, "app_type_id is duplicated: 3; line 5 has other values")]


def test_log_records_may_be_alike(tmp_path: Path) -> None:
    staged = stage(tmp_path, "point_log_inst_id,value\n-1,2\n1,2\n1,2\n", LOG_RCD_F, max_rejected=0)

    assert staged.columns["point_log_inst_id"] == [-1, 1, 1]


def test_only_the_primary_key_must_not_be_minus_one(tmp_path: Path) -> None:
    staged = stage(tmp_path, "point_id,app_instance_id\n0,-1\n1,0\n-1,0\n", POINT)

    assert staged.columns == {"point_id": [0, 1], "app_instance_id": [-1, 0]}
    assert staged.reasons == [(4, "point_id is -1, the key of the unknown member: '-1'")]


# How much may be quarantined


@pytest.mark.parametrize(
    ("rows", "bad", "max_rejected"),
    [(10, 0, 0.0), (100, 1, 0.01), (200, 2, 0.01), (100, 29, 0.29), (1000, 57, 0.057), (3, 3, 1.0)],
)
def test_exactly_the_accepted_share_may_be_quarantined(
    tmp_path: Path, rows: int, bad: int, max_rejected: float
) -> None:
    content = "app_type_id\n" + "x\n" * bad + "".join(f"{n}\n" for n in range(rows - bad))

    staged = stage(tmp_path, content, max_rejected=max_rejected)

    assert (staged.audit.rows, staged.audit.rejected) == (rows, bad)


@pytest.mark.parametrize(
    ("rows", "bad", "max_rejected"), [(1000, 1, 0.0), (99, 1, 0.01), (100, 2, 0.01), (4, 3, 0.5)]
)
def test_more_than_the_accepted_share_is_refused_and_leaves_no_quarantine(
    tmp_path: Path, rows: int, bad: int, max_rejected: float
) -> None:
    content = "app_type_id\n" + "x\n" * bad + "".join(f"{n}\n" for n in range(rows - bad))

    message = refusal(tmp_path, content, max_rejected=max_rejected)

    assert message.startswith(f"APP_TYPE.csv: {bad:,} of {rows:,} rows cannot be read as declared;")
    assert not (tmp_path / "quarantine.csv").exists()


def test_the_refusal_tells_the_counts_the_first_rows_and_what_to_do(tmp_path: Path) -> None:
    good = "".join(f"{number},2024-06-01\n" for number in range(1200))
    bad = "1,01.06.2024\n2\n3,02.06.2024\n" + "".join(f"{n},02.06.2024\n" for n in range(1300))

    message = refusal(
        tmp_path, f"point_log_inst_id,log_time\n{good}{bad}", LOG_RCD_F, max_rejected=0.025
    )

    assert message == (
        "LOG_RCD_F.csv: 1,303 of 2,503 rows cannot be read as declared; "
        "at most 2.5% may be rejected. Nothing was replaced.\n"
        "  1,302 x recorded_at is not a timestamp\n"
        "  1 x too few fields\n"
        "  the first of them:\n"
        "  line 1202: recorded_at is not a timestamp: '01.06.2024': '1,01.06.2024'\n"
        "  line 1203: too few fields: 1 instead of 2: '2'\n"
        "  line 1204: recorded_at is not a timestamp: '02.06.2024': '3,02.06.2024'\n"
        "  line 1205: recorded_at is not a timestamp: '02.06.2024': '0,02.06.2024'\n"
        "  line 1206: recorded_at is not a timestamp: '02.06.2024': '1,02.06.2024'\n"
        "Fix the file; or paste what would read it into luigi.cfg, section [LOG_RCD_F], in place "
        "of lines of the same name:\n"
        "[LOG_RCD_F]\n"
        "time_format =\n    iso\n    %d.%m.%Y\n"
        "Or accept the loss, in [LOG_RCD_F]: max_rejected = 0.521"
    )


@pytest.mark.parametrize(
    ("content", "source", "how"),
    [
        ("app_type_id\nNULL\n-1\n1\n1\n", APP_TYPE, {}),
        ("point_id,app_instance_id\n1,NULL\n2,x\n", POINT, {}),
        (
            "point_log_inst_id,recorded_at\n1,2024-03-31 02:30\n",
            LOG_RCD_F,
            {"source_timezone": "Europe/Berlin"},
        ),
        ("point_log_inst_id,value\n1,1..2\n2,3\n", LOG_RCD_F, {}),
        ("point_log_inst_id,value\n1,2\n2,a\0b\n", LOG_RCD_F, {}),
    ],
)
def test_no_line_is_proposed_that_cannot_help(
    tmp_path: Path, content: str, source: Source, how: dict[str, Any]
) -> None:
    message = refusal(tmp_path, content, source, max_rejected=0, **how)

    assert advice(message).endswith("\nFix the file.")


@pytest.mark.parametrize("block_bytes", [None, 40])
def test_lines_proposed_for_several_columns_together_read_them_all(
    tmp_path: Path, block_bytes: int | None
) -> None:
    content = (
        "point_log_inst_id,point_id,eng_unit_id,log_interval\n1,1,K,none\n2,1,7,60\n3,1,C,none\n"
    )

    message = refusal(tmp_path, content, LOG_INSTANCE, max_rejected=0, block_bytes=block_bytes)

    assert "\nna_values =\n    NULL\n    \\N\n    K\n    C\n    none\nOr accept" in message
    na_values = ("NULL", "\\N", "K", "C", "none")
    read = stage(tmp_path, content, LOG_INSTANCE, max_rejected=0, na_values=na_values)
    assert read.columns["eng_unit_id"] == [None, 7, None]


@pytest.mark.parametrize(
    ("source", "content", "lines"),
    [
        (APP_TYPE, "app_type_id,name\n1,a\n\n(1 rows affected)\n", {"skipfooter": 2}),
        (APP_TYPE, "app_type_id,name\n1,a\nx,b\n\n(2 rows, affected)\n", {"skipfooter": 2}),
        (LOG_RCD_F, "point_log_inst_id,value\n1,2\n2,(5)\nTotal\nEnd", {"skipfooter": 2}),
        (APP_TYPE, "app_type_id,name\n-----------,----\n1,a\n", {"skiprows": (1,)}),
        (LOG_RCD_F, "point_log_inst_id,value\n---,---\n1,2\n", {"skiprows": (1,)}),
        (LOG_RCD_F, "point_log_inst_id\tvalue\n--- ---\n1\t2\n", {"skiprows": (1,)}),
        (APP_TYPE, 'app_type_id,name\n1,"a\\"b, c"\n', {"escapechar": "\\"}),
        (APP_TYPE, "app_type_id,name\n1,'a, b'\n", {"quotechar": "'"}),
    ],
)
def test_lines_are_proposed_for_what_is_no_row_or_quoted_otherwise(
    tmp_path: Path, source: Source, content: str, lines: dict[str, Any]
) -> None:
    message = refusal(tmp_path, content, source, max_rejected=0)

    (option, value), *_ = lines.items()
    told = "[1]" if isinstance(value, tuple) else str(value).replace("\\", "\\\\")
    assert f"\n[{source.name}]\n{option} = {told}\n" in f"{advice(message)}\n"
    staged = stage(tmp_path, content, source, **lines)
    before = stage(tmp_path, content, source).audit
    assert staged.audit.staged >= before.staged
    kinds = {kind for kind in staged.audit.quarantined if "fields" in kind or "quote" in kind}
    assert kinds == set()
    assert staged.audit.rejected == sum(line in content for line in ("x,b", "2,(5)"))


def test_a_row_without_the_empty_field_that_others_end_in_is_told_as_such(tmp_path: Path) -> None:
    rows = "".join(f"{n},a,\n" for n in range(9000))

    staged = stage(tmp_path, f"app_type_id,name\n{rows}9001,b\n9002,c,d\n9003,e,\n")

    assert staged.reasons == [
        (9002, "too few fields: 2 instead of 3"),
        (9003, "too many fields: 3 instead of 2"),
    ]


# Files that cannot be told apart into rows


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n3,c\n4,d\n", "\n3,c\n4,d"])
@pytest.mark.parametrize("opening", ['2,"b', '"2,b', '2,a,"b'])
def test_a_quote_that_is_never_closed_is_refused_with_its_line(
    tmp_path: Path, opening: str, end: str
) -> None:
    message = refusal(tmp_path, f'app_type_id,name\n1,"x\ny"\n1,z\n{opening}{end}')

    assert message == (
        "APP_TYPE.csv: line 5: a quote opens a field and is never closed, "
        "so that the rest of the file cannot be divided into records.\n"
        f"  the line reads: '{opening}'\n"
        "Close the quote, or double it if it belongs to the text."
    )


def test_a_last_field_that_ends_in_a_line_break_is_no_open_quote(tmp_path: Path) -> None:
    staged = stage(tmp_path, 'app_type_id,name\n1,"x\n"\n')
    malformed = stage(tmp_path, 'app_type_id,name\n1,x\n2,y,"z\n"\n')

    assert staged.columns["name"] == ["x\n"]
    assert [q.row for q in malformed.quarantined] == ['2,y,"z\n"']


@pytest.mark.parametrize(
    ("long", "begins"),
    [("x" * 200, f"'2,{'x' * 118}'..."), ('"' + "x\n" * 100 + '"', "'2,\"x'")],
)
def test_a_record_longer_than_the_limit_is_refused_with_its_line(
    tmp_path: Path, long: str, begins: str
) -> None:
    message = refusal(
        tmp_path, f"app_type_id,name\n1,a\n\n2,{long}\n3,c\n", block_bytes=64, max_record_bytes=150
    )

    assert message == (
        "APP_TYPE.csv: line 4: a record of more than 150 bytes.\n"
        f"  it begins: {begins}\n"
        "Usually a quote is opened and not closed where it should be."
    )


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_packed_file_damaged_behind_its_start_is_refused(tmp_path: Path, damage: str) -> None:
    rows = "".join(f"{n},{hashlib.md5(str(n).encode()).hexdigest()}\n" for n in range(20_000))
    packed = bytearray(gzip.compress(f"app_type_id,name\n{rows}".encode()))
    if damage == "cut":
        del packed[-5000:]
    else:
        packed[-5000:-4000] = b"\xff" * 1000

    message = refusal(tmp_path, bytes(packed), name="APP_TYPE.csv.gz")

    assert message.startswith("APP_TYPE.csv.gz cannot be read: ")


def test_a_file_that_does_not_fit_its_declaration_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "name\nFan\n") == (
        "APP_TYPE was rejected:\n  column 'app_type_id' is missing; the file has: name\n"
        "[APP_TYPE]\n# app_type_id = <header of that column>"
    )


# Borders of blocks


def test_a_row_is_found_again_wherever_the_borders_of_blocks_fall(tmp_path: Path) -> None:
    rows = [
        "1,a",
        "few",
        "x,b",
        '2,"c\r\n\r\nd"',
        "",
        '3,"e",f',
        "1,again",
        '4,"""g"""',
        'y,"h\r\ni"',
        "5,größe",
        "-1,j",
        '6,"',
        '"',
        "7,k",
    ]
    content = "app_type_id,name\r\n" + "\r\n".join(rows) + "\r\n"

    for block_bytes in range(24, 90, 2):
        staged = stage(tmp_path, content, block_bytes=block_bytes)

        assert staged.columns == {
            "app_type_id": [1, 2, 4, 5, 6, 7],
            "name": ["a", "c\r\n\r\nd", '"g"', "größe", None, "k"],
        }
        assert [(q.line, q.row) for q in staged.quarantined] == [
            (3, "few"),
            (4, "x,b"),
            (9, '3,"e",f'),
            (10, "1,again"),
            (12, 'y,"h\r\ni"'),
            (15, "-1,j"),
        ]
        assert staged.audit.rows == 12


@pytest.mark.parametrize("strange", [b"\xf6", b"\xf6" * 5, b"\xf6" * 30])
def test_bytes_that_are_no_utf_8_change_no_row_wherever_the_borders_of_blocks_fall(
    tmp_path: Path, strange: bytes
) -> None:
    rows = [b'%d,"a\r\n\r\nb"' % number for number in range(9)]
    rows[2:2] = [strange, b"20," + strange]
    content = b"\r\n".join([b"app_type_id,name", *rows, b""])

    for block_bytes in range(40, 90, 3):
        staged = stage(tmp_path, content, block_bytes=block_bytes)

        assert staged.columns == {"app_type_id": list(range(9)), "name": ["a\r\n\r\nb"] * 9}
        assert [(q.line, q.row.encode(errors="surrogateescape")) for q in staged.quarantined] == [
            (8, strange),
            (9, b"20," + strange),
        ]


# Any text


any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
awkward_text = st.text(st.sampled_from('a,"\n\r é🔥\u2028\ufeff'), max_size=20)


@moderate
@given(
    rows=st.lists(st.tuples(any_text | awkward_text, any_text | awkward_text), max_size=12),
    dialect=st.sampled_from(
        [("\r\n", csv.QUOTE_MINIMAL), ("\r\n", csv.QUOTE_ALL), ("\n", csv.QUOTE_ALL)]
    ),
    encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
    packed=st.booleans(),
    block_bytes=st.sampled_from([256, None]),
)
@example(  # Arrow drops a mark at the start of a block.
    rows=[("\ufeff", "")] * 30,
    dialect=("\n", csv.QUOTE_MINIMAL),
    encoding="utf-8",
    packed=False,
    block_bytes=256,
)
def test_any_text_comes_back_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    dialect: tuple[str, int],
    encoding: str,
    packed: bool,
    block_bytes: int | None,
) -> None:
    line_end, quoting = dialect
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=line_end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(["first", "app_type_id", "last"])
    writer.writerows([first, number, last] for number, (first, last) in enumerate(rows))
    raw = text.getvalue().encode(encoding)

    staged = stage(
        tmp_path_factory.mktemp("any"),
        gzip.compress(raw) if packed else raw,
        name="APP_TYPE.csv.gz" if packed else "APP_TYPE.csv",
        max_rejected=0,
        block_bytes=block_bytes,
    )

    assert staged.columns == {
        "app_type_id": list(range(len(rows))),
        "name": [None] * len(rows),
        "first": [first for first, _ in rows],
        "last": [last for _, last in rows],
    }


good_names = st.text(st.sampled_from('ab,"\n\ré'), max_size=8)
broken_rows = st.sampled_from(
    [
        (b"few", "too few fields"),
        (b'"few\n"', "too few fields"),
        (b"1,2,3", "too many fields"),
        (b'1,2,"x\r\ny"', "too many fields"),
        (b"1,\xff,3", "not UTF-8"),
        (b"x,name", "app_type_id is not an integer"),
        (b'x,"na\nme"', "app_type_id is not an integer"),
        (b",name", "app_type_id is empty"),
        (b"-1,name", "app_type_id is -1, the key of the unknown member"),
        (b"1000,\xff", "not UTF-8"),
        (b'1000,"\n\xff"', "not UTF-8"),
        (b"999,again", "app_type_id is duplicated"),
    ]
)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(good_names | broken_rows | st.none(), max_size=25),
    line_end=st.sampled_from([b"\n", b"\r\n"]),
    last_line_end=st.booleans(),
    block_bytes=st.sampled_from([48, 64, 100, None]),
)
def test_broken_rows_never_change_the_good_ones_and_are_found_where_they_stand(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[str | tuple[bytes, str] | None],
    line_end: bytes,
    last_line_end: bool,
    block_bytes: int | None,
) -> None:
    content = b"app_type_id,name" + line_end + b"999,first"
    names: list[str | None] = ["first"]
    broken = []
    for row in rows:
        content += line_end
        line = 1 + content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n")
        if isinstance(row, str):  # A good one.
            content += b'%d,"%s"' % (len(names), row.replace('"', '""').encode())
            names.append(row if row.strip() else None)
        elif row is not None:  # None stands for an empty line.
            raw, kind = row
            content += raw
            broken.append((line, kind, raw))
    content += line_end * last_line_end

    staged = stage(tmp_path_factory.mktemp("broken"), content, block_bytes=block_bytes)

    assert staged.columns == {"app_type_id": [999, *range(1, len(names))], "name": names}
    assert [
        (q.line, q.kind, q.row.encode(errors="surrogateescape")) for q in staged.quarantined
    ] == broken
    assert staged.audit.rows == len(names) + len(broken)
    assert staged.audit.quarantined == Counter(kind for _, kind, _ in broken)
