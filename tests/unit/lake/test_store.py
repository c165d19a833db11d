"""The manifest of a lake: what it lists, and which files go when."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.core.errors import PipelineError
from tasks.lake.store import Lake, LakeFile, read_manifest

NOW = datetime.now(UTC)
DAY_S = 86_400


def file(name: str, content: bytes = b"rows") -> LakeFile:
    path = f"fact_logs/day=2024-06-01/{name}.parquet"
    digest = hashlib.sha256(content).hexdigest()
    return LakeFile(path, "2024-06-01", "LOG_RCD_F", 4, len(content), digest)


ONE, TWO = file("LOG_RCD_F-0123456789abcdef"), file("LOG_RCD_F-fedcba9876543210")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path))
    for one in (ONE, TWO):
        lake.put(one.path, b"rows")
    return lake


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_replaced_file_stays_as_long_as_its_readers_may_need_it(
    lake: Lake, tmp_path: Path
) -> None:
    both = {ONE.path, TWO.path, "manifest.json"}
    lake.publish([ONE], DAY_S, NOW)
    assert names(tmp_path) == both  # TWO may be that of a run that is writing.
    for hours in (1, 23, 24.9):
        text = lake.publish([TWO], DAY_S, NOW + timedelta(hours=hours))
        assert read_manifest(text) == [TWO]
        assert names(tmp_path) == both
    lake.publish([TWO], DAY_S, NOW + timedelta(hours=25))
    assert names(tmp_path) == {TWO.path, "manifest.json"}


def test_a_file_that_is_listed_again_stays(lake: Lake, tmp_path: Path) -> None:
    for files, days in (([ONE], 0), ([TWO], 1), ([ONE, TWO], 1.5), ([ONE, TWO], 9)):
        lake.publish(files, DAY_S, NOW + timedelta(days=days))
    assert names(tmp_path) == {ONE.path, TWO.path, "manifest.json"}


def test_what_killed_runs_left_goes_and_what_others_put_there_stays(
    lake: Lake, tmp_path: Path
) -> None:
    day = tmp_path / "fact_logs" / "day=2024-06-01"
    left = tmp_path / "fact_logs" / f".{'0' * 32}"
    mine = [tmp_path / "notes.txt", day / "mine.parquet", tmp_path / "fact_logs" / "README"]
    for path in (left, *mine):
        path.touch()
        os.utime(path, (0, 0))
    lake.publish([ONE, TWO], DAY_S, NOW)
    assert not left.exists()
    assert all(path.exists() for path in mine)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"\xff\xfe", b'{"files": [1]}', b'{"files": []}'),
        *(b'{"files": [], "replaced": {"a": %s}}' % at for at in (b"1", b'"yesterday"', b"null")),
        b'{"files": [], "replaced": {"a": "2024-06-01T00:00:00"}}',
    ],
)
def test_a_damaged_manifest_is_replaced_and_its_files_stay_for_a_time(
    lake: Lake, tmp_path: Path, content: bytes
) -> None:
    for path in (ONE.path, TWO.path):
        os.utime(tmp_path / path, (0, 0))
    (tmp_path / "manifest.json").write_bytes(content)
    assert lake.manifest() is not None
    assert read_manifest(lake.publish([ONE], DAY_S, NOW)) == [ONE]
    if b"2024" not in content:
        assert (tmp_path / TWO.path).exists()
    lake.publish([ONE], DAY_S, NOW + timedelta(days=2))
    assert names(tmp_path) == {ONE.path, "manifest.json"}


def test_missing_files_and_those_of_another_size_are_found(lake: Lake, tmp_path: Path) -> None:
    assert lake.missing([ONE, TWO]) == []
    (tmp_path / ONE.path).write_bytes(b"row")
    (tmp_path / TWO.path).unlink()
    assert lake.missing([ONE, TWO]) == [ONE, TWO]


def test_a_file_with_other_content_of_the_same_size_is_found_when_it_is_read(
    lake: Lake, tmp_path: Path
) -> None:
    assert lake.read(ONE).to_pybytes() == b"rows"
    (tmp_path / ONE.path).write_bytes(b"worn")
    with pytest.raises(PipelineError, match="is not as it was stored") as error:
        lake.read(ONE)
    assert "forget LakeFacts" in error.value.remedy


def test_an_error_of_the_system_has_its_advice(tmp_path: Path) -> None:
    (tmp_path / "fact_logs").write_text("mine")
    with pytest.raises(PipelineError) as error:
        Lake(str(tmp_path)).put(ONE.path, b"rows")
    assert "fact_logs" in str(error.value)
    assert "bucket" not in error.value.remedy


def test_an_unknown_url_is_reported_without_its_password() -> None:
    with pytest.raises(PipelineError, match="The lake s4://host/x cannot be used") as error:
        Lake("s4://user:secret@host/x")
    assert "secret" not in str(error.value)
