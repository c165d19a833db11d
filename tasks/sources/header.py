"""What the columns of the source files are, by their headers."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from config.declarations import Column, Source, Type
from tasks.core.errors import PipelineError


@dataclass(frozen=True)
class Layout:
    """What each column of one source file is.

    Attributes:
        header: The column names of the file, without blanks and invisible characters around them.
        recognised: Declared column -> its position in the file; several if they are joined.
        carried: Name -> position of the columns that are passed through, in the file's order.
        absent: Declared columns that the file does not have.
    """

    header: tuple[str, ...]
    recognised: dict[str, tuple[int, ...]]
    carried: dict[str, int]
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
    >>> layout.recognised, layout.carried
    ({'app_type_id': (1,), 'name': (0,)}, {'vendor': 2})

    Raises:
        PipelineError: A name is duplicated, or a required column is missing.
    """
    names = clean_names(header)
    positions: dict[str, int] = {}
    problems, lines = [], []
    for position, name in enumerate(names):
        if name.lower() in positions:
            problems.append(
                f"column {name!r} is duplicated, as number {positions[name.lower()] + 1} "
                f"and {position + 1}: rename or remove one"
            )
        positions.setdefault(name.lower(), position)
    has = f"the file has: {', '.join(map(displayed_name, names))}"
    recognised: dict[str, tuple[int, ...]] = {}
    named = {at for c in source.columns if c.header for at in _named_positions(c, positions)}
    taken = {at for column in source.columns for at in _positions(column, positions, named)}
    free = [name for name, at in positions.items() if at not in taken]
    for column in source.columns:
        found = _positions(column, positions, named)
        if found:
            recognised[column.name] = found
        elif column.header is not None:
            problems.append(
                f"column {column.header!r} is missing, which luigi.cfg names for {column.name}; "
                + has
            )
        elif not column.nullable:
            problems.append(f"column {column.name!r} is missing; {has}")
            # A single name of several words is a header with an unknown delimiter.
            known = [name for name in free if len(names) > 1 or re.fullmatch(r"\w+", name)]
            close = difflib.get_close_matches(column.name, known, n=1, cutoff=0.6)
            meant = names[positions[close[0]]] if close else "<header of that column>"
            # As a comment: a line that is pasted as it is has to help.
            lines.append(f"{'' if close else '# '}{column.name} = {meant}")
    carried = {name: position for position, name in enumerate(names) if position not in taken}
    mapped = {column.name for column in source.columns if column.header is not None}
    problems.extend(
        f"column {name!r} exists beside the one that luigi.cfg names for {name.lower()}: "
        "rename or remove one"
        for name in carried
        if name.lower() in mapped
    )
    if problems:
        raise PipelineError(
            f"{source.name} was rejected:",
            problems,
            "\n".join([f"[{source.name}]", *lines]) if lines else "",
        )
    return Layout(
        header=tuple(names),
        recognised=recognised,
        carried=carried,
        absent=tuple(c.name for c in source.columns if c.name not in recognised),
    )


def fits(source: Source, header: Sequence[str]) -> bool:
    """Whether a header has the columns that the source must have."""
    positions = {name.lower(): at for at, name in enumerate(clean_names(header))}
    needed = (c for c in source.columns if c.header is not None or not c.nullable)
    return all(_positions(column, positions, set()) for column in needed)


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


def _positions(column: Column, positions: dict[str, int], named: set[int]) -> tuple[int, ...]:
    """Where a column is; not under a header that luigi.cfg names for another one."""
    if column.header is not None:
        return _named_positions(column, positions)
    names = (name.lower() for name in (column.name, *column.aliases))
    found = (positions[name] for name in names if name in positions)
    return next(((at,) for at in found if at not in named), ())


def _named_positions(column: Column, positions: dict[str, int]) -> tuple[int, ...]:
    """Of the header that luigi.cfg names: it may itself contain a comma, or name two columns."""
    header = (column.header or "").lower()
    if header in positions:
        return (positions[header],)
    several = [positions.get(name.strip()) for name in header.split(",")]
    if column.type is not Type.TIMESTAMP or len(several) < 2 or None in several:
        return ()
    return tuple(at for at in several if at is not None)
