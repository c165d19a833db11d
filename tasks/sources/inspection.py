"""How a source file is written, by its settings and its first lines; whether it can be staged."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from config.declarations import Source
from tasks.core.config_text import config_line, place_of
from tasks.core.errors import PipelineError
from tasks.sources.csv_blocks import Block, Extent, read_blocks
from tasks.sources.csv_records import (
    MAX_RECORD_BYTES,
    NUL,
    Dialect,
    Record,
    read_records,
    split_lines,
)
from tasks.sources.files import find_partitions, open_bytes, why_unreadable
from tasks.sources.header import Layout, displayed_name, fits, match_columns
from tasks.sources.proposals import propose_encoding, propose_for_header
from tasks.sources.time_column import judge_time_column

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
        dialect: How its records are written.
        extent: Which of its lines are records.
        trailing: Whether each record ends in one more field, which is empty.
        layout: What its columns are.
        notes: What was recognised without a setting.
        warnings: What was guessed and may be wrong.
    """

    path: Path
    source: Source
    dialect: Dialect
    extent: Extent
    trailing: bool
    layout: Layout
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def read(
        self, work: Callable[[Block], _Result], threads: int = 1
    ) -> Iterator[tuple[Block, _Result]]:
        """The blocks of the file, and what `work` makes of each; see `read_blocks`."""
        width = len(self.layout.header)
        return read_blocks(
            self.path, self.dialect, self.extent, width, work, self.trailing, threads
        )


def inspect_file(path: Path, source: Source) -> SourceFile:
    """How a file is written.

    Raises:
        PipelineError: It has no header with the required columns, is no text, or cannot be read.
    """
    try:
        with open_bytes(path) as stream:
            head = stream.read(_HEAD_BYTES)
            whole = len(head) < _HEAD_BYTES
            while True:
                try:
                    return _Head(path, source, head, whole).inspect()
                except PipelineError:
                    if whole or len(head) > MAX_RECORD_BYTES:
                        raise
                    # The header may be longer.
                    more = stream.read(MAX_RECORD_BYTES)
                    head, whole = head + more, len(more) < MAX_RECORD_BYTES
    except (OSError, EOFError, zlib.error) as error:
        raise PipelineError(f"{path.name} cannot be read: {error}.") from error


class _Head:
    """The first lines of a file."""

    def __init__(self, path: Path, source: Source, head: bytes, whole: bool):
        self._path = path
        self._source = source
        self._raw = head
        self._whole = whole
        self._notes: list[str] = []
        encoding, self._mark = self._find_encoding()
        decoder = codecs.getincrementaldecoder(encoding)("mark_undecodable")
        try:
            text = decoder.decode(head[self._mark :], final=whole)
        except UnicodeError as error:
            # UTF-16 and UTF-32 of either byte order need a mark.
            lines = [f"encoding = {found}"] if (found := propose_encoding(head)) else []
            raise PipelineError(
                f"{path.name} is not in {encoding.upper()}: {error}.", remedy=self._lines_of(lines)
            ) from error
        self._lines = list(split_lines([text]))
        if not whole:
            self._lines.pop()
            if not self._lines:
                raise PipelineError(
                    f"{path.name}: line 1: a record of more than {MAX_RECORD_BYTES:,} bytes.",
                    remedy="It has no line end: is it a CSV file?",
                )
        if not "".join(self._lines).strip():
            raise PipelineError(f"{path.name} is empty: it has no header.")
        self._dialect = Dialect(
            encoding, source.delimiter or ",", source.quotechar, source.escapechar
        )

    def inspect(self) -> SourceFile:
        source = self._source
        start = self._find_start()
        if source.delimiter is None and not any(note.startswith("sep=") for note in self._notes):
            self._find_delimiter(start)
        records = read_records(self._lines[start:], self._dialect, self._path.name, start)
        try:
            header = next(records)
        except PipelineError as error:
            raise self._explain(error, start) from error
        self._refuse_damage(header)
        head = start + self._count_lines(header, start)
        try:
            layout = match_columns(source, header.fields)
        except PipelineError as error:
            raise self._explain(error, start) from error
        sample = self._sample(head)
        width = len(layout.header)
        extra = sum(len(record) == width + 1 and not record[-1] for record in sample)
        trailing = extra * 2 > len(sample) and not any(len(record) == width for record in sample)
        if trailing:
            self._notes.append("an empty field at the end of each row")
        taken = layout.recognised.get("recorded_at", ())
        good = [record[:width] for record in sample if len(record) == width + trailing]
        warnings = judge_time_column(self._path.name, source, layout.header, taken, good)
        return SourceFile(
            self._path,
            source,
            self._dialect,
            Extent(self._mark, head, source.skiprows, source.skipfooter),
            trailing,
            layout,
            tuple(self._notes),
            tuple(warnings),
        )

    def _find_encoding(self) -> tuple[str, int]:
        """The encoding, and the length of the byte order mark."""
        plain = {None: "utf-8", "utf-8-sig": "utf-8", "ascii": "utf-8"}
        given = plain.get(self._source.encoding, self._source.encoding) or "utf-8"
        for mark, encoding in _MARKS:
            if self._raw.startswith(mark) and given in ("utf-8", encoding, encoding[:6]):
                length = len(mark)
                while self._raw.startswith(mark, length):
                    length += len(mark)
                times = ", more than once" if length > len(mark) else ""
                self._notes.append(f"byte order mark of {encoding.upper()}{times}")
                return encoding, length
        return given, 0

    def _find_start(self) -> int:
        """The line of the header, from 0."""
        for number, line in enumerate(self._lines):
            if number in self._source.skiprows or not line.strip("\r\n"):
                continue
            if (match := _SEPARATOR_LINE.fullmatch(line)) and number + 1 < len(self._lines):
                self._notes.append(f"sep= line: {_DELIMITERS.get(match[1], match[1])}")
                if self._source.delimiter is None:
                    self._dialect = replace(self._dialect, delimiter=match[1])
                continue
            return number
        raise PipelineError(
            f"{self._path.name} is empty behind the lines that are skipped: it has no header."
        )

    def _find_delimiter(self, start: int) -> None:
        fitting = []
        for delimiter in _DELIMITERS:
            tried = replace(self._dialect, delimiter=delimiter)
            try:
                first = next(read_records(self._lines[start:], tried, self._path.name, start))
            except PipelineError:
                continue
            if fits(self._source, first.fields):
                fitting.append(delimiter)
        if len(fitting) == 1 and fitting != [","]:
            self._dialect = replace(self._dialect, delimiter=fitting[0])
            self._notes.append(f"fields separated by {_DELIMITERS[fitting[0]]}")

    def _refuse_damage(self, header: Record) -> None:
        if not header.malformed:
            return
        name = self._path.name
        if header.malformed == NUL or header.malformed.startswith("not "):
            encoding = propose_encoding(self._raw)
            what = (
                f"{name} is not a text file in {self._dialect.encoding.upper()}: its header has "
                + ("NUL characters." if header.malformed == NUL else "other bytes.")
            )
            lines = [f"encoding = {encoding}"] if encoding else []
            raise PipelineError(what, remedy=self._lines_of(lines))
        raise PipelineError(
            f"{name}: line {header.line + 1}: the header has {header.malformed}.",
            [f"the line reads: {header.text[:200]!r}"],
        )

    def _count_lines(self, record: Record, start: int) -> int:
        """How many lines a record has that begins with a line."""
        length, count = len(record.text), 0
        for line in self._lines[start:]:
            count += 1
            length -= len(line)
            if length <= 0:
                break
        return count

    def _explain(self, error: PipelineError, start: int) -> PipelineError:
        """The error, with lines of luigi.cfg that find the required columns elsewhere."""
        lines = propose_for_header(
            self._lines[start:], self._dialect, lambda header: fits(self._source, header)
        )
        skipped = start + sum(int(line[11:]) for line in lines if line.startswith("skiprows"))
        lines = [config_line("skiprows", str(skipped)) if line.startswith("skiprows") else line
                 for line in lines]  # fmt: skip
        remedy = self._lines_of(lines) or error.remedy
        return PipelineError(str(error).partition("\n")[0], error.problems, remedy)

    def _lines_of(self, lines: Sequence[str]) -> str:
        return "\n".join([f"[{self._source.name}]", *lines]) if lines else ""

    def _sample(self, head: int) -> list[list[str]]:
        """The first records behind the header."""
        lines = [
            line for number, line in enumerate(self._lines)
            if number >= head and number not in self._source.skiprows
        ]  # fmt: skip
        if self._whole and self._source.skipfooter:
            lines = lines[: -self._source.skipfooter]
        records = []
        try:
            for record in read_records(lines, self._dialect, self._path.name, head):
                records.append(record.fields)
                if len(records) == _SAMPLE_ROWS:
                    break
        except PipelineError:  # A record that goes on behind the first lines.
            pass
        return [fields for fields in records if fields]


def check_sources(sources: Iterable[Source], data_dir: Path) -> dict[str, Layout]:
    """The layout of every source; of one that comes in partitions, that of the last one.

    Raises:
        PipelineError: Listing every problem of every file at once.
    """
    layouts, problems = {}, []
    remedies: dict[str, str] = {}
    for source in sources:
        found = find_partitions(source.name, data_dir)
        if not found:
            folder = f", or a folder {source.name} of such files" if source.in_partitions else ""
            problems.append(f"{source.name}.csv (or .csv.gz{folder}) is missing")
        by_name: dict[str, list[Path]] = {}
        for part in found:
            by_name.setdefault(part.name.lower(), []).append(part.path)
        for paths in by_name.values():
            if len(paths) > 1:
                names = " and ".join(_displayed(path, data_dir) for path in paths)
                problems.append(f"{names} exist both: keep one of them")
                continue
            try:
                _check_name(paths[0])
                if reason := why_unreadable(paths[0]):
                    problems.append(f"{_displayed(paths[0], data_dir)} {reason}")
                    continue
                layouts[source.name] = inspect_file(paths[0], source).layout
            except PipelineError as error:
                name = _displayed(paths[0], data_dir)
                message = str(error).removesuffix(error.remedy).rstrip("\n")
                of_columns = [f"{name}: {problem}" for problem in error.problems]
                first = message.partition("\n")[0].replace(paths[0].name, name, 1)
                rejected = first.endswith(" was rejected:")
                problems.extend(of_columns if rejected else [first, *of_columns])
                if error.remedy and remedies.setdefault(source.name, error.remedy) != error.remedy:
                    # Of two blocks for one section, only one can be pasted.
                    problems.append(f"{name}: it needs other settings than the files before it")
    if problems:
        existing = sorted(path.name for path in data_dir.iterdir()) if data_dir.is_dir() else []
        raise PipelineError(
            f"The source files in {data_dir} cannot be staged; nothing was changed:",
            problems,
            f"The folder {'holds: ' + ', '.join(existing) if existing else 'is empty or absent'}.\n"
            + _advice(problems, list(remedies.values())),
        )
    return layouts


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


def _advice(problems: Sequence[str], remedies: Sequence[str]) -> str:
    lines = ["Fix the files."]
    if remedies:
        lines += ["Or say in luigi.cfg how to read them, in its section of that name:", *remedies]
    if any(problem.endswith(" is missing") for problem in problems):
        lines.append("Or make missing files up: luigi --module tasks SampleData --local-scheduler")
    return "\n".join(lines)
