"""The configuration: section [pipeline] and a section for each source, from luigi.cfg.

The environment wins over the file: PIPELINE_DATA_DIR, PIPELINE_WAREHOUSE_URL and so on.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import multiprocessing
import os
import zoneinfo
from configparser import Error as ConfigParserError
from dataclasses import dataclass
from pathlib import Path

from luigi.configuration import get_config

from config.declarations import Source, Type
from config.sources import SOURCES
from tasks.errors import PipelineError
from tasks.memo import once_settled

_SOURCE_OPTIONS = ("time_format", "source_timezone", "max_rejected")


LOGGING = Path(__file__).parent.parent / "config" / "logging.cfg"

# Asked so that nothing is decided by asking; the first of all methods is the default one.
_START_METHOD = (
    multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
)
_WORKERS = min(2, os.cpu_count() or 1) if _START_METHOD == "fork" else 1
"""Tasks at the same time. Where processes cannot be forked, each would load everything anew."""

_DEFAULTS = {
    ("core", "logging_conf_file"): str(LOGGING),
    ("core", "workers"): str(_WORKERS),
    ("worker", "check_unfulfilled_deps"): "false",
    ("worker", "task_process_context"): "tasks.terminal.RunningTask",
    ("retcode", "already_running"): "10",
    ("retcode", "missing_data"): "20",
    ("retcode", "not_run"): "25",
    ("retcode", "task_failed"): "30",
    ("retcode", "scheduling_error"): "35",
    ("retcode", "unhandled_exception"): "40",
}


def supply_defaults() -> None:
    """Set what Luigi itself would leave unsafe: without it, a run that fails exits 0."""
    config = get_config()
    for (section, option), value in _DEFAULTS.items():
        if not config.has_option(section, option):
            config.set(section, option, value.replace("%", "%%"))


@dataclass(frozen=True)
class Settings:
    """Where things are, and how strict to be.

    Attributes:
        data_dir: Folder of the CSV files.
        staging_dir: Folder of Parquet files, quarantine, audits and receipts.
        reports_dir: Folder of the reports.
        logs_dir: Folder of the log files.
        warehouse_url: SQLAlchemy URL of the warehouse.
        source_timezone: IANA zone of times that name none.
        max_rejected: Share of a file's rows that may be quarantined, 0 to 1.
        reports_url: Address of the reports, to which the scheduler's pages link; "" if none.
    """

    data_dir: Path = Path("take_home_data")
    staging_dir: Path = Path("staging")
    reports_dir: Path = Path("reports")
    logs_dir: Path = Path("logs")
    warehouse_url: str = "sqlite:///data_warehouse.db"
    source_timezone: str = "UTC"
    max_rejected: float = 0.01
    reports_url: str = ""


def settings() -> Settings:
    """The settings in force: environment, else luigi.cfg, else the default.

    Raises:
        PipelineError: A line is unknown or has a value that cannot be used.
    """
    return once_settled("settings", _settings)


def _settings() -> Settings:
    _refuse_misspelt_sections()
    names = [field.name for field in dataclasses.fields(Settings)]
    given = _section("pipeline")
    _refuse_unknown("pipeline", given, names)
    for name in names:
        variable = f"PIPELINE_{name.upper()}"
        if os.environ.get(variable):
            given[name] = os.environ[variable]
    defaults = Settings()
    return Settings(
        data_dir=Path(given.get("data_dir", defaults.data_dir)),
        staging_dir=Path(given.get("staging_dir", defaults.staging_dir)),
        reports_dir=Path(given.get("reports_dir", defaults.reports_dir)),
        logs_dir=logs_dir(),
        warehouse_url=given.get("warehouse_url", defaults.warehouse_url),
        source_timezone=_zone("pipeline", given.get("source_timezone", defaults.source_timezone)),
        max_rejected=_share("pipeline", given.get("max_rejected", defaults.max_rejected)),
        reports_url=_web_address(given.get("reports_url", defaults.reports_url)),
    )


def logs_dir() -> Path:
    """The folder of the log files, also where the other settings cannot be used."""
    told = get_config().get("pipeline", "logs_dir", "", raw=True)
    given = os.environ.get("PIPELINE_LOGS_DIR") or told
    return Path(given) if given else Settings.logs_dir


def source(name: str) -> Source:
    """The declaration of a source with what luigi.cfg says of it.

    Raises:
        PipelineError: Its section has an unknown line or a value that cannot be used.
    """
    return once_settled(("source", name), lambda: _source(name))


def _source(name: str) -> Source:
    general = settings()
    declared = SOURCES[name]
    given = _section(name)
    columns = [column.name for column in declared.columns]
    _refuse_unknown(name, given, [*columns, *_SOURCE_OPTIONS])
    return dataclasses.replace(
        declared,
        columns=tuple(
            dataclasses.replace(column, header=given[column.name].strip())
            if column.name in given
            else column
            for column in declared.columns
        ),
        time_format=_time_format(name, given.get("time_format")),
        # A source without times is the same in every zone.
        source_timezone=_zone(name, given.get("source_timezone", general.source_timezone))
        if any(column.type is Type.TIMESTAMP for column in declared.columns)
        else "UTC",
        max_rejected=_share(name, given.get("max_rejected", general.max_rejected)),
    )


def mapping_line(table: Source, column: str) -> str:
    """The lines of luigi.cfg that would map a column of a source to a header.

    >>> print(mapping_line(SOURCES["LOG_RCD_F"], "recorded_at"))
    [LOG_RCD_F] recorded_at = <header of the time>
    """
    meaning = {Type.TIMESTAMP: "the time", Type.NUMBER: "the value", Type.SWITCH: "the value"}
    return f"[{table.name}] {column} = <header of {meaning.get(table.column(column).type, column)}>"


def _section(name: str) -> dict[str, str]:
    config = get_config()
    if not config.has_section(name):
        return {}
    try:
        # Raw: a time format is full of percent signs.
        return {option: config.get(name, option, raw=True) for option in config.options(name)}
    except ConfigParserError as error:
        raise PipelineError(f"luigi.cfg: section [{name}] cannot be read: {error}") from error


def _refuse_misspelt_sections() -> None:
    for section in get_config().sections():
        meant = _source_meant(section)
        if meant is not None and section not in SOURCES:
            raise PipelineError(
                f"luigi.cfg: section [{section}] means nothing.",
                remedy=f"The section of a source is named after it: [{meant}].",
            )


@functools.cache
def _source_meant(section: str) -> str | None:
    """The source whose name a section's is, or is close to."""
    return next(iter(difflib.get_close_matches(section.upper(), SOURCES, n=1, cutoff=0.8)), None)


def _refuse_unknown(section: str, given: dict[str, str], known: list[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise PipelineError(
            f"luigi.cfg: section [{section}] has lines that mean nothing:",
            [f"{option} = {given[option]}" for option in unknown],
            f"Known there: {', '.join(known)}.",
        )


def _zone(section: str, name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise PipelineError(
            f"luigi.cfg: section [{section}]: source_timezone = {name} is no time zone.",
            remedy="Give an IANA name such as UTC or Europe/Berlin.",
        ) from error
    return name


def _time_format(section: str, text: str | None) -> str | None:
    if text is not None and "%Z" in text:
        raise PipelineError(
            f"luigi.cfg: section [{section}]: time_format = {text} reads the name of a zone, "
            "which Python ignores.",
            remedy="Use %z for offsets such as +0200; or cut the name off and set source_timezone.",
        )
    return text


def _web_address(text: str) -> str:
    if text and not text.startswith(("http://", "https://")):
        raise PipelineError(
            f"luigi.cfg: section [pipeline]: reports_url = {text} is no address of a web server.",
            remedy="Give one such as http://127.0.0.1:8083, or none.",
        )
    return text.rstrip("/")


def _share(section: str, text: str | float) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise PipelineError(
            f"luigi.cfg: section [{section}]: max_rejected = {text} is not a share.",
            remedy="Give a number from 0 to 1, such as 0.01.",
        )
    return share
