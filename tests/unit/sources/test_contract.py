"""New columns of a frozen source."""

from __future__ import annotations

import dataclasses

from config.declarations import Source
from config.sources import LOG_RCD_F, POINT
from tasks.sources.contract import Contracts
from tasks.sources.header import match_columns

FROZEN = dataclasses.replace(LOG_RCD_F, new_columns="freeze")
RECORDED = {"LOG_RCD_F": ["point_log_inst_id", "Log_Time", "note"]}


def problems(source: Source, *header: str) -> list[str]:
    layout = match_columns(source, header)
    return list(Contracts(RECORDED).check(source, layout))


def test_recorded_columns_are_not_new_in_any_case_and_order() -> None:
    assert problems(FROZEN, "NOTE", "log_time", "point_log_inst_id") == []


def test_a_column_that_is_recognised_is_new_too_as_it_changes_the_warehouse() -> None:
    (problem,) = problems(FROZEN, "point_log_inst_id", "log_time", "note", "Log_Value")
    assert problem == "column 'Log_Value' is new, and new_columns = freeze"


def test_a_column_that_luigi_cfg_names_is_accepted() -> None:
    columns = tuple(
        dataclasses.replace(one, header="measured") if one.name == "value" else one
        for one in FROZEN.columns
    )
    named = dataclasses.replace(FROZEN, columns=columns, accepted_columns=("site",))
    assert problems(named, "point_log_inst_id", "log_time", "note", "measured", "SITE") == []


def test_a_likely_rename_is_named() -> None:
    frozen = dataclasses.replace(POINT, new_columns="freeze")
    contracts = Contracts({"POINT": ["point_id", "app_instance_id", "note"]})
    layout = match_columns(frozen, ("point_id", "app_instance_id", "remark"))
    (problem,) = contracts.check(frozen, layout)
    assert problem == "column 'remark' is new (perhaps it was note), and new_columns = freeze"


def test_a_column_that_one_of_several_files_lacks_was_not_renamed() -> None:
    (problem,) = problems(FROZEN, "point_log_inst_id", "log_time", "remark")
    assert problem == "column 'remark' is new, and new_columns = freeze"


def test_other_contracts_and_unrecorded_sources_permit_all_columns() -> None:
    header = ("point_log_inst_id", "site")
    for contract in ("ignore", "evolve"):
        assert problems(dataclasses.replace(FROZEN, new_columns=contract), *header) == []
    assert list(Contracts({}).check(FROZEN, match_columns(FROZEN, header))) == []


def test_proposed_lines_keep_what_is_accepted_and_what_else_is_proposed() -> None:
    source = dataclasses.replace(FROZEN, accepted_columns=("site",))
    contracts = Contracts(RECORDED)
    for header in (("point_log_inst_id", "site", "b"), ("point_log_inst_id", "b", "c")):
        list(contracts.check(source, match_columns(source, header)))
    proposed = contracts.add_remedies(
        {"LOG_RCD_F": "[LOG_RCD_F]\nskiprows = 2", "POINT": "[POINT]"}
    )
    assert proposed == {
        "LOG_RCD_F": "[LOG_RCD_F]\nskiprows = 2\naccepted_columns =\n    site\n    b\n    c",
        "POINT": "[POINT]",
    }
