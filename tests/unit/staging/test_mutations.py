"""Files with random damage: every record is staged or quarantined, and all readers agree.

Regular expressions say which records a file has, as a third reader. One file in four is staged by
all readers, the others by one. The seed is printed; `MUTATIONS_SEED` in the environment repeats it.
`MUTATIONS` is the number of changes for each source; a file has one to three.
"""

from __future__ import annotations

import faulthandler
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from config.sources import SOURCES
from tasks.core.errors import PipelineError
from tests.conftest import MINIATURE, make_project
from tests.hostile import make_hostile
from tests.runs import new_random
from tests.staged import MARKS, Staged, decoded, stage

MUTATIONS = int(os.environ.get("MUTATIONS", "120"))  # `make soak` tries more.
VARIANTS = ("miniature", "hostile", "utf-16")
KINDS = ("flip", "delete", "insert", "insert", "duplicate", "truncate", "swap", "swap all")
LONGEST_S = 60
PIECES = (
    *(text.encode() for text in ('"', '""', ",", ";", "|", "\t", "'", "\\", " ", "\n", "\r")),
    *(text.encode() for text in ("\r\n", "\0", "é", "\ufeff", "\u2028", "-", ".", "9" * 20, "NaN")),
    *(b"\xff", b"\xc3", b"\xd8=", *MARKS, b'"' + b"\n" * 99 + b'"'),
    b"long " * 30,
)
LONGER = b"longer " * 20_000  # Than Python's csv takes by itself.
DELIMITERS = {"semicolons": ";", "tabs": "\t", "bars": "|"}
TRAILING = "an empty field at the end of each row"


class Found(NamedTuple):
    """A record as the third reader finds it; no fields if text follows a closing quote."""

    line: int
    text: str
    fields: list[str]


def unquoted(field: str) -> str:
    return field[1:-1].replace('""', '"') if field.startswith('"') else field


def find_records(text: str, delimiter: str) -> list[Found] | None:
    """The records, without empty lines; None if a quote is never closed."""
    mark = re.escape(delimiter)
    quoted = '"(?:[^"]|"")*+"'
    field = rf'(?:{quoted}|[^{mark}"\r\n][^{mark}\r\n]*+|)'
    end = r"(?:\r\n|\r|\n|\Z)"
    record = re.compile(
        rf"(?P<good>(?:{field}{mark})*+{field}){end}|((?:{field}{mark})*+{quoted}[^\r\n]*+){end}"
    )
    found, at, line = [], 0, 1
    while at < len(text):
        match = record.match(text, at)
        if match is None:
            return None
        whole = match["good"] if match["good"] is not None else match[2]
        if whole:
            fields = re.findall(f"({field}){mark}", f"{match['good'] or ''}{delimiter}")
            found.append(Found(line, whole, [unquoted(one) for one in fields]))
        line += len(re.findall("\r\n|\r|\n", match[0]))
        at = match.end()
    return found


def mutated(content: bytes, chance: random.Random) -> bytes:
    """The content with one random change."""
    at, piece = chance.randrange(len(content) + 1), chance.choice(PIECES)
    if chance.random() < 0.001:
        piece = LONGER
    syntax = chance.choice((b",", b"\n", b'"'))
    to = min(len(content), at + chance.choice((1, 2, 9, 99)))
    match chance.choice(KINDS):
        case "flip" if at < to:
            flipped = content[at] ^ 1 << chance.randrange(8)
            return content[:at] + bytes([flipped]) + content[at + 1 :]
        case "delete":
            return content[:at] + content[to:]
        case "insert":
            return content[:at] + piece + content[at:]
        case "duplicate":
            return content[:to] + content[at:]
        case "truncate":
            return content[:at]
        case "swap":
            return content.replace(syntax, piece, chance.randrange(1, 4))
        case "swap all" if len(piece) < 99:
            return content.replace(syntax, piece)
    return content


def is_damaged(text: str) -> bool:
    return "\0" in text or re.search("[\ud800-\udfff]", text) is not None


def check(content: bytes, staged: Staged) -> None:
    """Compare what was staged and quarantined with the records that the third reader finds."""
    audit = staged.audit
    separated = [note for note in audit.notes if note.startswith("fields separated by ")]
    delimiter = DELIMITERS[separated[0].rpartition(" ")[2]] if separated else ","
    found = find_records(decoded(content), delimiter)
    assert found is not None
    _, *records = found
    width, extra = len(audit.header), [""] * (TRAILING in audit.notes)
    rejected = {row.line: row.row for row in staged.quarantined}
    assert len(records) == audit.rows
    assert rejected == {one.line: one.text for one in records if one.line in rejected}
    assert {one.text for one in records if is_damaged(one.text)} <= set(rejected.values())
    kept = [one.fields for one in records if one.line not in rejected]
    assert all(len(fields) == width + len(extra) for fields in kept)
    assert all(fields[width:] == extra for fields in kept)
    for name in audit.carried:
        at = audit.header.index(name)
        assert staged.columns[name] == [fields[at] for fields in kept], name


def contents(variant: str, folder: Path) -> Callable[[str], bytes]:
    """The files to change, by the name of their source."""
    project = make_project(folder / variant, MINIATURE)
    if variant == "hostile":
        make_hostile(project)

    def content(name: str) -> bytes:
        lines = (project.data / f"{name}.csv").read_text().splitlines(keepends=True)
        short = [line for line in lines if len(line) < 300]
        text = "".join([*short[:12], *short[12:][-3:]])
        return f"\ufeff{text}".encode("utf-16-be") if variant == "utf-16" else text.encode()

    return content


@pytest.fixture
def _endless_is_ended() -> Iterator[None]:
    """Where a file takes too long, the test shows where and ends the process."""
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.usefixtures("_endless_is_ended")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", [*reversed(SOURCES)])  # The longest ones first.
def test_each_record_of_a_damaged_file_is_staged_or_quarantined(
    tmp_path: Path, name: str, variant: str, figures: Callable[[str], None]
) -> None:
    chance = new_random("MUTATIONS_SEED")
    whole = contents(variant, tmp_path)(name)
    counts = Counter(mutations=0, files=0, refused=0, rows=0, quarantined=0)
    while counts["mutations"] * len(VARIANTS) < MUTATIONS:
        content, changes = whole, chance.choice((1, 1, 2, 3))
        for _ in range(changes):
            content = mutated(content, chance)
        block_bytes = chance.choice((None, None, 64)) if len(content) < 9999 else None
        longest = chance.choice((None, None, None, 150))
        faulthandler.dump_traceback_later(LONGEST_S, exit=True)
        counts += Counter(mutations=changes, files=1)
        try:
            staged = stage(
                tmp_path,
                content,
                SOURCES[name],
                block_bytes=block_bytes,
                max_record_bytes=longest,
                one_way=chance if chance.random() < 0.75 else None,
            )
        except PipelineError:
            counts["refused"] += 1
        else:
            check(content, staged)
            counts["rows"] += staged.audit.rows
            counts["quarantined"] += staged.audit.rejected
    assert counts["refused"] < counts["files"]
    figures(", ".join(f"{count:,} {what}" for what, count in counts.items()))
