"""Whole files, staged: which rows and columns come out, and what the audit says."""

from __future__ import annotations

import gzip
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from config.sources import LOG_RCD_B, LOG_RCD_F
from tasks.staging.audit import Audit
from tests.staged import stage


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
        name: []
        for name in ("point_log_inst_id", "recorded_at", "value", "value_text", "status", "x")
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


def test_passed_through_columns_keep_what_number_readers_lose(tmp_path: Path) -> None:
    kept = ["007", "  x", "x  ", "NA", "NULL", "nan", "", " ", "1.50", "1e5", "TRUE", "#N/A", "-0"]
    rows = "".join(f"{number},{text}\n" for number, text in enumerate(kept))

    staged = stage(tmp_path, f"app_type_id,name\n{rows}")
    passed = stage(tmp_path, f"app_type_id,Other\n{rows}")

    # Blank texts and those of `na_values` are missing in declared columns alone.
    missing = ("", " ", "NULL")
    assert staged.columns["name"] == [None if text in missing else text for text in kept]
    assert passed.columns["Other"] == kept
    assert passed.table.schema.field("Other").type == pa.string()


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
            "value_text": pa.string(),
            "status": pa.string(),
            "Zone": pa.string(),
            "unit": pa.string(),
        }
    )
    assert staged.columns == {
        "point_log_inst_id": [4, 5],
        "recorded_at": [datetime(2024, 6, 1, 12, tzinfo=UTC), None],
        "value": [21.5, None],
        "value_text": [None, None],
        "status": ["ok", None],
        "Zone": ["n", ""],
        "unit": ["C", ""],
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
        nulls={
            "point_log_inst_id": 0,
            "recorded_at": 1,
            "value": 1,
            "value_text": 1,
            "status": 2,
        },
        values=3,
        words={"NO DATA": 1},
        word_rows=1,
        states={"on": (1.0, 1), "off": (0.0, 1)},
    )


def test_the_audit_tells_what_the_first_rows_look_like(tmp_path: Path) -> None:
    rows = "".join(f"{number},2.5\n" for number in range(50))

    audit = stage(tmp_path, f"app_type_id,x\n90,NA\n{rows}", block_bytes=64).audit

    assert audit.observed_types == {"app_type_id": "integer", "x": "text"}


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    content = (
        "app_type_id,name,x\n" + "".join(f"{n},n{n % 7},{n * n}\n" for n in range(500)) + "x\n"
    )

    first = stage(tmp_path, content, block_bytes=512)
    second = stage(tmp_path, content, block_bytes=512)

    assert first.audit.rejected == 1
    assert first == second


def test_a_word_in_place_of_a_value_is_kept(tmp_path: Path) -> None:
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
    assert staged.columns["value_text"] == ["NO DATA", "POINT FAIL", None, "NO DATA", None]
    assert staged.columns["status"] == [None, "7", "OK", None, "OK"]
    assert staged.audit.words == {"NO DATA": 2, "POINT FAIL": 1}
    assert staged.audit.word_rows == 3


def test_a_column_named_as_the_word_is_kept_where_there_is_no_word(tmp_path: Path) -> None:
    content = "point_log_inst_id,value,Value_Text\n1,ERR,a\n2,1,b\n3,2,\n"
    staged = stage(tmp_path, content, LOG_RCD_F, max_rejected=0)
    assert staged.columns["value_text"] == ["ERR", "b", None]


def test_the_most_frequent_words_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    words = [f"w{chr(ord('a') + kind)}" for kind in range(25) for _ in range(25 - kind)]
    rows = "".join(f"1,{word}\n" for word in words)

    audit = stage(tmp_path, f"point_log_inst_id,value\n{rows}x,wa\n1,1\n", LOG_RCD_F).audit

    assert audit.word_rows == len(words)  # The word of the quarantined row does not count.
    assert list(audit.words.items()) == Counter(words).most_common(20)
