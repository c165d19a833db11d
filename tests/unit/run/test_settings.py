"""Configuration: luigi.cfg, the environment, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from luigi.configuration import get_config

from config.sources import SOURCES
from tasks.core.config_text import config_line
from tasks.run.recording import state
from tasks.run.settings import lock_dir, settings, state_dir
from tasks.run.source_settings import OPTIONS, source
from tests.conftest import Project, read_settings_again
from tests.staged import refusal


@pytest.fixture
def config() -> Iterator[None]:
    """Sections that a test adds go away with it."""
    parser = get_config()
    before = {name: dict(parser.items(name, raw=True)) for name in parser.sections()}
    yield
    for name in parser.sections():
        parser.remove_section(name)
    for name, options in before.items():
        for option, value in options.items():
            parser.set(name, option, value.replace("%", "%%"))


def say(section: str, option: str, value: str) -> None:
    get_config().read_string(f"[{section}]\n{option} = {value}\n")
    read_settings_again()


def test_the_environment_wins_over_the_file(config: None, monkeypatch: pytest.MonkeyPatch) -> None:
    say("pipeline", "data_dir", "from_file")
    assert settings().data_dir == Path("from_file")
    monkeypatch.setenv("PIPELINE_DATA_DIR", "from_environment")
    read_settings_again()
    assert settings().data_dir == Path("from_environment")


@pytest.mark.parametrize(
    ("given", "expected"), [("auto", None), ("true", True), ("False", False), ("", None)]
)
def test_the_byte_order_mark_may_be_chosen_in_the_environment(
    config: None, monkeypatch: pytest.MonkeyPatch, given: str, expected: bool | None
) -> None:
    monkeypatch.setenv("PIPELINE_CSV_BOM", given)
    assert settings().csv_bom is expected


def test_a_source_takes_what_its_section_says(config: None) -> None:
    say("LOG_RCD_F", "recorded_at", " LOG_DT ")
    say("LOG_RCD_F", "max_rejected", "0.5")
    say("LOG_RCD_F", "source_timezone", "Europe/Berlin")
    declared = source("LOG_RCD_F")
    assert declared.column("recorded_at").header == "LOG_DT"
    assert (declared.max_rejected, declared.source_timezone) == (0.5, "Europe/Berlin")
    assert source("LOG_RCD_B").source_timezone == "UTC"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "[pipeline]\ndata_dri = x",
            "[pipeline] has lines that mean nothing:\n  data_dri = x\nKnown there: data_dir, "
            "staging_dir, state_dir, reports_dir, logs_dir, warehouse_url, warehouse_schema, "
            "source_timezone, max_rejected, "
            "reports_url, csv_bom, dim_point_columns, all_points, report_timezone, max_gap, "
            "alarm_statuses, quarantined_limits, unknown_limits, missing_limits, "
            "duplicated_limits, on_success, on_failure, engine, spark_master, facts, lake_url, "
            "lake_grace_s, max_wait_s, "
            "max_state_wait_s.",
        ),
        (
            "[POINT]\npointid = x",
            "[POINT] has lines that mean nothing:\n  pointid = x\n"
            "Known there: point_id, app_instance_id, point_name, point_type, "
            f"{', '.join(OPTIONS)}.",
        ),
        (
            "[source defaults]\nrecorded_at = x",
            "[source defaults] has lines that mean nothing:\n  recorded_at = x\n"
            f"Known there: {', '.join(OPTIONS)}.",
        ),
        (
            "[log_rcd_f]\nvalue = x",
            "[log_rcd_f] means nothing.\nThe section of a source is named after it: [LOG_RCD_F].",
        ),
        (
            "[Source Default]\ndecimal = ,",
            "[Source Default] means nothing.\n"
            "Settings of all sources are in a section [source defaults].",
        ),
        (
            "[pipeline]\ncsv_bom = yes",
            "[pipeline]: csv_bom = yes cannot be used.\nGive one of auto, true, false.",
        ),
        (
            "[pipeline]\nreport_timezone = Mars",
            "[pipeline]: report_timezone = Mars is no time zone.\n"
            "Give one such as UTC or Europe/Berlin.",
        ),
        *(
            (
                f"[pipeline]\nmax_gap = {text}",
                f"[pipeline]: max_gap = {text} is not a number of intervals.\n"
                "Give one such as 3, at least 1.",
            )
            for text in ("0.5", "inf", "many")
        ),
        (
            "[pipeline]\nunknown_limits = 0.05, 0.01",
            "[pipeline]: unknown_limits = 0.05, 0.01 cannot be used.\nGive two shares from 0 to 1, "
            "such as 0.01, 0.05: OK up to the first, failed above the second.",
        ),
        (
            "[pipeline]\nmax_wait_s = -1",
            "[pipeline]: max_wait_s = -1 is not a number of seconds.\n"
            "Give one such as 60; 0 waits for nothing.",
        ),
        (
            "[POINT]\nnew_columns = strict",
            "[POINT]: new_columns = strict is none of ignore, freeze and evolve.",
        ),
        (
            "[LOG_RCD_F]\ndecimal = ;\nthousands = ;",
            "[LOG_RCD_F]: decimal and thousands are both ';'.\nGive each a character of its own.",
        ),
    ],
)
def test_a_line_that_cannot_be_used_is_refused(config: None, lines: str, message: str) -> None:
    get_config().read_string(lines)
    assert (
        refusal(source, "POINT" if "[POINT]" in lines else "LOG_RCD_F")
        == f"luigi.cfg: section {message}"
    )


NO_SHARE = "is not a share: a number from 0 to 1, such as 0.01"


@pytest.mark.parametrize(
    ("option", "value", "what"),
    [
        ("source_timezone", "Mars/Base", "is not a time zone such as UTC or Europe/Berlin"),
        ("delimiter", "::", "is not one character"),
        ("escapechar", "", "is not one character"),
        ("quotechar", r"\x0a", "is not one character"),
        ("encoding", "cp0", "is not an encoding that Python knows, such as cp1252"),
        ("skipfooter", "-1", "is not a number of lines"),
        (
            "skiprows",
            "1, 2",
            "is neither a number of lines nor a list of them from 0, such as [1, 2]",
        ),
        ("time_format", "%H:%J", "is not a time format: 'J' is a bad directive in format '%H:%J'"),
        (
            "time_window",
            "2050-01-01 to 2000-01-01",
            "is not two days such as 2000-01-01 to 2050-01-01",
        ),
        ("max_rejected", "five", NO_SHARE),
        ("max_rejected", "2", NO_SHARE),
        ("max_sentinels", "nan", NO_SHARE),
        ("allow_duplicate_files", "1", "is neither true nor false"),
    ],
)
@pytest.mark.parametrize("section", ["LOG_RCD_F", "source defaults"])
def test_a_value_that_cannot_be_used_is_refused(
    config: None, section: str, option: str, value: str, what: str
) -> None:
    say(section, option, value)
    assert (
        refusal(source, "LOG_RCD_F")
        == f"luigi.cfg: section [{section}]: {option} = {value} {what}."
    )


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("delimiter", r"\t", "\t"),
        ("delimiter", ";", ";"),
        ("quotechar", "", ""),
        ("quotechar", "'", "'"),
        ("escapechar", "\\", "\\"),
        ("escapechar", r"\\", "\\"),
        ("encoding", "Latin-1", "iso8859-1"),
        ("decimal", ",", ","),
        ("thousands", r"\x20", " "),
        ("thousands", r"\u202f", "\u202f"),
        ("skiprows", "3", (0, 1, 2)),
        ("skiprows", "[1, 0]", (0, 1)),
        ("skipfooter", "2", 2),
        ("na_values", "\n  \\N\n  \\\\N\n  \\x23N/A\n  -999\n", ("\\N", "\\N", "#N/A", "-999")),
        ("na_values", "", ()),
        ("true_values", "EIN", ("EIN",)),
        ("sentinels", "\n E17\n FAULT 3", ("E17", "FAULT 3")),
        (
            "time_format",
            "\n  %d.%m.%Y\n  iso\n  epoch\n  %H %Z",
            ("%d.%m.%Y", "iso", "epoch", "%H %Z"),
        ),
        ("time_window", "1990-01-01 to 2030-01-01", ("1990-01-01", "2030-01-01")),
        ("max_sentinels", "0.5", 0.5),
        ("allow_duplicate_files", "True", True),
    ],
)
def test_a_value_is_read_by_its_source_or_by_all(
    config: None, option: str, text: str, value: object
) -> None:
    say("source defaults", option, text)
    assert {getattr(source(name), option) for name in SOURCES} == {value}
    say("POINT", option, text)
    get_config().remove_section("source defaults")
    read_settings_again()
    assert getattr(source("POINT"), option) == value


def test_a_section_of_a_source_wins_over_the_defaults(config: None) -> None:
    say("source defaults", "decimal", ",")
    say("POINT", "decimal", ".")
    assert [source(name).decimal for name in ("POINT", "LOG_RCD_F")] == [".", ","]


def test_a_proposed_line_is_read_as_what_it_proposes(config: None) -> None:
    values = (r"\N", "#N/A", "; x", "a\\", r"C:\temp", "\u00a0", " 1 ", "a\tb", r"\\x41", "a\nb")
    get_config().read_string(f"[LOG_RCD_F]\n{config_line('na_values', values)}\n")
    assert source("LOG_RCD_F").na_values == values


def test_a_wrong_configuration_ends_the_run_with_the_message(project: Project) -> None:
    project.configure("[LOG_RCD_F]\nrecorded = LOG_DT")
    result = project.fails("AllReports")
    assert "section [LOG_RCD_F] has lines that mean nothing:\n  recorded = LOG_DT" in result.err
    assert not project.database.exists()
    status = project.tasks("status")
    assert (status.status, status.out) == (2, "")
    assert "recorded = LOG_DT" in status.log


def test_another_configuration_file_can_be_given(project: Project) -> None:
    (project.folder / "other.cfg").write_text("[pipeline]\nreports_dir = other_reports\n")
    project.passes("AllReports", env={"LUIGI_CONFIG_PATH": "other.cfg"})
    assert (project.folder / "other_reports" / "summary_by_unit_id.csv").exists()
    assert not project.reports.exists()


def test_receipts_and_locks_may_be_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_STAGING_DIR", "shared")
    assert (state_dir(), lock_dir()) == (Path("shared"), Path("shared/.locks"))
    monkeypatch.setenv("PIPELINE_STATE_DIR", "local")
    read_settings_again()
    assert (state_dir(), lock_dir()) == (Path("local"), Path("local/.locks"))
    assert state().path == Path("local/state.db")
    assert settings().staging_dir == Path("shared")
