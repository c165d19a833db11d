"""Which members of an archive are unpacked, and why one is rejected."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from config.sources import SOURCES
from tasks.core.errors import PipelineError
from tasks.sources.files import ARCHIVE, find_archive, provide_files
from tests.conftest import MINIATURE, Project, make_project
from tests.unit.sources.test_files import contents

BY_HAND = "\nUnpack it by hand into the data folder, or remove it."


def archive(path: Path, **members: str | bytes) -> Path:
    """An archive of the given members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


def rejection(data_dir: Path) -> str:
    """The message with which an archive is rejected; nothing is left behind."""
    before = sorted(data_dir.rglob("*"))
    with pytest.raises(PipelineError) as error:
        provide_files(SOURCES, data_dir)
    assert sorted(data_dir.rglob("*")) == before
    return str(error.value)


@pytest.mark.parametrize("beside", [False, True])
def test_an_archive_in_the_folder_or_beside_it_is_unpacked(tmp_path: Path, beside: bool) -> None:
    data = tmp_path / "data"
    archive(
        (tmp_path if beside else data) / ARCHIVE,
        **{
            "POINT.csv": "point",
            "take_home_data/log_instance.CSV": "instance",
            "a/b/c/LOG_RCD_B.csv.GZ": "packed",
            "windows\\folder\\APP_TYPE.csv": "type",
            "export/log_rcd_f/2024-06-01.csv": "first",
            "LOG_RCD_F/2024-06-02.CSV.gz": "second",
        },
    )

    made = provide_files(SOURCES, data)

    unpacked = {
        "APP_TYPE.csv": b"type",
        "LOG_INSTANCE.csv": b"instance",
        "LOG_RCD_B.csv.gz": b"packed",
        "LOG_RCD_F/2024-06-01.csv": b"first",
        "LOG_RCD_F/2024-06-02.CSV.gz": b"second",
        "POINT.csv": b"point",
    }
    assert made == [data / name for name in unpacked]
    assert {name: raw for name, raw in contents(data).items() if name != ARCHIVE} == unpacked


@pytest.mark.parametrize(
    "name",
    "README.md evil.csv ../../evil.csv POINTS.csv POINT.old.csv POINT.csv.exe POINT.csv/ "
    "POINT/2024.csv LOG_RCD_F/README.txt LOG_RCD_F/.2024.csv LOG_RCD_F/2024/06.csv "
    "__MACOSX/._POINT.csv __MACOSX/LOG_RCD_F/._1.csv".split(),
)
def test_other_files_are_not_unpacked(tmp_path: Path, name: str) -> None:
    data = tmp_path / "project" / "data"
    archive(data / ARCHIVE, **{name: ""})
    before = contents(tmp_path)

    assert provide_files(SOURCES, data) == []
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("../POINT.csv", "POINT.csv"),
        ("/tmp/../../POINT.csv", "POINT.csv"),
        ("..\\POINT.csv", "POINT.csv"),
        ("C:\\POINT.csv", "POINT.csv"),
        ("C:POINT.csv", "POINT.csv"),
        ("../../LOG_RCD_F/../LOG_RCD_F/1.csv", "LOG_RCD_F/1.csv"),
        ("LOG_RCD_F/C:1.csv", "LOG_RCD_F/C:1.csv"),
    ],
)
def test_nothing_is_written_outside_the_folder(tmp_path: Path, name: str, target: str) -> None:
    data = tmp_path / "project" / "data"
    archive(data / ARCHIVE, **{name: "content"})
    packed = contents(tmp_path)

    assert provide_files(SOURCES, data) == [data / target]
    assert contents(tmp_path) == {**packed, f"project/data/{target}": b"content"}


@pytest.mark.parametrize("existing", ["APP_TYPE.csv", "app_type.CSV.GZ", "LOG_RCD_F/1.csv"])
def test_nothing_is_unpacked_beside_a_source_file(tmp_path: Path, existing: str) -> None:
    archive(tmp_path / ARCHIVE, **{"POINT.csv": "packed", "APP_TYPE.csv": "packed"})
    (tmp_path / existing).parent.mkdir(exist_ok=True)
    (tmp_path / existing).write_text("mine")
    before = contents(tmp_path)

    assert provide_files(SOURCES, tmp_path) == []
    assert contents(tmp_path) == before


def test_a_file_where_a_folder_is_needed_stays_and_nothing_is_unpacked(tmp_path: Path) -> None:
    archive(tmp_path / ARCHIVE, **{"APP_TYPE.csv": "packed", "LOG_RCD_F/1.csv": "packed"})
    (tmp_path / "LOG_RCD_F").write_text("mine")
    before = contents(tmp_path)

    with pytest.raises(FileExistsError):
        provide_files(SOURCES, tmp_path)
    assert contents(tmp_path) == before


def test_no_archive_is_no_error(tmp_path: Path) -> None:
    assert find_archive(tmp_path / "absent") is None
    assert provide_files(SOURCES, tmp_path / "absent") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("one", "other", "target"),
    [
        ("a/POINT.csv", "b/point.CSV", "POINT.csv"),
        ("a/LOG_RCD_F/1.csv", "log_rcd_f/1.csv", "LOG_RCD_F/1.csv"),
    ],
)
def test_an_archive_with_two_files_of_one_name_is_rejected(
    tmp_path: Path, one: str, other: str, target: str
) -> None:
    path = archive(tmp_path / ARCHIVE, **{"APP_TYPE.csv": "", one: "one", other: "two"})

    assert rejection(tmp_path) == f"{path} holds several files {target}.{BY_HAND}"


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    found: Any = shutil._ntuple_diskusage(1 << 40, 0, size)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: found)


def test_an_archive_that_needs_more_than_is_free_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"APP_TYPE.csv": "x" * 6_000, "POINT.csv": "y" * 4_000, "not_a_source.csv": "z" * 9_000}
    path = archive(tmp_path / ARCHIVE, **files)
    free(monkeypatch, 10_999)

    assert rejection(tmp_path) == (
        f"{path} unpacks to 10,000 bytes, but only 10,999 are free in {tmp_path}.\n"
        "Free some space, with a tenth to spare."
    )
    free(monkeypatch, 11_000)
    assert len(provide_files(SOURCES, tmp_path)) == 2
    assert (tmp_path / "POINT.csv").read_text() == "y" * 4_000


def test_an_archive_with_a_suspicious_ratio_is_rejected(tmp_path: Path) -> None:
    half = bytes(50 * 2**20)
    path = archive(tmp_path / ARCHIVE, **{"APP_TYPE.csv": half, "POINT.csv": half + b"0"})
    packed = path.stat().st_size
    assert packed * 200 < 2 * len(half)

    assert rejection(tmp_path) == (
        f"{path} is suspicious: {packed:,} bytes would become 104,857,601.{BY_HAND}"
    )
    archive(path, **{"APP_TYPE.csv": half, "POINT.csv": half})
    assert len(provide_files(SOURCES, tmp_path)) == 2


def test_a_large_archive_with_a_usual_ratio_is_unpacked(tmp_path: Path) -> None:
    content = os.urandom(2**20) + bytes(100 * 2**20)
    archive(tmp_path / ARCHIVE, **{"POINT.csv": content})

    assert provide_files(SOURCES, tmp_path) == [tmp_path / "POINT.csv"]
    assert (tmp_path / "POINT.csv").stat().st_size == len(content)


def test_no_more_than_the_declared_size_is_written(tmp_path: Path) -> None:
    path = archive(tmp_path / ARCHIVE, **{"POINT.csv": "x" * 100_000})
    declared, forged = (size.to_bytes(4, "little") for size in (100_000, 10))
    path.write_bytes(path.read_bytes().replace(declared, forged))

    assert rejection(tmp_path) == (
        f"{path} cannot be unpacked: Bad CRC-32 for file 'POINT.csv'.{BY_HAND}"
    )


@pytest.mark.parametrize("damage", ["cut", "overwritten", "checksum", "no archive", "encrypted"])
def test_a_damaged_archive_is_rejected_and_leaves_nothing_behind(
    tmp_path: Path, damage: str
) -> None:
    rows = "".join(f"{number},{number * number}\n" for number in range(2000))
    path = archive(tmp_path / ARCHIVE, **{"APP_TYPE.csv": "whole", "POINT.csv": rows})
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as packed:
        point = packed.getinfo("POINT.csv")
    if damage == "cut":
        del raw[len(raw) // 2 :]
    elif damage == "overwritten":
        middle = point.header_offset + point.compress_size // 2
        raw[middle : middle + 200] = b"\xff" * 200
    elif damage == "checksum":
        wrong = (point.CRC ^ 1).to_bytes(4, "little")
        raw = raw.replace(point.CRC.to_bytes(4, "little"), wrong)
    elif damage == "encrypted":
        raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
        raw[point.header_offset + 6] |= 1
    else:
        raw = bytearray(b"no archive")
    path.write_bytes(raw)

    message = rejection(tmp_path)

    assert message.startswith(f"{path} cannot be unpacked: ")
    assert message.endswith(BY_HAND)


def test_an_archive_with_a_partition_folder_gives_the_same_facts(
    ran: Project, tmp_path: Path
) -> None:
    project = make_project(tmp_path / "packed", None)
    files = {path.name: path.read_bytes() for path in sorted(MINIATURE.glob("*.csv"))}
    header, *lines = files.pop("LOG_RCD_F.csv").splitlines(keepends=True)
    files["LOG_RCD_F/first.csv"] = header + b"".join(lines[:4])
    files["LOG_RCD_F/second.csv"] = header + b"".join(lines[4:])
    archive(project.folder / ARCHIVE, **files, **{"../evil.csv": "a\n"})

    project.passes("AllReports")

    assert sorted(path.name for path in project.data.iterdir()) == sorted(
        [*(name for name in files if "/" not in name), "LOG_RCD_F"]
    )
    # But for the numbers of the rows and of their partition.
    facts, expected = (sorted(str(row[1:-1]) for row in one.facts()) for one in (project, ran))
    assert facts == expected
    assert not (project.folder / "evil.csv").exists()
    assert not (project.folder.parent / "evil.csv").exists()


def test_a_run_reports_an_archive_that_is_rejected(project: Project) -> None:
    shutil.rmtree(project.data)
    path = archive(project.folder / ARCHIVE, **{"POINT.csv": "1", "a/POINT.csv": "2"})

    result = project.fails("AllReports")

    assert f"{path} holds several files POINT.csv." in result.err
    assert list(project.data.iterdir()) == []
