"""Why a file is not staged, and the lines of luigi.cfg that would change that."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from config.declarations import Source, Type
from tasks.core.config_text import config_line, place_of
from tasks.core.errors import PipelineError
from tasks.parsing.numbers import trim
from tasks.sources.csv_records import Rejected, shorten
from tasks.sources.files import open_bytes
from tasks.sources.inspection import SourceFile
from tasks.sources.proposals import (
    Lines,
    by_span,
    is_footer,
    propose_encoding,
    propose_for_rows,
    propose_for_times,
    propose_for_values,
)
from tasks.staging.audit import Audit
from tasks.staging.batch import Invalid

_MOST_SAMPLES = 1000
_LONGEST_LINE = 1 << 20
_NAMED_ROWS = 5
_NAMED_CALENDARS = 3
_NAMED_WORDS = 10
_OFF = frozenset(
    "aus zu nein geschlossen stop idle low arr\u00eat arret ferm\u00e9 ferme non apagado cerrado "
    "spento chiuso uit dicht nee av nej wy\u0142 nie".split()
)
"""Words that more likely mean 0 than 1."""


class Samples:
    """Some texts of a file, from which settings are proposed.

    Attributes:
        invalid: Column -> texts that cannot be read.
        valid: Column -> texts that can be read.
    """

    def __init__(self) -> None:
        self.invalid: dict[str, dict[str, None]] = {}
        self.valid: dict[str, dict[str, None]] = {}
        self._seen: dict[str, tuple[int, int]] = {}

    def add(self, cell: Invalid) -> None:
        """Add an invalid cell, unless it can be read and is rejected for what it means."""
        if " is not " not in cell.kind:
            return
        texts = self.invalid.setdefault(cell.column, {})
        if cell.text in texts:
            return
        seen, step = self._seen.get(cell.column, (0, 1))
        if seen % step == 0:
            texts[cell.text] = None
        if len(texts) > _MOST_SAMPLES:  # Of the whole file, not of its first rows.
            self.invalid[cell.column] = dict.fromkeys(list(texts)[::2])
            step *= 2
        self._seen[cell.column] = (seen + 1, step)

    def take_valid(self, column: str, text: pa.StringArray, values: pa.Array) -> None:
        """Take texts of a column that could be read: its values say which."""
        trimmed, _ = trim(text.filter(values.is_valid()).unique())
        self.valid.setdefault(column, {}).update(dict.fromkeys(trimmed.to_pylist()))


def propose(lost: Sequence[Rejected], samples: Samples, file: SourceFile, last_lines: range) -> str:
    """The lines of luigi.cfg that would read rows and cells that are lost; empty if none would.

    Args:
        lost: The rows and cells.
        samples: Of their texts, and of others.
        file: How the file is read now.
        last_lines: Numbers of the lines behind the last row that is staged.
    """
    if not lost:
        return ""
    source = file.source
    found: list[list[Lines]] = []
    malformed = sorted(row for row in lost if not row.column)
    undecoded = {row for row in malformed if row.kind.startswith("not ")}
    if undecoded and file.dialect.encoding == "utf-8" and not _holds_utf8(file.path):
        raw = "\n".join(row.text for row in undecoded).encode(errors="surrogateescape")
        if encoding := propose_encoding(raw):
            found.append([[config_line("encoding", encoding)]])
    in_place = ("", *source.required)
    rows = {
        row
        for row in lost
        if row.column in in_place
        and not row.kind.endswith(" is duplicated")
        and row not in undecoded
    }
    # A record that is rejected for what it holds is no footer, nor is what comes before it.
    records = (row for row in lost if row not in rows or not is_footer(row.text, file.dialect))
    ends = (row.line + row.text.count("\n") for row in records)
    last_lines = range(max([last_lines.start, *(end + 1 for end in ends)]), last_lines.stop)
    width = len(file.layout.header) + file.trailing
    ordered = sorted(rows)
    found += [
        [lines]
        for lines in propose_for_rows(ordered, file.dialect, width, file.extent.head, last_lines)
    ]
    for column in source.columns:
        texts = [text for text in samples.invalid.get(column.name, ()) if text.strip()]
        if not texts or column.type is Type.TEXT:
            continue
        valid = list(samples.valid.get(column.name, ()))[:_MOST_SAMPLES]
        if column.type is Type.TIMESTAMP:
            found.append(propose_for_times(texts, valid, source))
        else:
            found.append(propose_for_values(column, texts, valid, source))
    return _block(source, found)


def _holds_utf8(path: Path) -> bool:
    """Whether some lines of a file hold letters beyond ASCII in UTF-8."""
    with open_bytes(path) as stream:
        for line in iter(lambda: stream.readline(_LONGEST_LINE), b""):
            if not line.isascii():
                with contextlib.suppress(UnicodeDecodeError):
                    line.decode()
                    return True
    return False


def _block(source: Source, found: Iterable[list[Lines]]) -> str:
    """Lines to paste: of each set of alternatives the first one, the others as comments."""
    options: dict[str, str] = {}
    comments: list[str] = []
    for alternatives in found:
        for lines in alternatives[:1]:
            for line in lines:
                option = line.partition(" ")[0]
                if option == "na_values" and option in options:  # Of several columns.
                    more = line.split("\n")[1:]
                    line = "\n".join(dict.fromkeys([*options.pop(option).split("\n"), *more]))
                options.setdefault(option, line)
        for lines in alternatives[1:]:
            comments += ["# or, if that is meant, instead:"]
            comments += [f"# {text}" for line in lines for text in line.splitlines()]
    return "\n".join([f"[{source.name}]", *options.values(), *comments]) if options else ""


def too_many_rejected(
    audit: Audit, source: Source, lost: Sequence[Rejected], proposed: str
) -> PipelineError:
    """The error for a file of which more is lost than `max_rejected` accepts.

    Args:
        audit: Of the file.
        source: Its declaration, with the settings.
        lost: The rows and cells, in the order of the file.
        proposed: As `propose` gives it.
    """
    kinds = {kind: audit.quarantined.get(kind, 0) + audit.emptied.get(kind, 0)
             for kind in sorted({*audit.quarantined, *audit.emptied})}  # fmt: skip
    rows = [f"line {row.line}: {row.reason}: {shorten(row.text)}" for row in lost[:_NAMED_ROWS]]
    share = math.ceil(1000 * min(1, audit.rejected_or_emptied / audit.rows)) / 1000
    advice = ["Fix the file."]
    if proposed:
        place = place_of(source.name)
        advice = [f"Fix the file; or paste what would read it into {place}:", proposed]
    if audit.staged:
        advice.append(f"Or accept the loss, in [{source.name}]: max_rejected = {share:g}")
    return PipelineError(
        f"{audit.file}: {audit.rejected_or_emptied:,} of {audit.rows:,} rows cannot be read as "
        f"declared; at most {source.max_rejected:.1%} may be rejected. Nothing was replaced.",
        [*(f"{rows:,} x {kind}" for kind, rows in kinds.items()), "the first of them:", *rows],
        "\n".join(advice),
    )


def ambiguous_times(
    audit: Audit, source: Source, calendars: Sequence[str], samples: Samples
) -> PipelineError:
    """The error for digits that are epoch numbers and calendar times alike."""
    valid = list(samples.valid["recorded_at"])
    digits = [text for text in valid if text.strip().isdecimal()]
    calendars = by_span(calendars, digits[:_MOST_SAMPLES], source)
    others = ["iso"] if len(digits) < len(valid) else []
    choices = [
        f"[{source.name}]\n{config_line('time_format', (*others, one))}"
        for one in (*calendars[:_NAMED_CALENDARS], "epoch")
    ]
    example = f", such as {digits[0]!r}" if digits else ""
    return PipelineError(
        f"{audit.file}: recorded_at ({audit.recognised['recorded_at']}) may be calendar times in "
        f"the form {calendars[0]} as well as seconds or milliseconds since 1970{example}.",
        remedy=f"Choose, and paste into {place_of(source.name)} either\n" + "\nor\n".join(choices),
    )


def no_numbers(audit: Audit, source: Source, words: dict[str, int]) -> PipelineError:
    """The error for a value column in which there is no number, only words."""
    column = source.column("value")
    named = sorted(words, key=lambda word: (-words[word], word))
    other = next(
        (
            name
            for name, kind in audit.observed_types.items()
            if kind == Type.NUMBER and name not in audit.recognised.values()
        ),
        None,
    )
    found: list[Lines] = []
    # Under its own name, no other column can be it.
    if other is not None and audit.recognised["value"].lower() != column.name:
        found.append([f"value = {other}"])
    if column.type is Type.SWITCH and len(named) == 2:
        off_last = sorted(named, key=lambda word: word.lower() in _OFF)
        for true, false in (off_last, off_last[::-1]):
            found.append([config_line("true_values", true), config_line("false_values", false)])
    if len(named) <= _NAMED_WORDS:
        found.append([config_line("sentinels", (*source.sentinels, *named))])
    examples = ", ".join(f"{word!r} ({words[word]:,})" for word in named[:_NAMED_WORDS])
    lines = _block(source, [found])
    return PipelineError(
        f"{audit.file}: value ({audit.recognised['value']}) has no number in {audit.values:,} "
        f"rows, only words: {examples}.",
        remedy=f"Paste what they are into {place_of(source.name)}:\n{lines}"
        if lines
        else "Name the column of the value in luigi.cfg:\n"
        f"[{source.name}]\nvalue = <one of: {', '.join(audit.header)}>",
    )
