"""Why a task is stale: code, settings, declarations; `python -m tasks status` and `forget`."""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest
from luigi.configuration import get_config

from tasks.freshness.task import FreshTask, walk
from tasks.graph import AllReports, EnrichedLogs, LoadFactLogs
from tests.conftest import ROOT, Project
from tests.result import WRAPPERS
from tests.runs import ALL, REPORTS, fresh_project, run_here, soak, why_stale

TASKS = (sys.executable, "-m", "tasks")


def test_a_new_code_version_builds_the_task_again_and_is_the_reason(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran.folder)
    old = EnrichedLogs.code_version
    monkeypatch.setattr(EnrichedLogs, "code_version", old + 1)
    assert why_stale(EnrichedLogs()) == f"code {old} -> {old + 1}"
    assert why_stale(LoadFactLogs()) == "EnrichedLogs has to run"
    assert run_here(ran) == {"EnrichedLogs"}


def test_a_changed_setting_builds_what_it_affects(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_SOURCE_TIMEZONE", "Europe/Berlin")
    built = run_here(ran)
    assert {"CsvToParquet:LOG_RCD_B", "LoadFactLogs"} <= built
    assert "LoadDimension:dim_unit" not in built
    assert ran.facts()[3][6] == "2024-05-31 23:30:00.000000"
    assert ran.facts()[6][6] == "2024-05-31 22:03:00.000000"


def test_a_changed_declaration_builds_what_it_affects(ran: Project) -> None:
    config = get_config()
    config.set("LOG_RCD_F", "value", "log_rcd_id")
    try:
        built = run_here(ran)
    finally:
        config.remove_section("LOG_RCD_F")
    assert {label for label in built if label.startswith("CsvToParquet")} == {
        "CsvToParquet:LOG_RCD_F"
    }
    assert "LoadFactLogs" in built
    assert [row[7] for row in ran.facts()[5:]] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]


def edit_unseen(path: Path, old: bytes, new: bytes) -> None:
    """Replace bytes in a file, its size, inode and modification time kept."""
    before = path.stat()
    content = path.read_bytes()
    assert len(old) == len(new)
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    )


def test_a_source_file_that_was_edited_with_its_time_kept_is_noticed(ran: Project) -> None:
    assert ran.luigi("AllReports").ran == []
    edit_unseen(ran.data / "LOG_INSTANCE.csv", b"2,1001,2,180", b"2,1002,2,180")
    result = ran.passes("AllReports")
    assert "CsvToParquet:LOG_INSTANCE" in result.built
    assert ran.outputs() == fresh_project(ran).outputs()


def test_a_staged_file_that_was_edited_with_its_time_kept_is_made_again(ran: Project) -> None:
    before = ran.outputs()
    assert ran.luigi("AllReports").ran == []
    made = ran.staging / "APP_TYPE.parquet"
    start = made.read_bytes().index(b"Dairy Case")
    content = made.read_bytes()
    edit_unseen(made, content, content[:start] + b"Fairy" + content[start + 5 :])
    assert ran.passes("AllStaged").built == ["CsvToParquet:APP_TYPE"]
    assert ran.outputs() == before


def snapshot(project: Project) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in project.folder.rglob("*")
        if path.is_file()
    }


def test_status_shows_each_task_and_changes_nothing(ran: Project) -> None:
    ran.edit("POINT.csv", "1007,105", "1007,100")
    os.utime(ran.data / "APP_TYPE.csv")
    (ran.reports / "summary_by_unit_id.csv").write_text("mine")
    ran.change("DELETE FROM dim_unit WHERE unit_id = 9")
    before = snapshot(ran)
    result = ran.tasks("status")
    assert result.status == 0
    shown = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in result.out.splitlines()[:-1])
    assert set(shown) == ALL | WRAPPERS
    assert shown["CsvToParquet:POINT"] == "stale: input POINT.csv changed"
    assert shown["CsvToParquet:APP_TYPE"] == "fresh"
    assert shown["LogInstanceChains"] == "stale: CsvToParquet:POINT has to run"
    assert shown["EnrichedLogs"] == "stale: LogInstanceChains has to run"
    assert shown["LoadDimension:dim_application_type"] == "fresh"
    assert shown["LoadDimension:dim_unit"] == "stale: no receipt: never built, or forgotten"
    assert shown["SummaryReport:unit_id"] == "stale: output summary_by_unit_id.csv was edited"
    assert snapshot(ran) == before


def test_status_shows_why_the_last_run_of_a_task_failed(ran: Project) -> None:
    before = ran.outputs()
    log = ran.data / "LOG_RCD_F.csv"
    content = log.read_text()
    log.write_text(content.replace("2024-06-02", "02/06/2024"))
    ran.fails("AllStaged")
    assert ran.outputs() == before
    assert (
        "stale: input LOG_RCD_F.csv changed; failed: LOG_RCD_F.csv: 3 of 8 rows cannot be read as"
    ) in ran.tasks("status").out
    log.write_text(content)
    ran.passes("AllStaged")
    assert "failed" not in ran.tasks("status").out


def test_what_a_task_reads_is_built_by_those_with_which_it_is_stale(
    ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran.folder)

    def identity(target: object) -> object:
        return getattr(target, "file", None) or getattr(target, "table", None)

    def all_upstream(task: FreshTask) -> set[str]:
        found = {one.label for one in task.upstream()}
        return found.union(*(all_upstream(one) for one in task.upstream()))

    tasks = walk(AllReports())
    makers = {identity(made): task.label for task in tasks for made in task.output().values()}
    for task in tasks:
        read = {makers.get(identity(target)) for target in task.reads().values()} - {None}
        assert read <= all_upstream(task), task.label


def test_status_of_a_project_that_never_ran(project: Project) -> None:
    result = project.tasks("status")
    assert result.status == 0
    assert result.out.endswith(f"0 of {len(ALL | WRAPPERS)} tasks are fresh.\n")
    assert not project.database.exists()


@pytest.mark.parametrize(
    ("forgotten", "built"),
    [
        (["CsvToParquet:POINT"], {"CsvToParquet:POINT"}),
        (
            ["EnrichedLogs", "--downstream"],
            {"EnrichedLogs", "LoadFactLogs", "CheckWarehouse"} | REPORTS - {"ProfileReport"},
        ),
        soak(["SummaryReport"], {label for label in ALL if "SummaryReport" in label}),
        (["--all"], ALL),
    ],
    ids=["one", "downstream", "family", "all"],
)
def test_what_is_forgotten_runs_again(ran: Project, forgotten: list[str], built: set[str]) -> None:
    before = ran.outputs()
    result = ran.tasks("forget", *forgotten)
    assert result.status == 0
    printed = {line.removeprefix("forgotten: ") for line in result.out.splitlines()}
    assert printed - WRAPPERS == built
    assert ran.outputs() == before
    assert run_here(ran) == built
    assert ran.outputs() == before


def test_forget_refuses_what_it_does_not_know(ran: Project) -> None:
    result = ran.tasks("forget", "Everything")
    assert result.status == 2
    assert result.log.startswith("There is no task Everything. There are:\n  CheckSources\n")


# --- what a run would do ---------------------------------------------------------------------


def test_what_is_stale_is_listed_for_programs_and_by_the_exit_status(ran: Project) -> None:
    assert (ran.tasks("status", "-q").status, ran.tasks("status", "-q").out) == (0, "")
    assert json.loads(ran.tasks("status", "--stale", "--json").out) == []
    assert len(json.loads(ran.tasks("status", "--json").out)) == len(ALL | WRAPPERS)
    ran.edit("LOG_RCD_F.csv", ",4.75,", ",4.8 V,")
    ran.fails("EnrichedLogs")
    quiet = ran.tasks("status", "--quiet")
    assert (quiet.status, quiet.out) == (1, "")
    first, second, *_ = json.loads(ran.tasks("status", "--stale", "--json").out)
    assert (first["task"], first["stale"]) == (
        "CsvToParquet:LOG_RCD_F",
        "input LOG_RCD_F.csv changed",
    )
    assert "4.8 V" in first["failed"]
    assert first["seconds"] > 0
    assert (second["task"], second["failed"]) == ("EnrichedLogs", None)
    shown = ran.tasks("status", "--stale").out.splitlines()
    assert len(shown) < 20
    assert "fresh" not in "".join(shown[:-2])
    assert shown[-1].startswith("The last run failed (")


def test_a_plan_lists_what_would_run_in_order_and_why(ran: Project, project: Project) -> None:
    assert ran.tasks("plan").out == "Everything is up to date: nothing would run.\n"
    ran.edit("LOG_RCD_F.csv", ",4.75,", ",4.8,")
    *lines, last = ran.tasks("plan").out.splitlines()
    planned = [line.split()[1] for line in lines]
    assert re.fullmatch(r"  1  CsvToParquet:LOG_RCD_F +took \d\.\d s: .* changed", lines[0])
    assert re.fullmatch(rf"{len(lines)} tasks would run; .* took \d+\.\d s together\.", last)
    place = {task: at for at, task in enumerate(planned)}
    assert place["EnrichedLogs"] < place["LoadFactLogs"] < place["SummaryReport:unit_id"]
    assert set(ran.passes("AllReports").ran) <= {*planned}
    *lines, last = project.tasks("plan").out.splitlines()
    assert len(lines) == len(ALL | WRAPPERS)
    assert all(" never built: " in line for line in lines)


def test_a_task_is_run_again_with_what_depends_on_it(ran: Project) -> None:
    before = ran.outputs()
    result = ran.tasks("rerun", "LoadFactLogs", "--downstream")
    assert result.status == 0
    assert "forgotten: LoadFactLogs\n" in result.out
    assert {"LoadFactLogs", "CheckWarehouse", "ReportPage"} <= set(result.built)
    assert "EnrichedLogs" not in result.ran
    assert "changed other than by a load" not in result.log
    assert ran.outputs() == before
    assert ran.tasks("rerun", "Nothing").status == 2


def test_the_commands_are_installed_and_know_their_version(project: Project) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    script = str(Path(sys.executable).with_name("controller-logs"))
    assert project.run(script, "--version").out == f"{declared}\n"
    assert project.run(script, "where").out == project.run(*TASKS, "where").out


def test_a_reader_that_ends_early_is_no_error(ran: Project) -> None:
    command = f"{sys.executable} -m tasks status | head -1; echo ${{PIPESTATUS[0]}}"
    result = ran.run("bash", "-c", command)
    assert result.out.splitlines()[1] == "0"
    assert result.err == ""
