"""Which columns are new, since when, and what they contain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from config.sources import SOURCES
from tasks.reports.source_columns import (
    NewColumn,
    Recorded,
    Version,
    add_version,
    compare_columns,
    find_new_columns,
    plan_commands,
)
from tasks.staging.audit import Audit


def test_a_run_that_brings_no_change_moves_the_last_run_on() -> None:
    columns = {"POINT": {"point_id": "integer"}}
    history = add_version([], columns, "day 1")
    history = add_version(history, columns, "day 2")
    assert history == [Version("day 1", "day 2", columns)]
    more = {"POINT": {"point_id": "integer", "note": "text"}}
    assert add_version(history, more, "day 3") == [*history, Version("day 3", "day 3", more)]


def test_a_column_without_values_changes_no_type() -> None:
    first = add_version([], {"POINT": {"note": "text"}}, "day 1")
    assert len(add_version(first, {"POINT": {"note": "empty"}}, "day 2")) == 1


def test_a_type_is_remembered_through_a_run_without_values() -> None:
    history = add_version([], {"POINT": {"note": "integer"}}, "day 1")
    history = add_version(history, {"POINT": {"note": "empty", "more": "text"}}, "day 2")
    history = add_version(history, {"POINT": {"note": "text", "more": "text"}}, "day 3")
    (change,) = compare_columns(history[-2].columns, history[-1].columns)
    assert change.retyped == (("note", "integer", "text"),)


def recorded(folder: Path, texts: list[str]) -> Recorded:
    """A recorded source in two files, of which the second has a new column."""
    first, second = folder / "1.parquet", folder / "2.parquet"
    pq.write_table(pa.table({"point_log_inst_id": [1, 2]}), first)
    keys = [1] * len(texts)
    pq.write_table(pa.table({"point_log_inst_id": keys, "Quality": texts}), second)
    header = ["point_log_inst_id", "Quality"]
    audit = Audit("LOG_RCD_F", "", header, {"point_log_inst_id": "point_log_inst_id"}, [])
    old = {"LOG_RCD_F": {"point_log_inst_id": "integer"}}
    now = {"LOG_RCD_F": {**old["LOG_RCD_F"], "quality": "integer"}}
    return Recorded(
        [Version("day 1", "day 2", old), Version("day 3", "day 3", now)],
        {"LOG_RCD_F": audit},
        {"LOG_RCD_F/1": first, "LOG_RCD_F/2": second},
        {"LOG_RCD_F": replace(SOURCES["LOG_RCD_F"], new_columns="evolve", decimal=",")},
    )


def find(folder: Path, *texts: str) -> NewColumn:
    (found,) = find_new_columns(recorded(folder, list(texts)), [])
    return found


def test_a_new_column_has_the_type_that_reads_all_of_its_values(tmp_path: Path) -> None:
    found = find(tmp_path, *["7"] * 20_000, "n/a")
    assert (found.type, found.values, found.rows) == ("text", 20_001, 20_003)
    assert (found.files, found.all_files, found.since) == (1, 2, "day 3")


def test_missing_values_and_notation_are_those_of_the_source(tmp_path: Path) -> None:
    found = find(tmp_path, "4,5", " ", "NULL", "", "2")
    assert (found.type, found.values) == ("number", 2)


def test_a_column_without_values_needs_no_plan(tmp_path: Path) -> None:
    found = find(tmp_path, "", "NULL")
    assert (found.type, found.values) == ("empty", 0)
    assert plan_commands([found]) == []


def test_a_column_that_was_always_there_is_not_new(tmp_path: Path) -> None:
    some = recorded(tmp_path, ["1"])
    assert find_new_columns(some._replace(history=some.history[1:]), []) == []


def test_a_column_of_both_kinds_of_log_records_is_planned_once(tmp_path: Path) -> None:
    one = find(tmp_path, "1")
    other = replace(one, source="LOG_RCD_B", type="number")
    (command,) = plan_commands([one, other])
    assert "--table fact_logs --column quality --type number" in command
    for done in ({"in_table": True}, {"recognised": "value"}, {"contract": "ignore"}):
        assert plan_commands([replace(one, **done)]) == []


def test_words_for_states_are_planned_as_text(tmp_path: Path) -> None:
    found = find(tmp_path, "on", "off")
    assert found.type == "switch"
    assert plan_commands([found])[0].endswith("--type text --local-scheduler")


def test_likely_renames_among_several_columns_have_similar_names() -> None:
    before = {"POINT": {"io_address": "text", "vendor": "text"}}
    now = {"POINT": {"io_adress": "text", "note": "text"}}
    (change,) = compare_columns(before, now)
    assert change.renamed == (("io_address", "io_adress"),)
