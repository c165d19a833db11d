"""Paths in object stores: what they answer, and when an object counts as changed."""

from __future__ import annotations

import os
import pickle
import tempfile
import time
from pathlib import Path

import pytest
from pyarrow import fs

from tasks.core import stores
from tasks.core.arrow import parquet_rows
from tasks.core.errors import PipelineError
from tasks.core.files import RACY_NS, SHA256, is_racy, remove_leftovers, scratch_folder, sha256
from tasks.core.stores import Store, StorePath, ask_again, folder_at
from tasks.freshness.snapshot import Snapshot
from tasks.sources.files import find_partitions, open_bytes, why_unreadable
from tasks.state import State
from tests.object_store import BUCKET, CREDENTIALS, ObjectStore


@pytest.fixture
def folder(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Path:
    """A folder of the object store that no other test has."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return folder_at(store.url(f"unit/{request.node.name.partition('[')[0]}"))


def test_it_is_shown_as_a_url_and_travels(folder: Path) -> None:
    path = folder / "LOG_RCD_F" / "1.csv"
    assert str(path) == f"s3a://{BUCKET}/unit/test_it_is_shown_as_a_url_and_travels/LOG_RCD_F/1.csv"
    assert path.relative_to(folder).as_posix() == "LOG_RCD_F/1.csv"
    assert pickle.loads(pickle.dumps(path)) == path
    assert isinstance(path.with_name("2.csv"), StorePath)


def test_a_file_is_written_read_renamed_and_removed(folder: Path) -> None:
    path = folder / "a" / "b.txt"
    assert not path.exists()
    path.write_text("ä\n", encoding="utf-8", newline="\n")
    assert path.is_file()
    assert path.read_bytes() == "ä\n".encode()
    path.replace(folder / "c.txt")
    assert not path.exists()
    assert [one.name for one in folder.rglob("*.txt")] == ["c.txt"]
    (folder / "c.txt").unlink()
    (folder / "c.txt").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        (folder / "c.txt").unlink()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        (folder / "c.txt").stat()


def test_sources_are_found_and_read(folder: Path) -> None:
    (folder / "POINT.csv").write_bytes(b"1\n2\n")
    (folder / "LOG_RCD_F" / "1.csv").write_bytes(b"a\n")
    (folder / "LOG_RCD_F" / ".hidden.csv").write_bytes(b"a\n")
    found = [*find_partitions("POINT", folder), *find_partitions("LOG_RCD_F", folder)]
    assert [one.name for one in found] == ["POINT", "LOG_RCD_F/1"]
    assert [why_unreadable(one.path) for one in found] == [None, None]
    assert why_unreadable(folder / "other.csv") == "is missing"
    with open_bytes(found[0].path) as stream:
        assert (stream.readline(), stream.tell(), stream.read()) == (b"1\n", 2, b"2\n")


def test_an_object_is_known_by_its_etag_without_reading_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StorePath, "open", None)

    def identity() -> str | None:
        ask_again()
        return Snapshot(State(tmp_path / "state.db")).identity(folder / "a.csv")

    assert identity() is None
    path_in_store(folder, "a.csv", b"one")
    before = identity()
    path_in_store(folder, "a.csv", b"one")
    assert identity() == before
    path_in_store(folder, "a.csv", b"two")
    assert identity() not in (before, None)


def path_in_store(folder: Path, name: str, content: bytes) -> None:
    """Store an object as another program does."""
    files, root = fs.FileSystem.from_uri(stores._known_to_arrow(stores.known_urls()[str(folder)]))
    with files.open_output_stream(f"{root}/{name}") as stream:
        stream.write(content)


def test_another_version_is_another_file(folder: Path, store: ObjectStore) -> None:
    import boto3  # type: ignore[import-untyped]

    client = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
        aws_access_key_id="a",
        aws_secret_access_key="b",  # noqa: S106
    )
    client.create_bucket(Bucket="versioned")
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    own = folder_at(f"s3://versioned/x?endpoint_override={store.endpoint}")
    numbers = []
    for _ in range(2):
        client.put_object(Bucket="versioned", Key="x/a.csv", Body=b"same")
        ask_again()
        numbers.append((own / "a.csv").stat().st_ino)
    assert numbers[0] != numbers[1]


def test_without_versions_size_and_time_say_what_may_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    path = folder_at("hdfs://host/in") / "a.csv"
    monkeypatch.setattr(stores, "_store", lambda _url, _process: Store(str(tmp_path / "in")))
    path.write_bytes(b"one")
    found, real = path.stat(), (tmp_path / "in" / "a.csv").stat()
    assert (found.st_ino, found.st_size, found.st_mtime_ns) == (0, 3, real.st_mtime_ns)
    assert is_racy(found.st_mtime_ns, real.st_mtime_ns + RACY_NS)
    snapshot = Snapshot(State(tmp_path / "state.db"))
    assert snapshot.identity(path) == snapshot.from_content(path, SHA256, sha256) == sha256(path)


def test_what_a_killed_run_left_is_removed(folder: Path, tmp_path: Path) -> None:
    for name in (".a.parquet.pipeline.tmp", "b/.c.json.pipeline.tmp", "d.parquet", ".e.tmp"):
        (folder / name).write_bytes(b"x")
    remove_leftovers(folder, tmp_path, tmp_path)
    left = sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*"))
    assert left == [".e.tmp", "d.parquet"]


def test_what_killed_processes_left_on_the_disk_is_removed_a_day_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old, young = tmp_path / "controller-logs-7-old", tmp_path / "controller-logs-7-young"
    for left in (old, young):
        left.mkdir()
        (left / "0-x.parquet").write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    with scratch_folder() as folder:
        assert {*tmp_path.iterdir()} == {young, folder}
    assert [*tmp_path.iterdir()] == [young]


def test_two_folders_of_one_name_are_refused(store: ObjectStore) -> None:
    folder_at("s3://bucket/twice?region=eu-west-1")
    assert folder_at("s3://bucket/twice?region=eu-west-1")
    with pytest.raises(PipelineError, match="two folders are called s3://bucket/twice"):
        folder_at("s3://bucket/twice?region=us-east-1")
    one, other = "abfs://one@account.example/in", "abfs://other@account.example/in"
    assert folder_at(one) != folder_at(other)


def test_parquet_is_read_where_it_is(folder: Path) -> None:
    import pyarrow as pa

    from tasks.core.arrow import read_parquet, write_parquet

    table = pa.table({"a": [1, 2], "b": ["x", None]})
    write_parquet(table, folder / "t.parquet")
    assert parquet_rows(folder / "t.parquet") == 2
    assert read_parquet(folder / "t.parquet", "b") == table.select(["b"])


def test_a_url_of_files_is_a_folder(tmp_path: Path) -> None:
    assert folder_at(tmp_path.as_uri()) == tmp_path
    assert type(folder_at(str(tmp_path))) is type(tmp_path)


@pytest.mark.parametrize("url", ["ftp://host/in", "s3://nowhere/in?endpoint_override={}"])
def test_a_store_that_cannot_be_used_is_an_error_that_says_so(
    store: ObjectStore, folder: Path, url: str
) -> None:
    with pytest.raises(PipelineError, match="cannot be used: .*\nName a folder in luigi.cfg"):
        list(folder_at(url.format(store.endpoint)).iterdir())
