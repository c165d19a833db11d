"""How a source file is written, by its settings and its first lines; whether it can be staged."""

from __future__ import annotations

import codecs
import contextlib
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from config.declarations import Source
from tasks.core.config_text import lines_to_paste, place_of
from tasks.core.errors import PipelineError
from tasks.sources.contract import NEW_COLUMN, Contracts
from tasks.sources.csv_blocks import Block, read_blocks
from tasks.sources.csv_records import (
    MAX_RECORD_BYTES,
    NUL,
    Dialect,
    Record,
    read_records,
    split_lines,
)
from tasks.sources.files import find_partitions, list_folder, open_bytes, why_unreadable
from tasks.sources.header import Layout, displayed_name, fits, judge_time_column, match_columns
from tasks.sources.proposals import propose_encoding, propose_for_header

_Result = TypeVar("_Result")

_HEAD_BYTES = 32 * 1024
_SAMPLE_ROWS = 100
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SEPARATOR_LINE = re.compile(r'\W?"?sep=(.)"?\s*', re.I)


@dataclass(frozen=True)
class SourceFile:
    """A file that can be staged.

    Attributes:
        path: Where it is.
        source: Its declaration, with the settings.
        dialect: How it is written.
        layout: What its columns are.
        notes: What was recognised without a setting.
        warnings: What was guessed and may be wrong.
    """

    path: Path
    source: Source
    dialect: Dialect
    layout: Layout
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def read(
        self, work: Callable[[Block], _Result], threads: int = 1
    ) -> Iterator[tuple[Block, _Result]]:
        """The blocks of the file, and what `work` makes of each; see `read_blocks`."""
        return read_blocks(self.path, self.dialect, work, threads)


def inspect_file(path: Path, source: Source) -> SourceFile:
    """How a file is written.

    Raises:
        PipelineError: It has no header with the required columns, is no text, or cannot be read.
    """
    try:
        with open_bytes(path) as stream:
            head = stream.read(_HEAD_BYTES)
            try:
                return _inspect(path, source, head, len(head) < _HEAD_BYTES)
            except PipelineError:
                if len(head) < _HEAD_BYTES:
                    raise
            more = stream.read(MAX_RECORD_BYTES)  # The header may be longer.
            return _inspect(path, source, head + more, len(more) < MAX_RECORD_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise PipelineError(f"{path.name} cannot be read: {error}.") from error


def _inspect(path: Path, source: Source, head: bytes, is_whole: bool) -> SourceFile:
    """How a file is written that begins with some bytes."""
    notes: list[str] = []
    encoding, mark = _find_encoding(head, source.encoding, notes)
    lines = _split(path, source, head[mark:], encoding, is_whole)
    start, separator = _find_start(path, source, lines, notes)
    delimiter = source.delimiter or separator
    dialect = Dialect(
        encoding,
        delimiter or ",",
        source.quotechar,
        source.escapechar,
        mark,
        skiprows=source.skiprows,
        skipfooter=source.skipfooter,
    )
    if delimiter is None:
        dialect = _find_delimiter(source, lines[start:], dialect, notes)
    try:
        header = next(read_records(lines[start:], dialect, path.name, start + 1))
        if not header.malformed:
            layout = match_columns(source, header.fields)
    except PipelineError as error:
        proposed = propose_for_header(lines, dialect, lambda names: fits(source, names), start)
        remedy = lines_to_paste(source.name, [[proposed]]) or error.remedy
        raise PipelineError(str(error).partition("\n")[0], error.problems, remedy) from error
    if header.malformed:
        raise _damaged(path, source, header, head, encoding)
    dialect = replace(dialect, head=header.end - 1, width=len(layout.header))
    sample = _sample(lines, dialect, is_whole)
    extra = sum(len(fields) == dialect.width + 1 and not fields[-1] for fields in sample)
    if extra * 2 > len(sample) and not any(len(fields) == dialect.width for fields in sample):
        dialect = replace(dialect, trailing=True)
        notes.append("an empty field at the end of each row")
    taken = layout.recognised.get("recorded_at", ())
    width = dialect.width + dialect.trailing
    rows = [fields[: dialect.width] for fields in sample if len(fields) == width]
    warnings = judge_time_column(path.name, source, layout.header, taken, rows)
    return SourceFile(path, source, dialect, layout, tuple(notes), tuple(warnings))


def _find_encoding(head: bytes, setting: str | None, notes: list[str]) -> tuple[str, int]:
    """The encoding, and the length of the byte order mark."""
    given = "utf-8" if setting in (None, "utf-8-sig", "ascii") else str(setting)
    for mark, encoding in _MARKS:
        if head.startswith(mark) and given in ("utf-8", encoding, encoding[:6]):
            length = len(mark)
            while head.startswith(mark, length):
                length += len(mark)
            times = ", more than once" if length > len(mark) else ""
            notes.append(f"byte order mark of {encoding.upper()}{times}")
            return encoding, length
    return given, 0


def _split(path: Path, source: Source, head: bytes, encoding: str, is_whole: bool) -> list[str]:
    """The lines that some bytes hold whole.

    Raises:
        PipelineError: There is none, or the file cannot be decoded at all.
    """
    decoder = codecs.getincrementaldecoder(encoding)("mark_undecodable")
    try:
        text = decoder.decode(head, final=is_whole)
    except UnicodeError as error:
        # UTF-16 and UTF-32 of either byte order need a mark.
        raise PipelineError(
            f"{path.name} is not in {encoding.upper()}: {error}.",
            remedy=_encoding_to_paste(source, head),
        ) from error
    lines = list(split_lines([text]))
    if not is_whole:
        lines.pop()
        if not lines:
            raise PipelineError(
                f"{path.name}: line 1: a record of more than {MAX_RECORD_BYTES:,} bytes.",
                remedy="It has no line end: is it a CSV file?",
            )
    if not "".join(lines).strip():
        raise PipelineError(f"{path.name} is empty: it has no header.")
    return lines


def _encoding_to_paste(source: Source, head: bytes) -> str:
    encoding = propose_encoding(head)
    return lines_to_paste(source.name, [[{"encoding": encoding}]] if encoding else [])


def _find_start(
    path: Path, source: Source, lines: Sequence[str], notes: list[str]
) -> tuple[int, str | None]:
    """The line of the header, from 0, and the delimiter that a line `sep=` names."""
    separator = None
    for number, line in enumerate(lines):
        if number in source.skiprows or not line.strip("\r\n"):
            continue
        match = _SEPARATOR_LINE.fullmatch(line)
        if match is None or number + 1 == len(lines):
            return number, separator
        separator = match[1]
        notes.append(f"sep= line: {_DELIMITERS.get(separator, separator)}")
    raise PipelineError(
        f"{path.name} is empty behind the lines that are skipped: it has no header."
    )


def _find_delimiter(
    source: Source, lines: Sequence[str], dialect: Dialect, notes: list[str]
) -> Dialect:
    """The dialect with the one delimiter that yields the required columns, if there is one."""
    fitting = []
    for delimiter in _DELIMITERS:
        tried = replace(dialect, delimiter=delimiter)
        with contextlib.suppress(PipelineError):
            if fits(source, next(read_records(lines, tried, "")).fields):
                fitting.append(tried)
    if len(fitting) == 1 and fitting != [dialect]:
        notes.append(f"fields separated by {_DELIMITERS[fitting[0].delimiter]}")
        return fitting[0]
    return dialect


def _damaged(
    path: Path, source: Source, header: Record, head: bytes, encoding: str
) -> PipelineError:
    """The error for a header that is no text, or malformed."""
    if header.malformed == NUL or header.malformed.startswith("not "):
        has = "NUL characters" if header.malformed == NUL else "other bytes"
        return PipelineError(
            f"{path.name} is not a text file in {encoding.upper()}: its header has {has}.",
            remedy=_encoding_to_paste(source, head),
        )
    return PipelineError(
        f"{path.name}: line {header.line}: the header has {header.malformed}.",
        [f"the line reads: {header.text[:200]!r}"],
    )


def _sample(lines: list[str], dialect: Dialect, is_whole: bool) -> list[list[str]]:
    """The fields of the first records behind the header."""
    wanted = [line for number, line in enumerate(lines)
              if number >= dialect.head and number not in dialect.skiprows]  # fmt: skip
    if is_whole and dialect.skipfooter:
        wanted = wanted[: -dialect.skipfooter]
    found = []
    with contextlib.suppress(PipelineError):  # A record that goes on behind the first lines.
        for record in read_records(wanted, dialect, ""):
            if record.fields:
                found.append(record.fields)
            if len(found) == _SAMPLE_ROWS:
                break
    return found


def check_sources(
    sources: Iterable[Source], data_dir: Path, recorded: Mapping[str, Collection[str]] | None = None
) -> dict[str, Layout]:
    """The layout of every source; of one that comes in partitions, that of the last one.

    Args:
        sources: Their declarations, with the settings.
        data_dir: Where the files are.
        recorded: Source -> the headers of its files when they were staged last, if they were.

    Raises:
        PipelineError: Listing every problem of every file at once.
    """
    layouts, problems, contracts = {}, [], Contracts(recorded or {})
    remedies: dict[str, str] = {}
    for source in sources:
        found = find_partitions(source.name, data_dir)
        if not found:
            folder = f", or a folder {source.name} of such files" if source.in_partitions else ""
            problems.append(f"{source.name}.csv (or .csv.gz{folder}) is missing")
        by_name: dict[str, list[Path]] = {}
        for one in found:
            by_name.setdefault(one.name.lower(), []).append(one.path)
        for paths in by_name.values():
            if len(paths) > 1:
                names = " and ".join(_displayed(path, data_dir) for path in paths)
                problems.append(f"{names} exist both: keep one of them")
                continue
            name = _displayed(paths[0], data_dir)
            try:
                _check_name(paths[0])
                if reason := why_unreadable(paths[0]):
                    problems.append(f"{name} {reason}")
                    continue
                layouts[source.name] = inspect_file(paths[0], source).layout
                new = contracts.check(source, layouts[source.name])
                problems.extend(f"{name}: {problem}" for problem in new)
            except PipelineError as error:
                problems.extend(_problems_of(error, paths[0], name))
                if error.remedy and remedies.setdefault(source.name, error.remedy) != error.remedy:
                    # Of two blocks for one section, only one can be pasted.
                    problems.append(f"{name}: it needs other settings than the files before it")
    if problems:
        raise PipelineError(
            f"The source files in {data_dir} cannot be staged; nothing was changed:",
            problems,
            _advice(data_dir, problems, list(contracts.add_remedies(remedies).values())),
        )
    return layouts


def _problems_of(error: PipelineError, path: Path, name: str) -> list[str]:
    """The problems of a file, each with the file's displayed name."""
    message = str(error).removesuffix(error.remedy).rstrip("\n")
    first = message.partition("\n")[0].replace(path.name, name, 1)
    of_columns = [f"{name}: {problem}" for problem in error.problems]
    return of_columns if first.endswith(" was rejected:") else [first, *of_columns]


def check_duplicates(
    source: Source, files: Mapping[str, Path], digest: Callable[[Path], str]
) -> None:
    """Raise PipelineError if two files of a source have the same records.

    Args:
        source: Its declaration, with the settings.
        files: Name of each of its files, and the file.
        digest: Of what a file holds.
    """
    same: dict[str, list[str]] = {}
    for name, path in files.items():
        if len(files) > 1 and not source.allow_duplicate_files:
            same.setdefault(digest(path), []).append(name)
    problems = [
        " and ".join(names)
        for names in same.values()
        if len(names) > 1 and _has_records(files[names[0]], source)
    ]
    if problems:
        raise PipelineError(
            f"{source.name}: files have the same content, so that their records would count twice:",
            problems,
            "Remove all but one of them; or, if they are meant to be the same, paste into "
            f"{place_of(source.name)}:\n[{source.name}]\nallow_duplicate_files = true",
        )


def _has_records(path: Path, source: Source) -> bool:
    blocks = inspect_file(path, source).read(lambda _: None)
    return any(len(block.columns[0]) or block.malformed for block, _ in blocks)


def _check_name(path: Path) -> None:
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise PipelineError(f"{ascii(path.name)}: the name is not UTF-8: rename it.") from error


def _displayed(path: Path, data_dir: Path) -> str:
    return displayed_name(path.relative_to(data_dir).as_posix())


def _advice(data_dir: Path, problems: Sequence[str], remedies: Sequence[str]) -> str:
    existing = [path.name for path in list_folder(data_dir)]
    holds = f"holds: {', '.join(existing)}" if existing else "is empty or absent"
    lines = [f"The folder {holds}.", "Fix the files."]
    if remedies:
        lines += ["Or say in luigi.cfg how to read them, in its section of that name:", *remedies]
    if any(NEW_COLUMN in problem for problem in problems):
        lines.append(
            "accepted_columns accepts the new columns; new_columns = ignore accepts all that come."
        )
    if any(problem.endswith(" is missing") for problem in problems):
        lines.append("Or make missing files up: luigi --module tasks SampleData --local-scheduler")
    return "\n".join(lines)
