"""Whether a file's columns are those that its source had before, by `new_columns` of luigi.cfg."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence

from config.declarations import FREEZE, Source
from tasks.core.config_text import lines_to_paste
from tasks.sources.header import Layout, displayed_name


def likely_renames(vanished: Sequence[str], appeared: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of columns that may be one column renamed: the only ones, or those with similar names.

    >>> likely_renames(["io"], ["terminal"])
    (('io', 'terminal'),)
    >>> likely_renames(["io_address", "note"], ["io_adress", "site"])
    (('io_address', 'io_adress'),)
    """
    if len(vanished) == len(appeared) == 1:
        return ((vanished[0], appeared[0]),)
    return tuple(
        (old, new) for old in vanished for new in difflib.get_close_matches(old, appeared, n=1)
    )


NEW_COLUMN = "and new_columns = freeze"


class Contracts:
    """Compares the headers of files with the columns that were recorded.

    A column that luigi.cfg names, for a declared one or in `accepted_columns`, is not new.
    """

    def __init__(self, recorded: Mapping[str, Collection[str]]):
        """Begin without problems.

        Args:
            recorded: Source -> the headers of its files when they were staged last; without sources
                of which none are recorded.
        """
        self._recorded = {
            name: [header.lower() for header in headers] for name, headers in recorded.items()
        }
        self._accepted: dict[str, dict[str, None]] = {}

    def check(self, source: Source, layout: Layout) -> Iterator[str]:
        """What is wrong with the columns of one of its files."""
        if source.new_columns != FREEZE or source.name not in self._recorded:
            return
        recorded = self._recorded[source.name]
        named = {
            layout.header[at].lower()
            for column in source.columns
            if column.header is not None
            for at in layout.recognised.get(column.name, ())
        }
        header = {name.lower(): name for name in layout.header}
        new = [name for name in header if name not in {*recorded, *named, *source.accepted_columns}]
        # What one of several files lacks, another may have.
        vanished = [n for n in recorded if n not in header and not source.in_partitions]
        renames = likely_renames(vanished, new)
        before = {appeared: vanished for vanished, appeared in renames}
        for name in new:
            listed = dict.fromkeys(source.accepted_columns)
            self._accepted.setdefault(source.name, listed)[name] = None
            perhaps = f" (perhaps it was {displayed_name(before[name])})" if name in before else ""
            yield f"column {header[name]!r} is new{perhaps}, {NEW_COLUMN}"

    def add_remedies(self, remedies: Mapping[str, str]) -> dict[str, str]:
        """Sections of luigi.cfg, by source, with the lines that accept the new columns."""
        found = dict(remedies)
        for name, accepted in self._accepted.items():
            lines = lines_to_paste(name, [[{"accepted_columns": tuple(accepted)}]])
            if name in found:  # A section can be pasted only once.
                lines = f"{found[name]}\n{lines.partition(chr(10))[2]}"
            found[name] = lines
        return found
