"""Where source files are found, how they are opened, and what is no file."""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from tasks.core.partition import Partition
from tasks.sources.files import (
    bytes_read,
    find_files,
    find_partitions,
    open_bytes,
    source_path,
    why_unreadable,
)
from tests.conftest import Project
from tests.runs import soak
from tests.staged import refusal


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    "name", ["POINT.csv", "point.csv", "Point.CSV", "POINT.csv.gz", "point.CSV.GZ"]
)
def test_a_source_is_found_in_any_case_and_packed(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "")

    assert find_files("POINT", tmp_path) == [path]
    assert source_path("POINT", tmp_path) == path


def test_files_of_other_names_are_no_source(tmp_path: Path) -> None:
    for name in ("POINTS.csv", "POINT.csv.bak", "POINT.txt", "POINT", "MY_POINT.csv", "POINT.gz"):
        write(tmp_path / name, "")

    assert find_files("POINT", tmp_path) == []
    assert source_path("POINT", tmp_path) == tmp_path / "POINT.csv"


def test_no_folder_holds_no_files(tmp_path: Path) -> None:
    assert find_files("POINT", tmp_path / "absent") == []


def test_two_files_of_one_source_are_both_found(tmp_path: Path) -> None:
    packed = write(tmp_path / "POINT.csv.gz", "")
    plain = write(tmp_path / "POINT.csv", "")

    assert find_files("POINT", tmp_path) == [plain, packed]


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))  # Its name must not be long.


def make_link_to_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (Path.mkdir, "is a folder, not a file"),
    "pipe": (os.mkfifo, "is a named pipe, not a file"),
    "socket": (make_socket, "is a socket, not a file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a device, not a file"),
    "link to a pipe": (make_link_to_pipe, "is a named pipe, not a file"),
    "dead link": (lambda path: path.symlink_to("nowhere"), "is a link that leads nowhere"),
    "link loop": (lambda path: path.symlink_to(path.name), "is a link that leads in a circle"),
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", ["POINT.csv", "LOG_RCD_F/a.csv", "LOG_RCD_F.CSV.gz"])
def test_what_is_no_file_is_listed_and_never_waited_for(
    tmp_path: Path, name: str, kind: str
) -> None:
    make, reason = NO_FILES[kind]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    make(path)

    source = name.partition(".")[0].partition("/")[0]
    assert [part.path for part in find_partitions(source, tmp_path)] == [path]
    assert why_unreadable(path) == reason
    with pytest.raises(OSError, match=path.name):
        open_bytes(path)


def test_a_file_that_can_be_read_has_nothing_wrong(tmp_path: Path) -> None:
    path = write(tmp_path / "POINT.csv", "point_id\n")
    (tmp_path / "link.csv").symlink_to(path)

    assert why_unreadable(path) is None
    assert why_unreadable(tmp_path / "link.csv") is None
    assert why_unreadable(tmp_path / "absent.csv") == "is missing"


def test_the_words_of_the_system_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "POINT.csv", "point_id\n")
    for error, reason in ((13, "Permission denied"), (5, "Input/output error")):
        monkeypatch.setattr(os, "open", Mock(side_effect=OSError(error, reason)))

        assert why_unreadable(path) == f"cannot be read: {reason.lower()}"


def test_a_folder_that_cannot_be_read_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "iterdir", Mock(side_effect=PermissionError(13, "Permission denied")))

    assert (
        refusal(find_files, "POINT", tmp_path)
        == f"The folder {tmp_path} cannot be read: permission denied."
    )


def test_a_link_to_a_partition_folder_that_is_gone_is_listed(tmp_path: Path) -> None:
    (tmp_path / "LOG_RCD_F").symlink_to("gone")
    (tmp_path / "LOG_RCD_B").symlink_to("LOG_RCD_B")
    (tmp_path / "POINT").symlink_to("gone")

    assert find_files("LOG_RCD_F", tmp_path) == [tmp_path / "LOG_RCD_F"]
    assert find_files("LOG_RCD_B", tmp_path) == [tmp_path / "LOG_RCD_B"]
    assert find_files("POINT", tmp_path) == []


def test_a_folder_named_like_a_source_with_partitions_is_their_folder(tmp_path: Path) -> None:
    part = write(tmp_path / "log_rcd_f" / "A.CSV", "")
    write(tmp_path / "log_rcd_f" / ".a.csv", "")
    write(tmp_path / "log_rcd_f" / "a.txt", "")

    assert find_partitions("LOG_RCD_F", tmp_path) == (Partition("LOG_RCD_F/A", part),)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_is_closed_with_its_reader(tmp_path: Path, packed: bool) -> None:
    content = gzip.compress(b"a\n") if packed else b"a\n"
    path = write(tmp_path / f"POINT.csv{'.gz' * packed}", content)
    handles = Path("/proc/self/fd")
    before = len(list(handles.iterdir()))

    for _ in range(9):
        with open_bytes(path) as stream:
            assert (stream.read(), bytes_read(stream)) == (b"a\n", len(content))

    assert len(list(handles.iterdir())) == before


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("POINT.csv", "folder"),
        soak("POINT.csv", "link to a pipe"),
        soak("POINT.csv", "link loop"),
        ("LOG_RCD_F/a.csv", "pipe"),
        ("LOG_RCD_F/a.csv", "folder"),
    ],
)
def test_a_run_ends_with_one_message_on_what_is_no_file(ran: Project, name: str, kind: str) -> None:
    facts = ran.facts()
    make, reason = NO_FILES[kind]
    path = ran.data / name
    if "/" in name:
        path.parent.mkdir()
        (ran.data / "LOG_RCD_F.csv").rename(path.with_name("b.csv"))
    else:
        path.unlink()
    make(path)

    result = ran.luigi("AllReports")
    status = ran.tasks("status")

    assert result.status == 30, result.log
    assert result.err.count(f"  {name} {reason}\n") == 1
    assert "1 task failed" in result.err
    assert "Traceback" not in result.err
    assert (status.status, status.err) == (0, "")
    assert ran.facts() == facts
    assert ran.luigi("SampleData").status == 0
    assert ran.tasks("sources").status == 0
