"""The configuration: section [pipeline] and a section for each source, from luigi.cfg.

The environment wins over the file: PIPELINE_DATA_DIR, PIPELINE_WAREHOUSE_URL and so on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import math
import multiprocessing
import os
from collections.abc import Callable, Mapping
from configparser import Error as ConfigParserError
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from luigi.configuration import get_config

from config.sources import SOURCES
from tasks.core.errors import PipelineError
from tasks.core.stores import StorePath, folder_at, public_url
from tasks.core.waiting import OTHERS, STATE_FILE, Limit

ARROW, SPARK = "arrow", "spark"
WAREHOUSE, LAKE = "warehouse", "lake"

DEFAULTS_SECTION = "source defaults"
"""Settings of all sources."""

_LOGGING = Path(__file__).parent.parent.parent / "config" / "logging.cfg"

_DEFAULTS = {
    ("core", "logging_conf_file"): str(_LOGGING),
    ("worker", "check_unfulfilled_deps"): "false",
    ("worker", "task_process_context"): "tasks.run.lifecycle.RunningTask",
    ("retcode", "already_running"): "10",
    ("retcode", "missing_data"): "20",
    ("retcode", "not_run"): "25",
    ("retcode", "task_failed"): "30",
    ("retcode", "scheduling_error"): "35",
    ("retcode", "unhandled_exception"): "40",
}


def supply_defaults() -> None:
    """Set in Luigi's configuration what luigi.cfg leaves out.

    With Luigi's own defaults a run that fails exits 0. `tasks` calls this when it is imported, as
    Luigi reads its configuration right after that.
    """
    config = get_config()
    # Without a name, this fixes no method; the first one is the system's default.
    method = multiprocessing.get_start_method(allow_none=True)
    forks = (method or multiprocessing.get_all_start_methods()[0]) == "fork"
    # A process that is not forked would import everything again.
    workers = min(2, os.cpu_count() or 1) if forks else 1
    if _text("engine") == SPARK:
        workers = 1  # One process is the driver of a cluster.
    for (section, option), value in {**_DEFAULTS, ("core", "workers"): str(workers)}.items():
        if not config.has_option(section, option):
            config.set(section, option, value.replace("%", "%%"))


_Value = TypeVar("_Value")

_LIMITED = ("quarantined", "unknown", "missing", "duplicated")


@dataclass(frozen=True)
class Settings:
    """Where things are, and how strict to be.

    Attributes:
        data_dir: Folder of the CSV files; may be one of an object store.
        staging_dir: Folder of Parquet files, quarantine and audits; may be one of an object store.
        state_dir: Folder of receipts and locks, on a local disk; None: `staging_dir`, or `staging`
            if that is in an object store.
        reports_dir: Folder of the reports.
        logs_dir: Folder of the log files.
        warehouse_url: SQLAlchemy URL of the warehouse.
        warehouse_schema: Schema of the tables in PostgreSQL; "" for `public`.
        source_timezone: For all sources, as text; `source_settings` reads it.
        max_rejected: The same.
        reports_url: Address of the reports, to which the scheduler's pages link; "" if none.
        csv_bom: Whether the reports' CSV files begin with a byte order mark; None: those that hold
            a character beyond ASCII.
        dim_point_columns: Further columns of POINT in `dim_point`, with commas between; or `all`.
        alarm_statuses: Statuses of log records that are alarms, in any case.
        report_timezone: In which days begin and end.
        max_gap: How many intervals the state of a digital point lasts at most; a longer time
            without a record is a gap.
        all_points: Whether `dim_point` has the points that nobody logs, too.
        quarantined_limits, unknown_limits, missing_limits, duplicated_limits: Shares up to which
            the verdict on rows quarantined, log records of unknown units, log records missing and
            keys duplicated is OK, and above which it is failed.
        on_success: Command that is run when a run has succeeded; "" if none.
        on_failure: Command that is run when one has failed.
        engine: Where the work on partitions is done: ARROW, on this machine, or SPARK.
        spark_master: The cluster, as Spark has it, such as `spark://host:7077`.
        facts: Where the facts are: WAREHOUSE, or LAKE.
        lake_url: Path or URL of the lake, as `tasks/lake/store.py` takes it.
        lake_grace_s: Seconds for which files of the lake stay after they have been replaced.
        max_wait_s: Seconds to wait for other programs that use the warehouse, and for another run
            at the same task.
        max_state_wait_s: Seconds to wait for programs that lock the state file.
    """

    data_dir: Path = Path("take_home_data")
    staging_dir: Path = Path("staging")
    state_dir: Path | None = None
    reports_dir: Path = Path("reports")
    logs_dir: Path = Path("logs")
    warehouse_url: str = "sqlite:///data_warehouse.db"
    warehouse_schema: str = ""
    source_timezone: str = "UTC"
    max_rejected: str = "0.01"
    reports_url: str = ""
    csv_bom: bool | None = None
    dim_point_columns: str = "all"
    all_points: bool = False
    report_timezone: str = "UTC"
    max_gap: float = 3
    alarm_statuses: tuple[str, ...] = ("ALARM", "ALM", "FAULT")
    quarantined_limits: tuple[float, float] = (0.001, 0.01)
    unknown_limits: tuple[float, float] = (0.01, 0.05)
    missing_limits: tuple[float, float] = (0.01, 0.1)
    duplicated_limits: tuple[float, float] = (0.0, 0.001)
    on_success: str = ""
    on_failure: str = ""
    engine: str = ARROW
    spark_master: str = ""
    facts: str = WAREHOUSE
    lake_url: str = "lake"
    lake_grace_s: float = 86_400
    max_wait_s: float = OTHERS.seconds
    max_state_wait_s: float = STATE_FILE.seconds

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """The limits of the verdicts, by what they are on."""
        return {name: getattr(self, f"{name}_limits") for name in _LIMITED}


@functools.cache
def settings() -> Settings:
    """The settings of this process: from the environment, else luigi.cfg, else the default.

    Raises:
        PipelineError: A line is unknown or has a value that cannot be used.
    """
    _refuse_misspelt_sections()
    names = [field.name for field in dataclasses.fields(Settings)]
    given = section_of("pipeline")
    refuse_unknown("pipeline", given, names)
    given |= {name: value for name in names if (value := os.environ.get(_variable(name)))}
    readers: dict[str, Callable[[str], object]] = {
        "data_dir": folder_at,
        "staging_dir": folder_at,
        **{name: partial(_local, name) for name in ("state_dir", "reports_dir", "logs_dir")},
        "reports_url": _web_address,
        "csv_bom": partial(_choice, "csv_bom", {"auto": None, "true": True, "false": False}),
        "alarm_statuses": _words,
        "report_timezone": _zone,
        "max_gap": _intervals,
        "all_points": partial(_choice, "all_points", {"true": True, "false": False}),
        **{f"{name}_limits": partial(_shares, f"{name}_limits") for name in _LIMITED},
        "engine": partial(_choice, "engine", {ARROW: ARROW, SPARK: SPARK}),
        "facts": partial(_choice, "facts", {WAREHOUSE: WAREHOUSE, LAKE: LAKE}),
        "lake_grace_s": partial(_seconds, "lake_grace_s"),
        "max_wait_s": partial(_seconds, "max_wait_s"),
        "max_state_wait_s": partial(_seconds, "max_state_wait_s"),
    }
    values: dict[str, Any] = {name: readers.get(name, str)(text) for name, text in given.items()}
    return Settings(**values)


def _variable(name: str) -> str:
    return f"PIPELINE_{name.upper()}"


def logs_dir() -> Path:
    """The folder of the log files, also if the other settings cannot be used."""
    return _folder("logs_dir", Settings.logs_dir)


def reports_dir() -> Path:
    """The folder of the reports, also if the other settings cannot be used."""
    return _folder("reports_dir", Settings.reports_dir)


def staging_dir() -> Path:
    """The staging folder, also if the other settings cannot be used."""
    with contextlib.suppress(PipelineError):  # Reported by `settings`.
        return folder_at(_text("staging_dir") or str(Settings.staging_dir))
    return Settings.staging_dir


def state_dir() -> Path:
    """The folder of the state file, also if the other settings cannot be used."""
    staging = staging_dir()
    default = Settings.staging_dir if isinstance(staging, StorePath) else staging
    return _folder("state_dir", default)


def lock_dir() -> Path:
    """Folder of the lock files of tasks."""
    return state_dir() / ".locks"


def command_after(end: str) -> str:
    """`on_success` or `on_failure`, also if the other settings cannot be used."""
    return _text(end)


def max_wait() -> Limit:
    """How long to wait for other programs that use the warehouse, and for other runs."""
    return OTHERS._replace(seconds=settings().max_wait_s)


def max_state_wait() -> Limit:
    """How long to wait for the state file, also if the settings cannot be used."""
    name = STATE_FILE.setting
    try:
        return STATE_FILE._replace(seconds=_seconds(name, _text(name)))
    except PipelineError:  # Reported by `settings`; or it is not given.
        return STATE_FILE


def _folder(name: str, default: Path) -> Path:
    text = _text(name)
    return Path(text) if text and "://" not in text else default


def _text(name: str) -> str:
    """A setting as it is written; "" if it is not."""
    configured = get_config().get("pipeline", name, "", raw=True)
    return os.environ.get(_variable(name)) or str(configured)


def section_of(name: str) -> dict[str, str]:
    """The options of a section as they are written; none if it does not exist."""
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
        meant = _section_meant(section)
        if meant not in (None, section):
            raise PipelineError(
                f"luigi.cfg: section [{section}] means nothing.",
                remedy=f"The section of a source is named after it: [{meant}]."
                if meant in SOURCES
                else f"Settings of all sources are in a section [{meant}].",
            )


@functools.cache
def _section_meant(section: str) -> str | None:
    """The section of sources whose name a section's is, or is close to."""
    names = {name.upper(): name for name in (*SOURCES, DEFAULTS_SECTION)}
    found = difflib.get_close_matches(section.upper(), names, n=1, cutoff=0.8)
    return names[found[0]] if found else None


def refuse_unknown(section: str, given: dict[str, str], known: list[str]) -> None:
    """Raise PipelineError if a section has an option that means nothing."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise PipelineError(
            f"luigi.cfg: section [{section}] has lines that mean nothing:",
            [f"{option} = {given[option]}" for option in unknown],
            f"Known there: {', '.join(known)}.",
        )


def _local(name: str, text: str) -> Path:
    if "://" in text:
        raise PipelineError(
            f"luigi.cfg: section [pipeline]: {name} = {public_url(text)} is no folder of this "
            "machine.",
            remedy="Give its path. Only data_dir, staging_dir and lake_url may be URLs.",
        )
    return Path(text)


def _web_address(text: str) -> str:
    if text and not text.startswith(("http://", "https://")):
        raise PipelineError(
            f"luigi.cfg: section [pipeline]: reports_url = {text} is no address of a web server.",
            remedy="Give one such as http://127.0.0.1:8083, or none.",
        )
    return text.rstrip("/")


def _words(text: str) -> tuple[str, ...]:
    """Words with commas between."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _zone(text: str) -> str:
    with contextlib.suppress(ValueError, LookupError, OSError):
        return ZoneInfo(text).key
    raise PipelineError(
        f"luigi.cfg: section [pipeline]: report_timezone = {text} is no time zone.",
        remedy="Give one such as UTC or Europe/Berlin.",
    )


def _intervals(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 1 <= (number := float(text)) < math.inf:
            return number
    raise PipelineError(
        f"luigi.cfg: section [pipeline]: max_gap = {text} is not a number of intervals.",
        remedy="Give one such as 3, at least 1.",
    )


def _choice(name: str, choices: Mapping[str, _Value], text: str) -> _Value:
    if text.lower() not in choices:
        raise PipelineError(
            f"luigi.cfg: section [pipeline]: {name} = {text} cannot be used.",
            remedy=f"Give one of {', '.join(choices)}.",
        )
    return choices[text.lower()]


def _shares(name: str, text: str) -> tuple[float, float]:
    with contextlib.suppress(ValueError):
        first, second = (float(share) for share in text.split(","))
        if 0 <= first <= second <= 1:
            return first, second
    raise PipelineError(
        f"luigi.cfg: section [pipeline]: {name} = {text} cannot be used.",
        remedy="Give two shares from 0 to 1, such as 0.01, 0.05: OK up to the first, failed above "
        "the second.",
    )


def _seconds(name: str, text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= (seconds := float(text)) < math.inf:
            return seconds
    raise PipelineError(
        f"luigi.cfg: section [pipeline]: {name} = {text} is not a number of seconds.",
        remedy="Give one such as 60; 0 waits for nothing.",
    )
