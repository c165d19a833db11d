"""Whether the right column was taken for the time of the records, where no setting names it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from config.declarations import Column, Source, Type
from tasks.core.config_text import lines_to_paste
from tasks.core.errors import PipelineError

_DATE = r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/. ](\d{1,2}|[A-Za-z]{3,9})[-/. ]\d{2,4})"
_CLOCK = r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp]\.?[Mm]\.?)?"
_EPOCH = r"1\d{9}(\d{3})?(\.\d+)?"
_SHAPES = {
    "datetime": re.compile(rf"{_DATE}[T ,_]+{_CLOCK}.*"),
    "date": re.compile(_DATE),
    "clock": re.compile(_CLOCK),
    "epoch": re.compile(_EPOCH),
}
_INSERTION = re.compile(
    r"creat|insert|import|load|updat|modif|receiv|ingest|sync|etl|export|changed|written|arriv",
    re.I,
)
_TIME_NAME = re.compile(r"time|date|stamp|(^|_)(ts|dt|at|hour)($|_)|uhr|zeit|datum", re.I)


def judge_time_column(
    file: str,
    source: Source,
    header: Sequence[str],
    taken: Sequence[int],
    sample: Sequence[Sequence[str]],
) -> list[str]:
    """Warnings about a time column that was guessed, each with the lines that settle it.

    Args:
        file: Name of the file.
        source: Its declaration, with the settings.
        header: The file's columns.
        taken: Position of the column that was taken; empty if none was, several if joined.
        sample: The first records.

    Raises:
        PipelineError: Another column is as good, or the column holds only the time of day.
    """
    column = next((c for c in source.columns if c.type is Type.TIMESTAMP), None)
    if column is None or column.header is not None or not sample:
        return []
    columns = [
        _Column(name, texts := [record[at].strip() for record in sample], _shape(name, texts))
        for at, name in enumerate(header)
    ]
    others = [one for at, one in enumerate(columns) if one.shape and at not in taken]
    if taken:
        return _judge(file, source, column, columns[taken[0]], others)
    dates, clocks, whole = _by_shape(others)
    for one in [*whole, *(f"{date}, {clock}" for date in dates for clock in clocks)]:
        return [
            f"no column was recognised as {column.name}, but {one} looks like a time:\n"
            + lines_to_paste(source.name, [[{column.name: one}]])
        ]
    return []


class _Column(NamedTuple):
    name: str
    texts: list[str]
    shape: str

    @property
    def may_be_right(self) -> bool:
        """Whether it may hold the times of the records, if it holds times."""
        varies = len(self.texts) < 2 or len(set(self.texts)) > 1
        return varies and not _INSERTION.search(self.name)


def _by_shape(columns: Sequence[_Column]) -> tuple[list[str], list[str], list[str]]:
    """The names of the columns that hold dates, times of the day, and both."""
    shapes = ("date",), ("clock",), ("datetime", "epoch")
    dates, clocks, whole = ([c.name for c in columns if c.shape in some] for some in shapes)
    return dates, clocks, whole


def _judge(
    file: str, source: Source, column: Column, taken: _Column, others: Sequence[_Column]
) -> list[str]:
    """Warnings about the column that was taken, beside others that look like times."""

    def paste(*choices: str) -> str:
        return lines_to_paste(source.name, [[{column.name: choice} for choice in choices]])

    name = taken.name
    dates, clocks, whole = _by_shape(others)
    if taken.shape == "clock" and (dates or whole):
        better = [*(f"{date}, {name}" for date in dates), *whole]
        raise PipelineError(
            f"{file}: {name} was taken for {column.name}, and holds the time of day alone: name "
            "the right column, or both.",
            remedy=paste(better[0]),
        )
    # Under its own name, no other column can be it; a copy makes no difference.
    is_named = name.lower() == column.name
    rivals = [
        one for one in others if one.name in whole and not is_named and one.texts != taken.texts
    ]
    aliases = {alias.lower() for alias in column.aliases}
    equal = [one.name for one in rivals if one.name.lower() in aliases and one.may_be_right]
    if equal and taken.shape in ("datetime", "epoch") and taken.may_be_right:
        raise PipelineError(
            f"{file}: {name} and {equal[0]} may both be {column.name}: choose one.",
            remedy=paste(name, equal[0]),
        )
    guessed = f"{column.name} was guessed from {name}"
    if taken.shape == "date":
        better = [*(f"{name}, {clock}" for clock in clocks), name]
        return [f"{guessed}, which holds dates alone:\n{paste(better[0])}"]
    if _INSERTION.search(name):
        how = "which is named like the time at which the row was written"
        return [f"{guessed}, {how}:\n{paste([*(one.name for one in rivals), name][0])}"]
    for one in rivals:
        return [f"{guessed}, but {one.name} looks like a time too:\n{paste(name, one.name)}"]
    return []


def _shape(name: str, texts: Sequence[str]) -> str:
    """What the texts of a column look like: datetime, date, clock, epoch or nothing of these."""
    some = [text for text in texts if text]
    if not some:
        return ""
    matching = (shape for shape, form in _SHAPES.items() if all(map(form.fullmatch, some)))
    shape = next(matching, "")
    if shape == "epoch" and not _TIME_NAME.search(name):
        return ""
    hours = all(text.isdecimal() and int(text) < 24 for text in some)
    return "clock" if not shape and hours and re.search(r"hour|stunde|uhr", name, re.I) else shape
