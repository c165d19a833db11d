"""Proposed settings: each of them helps, and none is offered that cannot."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from config.sources import APP_TYPE, LOG_INSTANCE, LOG_RCD_B, LOG_RCD_F
from tasks.core.errors import PipelineError
from tasks.sources.proposals import propose_encoding
from tasks.staging.stage import Outputs, stage_file
from tests.staged import advice


def error_of(folder: Path, text: str, source: Any = LOG_RCD_F, **settings: Any) -> str:
    path = folder / f"{source.name}.csv"
    path.write_text(text, encoding="utf-8")
    declared = dataclasses.replace(source, **settings)
    with pytest.raises(PipelineError) as error:
        stage_file(path, declared, Outputs(folder / "rows.parquet", folder / "rows.csv"))
    return str(error.value)


def records(*values: str, time: str = "2024-06-01 00:{:02}") -> str:
    rows = (f"1;{time.format(number)};{value}\n" for number, value in enumerate(values))
    return "point_log_inst_id;log_time;log_value\n" + "".join(rows)


def test_one_error_proposes_what_reads_all_columns_of_a_row(tmp_path: Path) -> None:
    error = error_of(tmp_path, records("1.234,5", "0,5", time="01.06.2024 00:{:02}"))
    lines = "[LOG_RCD_F]\ntime_format = %d.%m.%Y %H:%M\ndecimal = ,\nthousands = ."
    assert advice(error).endswith(lines)


def test_a_notation_that_loses_other_values_is_not_proposed(tmp_path: Path) -> None:
    error = error_of(tmp_path, records("4,5", "4.5", "3.25"))
    assert "decimal" not in error
    assert "thousands" not in error


def test_a_notation_is_proposed_beside_the_configured_one(tmp_path: Path) -> None:
    error = error_of(tmp_path, records("4.5", "3.25"), decimal=",")
    assert advice(error).endswith("[LOG_RCD_F]\ndecimal = .")


def test_a_missing_value_is_not_proposed_for_a_column_that_must_have_one(tmp_path: Path) -> None:
    text = "point_log_inst_id,point_id,eng_unit_id\n1,none,2\n2,8,none\n"
    error = error_of(tmp_path, text, LOG_INSTANCE)
    assert advice(error).endswith("na_values =\n    NULL\n    \\N\n    none")
    assert "na_values" not in error_of(tmp_path, text.replace("8,none", "8,3"), LOG_INSTANCE)


def test_nothing_is_proposed_for_an_empty_key_or_a_time_that_does_not_exist(
    tmp_path: Path,
) -> None:
    assert "paste" not in error_of(
        tmp_path, "point_log_inst_id,point_id\n1,NULL\n2,8\n", LOG_INSTANCE
    )
    skipped = records("1", time="2024-03-31 02:{:02}")
    assert "paste" not in error_of(tmp_path, skipped, source_timezone="Europe/Berlin")


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


def test_words_for_off_are_proposed_for_0(tmp_path: Path) -> None:
    error = error_of(tmp_path, records(*["Aus", "Ein", "Ein"] * 10), LOG_RCD_B)
    assert "[LOG_RCD_B]\ntrue_values = Ein\nfalse_values = Aus\n" in error


def test_no_other_column_is_proposed_beside_one_of_the_declared_name(tmp_path: Path) -> None:
    rows = "".join(f"1,2024-06-01 00:{minute:02},ok,{minute}.5\n" for minute in range(30))
    text = f"point_log_inst_id,log_time,reading,level\n{rows}"
    assert "[LOG_RCD_F]\nvalue = level\n" in error_of(tmp_path, text)
    assert "value = level" not in error_of(tmp_path, text.replace("reading", "value"))


def test_basic_iso_times_get_a_format(tmp_path: Path) -> None:
    error = error_of(tmp_path, records("1", "2", time="20240601T00{:02}00Z"))
    assert advice(error).endswith("[LOG_RCD_F]\ntime_format = %Y%m%dT%H%M%S%z")


@pytest.mark.parametrize("midnight", ["2024-06-{:02} 24:00", "at 2024/06/{:02}"])
def test_a_loss_of_every_midnight_raises_a_warning(tmp_path: Path, midnight: str) -> None:
    rows = [
        f"1,{f'2024-06-{day:02} {hour:02}:30' if hour else midnight.format(day)},4.5\n"
        for day in range(1, 11)
        for hour in range(24)
    ]
    path = tmp_path / "LOG_RCD_F.csv"
    path.write_text("point_log_inst_id,log_time,value\n" + "".join(rows), encoding="utf-8")
    audit = stage_file(
        path,
        dataclasses.replace(LOG_RCD_F, max_rejected=0.05),
        Outputs(tmp_path / "rows.parquet", tmp_path / "rows.csv"),
    )
    assert (
        "10 of 10 rows of the time of day 00:00 were rejected: recorded_at is not a timestamp"
        in audit.warnings
    )


def test_an_encoding_that_needs_a_mark_is_refused_without_one(tmp_path: Path) -> None:
    error = error_of(tmp_path, records("1"), encoding="utf-16")
    assert "LOG_RCD_F.csv is not in UTF-16" in error
    assert error.endswith("[LOG_RCD_F]\nencoding = utf-8")


def test_a_header_that_is_nowhere_is_proposed_as_a_comment_alone(tmp_path: Path) -> None:
    error = error_of(tmp_path, "a,b\n1,2\n")
    assert error.endswith("[LOG_RCD_F]\n# point_log_inst_id = <header of that column>")


def test_no_encoding_is_proposed_that_would_garble_rows_in_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "APP_TYPE.csv"
    damaged = "2,T\xfcr\n".encode("cp1252")
    for other, is_proposed in (("1,Case\n", True), ("1,K\u00fchl\n", False)):
        path.write_bytes(f"app_type_id,name\n{other}".encode() + damaged)
        with pytest.raises(PipelineError) as error:
            stage_file(path, APP_TYPE, Outputs(tmp_path / "rows", tmp_path / "rejected"))
        assert ("encoding = cp1252" in str(error.value)) is is_proposed


def test_a_typographic_mark_of_thousands_is_proposed(tmp_path: Path) -> None:
    error = error_of(tmp_path, records("1\u2019234.5", "12"))
    assert "[LOG_RCD_F]\nthousands = \u2019\n" in error


def test_rows_are_no_footer_where_none_is_staged(tmp_path: Path) -> None:
    text = "app_type_id;name\n1 a\n2 b\n"
    assert "skipfooter" not in error_of(tmp_path, text, APP_TYPE)
    assert "skipfooter = 1\n" in error_of(tmp_path, text.replace("1 a", "1;a"), APP_TYPE)


def test_a_header_with_an_unknown_delimiter_is_no_column(tmp_path: Path) -> None:
    error = error_of(tmp_path, "app_type_id name\n1 a\n", APP_TYPE)
    assert error.endswith("[APP_TYPE]\n# app_type_id = <header of that column>")


def american(days: int) -> str:
    rows = (
        f"1,{month:02}/{day:02}/2024 {hour:02}:{minute:02},4.5\n"
        for month in (6, 7)
        for day in range(1, days + 1)
        for hour in range(24)
        for minute in range(0, 60, 5)
    )
    return "point_log_inst_id,log_time,value\n" + "".join(rows)


def test_a_format_is_proposed_by_times_of_the_whole_file(tmp_path: Path) -> None:
    error = error_of(tmp_path, american(20))
    assert advice(error).endswith("[LOG_RCD_F]\ntime_format = %m/%d/%Y %H:%M")
    error = error_of(tmp_path, american(3))
    alternative = "# or, if that is meant, instead:\n# time_format = %d/%m/%Y %H:%M\n"
    assert f"[LOG_RCD_F]\ntime_format = %m/%d/%Y %H:%M\n{alternative}" in f"{error}\n"


def test_no_file_has_days_before_months_and_behind_them(tmp_path: Path) -> None:
    error = error_of(tmp_path, american(20), time_format=("%d/%m/%Y %H:%M",))
    assert advice(error).endswith("[LOG_RCD_F]\ntime_format = %m/%d/%Y %H:%M")
    mixed = american(1) + "1,13/06/2024 00:00,1\n" + "1,06/14/2024 00:00,1\n" * 20
    error = error_of(tmp_path, mixed, time_format=("%d/%m/%Y %H:%M",))
    assert "time_format" not in error.partition("Fix the file")[2]


def test_all_forms_of_digits_are_named(tmp_path: Path) -> None:
    error = error_of(tmp_path, records(*["1"] * 20, time="15062400{:02}"))
    assert "time_format = %y%m%d%H%M\nor\n" in error
    assert "time_format = %d%m%y%H%M\nor\n" in error
    assert "time_format = epoch" in error
