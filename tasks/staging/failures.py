"""Why a file is not staged, and the lines of luigi.cfg that would change that."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from config.declarations import Source, Type
from tasks.core.config_text import Settings, config_line, lines_to_paste, place_of
from tasks.core.errors import PipelineError
from tasks.parsing.columns import trim
from tasks.parsing.proposals import by_span, propose_for_columns
from tasks.sources.csv_blocks import Block
from tasks.sources.csv_records import Rejected, shorten
from tasks.sources.files import open_bytes
from tasks.sources.inspection import SourceFile
from tasks.sources.proposals import is_footer, propose_encoding, propose_for_rows
from tasks.staging.audit import Audit
from tasks.staging.batch import Batch, text_of

_FIRST_SAMPLED_ROWS = 1000
_SAMPLED_ROWS = 10
_MOST_DIGITS = 1000
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
    """Texts of a file, from which settings are proposed.

    Attributes:
        invalid: Column -> texts that cannot be read.
        valid: Column -> some that can be read.
    """

    def __init__(self, file: SourceFile):
        self._file = file
        self._blocks = 0
        self.invalid: dict[str, dict[str, None]] = defaultdict(dict)
        self.valid: dict[str, dict[str, None]] = defaultdict(dict)

    def add(self, block: Block, batch: Batch) -> None:
        """Add texts of the next block."""
        for name, texts in batch.invalid.items():
            self.invalid[name].update(dict.fromkeys(texts))
        self._blocks += 1
        if self._blocks & (self._blocks - 1):  # Of the first block, the second, the fourth, ...
            return
        rows = _SAMPLED_ROWS if self._blocks > 1 else _FIRST_SAMPLED_ROWS
        first = [column[:rows] for column in block.columns]
        for column in self._file.source.columns:
            places = self._file.layout.recognised.get(column.name)
            if places is not None and column.type is not Type.TEXT:
                is_valid = batch.table[column.name][:rows].combine_chunks().is_valid()
                text = text_of(first, places, self._file.source).filter(is_valid)
                self.valid[column.name].update(dict.fromkeys(trim(text)[0].to_pylist()))


def propose(lost: Sequence[Rejected], samples: Samples, file: SourceFile, last_lines: range) -> str:
    """The lines of luigi.cfg that would read rows and cells that are lost; empty if none would.

    Args:
        lost: The rows and cells, in the order of the file.
        samples: Of their texts, and of others.
        file: How the file is read now.
        last_lines: Numbers of the lines behind the last row that is staged.
    """
    if not lost:
        return ""
    dialect = file.dialect
    found: list[list[Settings]] = []
    undecoded = [row for row in lost if row.kind.startswith("not ")]
    if undecoded and dialect.encoding == "utf-8" and not _holds_utf8(file.path):
        raw = "\n".join(row.text for row in undecoded).encode(errors="surrogateescape")
        if encoding := propose_encoding(raw):
            found.append([{"encoding": encoding}])
    # What may be no record at all: a row that has no columns, or no key.
    rows, records = [], [*undecoded]
    for row in lost:
        is_odd = row.column in ("", *file.source.required) and not row.kind.endswith("duplicated")
        if is_odd and not row.kind.startswith("not "):
            rows.append(row)
        else:
            records.append(row)
    # A record that is rejected for what it holds is no footer, nor is what comes before it.
    records += [row for row in rows if not is_footer(row.text, dialect)]
    ends = [row.line + row.text.count("\n") + 1 for row in records]
    last_lines = range(max([last_lines.start, *ends]), last_lines.stop)
    found += propose_for_rows(rows, dialect, last_lines)
    found += propose_for_columns(file.source, samples.invalid, samples.valid)
    return lines_to_paste(file.source.name, found)


def _holds_utf8(path: Path) -> bool:
    """Whether some lines of a file hold letters beyond ASCII in UTF-8."""
    with open_bytes(path) as stream:
        for line in iter(lambda: stream.readline(_LONGEST_LINE), b""):
            if not line.isascii():
                with contextlib.suppress(UnicodeDecodeError):
                    line.decode()
                    return True
    return False


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
    valid = samples.valid["recorded_at"]
    digits = [text for text in valid if text.isdecimal()]
    calendars = by_span(calendars, digits[:_MOST_DIGITS], source)
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
    others = [
        name
        for name, kind in audit.observed_types.items()
        if kind == Type.NUMBER and name not in audit.recognised.values()
    ]
    found: list[Settings] = []
    # Under its own name, no other column can be it.
    if others and audit.recognised["value"].lower() != column.name:
        found.append({"value": others[0]})
    if column.type is Type.SWITCH and len(named) == 2:
        on, off = sorted(named, key=lambda word: word.lower() in _OFF)
        found.append({"true_values": on, "false_values": off})
        found.append({"true_values": off, "false_values": on})
    if len(named) <= _NAMED_WORDS:
        found.append({"sentinels": (*source.sentinels, *named)})
    examples = ", ".join(f"{word!r} ({words[word]:,})" for word in named[:_NAMED_WORDS])
    lines = lines_to_paste(source.name, [found])
    return PipelineError(
        f"{audit.file}: value ({audit.recognised['value']}) has no number in {audit.values:,} "
        f"rows, only words: {examples}.",
        remedy=f"Paste what they are into {place_of(source.name)}:\n{lines}"
        if lines
        else "Name the column of the value in luigi.cfg:\n"
        f"[{source.name}]\nvalue = <one of: {', '.join(audit.header)}>",
    )
