"""Whether the right column was taken for the time of the records, where no setting names it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from config.declarations import Source, Type
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
    texts = [[record[at].strip() for record in sample] for at in range(len(header))]
    shapes = {at: _shape(header[at], texts[at]) for at in range(len(header))}

    def line(chosen: str, instead: str = "") -> str:
        other = (
            f"\n# or, if that is meant, instead:\n# {column.name} = {instead}" if instead else ""
        )
        return f"[{source.name}]\n{column.name} = {chosen}{other}"

    others = [at for at, shape in shapes.items() if shape and at not in taken]
    clock = next((at for at in others if shapes[at] == "clock"), None)
    date = next((at for at in others if shapes[at] == "date"), None)
    whole = [at for at in others if shapes[at] in ("datetime", "epoch")]
    if not taken:
        found = [header[at] for at in whole]
        if date is not None and clock is not None:
            found.append(f"{header[date]}, {header[clock]}")
        return [
            f"no column was recognised as {column.name}, but {one} looks like a time:\n{line(one)}"
            for one in found[:1]
        ]
    (at,) = taken
    name = header[at]
    if shapes[at] == "clock" and (date is not None or whole):
        better = f"{header[date]}, {name}" if date is not None else header[whole[0]]
        raise PipelineError(
            f"{file}: {name} was taken for {column.name}, and holds the time of day alone: name "
            "the right column, or both.",
            remedy=line(better),
        )
    if name.lower() == column.name:
        whole = []
    whole = [other for other in whole if texts[other] != texts[at]]
    aliases = {alias.lower() for alias in column.aliases}
    equal = [
        other
        for other in whole
        if header[other].lower() in aliases and _is_good(header[other], texts[other])
    ]
    if equal and shapes[at] in ("datetime", "epoch") and _is_good(name, texts[at]):
        raise PipelineError(
            f"{file}: {name} and {header[equal[0]]} may both be {column.name}: choose one.",
            remedy=line(name, header[equal[0]]),
        )
    if shapes[at] == "date":
        better = name if clock is None else f"{name}, {header[clock]}"
        return [f"{column.name} was guessed from {name}, which holds dates alone:\n{line(better)}"]
    if _INSERTION.search(name):
        better = header[whole[0]] if whole else name
        return [
            f"{column.name} was guessed from {name}, which is named like the time at which the "
            f"row was written:\n{line(better)}"
        ]
    if whole:
        return [
            f"{column.name} was guessed from {name}, but {header[whole[0]]} looks like a time "
            f"too:\n{line(name, header[whole[0]])}"
        ]
    return []


def _is_good(name: str, texts: Sequence[str]) -> bool:
    """Whether a column that holds times may hold those of the records."""
    return not _INSERTION.search(name) and (len(texts) < 2 or len(set(texts)) > 1)


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
