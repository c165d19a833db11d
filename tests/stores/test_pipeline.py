"""Source files and staged files in an object store: the same pipeline, with the same results."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest
from pyarrow import fs

from tests.conftest import ALL_REPORTS, Project, make_project, unwrapped
from tests.lake.test_lake import several_files
from tests.object_store import BUCKET, CREDENTIALS, ObjectStore
from tests.runs import soak

HISTORY = "audit/header_history.json"
"""It has times."""


def upload(store: ObjectStore, project: Project, prefix: str) -> None:
    """Store a project's source files."""
    for path in project.data.rglob("*.csv"):
        store.write(prefix, path.relative_to(project.data).as_posix(), path.read_bytes())


def in_store(store: ObjectStore, prefix: str) -> dict[str, str]:
    return {
        **CREDENTIALS,
        "PIPELINE_DATA_DIR": store.url(f"{prefix}/in"),
        "PIPELINE_STAGING_DIR": store.url(f"{prefix}/staging"),
    }


def staged(store: ObjectStore, prefix: str) -> dict[str, bytes]:
    """Name -> content of the staged files."""
    where = f"{prefix}/staging"
    return {name: store.read(where, name) for name in store.names(where) if name != HISTORY}


def files(folder: Path) -> dict[str, bytes]:
    """Name -> content of the staged files of a folder."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    own = (".locks", "state.db", ".gitkeep", HISTORY)
    return {
        name: path.read_bytes()
        for name, path in paths.items()
        if path.is_file() and not name.startswith(own)
    }


def times(store: ObjectStore, prefix: str) -> dict[str, object]:
    """Name -> when an object was stored."""
    infos = store.files.get_file_info(fs.FileSelector(f"{BUCKET}/{prefix}"))
    return {info.base_name: info.mtime for info in infos if info.is_file}


@pytest.mark.parametrize("task", ["EnrichedLogs", soak("AllReports")])
def test_files_in_an_object_store_give_the_same(
    ran: Project, store: ObjectStore, tmp_path: Path, task: str
) -> None:
    project = make_project(tmp_path / "project", data=None)
    upload(store, ran, f"{task}/in")
    env = in_store(store, task)
    project.passes(task, env=env)
    found, expected = staged(store, task), files(ran.staging)
    assert "enriched_logs/LOG_RCD_B.parquet" in found
    assert found == {name: expected[name] for name in found}
    # State and locks are on the local disk, and nothing else is.
    assert files(project.staging) == {}
    assert (project.staging / "state.db").exists()
    assert not project.passes(task, env=env).built
    points = project.tasks("sources", env=env).out.splitlines()[3]
    assert points == f"s3a://{BUCKET}/{task}/in/POINT.csv"
    assert "8 rows: 8 would be staged" in project.tasks("sources", "--check", points, env=env).out
    if task == "AllReports":
        assert found == expected
        assert project.tables() == ran.tables()
        assert project.tasks("verify", env=env).status == 0


@pytest.mark.soak
def test_only_what_changed_is_built(store: ObjectStore, tmp_path: Path) -> None:
    reference = several_files(tmp_path)
    project = make_project(tmp_path / "other", data=None)
    upload(store, reference, "changed/in")
    env = in_store(store, "changed")
    project.passes("AllReports", env=env)

    # The same content has the same ETag.
    name = "LOG_RCD_F/1.csv"
    content = store.read("changed/in", name)
    store.write("changed/in", name, content)
    assert "Everything is up to date" in project.passes("AllReports", env=env).log

    store.write("changed/in", name, content[:-1].rpartition(b"\n")[0] + b"\n")
    before = times(store, "changed/staging/LOG_RCD_F")
    project.passes("AllReports", env=env)
    after = times(store, "changed/staging/LOG_RCD_F")
    assert [name for name in after if after[name] != before[name]] == ["1.parquet"]
    (reference.data / name).write_bytes(store.read("changed/in", name))
    reference.passes("AllReports")
    assert staged(store, "changed") == files(reference.staging)
    assert project.tables() == reference.tables()

    # What somebody changes or removes in the staging folder is built again.
    store.write("changed/staging", "LOG_RCD_F/0.parquet", b"other")
    store.files.delete_file(f"{BUCKET}/changed/staging/enriched_logs/LOG_RCD_B/2.parquet")
    project.passes("AllReports", env=env)
    assert staged(store, "changed") == files(reference.staging)

    store.files.delete_file(f"{BUCKET}/changed/in/{name}")
    (reference.data / name).unlink()
    project.passes("AllReports", env=env)
    reference.passes("AllReports")
    assert staged(store, "changed") == files(reference.staging)


@pytest.mark.soak
def test_a_killed_run_is_done_again(store: ObjectStore, tmp_path: Path) -> None:
    reference = several_files(tmp_path)
    reference.passes("AllReports")
    project = make_project(tmp_path / "other", data=None)
    upload(store, reference, "killed_run/in")
    env = in_store(store, "killed_run")
    run = project.start(*ALL_REPORTS, "--workers", "1", env=project.environment(env))
    until = time.monotonic() + 60
    while len(store.names("killed_run/staging/LOG_RCD_F")) < 2:
        assert time.monotonic() < until
        assert run.poll() is None
    run.send_signal(signal.SIGKILL)
    run.wait()
    # What has its own name is whole; one that was killed may have left a temporary name.
    expected = files(reference.staging)
    found = staged(store, "killed_run").items()
    done = {
        name: content for name, content in found if re.match(r"LOG_RCD_.(/\w+)?\.parquet", name)
    }
    assert done
    assert done == {name: expected[name] for name in done}
    store.write("killed_run/staging", ".POINT.parquet.pipeline.tmp", b"left")
    project.passes("AllReports", env=env)
    assert staged(store, "killed_run") == expected
    assert project.tables() == reference.tables()


@pytest.mark.parametrize(
    ("setting", "url", "message"),
    [
        ("DATA_DIR", "s3://nowhere/in?endpoint_override={}", "nowhere does not exist"),
        ("STAGING_DIR", "s3://nowhere/x?endpoint_override={}", "nowhere does not exist"),
        ("DATA_DIR", "ftp://host/in", "Unrecognized filesystem type in URI: ftp://host/in"),
        ("STATE_DIR", "s3://bucket/state", "s3://bucket/state is no folder of this machine."),
        ("REPORTS_DIR", "s3://bucket/reports", "Only data_dir, staging_dir and lake_url may be"),
    ],
)
def test_a_url_that_cannot_be_used_is_an_error_that_says_so(
    project: Project, store: ObjectStore, setting: str, url: str, message: str
) -> None:
    env = {**CREDENTIALS, f"PIPELINE_{setting}": url.format(store.endpoint)}
    done = project.luigi("AllReports", env=env)
    assert done.status in (30, 35)
    assert message in unwrapped(done.err)
    assert done.err.count("\nName a folder in luigi.cfg") <= 1
    assert not list(project.folder.glob("s3:*"))


@pytest.mark.soak
def test_a_password_in_a_url_is_not_shown(project: Project) -> None:
    env = {"PIPELINE_DATA_DIR": "s3://user:secret@bucket/in?endpoint_override=http://127.0.0.1:1"}
    done = project.fails("AllReports", env=env, status=35)
    assert "The folder s3://bucket/in" in done.err
    env = {"PIPELINE_STATE_DIR": "s3://user:secret@bucket/x?scheme=secret"}
    more = project.fails("AllReports", env=env, status=35)
    written = [path.read_bytes() for path in project.folder.rglob("*") if path.is_file()]
    assert "secret" not in done.log + more.log
    assert not any(b"secret" in content for content in written)


def test_the_same_records_twice_are_noticed(project: Project, store: ObjectStore) -> None:
    upload(store, project, "twice/in")
    # In parts or whole: with another ETag.
    content = store.read("twice/in", "LOG_RCD_F.csv")
    for name in ("a", "b"):
        store.write("twice/in", f"LOG_RCD_F/{name}.csv", content)
    store.files.copy_file(
        f"{BUCKET}/twice/in/LOG_RCD_F/b.csv", f"{BUCKET}/twice/in/LOG_RCD_F/c.csv"
    )
    store.files.delete_file(f"{BUCKET}/twice/in/LOG_RCD_F.csv")
    store.files.delete_file(f"{BUCKET}/twice/in/LOG_RCD_F/b.csv")
    env = in_store(store, "twice")
    done = project.fails("CsvToParquet", "--table", "LOG_RCD_F", env=env)
    assert "LOG_RCD_F/a.csv and LOG_RCD_F/c.csv" in unwrapped(done.err)


def test_sample_data_is_not_written_into_object_stores(
    project: Project, store: ObjectStore
) -> None:
    env = {**CREDENTIALS, "PIPELINE_DATA_DIR": store.url("sample")}
    assert "SampleData writes into folders alone" in project.fails("SampleData", env=env).err
