"""What the columns of the source files are, by their headers; whether the time is the right one."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from config.declarations import Column, Source, Type
from tasks.core.config_text import lines_to_paste
from tasks.core.errors import PipelineError


@dataclass(frozen=True)
class Layout:
    """What each column of one source file is.

    Attributes:
        header: The column names of the file, without blanks and invisible characters around them.
        recognised: Declared column -> its position in the file; several if they are joined.
        passed_through: Name of each other column -> its position, in the file's order.
        absent: Declared columns that the file should have, and does not.
    """

    header: tuple[str, ...]
    recognised: dict[str, tuple[int, ...]]
    passed_through: dict[str, int]
    absent: tuple[str, ...]

    def header_of(self, column: str) -> str:
        """The header of a recognised column; the headers, if several are joined."""
        return ", ".join(self.header[at] for at in self.recognised[column])


def match_columns(source: Source, header: Sequence[str]) -> Layout:
    """Recognise the declared columns in a header; the others are passed through as text.

    Case, blanks and invisible characters around names do not matter. The first of a column's
    names that the header has is taken.

    >>> from config.sources import APP_TYPE
    >>> layout = match_columns(APP_TYPE, [" Name", "APP_TYPE_ID", "vendor"])
    >>> layout.recognised, layout.passed_through
    ({'app_type_id': (1,), 'name': (0,)}, {'vendor': 2})

    Raises:
        PipelineError: A name is duplicated, or a required column is missing.
    """
    names = clean_names(header)
    found = _find_columns(source, names)
    taken = {at for places in found.values() for at in places}
    passed_through = {name: at for at, name in enumerate(names) if at not in taken}
    has = f"the file has: {', '.join(map(displayed_name, names))}"
    problems = list(_duplicates(names))
    lines = []
    missing = [column for column in source.columns if column.name not in found]
    for column in missing:
        if column.header is not None:
            named = f"which luigi.cfg names for {column.name}"
            problems.append(f"column {column.header!r} is missing, {named}; {has}")
        elif not column.nullable:
            problems.append(f"column {column.name!r} is missing; {has}")
            lines.append(_line_for(column, names, passed_through))
    mapped = {column.name for column in source.columns if column.header is not None}
    problems += [
        f"column {name!r} exists beside the one that luigi.cfg names for {name.lower()}: "
        "rename or remove one"
        for name in passed_through
        if name.lower() in mapped
    ]
    if problems:
        remedy = "\n".join([f"[{source.name}]", *lines]) if lines else ""
        raise PipelineError(f"{source.name} was rejected:", problems, remedy)
    absent = tuple(column.name for column in missing if not column.derived)
    return Layout(tuple(names), found, passed_through, absent)


def _duplicates(names: Sequence[str]) -> Iterator[str]:
    first: dict[str, int] = {}
    for place, name in enumerate(names, start=1):
        if name.lower() in first:
            places = f"as number {first[name.lower()]} and {place}"
            yield f"column {name!r} is duplicated, {places}: rename or remove one"
        first.setdefault(name.lower(), place)


def _line_for(column: Column, names: Sequence[str], passed_through: Iterable[str]) -> str:
    """The line of luigi.cfg that maps a missing column to the header that is most like it."""
    lowered = [name.lower() for name in names]
    # A single name of several words is a header with an unknown delimiter.
    free = {
        name.lower(): name
        for name in passed_through
        if lowered.count(name.lower()) == 1 and (len(names) > 1 or re.fullmatch(r"\w+", name))
    }
    for close in difflib.get_close_matches(column.name, free, n=1, cutoff=0.6):
        return f"{column.name} = {free[close]}"
    # As a comment: a line that is pasted as it is has to help.
    return f"# {column.name} = <header of that column>"


def fits(source: Source, header: Sequence[str]) -> bool:
    """Whether a header has the columns that the source must have."""
    found = _find_columns(source, clean_names(header))
    needed = (c.name for c in source.columns if c.header is not None or not c.nullable)
    return all(name in found for name in needed)


def _find_columns(source: Source, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Where each column is; not under a header that luigi.cfg names for another one."""
    positions: dict[str, int] = {}
    for at, name in enumerate(names):
        positions.setdefault(name.lower(), at)
    found = {c.name: _named_positions(c, positions) for c in source.columns if c.header is not None}
    named = {at for places in found.values() for at in places}
    for column in source.columns:
        if column.header is None:
            likely = (positions.get(name.lower()) for name in (column.name, *column.aliases))
            free = [at for at in likely if at is not None and at not in named]
            found[column.name] = tuple(free[:1])
    return {column.name: found[column.name] for column in source.columns if found[column.name]}


def clean_names(header: Sequence[str]) -> list[str]:
    r"""Names without blanks and invisible characters around them; empty ones named by their place.

    >>> clean_names(["", "\u200bid\ufeff "])
    ['column_1', 'id']
    """
    invisible = {c for name in header for c in name if unicodedata.category(c)[0] in "CZ"}
    stripped = (name.strip("".join(invisible)) for name in header)
    return [name or f"column_{place}" for place, name in enumerate(stripped, start=1)]


def displayed_name(name: str) -> str:
    r"""A name in which every character can be seen.

    >>> displayed_name("app\u200b_type")
    'app\\u200b_type'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def _named_positions(column: Column, positions: dict[str, int]) -> tuple[int, ...]:
    """Of the header that luigi.cfg names: it may itself contain a comma, or name two columns."""
    header = (column.header or "").lower()
    if header in positions:
        return (positions[header],)
    several = [positions.get(name.strip()) for name in header.split(",")]
    if column.type is not Type.TIMESTAMP or len(several) < 2 or None in several:
        return ()
    return tuple(at for at in several if at is not None)


# --- whether the right column was taken for the time, where no setting names it --------------

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
        _Candidate(name, texts := [record[at].strip() for record in sample], _shape(name, texts))
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


class _Candidate(NamedTuple):
    name: str
    texts: list[str]
    shape: str

    @property
    def may_be_right(self) -> bool:
        """Whether it may hold the times of the records, if it holds times."""
        varies = len(self.texts) < 2 or len(set(self.texts)) > 1
        return varies and not _INSERTION.search(self.name)


def _by_shape(columns: Sequence[_Candidate]) -> tuple[list[str], list[str], list[str]]:
    """The names of the columns that hold dates, times of the day, and both."""
    shapes = ("date",), ("clock",), ("datetime", "epoch")
    dates, clocks, whole = ([c.name for c in columns if c.shape in some] for some in shapes)
    return dates, clocks, whole


def _judge(
    file: str, source: Source, column: Column, taken: _Candidate, others: Sequence[_Candidate]
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
