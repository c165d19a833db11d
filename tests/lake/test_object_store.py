"""The lake in an object store: what is there, who sees it, and what a killed run leaves."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import ALL_REPORTS, make_project
from tests.lake.test_lake import IN_LAKE, lake_files, records, several_files
from tests.object_store import CREDENTIALS, ObjectStore
from tests.runs import add_partition


def visible(store: ObjectStore, prefix: str) -> dict[str, bytes]:
    """Path -> content of the objects that the manifest lists."""
    manifest = json.loads(store.read(prefix, "manifest.json"))
    return {one["path"]: store.read(prefix, one["path"]) for one in manifest["files"]}


def test_objects_are_the_files_of_a_folder(store: ObjectStore, tmp_path: Path) -> None:
    project = several_files(tmp_path)
    project.passes("LakeFacts", env=IN_LAKE)
    env = {**IN_LAKE, **CREDENTIALS, "PIPELINE_LAKE_URL": store.url("some/lake")}
    assert project.passes("LakeFacts", env=env).built == ["LakeFacts"]
    assert visible(store, "some/lake") == lake_files(project)
    assert sorted(store.names("some/lake")) == sorted([*lake_files(project), "manifest.json"])
    assert not project.passes("LakeFacts", env=env).built


@pytest.mark.soak
def test_a_killed_run_leaves_nothing_visible(store: ObjectStore, tmp_path: Path) -> None:
    reference = several_files(tmp_path / "reference")
    project = make_project(tmp_path / "project", reference.data)
    env = {**IN_LAKE, **CREDENTIALS, "PIPELINE_LAKE_URL": store.url("killed")}
    project.passes("AllReports", env=env)
    before = visible(store, "killed")
    for one in (reference, project):
        for number in range(3, 9):
            add_partition(one, f"{number}.csv", records(number * 2 + 1, 400, number % 3))

    run = project.start(*ALL_REPORTS, "--workers", "1", env=project.environment(env))
    until = time.monotonic() + 60
    while len(store.names("killed")) < len(before) + 2:
        assert time.monotonic() < until
        assert run.poll() is None
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert visible(store, "killed") == before

    project.passes("AllReports", env=env)
    reference.passes("AllReports", env=IN_LAKE)
    assert visible(store, "killed") == lake_files(reference)
    assert project.tables() == reference.tables()
