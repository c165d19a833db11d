"""Proposed settings: each of them helps, and none is offered that cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.sources import APP_TYPE, LOG_INSTANCE, LOG_RCD_B, LOG_RCD_F
from tasks.sources.proposals import propose_encoding
from tests.staged import advice, failure, stage


def error_of(folder: Path, text: str | bytes, source: Any = LOG_RCD_F, **settings: Any) -> str:
    return failure(folder, text, source, max_rejected=0.01, **settings)


def records(*values: str, time: str = "2024-06-01 00:{:02}") -> str:
    rows = (f"1;{time.format(number)};{value}\n" for number, value in enumerate(values))
    return "point_log_inst_id;log_time;log_value\n" + "".join(rows)


def american(days: int) -> str:
    rows = (
        f"1,{month:02}/{day:02}/2024 {hour:02}:{minute:02},4.5\n"
        for month in (6, 7)
        for day in range(1, days + 1)
        for hour in range(24)
        for minute in range(0, 60, 5)
    )
    return "point_log_inst_id,log_time,value\n" + "".join(rows)


NONE = "point_log_inst_id,point_id,eng_unit_id\n1,none,2\n2,8,none\n"
LEVELS = "point_log_inst_id,log_time,reading,level\n" + "".join(
    f"1,2024-06-01 00:{minute:02},ok,{minute}.5\n" for minute in range(30)
)
DAY_FIRST = {"time_format": ("%d/%m/%Y %H:%M",)}


@pytest.mark.parametrize(
    ("text", "how", "lines"),
    [
        (
            records("1.234,5", "0,5", time="01.06.2024 00:{:02}"),
            {},
            "[LOG_RCD_F]\ntime_format = %d.%m.%Y %H:%M\ndecimal = ,\nthousands = .",
        ),
        (records("4.5", "3.25"), {"decimal": ","}, "[LOG_RCD_F]\ndecimal = ."),
        (NONE, {"source": LOG_INSTANCE}, "na_values =\n    NULL\n    \\N\n    none"),
        (
            records("1", "2", time="20240601T00{:02}00Z"),
            {},
            "[LOG_RCD_F]\ntime_format = %Y%m%dT%H%M%S%z",
        ),
        # An encoding that needs a mark.
        (records("1"), {"encoding": "utf-16"}, "[LOG_RCD_F]\nencoding = utf-8"),
        ("a,b\n1,2\n", {}, "[LOG_RCD_F]\n# point_log_inst_id = <header of that column>"),
        # A header with an unknown delimiter is no column.
        (
            "app_type_id name\n1 a\n",
            {"source": APP_TYPE},
            "[APP_TYPE]\n# app_type_id = <header of that column>",
        ),
        (american(20), {}, "[LOG_RCD_F]\ntime_format = %m/%d/%Y %H:%M"),
        (american(20), DAY_FIRST, "[LOG_RCD_F]\ntime_format = %m/%d/%Y %H:%M"),
    ],
)
def test_the_advice_ends_in_what_reads_the_file(
    tmp_path: Path, text: str, how: dict[str, Any], lines: str
) -> None:
    assert advice(error_of(tmp_path, text, **how)).endswith(lines)


@pytest.mark.parametrize(
    ("text", "how", "parts"),
    [
        (
            records(*["Aus", "Ein", "Ein"] * 10),
            {"source": LOG_RCD_B},
            ["[LOG_RCD_B]\ntrue_values = Ein\nfalse_values = Aus\n"],
        ),
        (LEVELS, {}, ["[LOG_RCD_F]\nvalue = level\n"]),
        (records("1\u2019234.5", "12"), {}, ["[LOG_RCD_F]\nthousands = \u2019\n"]),
        ("app_type_id;name\n1;a\n2 b\n", {"source": APP_TYPE}, ["skipfooter = 1\n"]),
        (records("1"), {"encoding": "utf-16"}, ["LOG_RCD_F.csv is not in UTF-16"]),
        (
            american(3),
            {},
            [
                "[LOG_RCD_F]\ntime_format = %m/%d/%Y %H:%M\n# or, if that is meant, instead:\n"
                "# time_format = %d/%m/%Y %H:%M\n"
            ],
        ),
        (
            records(*["1"] * 20, time="15062400{:02}"),
            {},
            [f"time_format = {form}\nor\n" for form in ("%y%m%d%H%M", "%d%m%y%H%M")]
            + ["time_format = epoch"],
        ),
    ],
)
def test_what_may_be_meant_is_in_the_error(
    tmp_path: Path, text: str, how: dict[str, Any], parts: list[str]
) -> None:
    error = error_of(tmp_path, text, **how)
    assert [part for part in parts if part not in f"{error}\n"] == []


@pytest.mark.parametrize(
    ("text", "how", "words"),
    [
        # A notation that loses other values.
        (records("4,5", "4.5", "3.25"), {}, ["decimal", "thousands"]),
        # A column that must have a value, an empty key, a time that does not exist.
        (NONE.replace("8,none", "8,3"), {"source": LOG_INSTANCE}, ["na_values"]),
        ("point_log_inst_id,point_id\n1,NULL\n2,8\n", {"source": LOG_INSTANCE}, ["paste"]),
        (records("1", time="2024-03-31 02:{:02}"), {"source_timezone": "Europe/Berlin"}, ["paste"]),
        # Another column beside one of the declared name.
        (LEVELS.replace("reading", "value"), {}, ["value = level"]),
        # A footer where no row is staged.
        ("app_type_id;name\n1 a\n2 b\n", {"source": APP_TYPE}, ["skipfooter"]),
    ],
)
def test_what_cannot_help_is_not_proposed(
    tmp_path: Path, text: str, how: dict[str, Any], words: list[str]
) -> None:
    error = error_of(tmp_path, text, **how)
    assert [word for word in words if word in error] == []


def test_no_file_has_days_before_months_and_behind_them(tmp_path: Path) -> None:
    mixed = american(1) + "1,13/06/2024 00:00,1\n" + "1,06/14/2024 00:00,1\n" * 20
    error = error_of(tmp_path, mixed, **DAY_FIRST)
    assert "time_format" not in error.partition("Fix the file")[2]


@pytest.mark.parametrize("midnight", ["2024-06-{:02} 24:00", "at 2024/06/{:02}"])
def test_a_loss_of_every_midnight_raises_a_warning(tmp_path: Path, midnight: str) -> None:
    rows = [
        f"1,{f'2024-06-{day:02} {hour:02}:30' if hour else midnight.format(day)},4.5\n"
        for day in range(1, 11)
        for hour in range(24)
    ]
    staged = stage(tmp_path, "point_log_inst_id,log_time,value\n" + "".join(rows), LOG_RCD_F)
    assert (
        "10 of 10 rows of the time of day 00:00 were rejected: recorded_at is not a timestamp"
        in staged.audit.warnings
    )


@pytest.mark.parametrize(("row", "is_proposed"), [("1,Case\n", True), ("1,K\u00fchl\n", False)])
def test_no_encoding_is_proposed_that_would_garble_rows_in_utf_8(
    tmp_path: Path, row: str, is_proposed: bool
) -> None:
    damaged = f"app_type_id,name\n{row}".encode() + "2,T\xfcr\n".encode("cp1252")
    assert ("encoding = cp1252" in error_of(tmp_path, damaged, APP_TYPE)) is is_proposed


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Süßwaren", "cp1252"),
        ("Größe\nTür", "cp1252"),
        ("Température extérieure", "cp1252"),
        ("Frysedisk højre", "cp1252"),
        ("Chłodnia źródło", "cp1250"),
        ("Mrazák příruční", "cp1250"),
        ("Холодильная витрина", "cp1251"),
        ("冷蔵ショーケース", "cp932"),
    ],
)
def test_the_encoding_of_a_language_is_proposed(text: str, encoding: str) -> None:
    assert propose_encoding(text.encode(encoding)) == encoding
