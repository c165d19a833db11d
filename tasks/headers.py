"""What the headers of the source files say, and whether the files can be staged at all."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.declarations import Column, Source
from tasks.errors import PipelineError
from tasks.source_files import find_parts, open_bytes, open_text

_SNIFFED_BYTES = 65_536


@dataclass(frozen=True)
class Layout:
    """What each column of one source file is.

    Attributes:
        header: The column names as they stand in the file, blanks around them removed.
        recognised: Declared column -> its position in the file.
        carried: Name -> position of the columns that are carried as text, in the file's order.
        absent: Declared columns that the file does not have.
    """

    header: tuple[str, ...]
    recognised: dict[str, int]
    carried: dict[str, int]
    absent: tuple[str, ...]


def read_header(path: Path) -> tuple[str, ...]:
    """The column names of a CSV file as they stand there.

    Raises:
        PipelineError: The file is empty, is no text, or cannot be read.
    """
    try:
        with open_bytes(path) as stream:
            start = stream.read(_SNIFFED_BYTES)
        if not start.removeprefix(b"\xef\xbb\xbf").strip():
            raise PipelineError(f"{path.name} is empty: it has no header.")
        if b"\0" in start:
            looks = " (it looks like UTF-16)" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
            raise PipelineError(f"{path.name} is not a text file{looks}: save it as UTF-8 CSV.")
        header = next(csv.reader([next(records(path))[1]]))
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise PipelineError(f"{path.name} cannot be read: {error}.") from error
    try:
        "".join(header).encode()
    except UnicodeEncodeError as error:
        raise PipelineError(
            f"{path.name} is not UTF-8: its header has other bytes; save it as UTF-8 CSV."
        ) from error
    return tuple(header)


def match_columns(source: Source, header: Sequence[str]) -> Layout:
    """Recognise the declared columns in a header; the others are carried as text.

    Case and blanks around names do not matter. The first of a column's names that the header
    has is taken.

    >>> from config.sources import APP_TYPE
    >>> layout = match_columns(APP_TYPE, [" Name", "APP_TYPE_ID", "vendor"])
    >>> layout.recognised, layout.carried
    ({'app_type_id': 1, 'name': 0}, {'vendor': 2})

    Raises:
        PipelineError: A name stands twice, or a required column is missing.
    """
    names = _name_the_nameless([name.strip() for name in header])
    positions: dict[str, int] = {}
    problems = []
    for position, name in enumerate(names):
        if name.lower() in positions:
            problems.append(
                f"column {name!r} stands twice, as number {positions[name.lower()] + 1} "
                f"and {position + 1}: rename or remove one"
            )
        positions.setdefault(name.lower(), position)
    recognised = {}
    named = {column.header.lower() for column in source.columns if column.header is not None}
    for column in source.columns:
        found = _position(column, positions, named)
        if found is not None:
            recognised[column.name] = found
        elif column.header is not None:
            problems.append(
                f"column {column.header!r} is missing, which luigi.cfg names for {column.name}; "
                f"the file has: {', '.join(names)}"
            )
        elif not column.nullable:
            problems.append(
                f"column {column.name!r} is missing; the file has: {', '.join(names)}"
                + _separator_hint(header)
            )
    taken = set(recognised.values())
    carried = {name: position for position, name in enumerate(names) if position not in taken}
    mapped = {column.name for column in source.columns if column.header is not None}
    problems.extend(
        f"column {name!r} stands beside the one that luigi.cfg names for {name.lower()}: "
        "rename or remove one"
        for name in carried
        if name.lower() in mapped
    )
    if problems:
        raise PipelineError(f"{source.name} was refused:", problems)
    return Layout(
        header=tuple(names),
        recognised=recognised,
        carried=carried,
        absent=tuple(c.name for c in source.columns if c.name not in recognised),
    )


def _separator_hint(header: Sequence[str]) -> str:
    """What to do if a header looks as if something else than a comma stood between its columns.

    >>> _separator_hint(["a;b;c"])
    " (columns are separated by commas here, not by ';': save the file so)"
    """
    found = [mark for mark in ";\t|" if len(header) == 1 and mark in header[0]]
    return (
        f" (columns are separated by commas here, not by {found[0]!r}: save the file so)"
        if found
        else ""
    )


def _name_the_nameless(names: Sequence[str]) -> list[str]:
    """Name empty headers by their place.

    >>> _name_the_nameless(["", "id"])
    ['column_1', 'id']
    """
    return [name or f"column_{place}" for place, name in enumerate(names, start=1)]


def _position(column: Column, positions: dict[str, int], named: set[str]) -> int | None:
    """Where a column stands; not under a header that luigi.cfg names for another one."""
    if column.header is not None:
        return positions.get(column.header.lower())
    names = (name.lower() for name in (column.name, *column.aliases))
    return next((positions[name] for name in names if name in positions.keys() - named), None)


def check_sources(sources: Iterable[Source], data_dir: Path) -> dict[str, Layout]:
    """The layout of every source; of one that comes in parts, that of the last part.

    Raises:
        PipelineError: Listing every problem of every file at once.
    """
    layouts, problems = {}, []
    for source in sources:
        found = find_parts(source.name, data_dir)
        if not found:
            folder = f", or a folder {source.name} of such files" if source.in_parts else ""
            problems.append(f"{source.name}.csv (or .csv.gz{folder}) is missing")
        by_name: dict[str, list[Path]] = {}
        for part in found:
            by_name.setdefault(part.name.lower(), []).append(part.path)
        for paths in by_name.values():
            if len(paths) > 1:
                names = " and ".join(_shown(path, data_dir) for path in paths)
                problems.append(f"{names} stand side by side: keep one of them")
                continue
            try:
                _refuse_name(paths[0])
                layouts[source.name] = match_columns(source, read_header(paths[0]))
            except PipelineError as error:
                name = _shown(paths[0], data_dir)
                of_columns = [f"{name}: {problem}" for problem in error.problems]
                problems.extend(of_columns or [str(error).replace(paths[0].name, name, 1)])
    if problems:
        there = sorted(path.name for path in data_dir.iterdir()) if data_dir.is_dir() else []
        raise PipelineError(
            f"The source files in {data_dir} cannot be staged; nothing was changed:",
            problems,
            f"The folder {'holds: ' + ', '.join(there) if there else 'is empty or absent'}.\n"
            + _remedies(problems),
        )
    return layouts


def _refuse_name(path: Path) -> None:
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise PipelineError(f"{ascii(path.name)}: the name is not UTF-8: rename it.") from error


def _shown(path: Path, data_dir: Path) -> str:
    return path.relative_to(data_dir).as_posix()


def _remedies(problems: Sequence[str]) -> str:
    lines = ["Mend the files."]
    if any(problem.partition(": ")[2].startswith("column ") for problem in problems):
        lines.append(
            "Or name a differing header in luigi.cfg, such as\n"
            "  [LOG_RCD_F]\n"
            "  point_log_inst_id = <header of that column>"
        )
    if any(problem.endswith(" is missing") for problem in problems):
        lines.append("Or make missing files up: luigi --module tasks SampleData --local-scheduler")
    return "\n".join(lines)


def records(path: Path) -> Iterator[tuple[int, str]]:
    """Every record of a CSV file, the header too: line number and text as it came.

    A record is a line, or several where a quoted field holds line breaks. Empty lines are no
    records. Bytes that are not UTF-8 come as surrogates.

    Raises:
        PipelineError: A quoted field is never closed.
    """
    number = 0
    with open_text(path) as stream:
        for line in stream:
            number += 1
            if '"' not in line:
                if line.strip("\r\n"):
                    yield number, line.rstrip("\r\n")
                continue
            parts = [line]
            closed = True

            def lines(first: str = line, parts: list[str] = parts) -> Iterator[str]:
                nonlocal closed
                yield first
                for following in stream:
                    parts.append(following)
                    yield following
                closed = False  # The reader asks for more, and there is none.

            next(csv.reader(lines()))
            if not closed:
                raise PipelineError(
                    f"{path.name}: line {number}: a quote opens a field and is never closed, "
                    "so the rest of the file cannot be told apart.",
                    [f"the line reads: {shorten(line)}"],
                    "Close the quote, or double it if it belongs to the text.",
                )
            yield number, "".join(parts).rstrip("\r\n")
            number += len(parts) - 1


def shorten(text: str, most: int = 120) -> str:
    """A text for a message: one line, quoted, not too long.

    >>> shorten("no break" + "!" * 200, most=12)
    "'no break!!!!'..."
    """
    cut = text.rstrip("\r\n")
    shown = repr(cut[:most])
    return shown + ("..." if len(cut) > most else "")
