"""Digests of files: computed again only if the file may have changed."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from tasks.freshness import snapshot
from tasks.freshness.snapshot import Snapshot
from tasks.state import State


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state.db")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that was last changed long ago."""
    path = tmp_path / "file"
    path.write_text("one")
    os.utime(path, (1, 1))
    return path


def test_a_file_is_read_once_in_a_snapshot(state: State, path: Path) -> None:
    snapshot = Snapshot(state)
    first = snapshot.digest(path)
    path.write_text("two")
    assert snapshot.digest(path) == first
    assert snapshot.later().digest(path) == hashlib.sha256(b"two").hexdigest()


def test_a_file_changed_just_before_it_was_hashed_is_hashed_again(state: State, path: Path) -> None:
    os.utime(path)
    first = Snapshot(state)
    digest = first.digest(path)
    first.keep()
    stat = path.stat()
    path.write_text("two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # Same size, same time.
    assert Snapshot(state).digest(path) != digest


def test_a_file_that_was_not_changed_is_not_hashed_again(
    state: State, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = Snapshot(state)
    digest = snapshot.digest(path)
    snapshot.keep()
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("hashed again"))
    assert snapshot.later().digest(path) == Snapshot(state).digest(path) == digest


@pytest.mark.parametrize(("seconds", "again"), [(1, True), (3, False)])
def test_a_digest_is_used_again_two_seconds_after_the_change(
    state: State, path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, again: bool
) -> None:
    changed_ns = time.time_ns() - seconds * 1_000_000_000
    os.utime(path, ns=(changed_ns, changed_ns))
    snapshot = Snapshot(state)
    snapshot.digest(path)
    hashed = Mock(side_effect=hashlib.file_digest)
    monkeypatch.setattr("hashlib.file_digest", hashed)
    snapshot.later().digest(path)
    assert hashed.called is again


def test_what_two_processes_computed_is_kept(state: State, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    first, second = Snapshot(state), Snapshot(state)
    first.digest(tmp_path / "one")
    second.digest(tmp_path / "two")
    first.keep()
    second.keep()
    assert {name for name, _ in state.digests()} == {str(tmp_path / "one"), str(tmp_path / "two")}


def test_files_are_hashed_in_parallel_whatever_is_in_their_place(
    state: State, tmp_path: Path
) -> None:
    paths = [tmp_path / str(number) for number in range(20)]
    for path in paths[:18]:
        path.write_text(path.name)
    os.mkfifo(paths[18])
    snapshot = Snapshot(state)
    snapshot.prepare(paths)
    expected = [hashlib.sha256(path.name.encode()).hexdigest() for path in paths[:18]]
    assert [snapshot.digest(path) for path in paths] == [*expected, None, None]


def test_a_name_that_is_not_utf_8_is_no_obstacle(state: State, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff"))
    path.write_text("one")
    snapshot = Snapshot(state)
    digest = snapshot.digest(path)
    snapshot.keep()
    assert digest == Snapshot(state).digest(path) == hashlib.sha256(b"one").hexdigest()


def test_large_files_are_hashed_by_the_engine(
    state: State, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Mock(at_once=2)
    asked.call.return_value = "of a cluster"
    monkeypatch.setattr(snapshot, "engine", lambda: asked)
    Snapshot(state).prepare([path])
    assert not asked.call.called
    monkeypatch.setattr(snapshot, "_LARGE", 3)
    found = Snapshot(state)
    found.prepare([path])
    assert found.digest(path) == "of a cluster"
