"""Each example of docs/inputs.md, staged: it gives the rows or the error that the page shows.

An example is one or more blocks `csv FILE [ENCODING]`, perhaps a block `ini` with lines of
luigi.cfg, and a block `result` or `error`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from luigi.configuration.cfg_parser import LuigiConfigParser

from tasks.core.errors import PipelineError
from tasks.run import source_settings
from tasks.sources.files import content_digest, find_partitions
from tasks.sources.inspection import check_duplicates, check_sources
from tasks.staging.audit import read_quarantine
from tasks.staging.stage import Outputs, stage_file
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8")
OUTCOMES = ("result", "error")


@dataclass
class Example:
    """An example of the page.

    Attributes:
        line: Of its outcome in the page.
        files: Name and content.
        settings: Lines of luigi.cfg.
        kind: Of the outcome.
        outcome: Its lines.
    """

    line: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    settings: str = ""
    kind: str = ""
    outcome: list[str] = field(default_factory=list)


def examples() -> Iterator[Example]:
    example = Example()
    for match in re.finditer(r"^```(\w+)([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        kind, text = match[1], match[3]
        if kind == "csv":
            name, _, encoding = match[2].strip().partition(" ")
            example.files[name] = text.encode(encoding or "utf-8")
        elif kind == "ini":
            example.settings = text
        elif kind in OUTCOMES:
            example.kind, example.outcome = kind, text.splitlines()
            example.line = PAGE.count("\n", 0, match.start()) + 1
            yield example
            example = Example()


EXAMPLES = list(examples())


def stage(folder: Path, example: Example) -> list[str]:
    """What staging the example's files gives, in the words of the page."""
    for name, content in example.files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (source,) = {name.partition("/")[0].partition(".")[0] for name in example.files}
    declared = source_settings.source(source)
    check_sources([declared], folder)
    parts = find_partitions(source, folder)
    check_duplicates(declared, {part.path.name: part.path for part in parts}, content_digest)
    lines = []
    for part in parts:
        out = Outputs(
            *(folder / f"{part.path.name}.{name}" for name in ("rows", "rejected", "cells"))
        )
        audit = stage_file(part.path, declared, out)
        header = [name.strip() for name in example.outcome[0].split("|")]
        if header != [""]:
            rows = pq.read_table(out.rows).select(header).to_pylist()
            lines += [" | ".join(map(shown, row.values())) for row in rows]
        lines += [f"read as: {note}" for note in audit.notes]
        lines += [
            f"state: {word} = {value:g} ({rows})" for word, (value, rows) in audit.states.items()
        ]
        lines += [f"times {kind}: {rows}" for kind, rows in audit.times.items()]
        lines += [line for one in audit.warnings for line in f"warning: {one}".splitlines()]
        if out.quarantine.exists():
            rejected = read_quarantine(out.quarantine)
            lines += [f"rejected: line {row['line']}: {row['reason']}" for row in rejected]
        if out.cells is not None and out.cells.exists():
            with out.cells.open(encoding="utf-8", newline="") as stream:
                cells = list(csv.DictReader(stream))
            lines += [f"emptied: line {cell['line']}: {cell['reason']}" for cell in cells]
    return "\n".join(lines).splitlines()


def shown(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}" + (f".{value:%f}" if value.microsecond else "")
    return "NULL" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def compact(line: str) -> str:
    """A line of a result without the blanks that align its columns."""
    return " | ".join(cell.strip() for cell in line.split(" | "))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"line_{example.line}")
def test_each_example_gives_what_the_page_shows(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = tmp_path / "luigi.cfg"
    configuration.write_text(example.settings, encoding="utf-8")
    parser = LuigiConfigParser()
    parser.read([str(configuration)], encoding="utf-8")
    monkeypatch.setattr("tasks.run.settings.get_config", lambda: parser)
    folder = tmp_path / "take_home_data"
    folder.mkdir()
    if example.kind == "error":
        with pytest.raises(PipelineError) as error:
            stage(folder, example)
        found = [line.strip() for line in str(error.value).splitlines()]
        assert [line for line in map(str.strip, example.outcome) if line not in found] == []
    else:
        assert [compact(line) for line in stage(folder, example)] == [
            compact(line) for line in example.outcome[1:]
        ]


def test_each_setting_has_an_example() -> None:
    shown_settings = {
        line.partition("=")[0].strip()
        for example in EXAMPLES
        for line in example.settings.splitlines()
    }
    assert set(source_settings.OPTIONS) <= shown_settings


def test_each_example_ends_in_an_outcome() -> None:
    assert sum(len(example.files) for example in EXAMPLES) == PAGE.count("```csv ")
