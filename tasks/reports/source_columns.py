"""The columns of the source files: what changed, since when, and what new columns contain."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from config.declarations import EVOLVE, Source, Table, Type
from config.sources import LOG_KINDS
from config.warehouse import FACT_LOGS, TABLES
from tasks.core.files import read_json
from tasks.sources.contract import likely_renames

if TYPE_CHECKING:
    from tasks.staging.audit import Audit
    from tasks.warehouse.tables import LiveTable

VANISHED = "vanished: "
"""Begins the line on a column that vanished."""

EMPTY = "empty"
"""The type of a column without values."""

Columns = dict[str, dict[str, str]]
"""Source -> column -> type of its values, as the first rows show it."""


@dataclass(frozen=True)
class Change:
    """What changed in one source's columns.

    Attributes:
        renamed: Pairs of a column that vanished and one that appeared, which may be the same.
    """

    source: str
    appeared: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    retyped: tuple[tuple[str, str, str], ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()


def compare_columns(before: Columns, now: Columns) -> list[Change]:
    """What changed from one set of headers to another. A column without values has no type.

    >>> (change,) = compare_columns({"POINT": {"id": "integer", "a": "text"}},
    ...                             {"POINT": {"id": "text", "b": "text"}})
    >>> change.appeared, change.vanished, change.retyped, change.renamed
    (('b',), ('a',), (('id', 'integer', 'text'),), (('a', 'b'),))
    """
    changes = []
    for source in now:
        old, new = before.get(source, {}), now[source]
        retyped = tuple(
            (name, old[name], kind)
            for name, kind in new.items()
            if name in old and old[name] != kind and EMPTY not in (old[name], kind)
        )
        appeared = tuple(name for name in new if name not in old)
        vanished = tuple(name for name in old if name not in new)
        if appeared or vanished or retyped:
            renamed = likely_renames(vanished, appeared)
            changes.append(Change(source, appeared, vanished, retyped, renamed))
    return changes


def columns_of(audits: Mapping[str, Audit]) -> Columns:
    """The columns that each source's files have now; names in lower case."""
    return {
        name: {header.lower(): audit.observed_types.get(header, EMPTY) for header in audit.header}
        for name, audit in audits.items()
    }


# --- what earlier runs recorded --------------------------------------------------------------


@dataclass
class Version:
    """The columns of all sources, and the runs that first and last saw them (UTC)."""

    first_seen: str
    last_seen: str
    columns: Columns


def add_version(history: list[Version], columns: Columns, now: str) -> list[Version]:
    """The history with the present columns: a new version if they differ from the last one's.

    A column without values keeps the type that it had.
    """
    if history:
        columns = {
            source: {
                name: history[-1].columns.get(source, {}).get(name, kind) if kind == EMPTY else kind
                for name, kind in of_source.items()
            }
            for source, of_source in columns.items()
        }
    if history and not compare_columns(history[-1].columns, columns):
        last = history[-1]
        return [*history[:-1], Version(last.first_seen, now, last.columns)]
    return [*history, Version(now, now, columns)]


def read_history(path: Path) -> list[Version]:
    """The versions that a report wrote; none if the file is missing or damaged."""
    try:
        return [Version(**item) for item in read_json(path)]
    except (OSError, ValueError, TypeError):
        return []


def _first_seen(history: Sequence[Version], source: str, name: str) -> str | None:
    """The run that first saw a column; None if there is no earlier one that saw its source without.

    The last such run, if it vanished in between.
    """
    seen = None
    for before, after in pairwise(history):
        if name in after.columns.get(source, {}) and name not in before.columns.get(source, {}):
            seen = after.first_seen
    return seen


# --- columns that are new --------------------------------------------------------------------


@dataclass(frozen=True)
class NewColumn:
    """A column that a source has now and did not have when its columns were first recorded.

    Attributes:
        source: The source.
        header: The column's name in its files.
        since: The run that first saw it (UTC).
        recognised: The declared column that it was taken for; empty if it is passed through.
        type: The narrowest type that reads all of its values; EMPTY if it has none.
        values: Staged rows with a value.
        rows: Staged rows of the source.
        files: Files that have the column; all if it is recognised.
        all_files: Files of the source.
        contract: `new_columns` of the source.
        table: The warehouse's table whose rows are those of the source, or that looks them up.
        column: Its name there: one that every database takes.
        in_table: Whether that table has such a column already.
    """

    source: str
    header: str
    since: str
    recognised: str
    type: str
    values: int
    rows: int
    files: int
    all_files: int
    contract: str
    table: str
    column: str
    in_table: bool

    @property
    def needs_plan(self) -> bool:
        """Whether its contract asks for a plan that adds it to the table."""
        done = self.recognised or self.in_table
        return self.contract == EVOLVE and self.type != EMPTY and not done

    def describe(self) -> str:
        """What it is and contains, in some words."""
        taken = f"recognised as {self.recognised}"
        if not self.recognised:
            some = f" in {self.files:,} of {self.all_files:,} files" if self.all_files > 1 else ""
            taken = f"passed through staging as text{some}"
        kind = "" if self.type == EMPTY else f", type {self.type}"
        return f"{taken}: {self.values:,} of {self.rows:,} rows have a value{kind}"


def read_new_columns(report: Path) -> list[NewColumn]:
    """The new columns in the last report, `schema_change.json`; none if it is missing.

    Raises:
        ValueError, KeyError, TypeError: The file is damaged or of another version.
    """
    if not report.exists():
        return []
    return [NewColumn(**item) for item in read_json(report)["new"]]


class Recorded(NamedTuple):
    """What new columns are found in.

    Attributes:
        history: The versions, the present one last.
        audits: Source -> audit of its files.
        staged: Partition -> its staged rows, Parquet.
        sources: Source -> its declaration, with the settings.
    """

    history: Sequence[Version]
    audits: Mapping[str, Audit]
    staged: Mapping[str, Path]
    sources: Mapping[str, Source]


def find_new_columns(recorded: Recorded, tables: Iterable[LiveTable]) -> list[NewColumn]:
    """The columns that are new since the first version, with what they contain now.

    Args:
        recorded: What is recorded.
        tables: The warehouse's tables as they are.
    """
    live = {table.name: table.columns for table in tables}
    found: dict[tuple[str, str], NewColumn] = {}
    for source, audit in recorded.audits.items():
        taken = {one.lower(): c for c in audit.recognised for one in audit.headers_of(c)}
        for header in audit.header:
            name = header.lower()
            since = _first_seen(recorded.history, source, name)
            if since is None or (source, name) in found:
                continue
            measured = _measure(recorded, source, taken.get(name), name)
            table = table_of(source)
            column = _column_name(table, source, header)
            found[source, name] = NewColumn(
                source=source,
                header=header,
                since=since,
                recognised=taken.get(name, ""),
                **measured._asdict(),
                contract=recorded.sources[source].new_columns,
                table=table.name,
                column=column,
                in_table=column in live.get(table.name, ()),
            )
    return list(found.values())


class _Measured(NamedTuple):
    type: str
    values: int
    rows: int
    files: int
    all_files: int


def _measure(recorded: Recorded, source: str, declared: str | None, name: str) -> _Measured:
    """What the staged files of a source have in a column.

    Args:
        recorded: What is recorded.
        source: The source.
        declared: The declared column that it was taken for.
        name: The column's header, in lower case.
    """
    import pyarrow.compute as pc

    from tasks.core.arrow import parquet_rows, parquet_schema, read_parquet
    from tasks.parsing.columns import trim
    from tasks.parsing.types import observe_type, widest_type

    how = recorded.sources[source]
    paths = [path for one, path in recorded.staged.items() if one.partition("/")[0] == source]
    kinds, values, files = [], 0, 0
    for path in paths:
        names = {one.lower(): one for one in parquet_schema(path).names}
        at = declared or names.get(name)
        if at is None:
            continue
        column = read_parquet(path, at)[at].drop_null()
        files += 1
        if declared:
            values += len(column)
            kinds.append(how.column(declared).type.value if len(column) else EMPTY)
            continue
        counted = column.value_counts()
        texts, counts = counted.field("values"), counted.field("counts")
        values += pc.sum(counts.filter(pc.invert(trim(texts, how)[1]))).as_py() or 0
        kinds.append(observe_type(texts, how))
    rows = sum(parquet_rows(path) for path in paths)
    return _Measured(widest_type(kinds), values, rows, files, len(paths))


def table_of(source: str) -> Table:
    """The table of the warehouse to which a column of a source belongs, by its grain.

    >>> [table_of(name).name for name in ("LOG_RCD_B", "POINT", "APP_TYPE_REF", "LOG_INSTANCE")]
    ['fact_logs', 'dim_point', 'dim_application_instance', 'dim_log_instance']
    """
    from config.sources import SOURCES

    if source in LOG_KINDS.values():
        return FACT_LOGS
    key = f"{source}.{SOURCES[source].primary_key}"
    return next(
        table
        for table in TABLES.values()
        if table.further_from == source or any(column.origin == key for column in table.columns)
    )


def _column_name(table: Table, source: str, header: str) -> str:
    """A name for a column in a table: legal in every database, and no declared one."""
    from tasks.enrichment.further import with_further

    (column,) = with_further(replace(table, further_from=source), [header]).columns[
        len(table.columns) :
    ]
    return column.name


class PlannedColumn(NamedTuple):
    """A column that a contract asks a plan for."""

    table: str
    column: str
    type: Type


def planned_columns(new: Iterable[NewColumn]) -> list[PlannedColumn]:
    """The columns whose contracts ask for a plan.

    The two kinds of log records share a table: a column that both have is planned once.
    """
    from tasks.parsing.types import widest_type

    kinds: dict[tuple[str, str], list[str]] = {}
    for one in new:
        if one.needs_plan:
            kinds.setdefault((one.table, one.column), []).append(one.type)
    return [
        PlannedColumn(table, column, _planned_type(widest_type(found)))
        for (table, column), found in kinds.items()
    ]


def plan_commands(new: Iterable[NewColumn]) -> list[str]:
    """The commands that plan the columns whose contracts ask for it: one for each column."""
    return [
        shlex.join(
            ["luigi", "--module", "tasks", "SchemaChangePlan", "--table", table, "--column", column]
            + ["--type", kind.value, "--local-scheduler"]
        )
        for table, column, kind in planned_columns(new)
    ]


def _planned_type(kind: str) -> Type:
    """The type of the column in the warehouse: words for states stay words."""
    return Type.TEXT if kind == Type.SWITCH.value else Type(kind)


def describe_change(
    change: Change, new: Iterable[NewColumn], source: Source, absent: Sequence[str]
) -> Iterator[str]:
    """What changed, a line for each column: the same on the console, the page and in Markdown.

    Args:
        change: Of a source.
        new: The new columns of all sources.
        source: Its declaration, with the settings.
        absent: Its declared columns that no file has.
    """
    described = {one.header.lower(): one.describe() for one in new if one.source == source.name}
    for name in change.appeared:
        yield f"new: {name}, {described.get(name, 'of which nothing is left')}"
    for name in change.vanished:
        declared = [
            column.name
            for column in source.columns
            if name
            in (column.name, *(one.lower() for one in (*column.aliases, column.header or "")))
            and column.name in absent
        ]
        what = f"{declared[0]} is NULL now" if declared else "it was passed through"
        yield f"{VANISHED}{name}; {what}"
    for name, was, kind in change.retyped:
        yield f"{name} looked like {was} and now looks like {kind}"
    for old, appeared in change.renamed:
        yield f"perhaps {old} was renamed {appeared}; nothing was assumed"
