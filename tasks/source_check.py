"""`python -m tasks sources --check FILE`: how a file would be read, without staging it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from config.declarations import Source
from config.sources import SOURCES
from tasks.core.arrow import open_parquet
from tasks.core.errors import PipelineError
from tasks.run.console import format_table
from tasks.run.source_settings import source
from tasks.sources.inspection import SourceFile, inspect_file
from tasks.staging.audit import Audit, read_quarantine
from tasks.staging.stage import Outputs, stage_file

_FIRST_ROWS = 5


def source_of(path: Path, name: str | None) -> Source:
    """The source that a file holds: the one named, else by the file's name or its header.

    Raises:
        PipelineError: None fits, or several do.
    """
    by_name = {one.lower(): one for one in SOURCES}
    for given in (name, path.name.partition(".")[0], path.absolute().parent.name):
        if given is not None and given.lower() in by_name:
            return source(by_name[given.lower()])
    fitting = []
    for one in SOURCES if name is None else ():
        try:
            inspect_file(path, source(one))
            fitting.append(one)
        except PipelineError:
            continue
    if len(fitting) == 1:
        return source(fitting[0])
    raise PipelineError(
        f"{path.name}: neither its name nor its columns show which source it holds.",
        remedy=f"Name it: --source {' | '.join(SOURCES)}",
    )


def describe(path: Path, declared: Source) -> Iterator[str]:
    """Lines that show how a file would be read.

    Raises:
        PipelineError: It would not be staged; the lines before show what is known of it.
    """
    file = inspect_file(path, declared)
    yield f"{path.name} as {declared.name}: {declared.grain}"
    yield from _describe_dialect(file)
    with tempfile.TemporaryDirectory() as folder:
        out = Outputs(*(Path(folder, name) for name in ("rows", "quarantine", "cells", "keys")))
        error = None
        try:
            audit = stage_file(path, declared, out)
        except PipelineError as failed:
            error = failed
            audit = stage_file(path, dataclasses.replace(declared, max_rejected=1.0), out)
        yield from _describe_columns(file, audit)
        yield from _describe_rows(out, audit)
    if error is not None:
        raise error
    if audit.warnings:
        yield from ("", "Warnings", *audit.warnings)


def _describe_dialect(file: SourceFile) -> Iterator[str]:
    dialect = file.dialect
    yield f"  encoding    {dialect.encoding}"
    yield f"  delimiter   {dialect.delimiter!r}"
    yield f"  quotes      {dialect.quotechar or 'none'}"
    if dialect.escapechar:
        yield f"  escapes     {dialect.escapechar}"
    yield f"  header      line {dialect.head}"
    if file.notes:
        yield f"  recognised  {'; '.join(file.notes)}"


def _describe_columns(file: SourceFile, audit: Audit) -> Iterator[str]:
    layout = file.layout
    rows = []
    for at, header in enumerate(layout.header):
        name = next((name for name, places in layout.recognised.items() if at in places), None)
        looks = audit.observed_types.get(header, "")
        if name is None:
            rows.append([header, "(passed through)", "text", f"looks like {looks}"])
            continue
        column = file.source.column(name)
        why = "its declared name" if header.lower() == name else "one of its usual names"
        rows.append([header, name, column.type, "luigi.cfg names it" if column.header else why])
    yield from ("", "Columns", *format_table(["header", "read as", "type", "why"], rows))
    if layout.absent:
        yield f"  not found: {', '.join(layout.absent)}"


def _describe_rows(out: Outputs, audit: Audit) -> Iterator[str]:
    with open_parquet(out.rows) as staged:
        first = next(staged.iter_batches(_FIRST_ROWS), None)
    if first is not None:
        rows = [
            ["" if item is None else str(item) for item in row.values()]
            for row in first.to_pylist()
        ]
        yield from ("", "First rows", *format_table(first.schema.names, rows))
    yield ""
    yield (
        f"{audit.rows:,} rows: {audit.staged:,} would be staged, {audit.rejected:,} rejected, "
        f"{audit.cells_emptied:,} cells emptied"
    )
    lost: list[dict[str, Any]] = []
    if audit.rejected:
        lost += read_quarantine(out.quarantine)
    if audit.emptied and out.cells is not None:
        lost += read_quarantine(out.cells)
    for one in lost[:_FIRST_ROWS]:
        yield f"  line {one['line']}: {one['reason']}"
    if len(lost) > _FIRST_ROWS:
        yield f"  and {len(lost) - _FIRST_ROWS:,} more"
