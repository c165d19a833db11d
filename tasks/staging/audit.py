"""What became of the rows of a source: the audit with the counts, the quarantine with the rows."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TextIO

from tasks.parsing.types import widest_type
from tasks.sources.csv_records import Rejected

MOST_WORDS = 20
_MOST_WARNINGS = 20


@dataclass
class Audit:
    """What became of a source file's rows. Every row is staged or quarantined.

    Attributes:
        source: The source's name.
        file: The file's name.
        header: The columns' names in it.
        recognised: Declared column -> the header that was taken for it; several if they are
            joined, with commas between.
        absent: Declared columns that the file does not have; they are null.
        notes: How the file is written, as far as no setting says so.
        warnings: What was guessed, lost or read in a way that may be wrong.
        observed_types: Header -> what the first rows look like (integer, text, ...).
        rows: Rows of the file.
        staged: Rows staged.
        quarantined: Kind of reason -> rows.
        emptied: Kind of reason -> cells that are null in a staged row since they were invalid.
        repeated_keys: Primary keys of the quarantined rows that repeat one, by whether the row
            is the same as the first ("same") or has other values ("different").
        nulls: Declared column -> staged rows without it.
        values: Rows with something in the value column.
        words: Sentinel in place of a value -> rows; the most frequent.
        word_rows: Rows with a sentinel.
        max_sentinels: Share of the values up to which sentinels are accepted.
        states: Word that was read as a state -> the state, and rows.
        times: Kind of odd time -> rows.
    """

    source: str
    file: str
    header: list[str]
    recognised: dict[str, str]
    absent: list[str]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    observed_types: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    staged: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    emptied: dict[str, int] = field(default_factory=dict)
    repeated_keys: dict[str, int] = field(default_factory=dict)
    nulls: dict[str, int] = field(default_factory=dict)
    values: int = 0
    words: dict[str, int] = field(default_factory=dict)
    word_rows: int = 0
    max_sentinels: float = 0.05
    states: dict[str, tuple[float, int]] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)

    @property
    def rejected(self) -> int:
        """Rows quarantined."""
        return sum(self.quarantined.values())

    @property
    def cells_emptied(self) -> int:
        """Cells emptied."""
        return sum(self.emptied.values())

    @property
    def rejected_or_emptied(self) -> int:
        """Rows quarantined and cells emptied, which count alike."""
        return self.rejected + self.cells_emptied

    @property
    def has_many_sentinels(self) -> bool:
        """Whether there are more sentinels among the values than accepted."""
        return self.word_rows > Fraction(str(self.max_sentinels)) * self.values

    def headers_of(self, column: str) -> list[str]:
        """The headers that a recognised column was taken from: one, or those that are joined.

        >>> Audit("B", "B.csv", ["Date", "Time"], {"recorded_at": "Date, Time"}, []).headers_of(
        ...     "recorded_at"
        ... )
        ['Date', 'Time']
        """
        header = self.recognised[column]
        return [header] if header in self.header else header.split(", ")

    @property
    def carried(self) -> list[str]:
        """The headers of the columns that are passed through as text."""
        taken = {header for column in self.recognised for header in self.headers_of(column)}
        return [header for header in self.header if header not in taken]

    def to_json(self) -> str:
        """The audit as text."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str) -> Audit:
        """The audit in a text that `to_json` made."""
        content = json.loads(text)
        content["states"] = {word: tuple(state) for word, state in content["states"].items()}
        return Audit(**content)


def read_audit(path: Path) -> Audit:
    """The audit in a file that staging wrote."""
    return Audit.from_json(path.read_text(encoding="utf-8"))


def merge_audits(audits: Sequence[Audit], file: str) -> Audit:
    """The audit of a source that came in partitions.

    Args:
        audits: Of its partitions, at least one.
        file: What the partitions are called together.
    """
    if len(audits) == 1:
        return audits[0]
    headers = dict.fromkeys(column for audit in audits for column in audit.header)
    observed = {
        column: [audit.observed_types[column] for audit in audits if column in audit.observed_types]
        for column in headers
    }
    states: dict[str, tuple[float, int]] = {}
    for word, (value, rows) in (item for audit in audits for item in audit.states.items()):
        states[word] = (value, states.get(word, (value, 0))[1] + rows)

    def add(name: str) -> Counter[str]:
        return sum((Counter(getattr(audit, name)) for audit in audits), Counter())

    return Audit(
        source=audits[0].source,
        file=file,
        header=list(headers),
        recognised={name: header for audit in audits for name, header in audit.recognised.items()},
        absent=[name for name in audits[0].absent if all(name in a.absent for a in audits)],
        notes=_together([audit.notes for audit in audits]),
        warnings=[*_missing_in_some(audits), *_together([audit.warnings for audit in audits])],
        observed_types={column: widest_type(types) for column, types in observed.items() if types},
        quarantined=dict(sorted(add("quarantined").items())),
        emptied=dict(sorted(add("emptied").items())),
        repeated_keys=dict(add("repeated_keys")),
        nulls={name: sum(audit.nulls[name] for audit in audits) for name in audits[0].nulls},
        words=most_frequent(add("words")),
        max_sentinels=audits[0].max_sentinels,
        states=states,
        times=dict(add("times")),
        **{
            name: sum(getattr(audit, name) for audit in audits)
            for name in ("rows", "staged", "values", "word_rows")
        },
    )


def _missing_in_some(audits: Sequence[Audit]) -> Iterator[str]:
    """Warnings on declared columns that some files of a source have and others lack."""
    for column in dict.fromkeys(name for audit in audits for name in audit.absent):
        without = [audit.file for audit in audits if column in audit.absent]
        if len(without) < len(audits):
            more = f" and {len(without) - 3:,} more" if len(without) > 3 else ""
            yield (
                f"{column} is missing in {len(without):,} of {len(audits):,} files, and NULL "
                f"there: {', '.join(without[:3])}{more}"
            )


def most_frequent(words: Counter[str]) -> dict[str, int]:
    """The words that occur most, with their counts."""
    return dict(sorted(words.items(), key=lambda item: (-item[1], item[0]))[:MOST_WORDS])


def _together(of_files: Sequence[Sequence[str]]) -> list[str]:
    """Lines of several files, each once, with the number of files that it is of."""
    counts = Counter(line for lines in of_files for line in lines)
    found = [
        line if count == len(of_files) else _with_files(line, f"{count:,} of {len(of_files):,}")
        for line, count in counts.items()
    ]
    more = len(found) - _MOST_WARNINGS
    return found if more <= 0 else [*found[:_MOST_WARNINGS], f"and {more:,} more like these"]


def _with_files(text: str, files: str) -> str:
    r"""A text that says in how many files it is so: not behind lines that are meant to be pasted.

    >>> _with_files("paste:\n[LOG_RCD_B]\ndecimal = ,", "1 of 2")
    'paste (in 1 of 2 files):\n[LOG_RCD_B]\ndecimal = ,'
    """
    return re.sub(r"^(.*?)(:?)(?=\n|$)", rf"\1 (in {files} files)\2", text, count=1)


# --- quarantine: the rows that are not staged, the cells that were emptied -------------------


@contextmanager
def _open_quarantine(path: Path, mode: str) -> Iterator[TextIO]:
    """A quarantine file. Bytes that are no UTF-8 are written as they came, and read as U+FFFD."""
    csv.field_size_limit(2**31 - 1)
    errors = "replace" if mode == "r" else "surrogateescape"
    with path.open(mode, encoding="utf-8", errors=errors, newline="") as stream:
        yield stream  # type: ignore[misc]  # A text mode.


def write_quarantine(path: Path, file: str, rejected: Iterable[Rejected]) -> None:
    """Write the rows of a file that are not staged."""
    rows = ((file, one.line, one.column, one.kind, one.reason, one.text) for one in rejected)
    _write(path, ("file", "line", "column", "kind", "reason", "row"), rows)


def write_cells(path: Path, emptied: Iterable[Rejected]) -> None:
    """Write the cells of a file that were emptied."""
    rows = ((one.line, one.column, one.reason, one.text) for one in emptied)
    _write(path, ("line", "column", "reason", "text"), rows)


def _write(path: Path, header: Sequence[str], rows: Iterable[tuple[object, ...]]) -> None:
    with _open_quarantine(path, "w") as stream:
        plain = csv.writer(stream, lineterminator="\n")
        # A carriage return ends a row for readers, and Python 3.11 puts no quotes around it.
        quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
        plain.writerow(header)
        for row in rows:
            (quoted if any("\r" in str(cell) for cell in row) else plain).writerow(row)


def read_quarantine(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a quarantine file, by column."""
    with _open_quarantine(path, "r") as stream:
        yield from csv.DictReader(stream)
