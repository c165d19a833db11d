"""Messages about errors of the system: full and read-only disks, permissions, names."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.errors import PipelineError, system_errors
from tasks.schema_change.runs import State
from tasks.warehouse.sqlite.file import explained
from tests.conftest import Project
from tests.result import Result
from tests.runs import assert_tables_are_whole, fresh_project, soak
from tests.schema_change.live import Live

READ_ONLY = (
    "The disk is mounted read-only: mount it for writing, or name another place in luigi.cfg."
)
FULL = "The disk is full, or your share of it: free some space and run again."
DENIED = "The user who runs this lacks the permission: give it, or name another place in luigi.cfg."
RUN = "luigi --module tasks AllReports --workers 1 --local-scheduler"
URL = {"PIPELINE_WAREHOUSE_URL": "sqlite:///store/data_warehouse.db"}


@pytest.fixture(scope="session")
def _mounts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where nothing can be mounted."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "t", str(tmp_path_factory.mktemp("t"))]
    if shutil.which("unshare") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("nothing can be mounted here")


class Stored(Project):
    """A project with the warehouse in a folder of its own."""

    @property
    def database(self) -> Path:
        return self.folder / "store" / "data_warehouse.db"


@pytest.fixture
def stored(ran: Project) -> Project:
    """Such a project that has been run, with new work to do."""
    (ran.folder / "store").mkdir()
    ran.database.rename(ran.folder / "store" / ran.database.name)
    ran.edit("APP_TYPE.csv", "3,Suction Group", "3,Suction")
    return Stored(ran.folder)


def run_mounted(project: Project, script: str, status: int = 30) -> Result:
    """Run a script, in a mount namespace of its own, that has to fail."""
    return failed(project.run("unshare", "-m", "bash", "-c", script, env=URL), status)


def failed(result: Result, status: int = 30) -> Result:
    assert result.status == status, result.err
    assert "Traceback" not in result.err
    return result


def types(project: Project) -> list[tuple]:
    return project.query("SELECT * FROM dim_application_type")


@pytest.mark.usefixtures("_mounts")
@pytest.mark.parametrize("place", ["store", soak("store/data_warehouse.db")])
def test_a_warehouse_that_is_mounted_read_only_is_named_as_such(
    stored: Project, place: str
) -> None:
    before = types(stored)
    result = run_mounted(
        stored, f"mount --bind {place} {place} && mount -o remount,ro,bind {place} && {RUN}"
    )
    assert f"  {place}: Read-only file system\n{READ_ONLY}\n" in result.err
    assert "damaged" not in result.err
    assert types(stored) == before
    stored.passes("AllReports", env=URL)
    assert types(stored) != before


@pytest.mark.usefixtures("_mounts")
def test_a_full_disk_leaves_the_previous_warehouse_and_is_named_as_such(stored: Project) -> None:
    before = types(stored)
    result = run_mounted(
        stored,
        "cp -r store kept && mount -t tmpfs -o size=512k t store && cp kept/* store/"
        " && (head -c 1000000 /dev/zero > store/fill 2> fill.log; true)"
        f" && {RUN}; status=$?; rm store/fill; cp store/* kept/; exit $status",
        status=35,  # Not even reading it is possible.
    )
    assert "The warehouse store/data_warehouse.db cannot be read:\n" in result.err
    assert f"  store: No space left on device\n{FULL}\n" in result.err
    shutil.rmtree(stored.folder / "store")
    (stored.folder / "kept").rename(stored.folder / "store")
    assert types(stored) == before


@pytest.mark.usefixtures("_mounts")
def test_a_first_load_on_a_full_disk_is_named_as_such(stored: Project) -> None:
    result = run_mounted(stored, f"mount -t tmpfs -o size=16k t store && {RUN}")
    assert (
        "dim_application_type could not be loaded into store/data_warehouse.db; "
        "the previous rows stay.\n  database or disk is full\n"
        f"  store: No space left on device\n{FULL}\n"
    ) in result.err


NEARLY_FULL = """
cp -a {place} kept && mount -t tmpfs t {place} && cp -a kept/. {place}/ && rm -r kept
used=$(df -k --output=used {place} | tail -1)
mount -o remount,size=$((used + {free_kib}))k {place}
{run}
status=$?
cp -a {place} kept
exit $status
"""
FREE_KIB = {  # Up to what a run needs.
    "store": range(4, 164, 16),
    "staging": range(4, 44, 4),
    "reports": range(4, 124, 12),
}


@pytest.mark.usefixtures("_mounts")
@pytest.mark.parametrize(
    ("place", "free_kib"),
    [
        *(soak(place, free_kib) for place, sizes in FREE_KIB.items() for free_kib in sizes),
    ],
)
def test_a_disk_that_becomes_full_leaves_the_previous_tables_and_is_named_as_such(
    stored: Project, place: str, free_kib: int, figures: Callable[[str], None]
) -> None:
    stored.edit("LOG_RCD_F.csv", "1e2", "1e3")
    before = stored.tables()
    script = NEARLY_FULL.format(place=place, free_kib=free_kib, run=RUN)
    result = stored.run("unshare", "-m", "bash", "-c", script, env=URL)
    assert result.status in (0, 30, 35), result.err
    assert "Traceback" not in result.err
    assert (f"\n{FULL}\n" in result.err) == (result.status != 0)
    shutil.rmtree(stored.folder / place)
    (stored.folder / "kept").rename(stored.folder / place)
    whole = fresh_project(stored)
    assert_tables_are_whole(stored, [before, whole.tables()])
    stored.passes("AllReports", env=URL)
    assert stored.outputs() == whole.outputs()
    figures(f"status {result.status}")


@pytest.mark.usefixtures("_mounts")
@pytest.mark.parametrize(
    ("script", "message", "remedy"),
    [
        (
            "mount --bind staging staging && mount -o remount,ro,bind staging",
            "Read-only file system",
            READ_ONLY,
        ),
        (
            "mkdir above && mount -t tmpfs -o ro t above"
            " && export PIPELINE_WAREHOUSE_URL=sqlite:///above/new/data_warehouse.db",
            "Read-only file system: 'above/new'",
            READ_ONLY,
        ),
    ],
    ids=["read-only staging", "folder that cannot be made"],
)
def test_a_failed_write_of_other_files_is_named_as_such(
    stored: Project, script: str, message: str, remedy: str
) -> None:
    result = run_mounted(stored, f"{script} && {RUN}")
    assert message in result.err
    assert f"\n{remedy}\n" in result.err


@pytest.mark.usefixtures("_mounts")
def test_forgetting_on_a_read_only_disk_is_reported(stored: Project) -> None:
    result = run_mounted(
        stored,
        "mount --bind staging staging && mount -o remount,ro,bind staging"
        " && python -m tasks forget CheckSources",
        status=2,
    )
    assert result.err.endswith(f"Read-only file system: 'staging/state.db'.\n{READ_ONLY}\n")


@pytest.mark.usefixtures("_mounts")
def test_source_files_that_do_not_fit_on_the_disk_are_reported(project: Project) -> None:
    with zipfile.ZipFile(project.folder / "take_home_data.zip", "w") as archive:
        archive.writestr("POINT.csv", "x" * 70_000)
    shutil.rmtree(project.data)
    project.data.mkdir()
    mounted = "mount -t tmpfs -o size=64k t take_home_data"
    result = run_mounted(
        project, f"{mounted} && {RUN}; status=$?; ls -A take_home_data; exit $status"
    )
    assert "unpacks to 70,000 bytes, but only 65,536 are free in take_home_data." in result.err
    assert result.out == ""

    (project.folder / "take_home_data.zip").unlink()
    made = f"{mounted} && luigi --module tasks SampleData --scale 0.01 --local-scheduler"
    result = run_mounted(project, made)
    assert "SampleData: a file cannot be read or written: [Errno 28]" in result.err
    assert f"\n{FULL}\n" in result.err


def run_forbidden(project: Project, place: str, mode: int, status: int = 30) -> Result:
    """Run everything while a place has this mode, without root's right to ignore it."""
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
        if shutil.which("setpriv") is None or project.run(*prefix, "true").status:
            pytest.skip("root cannot give up its privileges here")
    path = project.folder / place
    before = path.stat().st_mode
    path.chmod(mode)
    result = project.run(*prefix, *RUN.split(), env=URL)
    path.chmod(before)
    return failed(result, status)


@pytest.mark.parametrize("place", ["store", "store/data_warehouse.db"])
def test_a_missing_permission_on_the_warehouse_is_named_as_such(
    stored: Project, place: str
) -> None:
    before = types(stored)
    result = run_forbidden(stored, place, 0o555)
    assert f"  {place}: Permission denied\n{DENIED}\n" in result.err
    assert types(stored) == before


@pytest.mark.parametrize(
    ("place", "status", "message"),
    [
        ("take_home_data/POINT.csv", 30, "  POINT.csv cannot be read: permission denied\n"),
        ("take_home_data", 35, "The folder take_home_data cannot be read: permission denied.\n"),
    ],
)
def test_a_missing_permission_on_source_files_is_named_as_such(
    stored: Project, place: str, status: int, message: str
) -> None:
    assert message in run_forbidden(stored, place, 0, status).err


def test_a_dangling_link_to_the_warehouse_is_named_as_such(stored: Project) -> None:
    shutil.rmtree(stored.folder / "store")
    (stored.folder / "store").mkdir()
    (stored.folder / "store" / "data_warehouse.db").symlink_to("missing/data_warehouse.db")
    result = stored.fails("AllReports", env=URL)
    assert (
        "  store/data_warehouse.db: No such file or directory\n"
        "The file or its folder does not exist: make the folder, or name another place in "
        "luigi.cfg.\n"
    ) in result.err


def test_a_name_that_is_too_long_is_named(ran: Project) -> None:
    facts = ran.facts()
    folder = ran.data / "LOG_RCD_F"
    folder.mkdir()
    name = "x" * 250
    header, *_ = (ran.data / "LOG_RCD_F.csv").read_text().splitlines()
    (folder / f"{name}.csv").write_text(f"{header}\n9,1,2024-06-03 00:00:00,4,OK\n")
    result = ran.fails("AllReports")
    assert (
        f"File name too long: 'staging/LOG_RCD_F/.{name}.parquet.pipeline.tmp'.\n"
        "That name is too long: if it is made from the name of a source file, give that file a "
        "shorter one.\n"
    ) in result.err
    assert ran.tasks("status").status == 0
    assert ran.facts() == facts


def test_other_errors_have_the_message_of_the_system_alone() -> None:
    with pytest.raises(PipelineError) as error, system_errors("POINT"):
        raise OSError(5, "Input/output error", "x.parquet")
    assert str(error.value) == (
        "POINT: a file cannot be read or written: [Errno 5] Input/output error: 'x.parquet'."
    )


@pytest.mark.parametrize(
    ("message", "lines"),
    [
        (
            "database is locked",
            ["database is locked", "Another program writes to it: run again when it is done."],
        ),
        (
            "database disk image is malformed",
            [
                "database disk image is malformed",
                "The file is damaged: move it away and run again: all of it is made from the CSV "
                "files.",
            ],
        ),
        (
            "IO: failed to execute: NOT NULL constraint failed: a.b\nquery was: 'locked'",
            ["NOT NULL constraint failed: a.b"],
        ),
    ],
)
def test_the_advice_follows_from_the_message_of_sqlite(
    tmp_path: Path, message: str, lines: list[str]
) -> None:
    error = explained("What.", tmp_path / "x.db", sqlite3.OperationalError(message))
    assert str(error).replace("  ", "").splitlines() == ["What.", *lines]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_mounts")
def test_a_change_of_a_table_goes_on_once_the_disk_has_space_again(tmp_path: Path) -> None:
    call = f"from {__name__} import change_on_a_full_disk as c; c({str(tmp_path)!r})"
    script = 'mount -t tmpfs t "$1" && "$2" -c "$3"'
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script, "bash", str(tmp_path), sys.executable, call],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def change_on_a_full_disk(folder: str) -> None:
    live = Live(f"sqlite:///{folder}/live.db")
    live.create(rows=600)
    before = live.rows()
    size = shutil.disk_usage(folder).used + 48 * 1024
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)
    with pytest.raises(PipelineError, match="database or disk is full"):
        live.change().run()
    status = live.change().status()
    assert status is not None
    assert (status.run.state, live.rows()) == (State.COPYING, before)
    assert 0 < status.run.copied_rows < 600
    subprocess.run(["mount", "-o", "remount,size=10m", folder], check=True)
    change = live.change()
    change.run()
    assert change.measured.copied_rows == 600 - status.run.copied_rows
    change.switch()
    change.sign_off()
    assert live.rows() == before
