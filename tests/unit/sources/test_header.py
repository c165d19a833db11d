"""Which column of a file is which, and every way in which headers are rejected."""

from __future__ import annotations

import dataclasses

import pytest

from config.declarations import Source
from config.sources import (
    APP_INSTANCE,
    APP_TYPE,
    APP_TYPE_REF,
    LOG_INSTANCE,
    LOG_RCD_B,
    LOG_RCD_F,
    POINT,
)
from tasks.sources.header import match_columns
from tests.staged import refusal


def with_header(source: Source, column: str, header: str) -> Source:
    """The source as if luigi.cfg named the header of a column."""
    return dataclasses.replace(
        source,
        columns=tuple(
            dataclasses.replace(c, header=header) if c.name == column else c for c in source.columns
        ),
    )


@pytest.mark.parametrize("source", [LOG_RCD_B, LOG_RCD_F], ids=lambda source: source.name)
@pytest.mark.parametrize("column", ["recorded_at", "value", "status"])
def test_each_alias_of_a_column_is_recognised(source: Source, column: str) -> None:
    declared = source.column(column)
    found = {
        name: match_columns(source, ["Point_Log_Inst_Id", f" {name.upper()} "])
        for name in (declared.name, *declared.aliases)
    }

    assert len(found) > 5
    assert {layout.recognised.get(column) for layout in found.values()} == {(1,)}
    assert not any(layout.passed_through for layout in found.values())


def test_the_likeliest_of_several_names_is_taken_and_the_others_are_carried() -> None:
    header = ["point_log_inst_id", "date", "time", "TIMESTAMP", "value", "log_value"]

    layout = match_columns(LOG_RCD_F, header)

    assert layout.recognised == {"point_log_inst_id": (0,), "recorded_at": (3,), "value": (4,)}
    assert layout.passed_through == {"date": 1, "time": 2, "log_value": 5}
    assert layout.absent == ("status",)


def test_a_header_that_the_configuration_names_is_the_only_one_that_will_do() -> None:
    source = with_header(LOG_RCD_F, "recorded_at", "Log Dt")

    layout = match_columns(source, ["point_log_inst_id", "log_time", " LOG DT "])
    assert layout.recognised == {"point_log_inst_id": (0,), "recorded_at": (2,)}
    assert layout.passed_through == {"log_time": 1}

    assert refusal(match_columns, source, ["point_log_inst_id", "log_time"]) == (
        "LOG_RCD_F was rejected:\n"
        "  column 'Log Dt' is missing, which luigi.cfg names for recorded_at; "
        "the file has: point_log_inst_id, log_time"
    )


def test_a_column_of_a_declared_name_beside_the_configured_one_is_refused() -> None:
    source = with_header(LOG_RCD_F, "recorded_at", "log_dt")

    assert refusal(match_columns, source, ["point_log_inst_id", "log_dt", "Recorded_At"]) == (
        "LOG_RCD_F was rejected:\n"
        "  column 'Recorded_At' exists beside the one that luigi.cfg names for recorded_at: "
        "rename or remove one"
    )


def test_other_columns_are_carried_under_their_own_names_in_the_order_of_the_file() -> None:
    layout = match_columns(APP_TYPE, ["Zone", "app_type_id", "ß, ü", "A b"])

    assert list(layout.passed_through.items()) == [("Zone", 0), ("ß, ü", 2), ("A b", 3)]
    assert layout.absent == ("name",)


def test_a_header_that_is_duplicated_and_a_missing_one_are_told_at_once() -> None:
    assert refusal(
        match_columns, APP_TYPE_REF, ["app_type_id", "x", "APP_TYPE_ID ", "", "column_4", "unit"]
    ) == (
        "APP_TYPE_REF was rejected:\n"
        "  column 'APP_TYPE_ID' is duplicated, as number 1 and 3: rename or remove one\n"
        "  column 'column_4' is duplicated, as number 4 and 5: rename or remove one\n"
        "  column 'app_type_ref_id' is missing; "
        "the file has: app_type_id, x, APP_TYPE_ID, column_4, column_4, unit\n"
        "  column 'unit_id' is missing; "
        "the file has: app_type_id, x, APP_TYPE_ID, column_4, column_4, unit\n"
        "[APP_TYPE_REF]\n"
        "# app_type_ref_id = <header of that column>\n"
        "unit_id = unit"
    )


@pytest.mark.parametrize(
    ("source", "required"),
    [
        (APP_TYPE, ["app_type_id"]),
        (APP_TYPE_REF, ["app_type_ref_id", "app_type_id", "unit_id"]),
        (LOG_INSTANCE, ["point_log_inst_id", "point_id"]),
        (APP_INSTANCE, ["app_instance_id", "app_type_ref_id"]),
        (POINT, ["point_id", "app_instance_id"]),
        (LOG_RCD_B, ["point_log_inst_id"]),
        (LOG_RCD_F, ["point_log_inst_id"]),
    ],
    ids=lambda value: value.name if isinstance(value, Source) else "",
)
def test_only_the_join_keys_are_required(source: Source, required: list[str]) -> None:
    assert list(match_columns(source, required).recognised) == required

    for missing in required:
        others = [name for name in required if name != missing] + ["other"]
        assert refusal(match_columns, source, others).startswith(
            f"{source.name} was rejected:\n"
            f"  column {missing!r} is missing; the file has: {', '.join(others)}\n[{source.name}]\n"
        )


def test_a_header_named_for_one_column_is_no_other_column() -> None:
    source = with_header(LOG_RCD_B, "status", "state")
    layout = match_columns(source, ["point_log_inst_id", "State"])
    assert layout.recognised == {"point_log_inst_id": (0,), "status": (1,)}
    assert layout.absent == ("recorded_at", "value")
