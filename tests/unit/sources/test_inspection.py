"""How a file is written: what is recognised, proposed or rejected."""

from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path

import pytest

from config.declarations import Source
from config.sources import APP_TYPE, LOG_RCD_F, POINT
from tasks.core.errors import PipelineError
from tasks.run.source_settings import OPTIONS
from tasks.sources.files import content_digest
from tasks.sources.inspection import check_duplicates, inspect_file
from tests.staged import refusal
from tests.unit.sources.test_files import write


@pytest.mark.parametrize(
    ("content", "header"),
    [
        ("a,b\n1,2\n", ("a", "b")),
        ("a,b", ("a", "b")),
        ("a,b\r\n", ("a", "b")),
        ("\ufeffa,b\n", ("a", "b")),
        ('\ufeff"a","b"\n', ("a", "b")),
        ("\n\r\na,b\n", ("a", "b")),
        ('"a,1","b ""x""","c\nd"\n1,2,3\n', ("a,1", 'b "x"', "c\nd")),
        (" a ,,b\n", ("a", "column_2", "b")),
        ("\u200ba\u00a0,\ufeffb\n", ("a", "b")),
        ("sep=;\na;b\n", ("a", "b")),
        ("größe,温度\n", ("größe", "温度")),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_header_is_read_as_it_stands(
    tmp_path: Path, content: str, header: tuple[str, ...], packed: bool
) -> None:
    raw = content.encode()
    path = write(tmp_path / f"T.csv{'.gz' * packed}", gzip.compress(raw) if packed else raw)

    source = dataclasses.replace(APP_TYPE, columns=())
    assert inspect_file(path, source).layout.header == header


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "POINT.csv is empty: it has no header."),
        (b"\xef\xbb\xbf", "POINT.csv is empty: it has no header."),
        (b" \r\n\n", "POINT.csv is empty: it has no header."),
        (
            "point_id,app_instance_id\n1,1\n".encode("utf-16-le"),
            "POINT.csv is not a text file in UTF-8: its header has NUL characters.\n"
            "[POINT]\nencoding = utf-16-le",
        ),
        (
            "point_id,app_instance_id\n1,1\n".encode("utf-16-be"),
            "POINT.csv is not a text file in UTF-8: its header has NUL characters.\n"
            "[POINT]\nencoding = utf-16-be",
        ),
        (
            b"point_id,app_instance_id,gr\xf6\xdfe\n1,2,3\n",
            "POINT.csv is not a text file in UTF-8: its header has other bytes.\n"
            "[POINT]\nencoding = cp1252",
        ),
        (
            b'point_id,"app_instance_id"x\n1,2\n',
            "POINT.csv: line 1: the header has text after a closing quote.\n"
            "  the line reads: 'point_id,\"app_instance_id\"x'",
        ),
        (
            b'\npoint_id,"app_instance_id\n1,2\n',
            "POINT.csv: line 2: a quote opens a field and is never closed, so that the rest of "
            "the file cannot be divided into records.\n"
            "  the line reads: 'point_id,\"app_instance_id'\n"
            "Close the quote, or double it if it belongs to the text.",
        ),
    ],
)
def test_a_file_without_a_readable_header_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = write(tmp_path / "POINT.csv", content)

    assert refusal(inspect_file, path, POINT) == message
    if "\nencoding = " in message:
        encoding = message.rpartition(" = ")[2]
        pasted = dataclasses.replace(POINT, encoding=encoding)
        assert inspect_file(path, pasted).layout.recognised == {
            "point_id": (0,),
            "app_instance_id": (1,),
        }


PACKED = gzip.compress(b"point_id,app_instance_id\n" + b"1,2\n" * 5, mtime=0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(PACKED[:20], ""), (PACKED[:10] + b"\xff" * 30, ""), (b"point_id\n", "Not a gzipped file")],
)
def test_a_packed_file_damaged_at_its_start_is_refused(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = write(tmp_path / "POINT.csv.gz", content)

    with pytest.raises(PipelineError, match=rf"^POINT\.csv\.gz cannot be read: {reason}"):
        inspect_file(path, POINT)


def rows_of(path: Path, source: Source) -> list[list[str]]:
    file = inspect_file(path, source)
    return [
        list(row)
        for block, _ in file.read(lambda block: None)
        for row in zip(*(column.to_pylist() for column in block.columns), strict=True)
    ]


@pytest.mark.parametrize(
    ("raw", "notes"),
    [
        ("app_type_id,name\n1,a\n", []),
        ("\ufeffapp_type_id,name\n1,a\n", ["byte order mark of UTF-8"]),
        ("\ufeff\ufeffapp_type_id,name\n1,a\n", ["byte order mark of UTF-8, more than once"]),
        ("app_type_id,name\n1,a\n".encode("utf-16"), ["byte order mark of UTF-16-LE"]),
        (
            b"\xfe\xff" + "app_type_id,name\n1,a\n".encode("utf-16-be"),
            ["byte order mark of UTF-16-BE"],
        ),
        ("app_type_id;name\r\n1;a\r\n", ["fields separated by semicolons"]),
        ("app_type_id\tname\n1\ta\n", ["fields separated by tabs"]),
        ("app_type_id|name\r1|a\r", ["fields separated by bars"]),
        ("sep=;\napp_type_id;name\n1;a\n", ["sep= line: semicolons"]),
        (
            '\ufeff"sep=\t"\r\n\r\napp_type_id\tname\r\n1\ta',
            ["byte order mark of UTF-8", "sep= line: tabs"],
        ),
        ("app_type_id,name\n1,a,\n", ["an empty field at the end of each row"]),
        ("app_type_id,name\n1,a,\n\n", ["an empty field at the end of each row"]),
        ("\u200bapp_type_id\u00a0,name\u200b\n1,a\n", []),
    ],
)
def test_an_ordinary_dialect_is_recognised_and_told(
    tmp_path: Path, raw: str | bytes, notes: list[str]
) -> None:
    path = write(tmp_path / "APP_TYPE.csv", raw)

    assert list(inspect_file(path, APP_TYPE).notes) == notes
    assert rows_of(path, APP_TYPE) == [["1", "a"]]


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        ("History\n\nof today\napp_type_id,name\n1,a\n", {"skiprows": "3"}),
        ("A report, of\nx;y\napp_type_id;name\n1;a\n", {"skiprows": "2"}),
        ("app_type_id^name\n1^a\n", {"delimiter": "^"}),
        ("Report\napp_type_id~name\n1~a\n", {"skiprows": "1", "delimiter": "~"}),
        ("sep=,\nReport\napp_type_id,name\n1,a\n", {"skiprows": "2"}),
        ('"open\nReport\napp_type_id,name\n1,a\n', {"skiprows": "2"}),
        ("app_type_id,n\xe4me\n1,a\n".encode("cp1252"), {"encoding": "cp1252"}),
        ("number,name\n1,a\n", {}),
    ],
)
def test_lines_that_would_find_the_columns_are_proposed_and_pasted_they_do(
    tmp_path: Path, raw: str | bytes, lines: dict[str, str]
) -> None:
    path = write(tmp_path / "APP_TYPE.csv", raw)

    proposed = refusal(inspect_file, path, APP_TYPE).rpartition("[APP_TYPE]\n")[2].splitlines()
    if not lines:
        assert proposed == ["# app_type_id = <header of that column>"]
        return
    assert proposed == [f"{option} = {value}" for option, value in lines.items()]
    pasted = {option: OPTIONS[option](value) for option, value in lines.items()}
    declared = dataclasses.replace(APP_TYPE, **pasted)
    assert rows_of(path, declared) == [["1", "a"]]


def test_two_delimiters_that_both_yield_the_columns_are_not_chosen_from(tmp_path: Path) -> None:
    path = write(tmp_path / "APP_TYPE.csv", "x|app_type_id|y;app_type_id;x\n1,2\n")

    with pytest.raises(PipelineError, match="column 'app_type_id' is missing"):
        inspect_file(path, APP_TYPE)


def test_two_files_of_the_same_records_are_refused_unless_they_may_be(tmp_path: Path) -> None:
    header = "point_log_inst_id,log_time,log_value,status"
    rows = {"a": "1,,2,\n", "b": "1,,2,\n", "c": "1,,3,\n", "d": "", "e": ""}
    files = {
        f"LOG_RCD_F/{name}": write(tmp_path / f"{name}.csv", f"{header}\n{text}")
        for name, text in rows.items()
    }

    assert refusal(check_duplicates, LOG_RCD_F, files, content_digest) == (
        "LOG_RCD_F: files have the same content, so that their records would count twice:\n"
        "  LOG_RCD_F/a and LOG_RCD_F/b\n"
        "Remove all but one of them; or, if they are meant to be the same, paste into luigi.cfg, "
        "section [LOG_RCD_F], in place of lines of the same name:\n"
        "[LOG_RCD_F]\nallow_duplicate_files = true"
    )
    allowed = dataclasses.replace(LOG_RCD_F, allow_duplicate_files=True)
    check_duplicates(allowed, files, content_digest)
