"""Configuration: luigi.cfg, the environment, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from luigi.configuration import get_config

from config.sources import SOURCES
from tasks.errors import PipelineError
from tasks.settings import settings, source
from tests.conftest import Project


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
    get_config().set(section, option, value)


def test_the_environment_wins_over_the_file(config: None, monkeypatch: pytest.MonkeyPatch) -> None:
    say("pipeline", "data_dir", "from_file")
    assert settings().data_dir == Path("from_file")
    monkeypatch.setenv("PIPELINE_DATA_DIR", "from_environment")
    assert settings().data_dir == Path("from_environment")


def test_a_source_takes_what_its_section_says(config: None) -> None:
    say("LOG_RCD_F", "recorded_at", " LOG_DT ")
    say("LOG_RCD_F", "max_rejected", "0.5")
    say("LOG_RCD_F", "source_timezone", "Europe/Berlin")
    declared = source("LOG_RCD_F")
    assert declared.column("recorded_at").header == "LOG_DT"
    assert (declared.max_rejected, declared.source_timezone) == (0.5, "Europe/Berlin")
    assert source("LOG_RCD_B").source_timezone == "UTC"


@pytest.mark.parametrize(
    ("section", "option", "value", "message"),
    [
        (
            "pipeline",
            "data_dri",
            "x",
            "luigi.cfg: section [pipeline] has lines that mean nothing:\n  data_dri = x\nKnown "
            "there: data_dir, staging_dir, reports_dir, logs_dir, warehouse_url, source_timezone, "
            "max_rejected, reports_url.",
        ),
        (
            "POINT",
            "pointid",
            "x",
            "luigi.cfg: section [POINT] has lines that mean nothing:\n  pointid = x\nKnown there: "
            "point_id, app_instance_id, time_format, source_timezone, max_rejected.",
        ),
        (
            "LOG_RCD_F",
            "source_timezone",
            "Mars/Base",
            "luigi.cfg: section [LOG_RCD_F]: source_timezone = Mars/Base is no time zone.\n"
            "Give an IANA name such as UTC or Europe/Berlin.",
        ),
        (
            "log_rcd_f",
            "value",
            "x",
            "luigi.cfg: section [log_rcd_f] means nothing.\nThe section of a source is named after "
            "it: [LOG_RCD_F].",
        ),
        (
            "LOG_RCD_F",
            "time_format",
            "%%H:%%M %%Z",
            "luigi.cfg: section [LOG_RCD_F]: time_format = %%H:%%M %%Z reads the name of a zone, "
            "which Python ignores.\nUse %z for offsets such as +0200; or cut the name off and set "
            "source_timezone.",
        ),
        (
            "LOG_RCD_F",
            "max_rejected",
            "five",
            "luigi.cfg: section [LOG_RCD_F]: max_rejected = five is not a share.\n"
            "Give a number from 0 to 1, such as 0.01.",
        ),
        (
            "LOG_RCD_F",
            "max_rejected",
            "2",
            "luigi.cfg: section [LOG_RCD_F]: max_rejected = 2 is not a share.\n"
            "Give a number from 0 to 1, such as 0.01.",
        ),
    ],
)
def test_a_line_that_cannot_be_used_is_refused(
    config: None, section: str, option: str, value: str, message: str
) -> None:
    say(section, option, value)
    with pytest.raises(PipelineError) as refused:
        source(section if section in SOURCES else "LOG_RCD_F")
    assert str(refused.value) == message


def test_a_wrong_configuration_ends_the_run_with_the_message(project: Project) -> None:
    config = project.folder / "luigi.cfg"
    config.write_text(config.read_text() + "\n[LOG_RCD_F]\nrecorded = LOG_DT\n")
    result = project.luigi("AllReports")
    assert result.status == 30
    assert "section [LOG_RCD_F] has lines that mean nothing:\n  recorded = LOG_DT" in result.err
    assert "Traceback" not in result.err
    assert not project.database.exists()
    status = project.tasks("status")
    assert (status.status, status.out) == (2, "")
    assert "recorded = LOG_DT" in status.log


def test_a_header_and_a_time_format_named_in_the_configuration_are_used(
    project: Project,
) -> None:
    log = project.data / "LOG_RCD_B.csv"
    log.write_text(
        "log_rcd_id,point_log_inst_id,ZEIT,log_value,status\n1,3,01.06.2024 12:30:00,1,OK\n"
    )
    result = project.luigi("AllReports")
    assert result.status == 0, result.log
    assert "LOG_RCD_B: recorded_at: [LOG_RCD_B] recorded_at = <header of the time>" in result.out
    assert project.facts()[0][6] is None

    config = project.folder / "luigi.cfg"
    config.write_text(
        config.read_text() + "\n[LOG_RCD_B]\nrecorded_at = zeit\n"
        "time_format = %d.%m.%Y %H:%M:%S\nsource_timezone = Europe/Berlin\n"
    )
    result = project.luigi("AllReports")
    assert result.status == 0, result.log
    assert project.facts()[0][6] == "2024-06-01 10:30:00.000000"
    assert "<header of the time>" not in result.out


def test_another_configuration_file_can_be_given(project: Project) -> None:
    (project.folder / "other.cfg").write_text("[pipeline]\nreports_dir = other_reports\n")
    result = project.luigi("AllReports", env={"LUIGI_CONFIG_PATH": "other.cfg"})
    assert result.status == 0, result.log
    assert (project.folder / "other_reports" / "summary_by_unit_id.csv").exists()
    assert not project.reports.exists()
