"""Records of CSV text, each with its line."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from tasks.sources.csv_records import Dialect, Record, read_records, shorten, split_lines
from tasks.sources.files import open_bytes
from tests.unit.sources.test_files import write


def records(path: Path) -> list[Record]:
    with io.TextIOWrapper(
        open_bytes(path), "utf-8-sig", errors="surrogateescape", newline=""
    ) as stream:
        found = read_records(split_lines(stream), Dialect(), path.name)
        return [record for record in found if record.fields]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\n1,2\n", [(1, "a,b"), (2, "1,2")]),
        ("a,b\n1,2", [(1, "a,b"), (2, "1,2")]),
        ("a,b\r\n1,2\r\n", [(1, "a,b"), (2, "1,2")]),
        ("a\r1\r", [(1, "a"), (2, "1")]),
        ("\ufeffa\n1\n", [(1, "a"), (2, "1")]),
        ("\n\na\n\r\n\n1\n\n", [(3, "a"), (6, "1")]),
        ("a\n  \n\t\n", [(1, "a"), (2, "  "), (3, "\t")]),
        ('a\n"1\n2"\n3\n', [(1, "a"), (2, '"1\n2"'), (4, "3")]),
        ('a\r\n"1\r\n\r\n2"\r\n3\r\n', [(1, "a"), (2, '"1\r\n\r\n2"'), (5, "3")]),
        ('a,b\n"1\n2",x,"3\n4"\n5\n', [(1, "a,b"), (2, '"1\n2",x,"3\n4"'), (5, "5")]),
        ('a\n"x ""y"" z"\n1\n', [(1, "a"), (2, '"x ""y"" z"'), (3, "1")]),
        ('a\n5" pipe\n1\n', [(1, "a"), (2, '5" pipe'), (3, "1")]),
        ('"a\nb"\n1\n', [(1, '"a\nb"'), (3, "1")]),
        ("a\u2028b\x0b\x85c\n1\n", [(1, "a\u2028b\x0b\x85c"), (2, "1")]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_every_record_comes_with_its_first_line_and_its_text(
    tmp_path: Path, content: str, expected: list[tuple[int, str]], packed: bool
) -> None:
    raw = content.encode()
    path = write(tmp_path / f"T.csv{'.gz' * packed}", gzip.compress(raw) if packed else raw)

    assert [(record.line, record.text) for record in records(path)] == expected


def test_a_long_text_is_cut_for_messages_and_shown_on_one_line() -> None:
    assert shorten("a\tb\n") == r"'a\tb'"
    assert shorten("x" * 120) == f"'{'x' * 120}'"
    assert shorten("x" * 121) == f"'{'x' * 120}'..."
