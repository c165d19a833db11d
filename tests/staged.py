"""Files staged by every reader, which have to agree, and what that has left."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import functools
import io
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from config.declarations import Source
from config.sources import APP_TYPE
from tasks.core.errors import PipelineError
from tasks.sources import csv_blocks
from tasks.staging.audit import Audit
from tasks.staging.stage import Outputs, stage_file

MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
PROPOSED = "settings that would read "


def decoded(content: bytes) -> str:
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding, "mark_undecodable").lstrip("\ufeff")
    return content.decode(errors="surrogateescape").lstrip("\ufeff")


class Quarantined(NamedTuple):
    """A row of a quarantine file."""

    file: str
    line: int
    column: str
    kind: str
    reason: str
    row: str


class Cell(NamedTuple):
    """A cell that was emptied."""

    line: int
    column: str
    reason: str
    text: str


@dataclasses.dataclass(frozen=True)
class Staged:
    """What staging a file has left."""

    audit: Audit
    parquet: bytes
    quarantine: bytes | None
    cells_file: bytes | None

    @functools.cached_property
    def table(self) -> pa.Table:
        return pq.read_table(io.BytesIO(self.parquet))

    @property
    def columns(self) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = self.table.to_pydict()
        return columns

    @property
    def quarantined(self) -> list[Quarantined]:
        rows = _csv_rows(self.quarantine, "file,line,column,kind,reason,row")
        return [Quarantined(file, int(line), *others) for file, line, *others in rows]

    @property
    def cells(self) -> list[Cell]:
        rows = _csv_rows(self.cells_file, "line,column,reason,text")
        return [Cell(int(line), *others) for line, *others in rows]

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return [(row.line, row.reason) for row in self.quarantined]


def _csv_rows(raw: bytes | None, columns: str) -> list[list[str]]:
    if raw is None:
        return []
    text = raw.decode(errors="surrogateescape")
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert ",".join(header) == columns
    return rows


def stage(
    folder: Path,
    content: str | bytes,
    source: Source = APP_TYPE,
    *,
    name: str = "",
    block_bytes: int | None = None,
    max_record_bytes: int | None = None,
    max_rejected: float = 1.0,
    one_way: random.Random | None = None,
    **settings: Any,
) -> Staged:
    """Stage a file of this content; whatever comes of it, each row is accounted for.

    It is staged by Arrow, by Python's csv, and, if it is read in blocks of a given size, by both
    in turn: all ways must lead to the same. With random numbers given, one of the ways is taken.
    """
    path = folder / (name or f"{source.name}.csv")
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    declared = dataclasses.replace(source, max_rejected=max_rejected, **settings)
    cells = folder / "cells.csv"
    out = Outputs(folder / "staged.parquet", folder / "quarantine.csv", cells)

    def stage_once(plain: int) -> Staged | PipelineError:
        for at in (out.quarantine, cells):
            at.unlink(missing_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            is_plain = csv_blocks._is_plain

            def is_read_as_plain(text: bytes, dialect: Any) -> bool:
                return not (plain == 0 or plain == 1 and len(text) % 2) and is_plain(text, dialect)

            patch.setattr(csv_blocks, "_is_plain", is_read_as_plain)
            if block_bytes is not None:
                patch.setattr("tasks.sources.csv_blocks.BLOCK_BYTES", block_bytes)
            if max_record_bytes is not None:
                patch.setattr("tasks.sources.csv_blocks.MAX_RECORD_BYTES", max_record_bytes)
                patch.setattr("tasks.sources.csv_records.MAX_RECORD_BYTES", max_record_bytes)
            try:
                audit = stage_file(path, declared, out, threads=2)
            except PipelineError as error:
                assert not out.quarantine.exists()
                return error
        made = ((out.quarantine, audit.rejected), (cells, sum(audit.emptied.values())))
        assert all(at.exists() == bool(count) for at, count in made)
        lost = [at.read_bytes() if count else None for at, count in made]
        return Staged(audit, out.rows.read_bytes(), *lost)

    ways = (0, 2) if block_bytes is None else (0, 1, 2)
    *others, staged = map(stage_once, [one_way.choice(ways)] if one_way else ways)
    for other in others:
        if isinstance(staged, PipelineError) or isinstance(other, PipelineError):
            assert str(other) == str(staged)
            continue
        written = decoded(path.read_bytes())
        unlike = '"', "\r"  # Python's csv gets a piece of its own for these.
        if block_bytes or not written.endswith("\n") or any(mark in written for mark in unlike):
            # Types are observed in the first block, and texts sampled for proposals in some blocks,
            # which are not the same.
            other.audit.observed_types = staged.audit.observed_types
            for audit in (other.audit, staged.audit):
                audit.warnings = [one for one in audit.warnings if not one.startswith(PROPOSED)]
        assert other.audit == staged.audit
        assert (other.quarantine, other.cells_file) == (staged.quarantine, staged.cells_file)
        assert other.table.equals(staged.table)
    if isinstance(staged, PipelineError):
        raise staged
    audit = staged.audit
    assert Audit.from_json(audit.to_json()) == audit
    assert audit.rows == audit.staged + audit.rejected
    assert audit.staged == staged.table.num_rows
    assert audit.quarantined == Counter(row.kind for row in staged.quarantined)
    assert sum(audit.emptied.values()) == len(staged.cells)
    assert all(row.reason.startswith(row.kind) for row in staged.quarantined)
    assert all(row.file == path.name for row in staged.quarantined)
    return staged


def refusal(call: Callable[..., object], *given: object, **how: object) -> str:
    """The message with which a call is refused."""
    with pytest.raises(PipelineError) as error:
        call(*given, **how)
    return str(error.value)


def failure(folder: Path, content: str | bytes, source: Source = APP_TYPE, **how: Any) -> str:
    """The message with which a file of this content fails."""
    return refusal(stage, folder, content, source, **how)


def advice(message: str) -> str:
    """A message up to the line that accepts the loss, which it has only if some rows are read."""
    return message.partition("\nOr accept the loss, in [")[0]
