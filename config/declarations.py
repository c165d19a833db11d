"""The words in which tables are declared: types, columns, tables, sources."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

UNKNOWN = -1
"""Key of the unknown member of every dimension. 0 is a real key in the source."""

IGNORE, FREEZE, EVOLVE = "ignore", "freeze", "evolve"
"""What happens to a new column of a source: it is reported; the run fails; a plan is proposed."""


class Type(StrEnum):
    """What a column holds. Each has one reading from CSV text, one Arrow and one SQL type."""

    INTEGER = "integer"
    NUMBER = "number"
    SWITCH = "switch"
    """A number, or a word for a state (on, off, true, no, ...), held as 1 and 0."""
    TEXT = "text"
    TIMESTAMP = "timestamp"
    """An instant, UTC, to the microsecond."""


@dataclass(frozen=True)
class Column:
    """One column of a source file or of a warehouse table.

    Attributes:
        name: Under which it is known from staging on.
        type: What it holds.
        description: One sentence, with the unit.
        nullable: Whether it may be empty; in a source file, also whether it may be absent.
        references: `table.column` of the row it points to.
        aliases: Other headers under which source files are likely to bring it, likeliest first.
        header: The one header that will do, where the configuration names it.
        derived: Whether staging fills it; a file need not have it.
        origin: In the warehouse, `SOURCE.column` from which the value is taken. Lookups lead from
            the row's own source to SOURCE; -1 or NULL where one finds no row. LOG_RCD is either
            source of log records.
    """

    name: str
    type: Type
    description: str
    nullable: bool = False
    references: str | None = None
    aliases: tuple[str, ...] = ()
    header: str | None = None
    derived: bool = False
    origin: str = ""

    @property
    def source(self) -> str:
        """The source of the origin; empty if the column has none.

        >>> Column("unit_id", Type.INTEGER, "Which unit.", origin="APP_TYPE_REF.unit_id").source
        'APP_TYPE_REF'
        """
        return self.origin.partition(".")[0]

    @property
    def source_column(self) -> str:
        """The column of the origin in its source; empty if the column has none."""
        return self.origin.partition(".")[2]


@dataclass(frozen=True)
class Table:
    """A table: its grain, its columns and the columns that identify a row.

    Attributes:
        further_from: In the warehouse, the source whose further columns the table has too, as text.
    """

    name: str
    grain: str
    columns: tuple[Column, ...]
    primary_key: str | tuple[str, ...] | None = None
    further_from: str = ""

    def column(self, name: str) -> Column:
        """The column of that name; KeyError if the table has none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns of the primary key."""
        if isinstance(self.primary_key, str):
            return (self.primary_key,)
        return self.primary_key or ()

    @property
    def references(self) -> dict[str, tuple[str, str]]:
        """Column name -> (table, column) that it points to.

        >>> key = Column("unit_id", Type.INTEGER, "Which unit.", references="dim_unit.unit_id")
        >>> Table("fact", "one row per event", (key,)).references
        {'unit_id': ('dim_unit', 'unit_id')}
        """
        found = {}
        for column in self.columns:
            if column.references is not None:
                table, _, key = column.references.partition(".")
                found[column.name] = (table, key)
        return found


@dataclass(frozen=True)
class Source(Table):
    """A CSV file as exported, and how to read it. The settings are those of `luigi.cfg`.

    Attributes:
        in_partitions: Whether it may come as a folder of files too.
        delimiter: Character between fields; None: recognised.
        quotechar: Character around fields that hold delimiters; empty: none.
        escapechar: Character before a quote within quotes, where quotes are not doubled.
        encoding: Python's name of the encoding; None: UTF-8, or as the byte order mark says.
        decimal: Decimal mark of numbers.
        thousands: Character between groups of three digits, if there is one.
        skiprows: Numbers of the lines to skip, from 0.
        skipfooter: How many lines to skip at the end.
        na_values: Texts that mean "no value" in declared columns, beside the empty one.
        true_values: Words for the state 1, beside the usual ones.
        false_values: Words for the state 0, beside the usual ones.
        sentinels: Texts that a controller writes in place of a value, beside the usual ones.
        max_sentinels: Share of a file's values above which sentinels raise a warning, 0 to 1.
        time_format: Formats of its times, tried in order: `iso`, `epoch`, or strptime's.
        time_window: First day, and the day after the last, in which epoch numbers are times.
        source_timezone: IANA zone of times that name none.
        max_rejected: Share of its rows that may be rejected, 0 to 1.
        allow_duplicate_files: Whether two of its files may have the same content.
        new_columns: What happens to a column that was not recorded before: IGNORE, FREEZE, EVOLVE.
        accepted_columns: Columns that FREEZE permits, in lower case, whatever was recorded.
    """

    primary_key: str | None = None
    in_partitions: bool = False
    delimiter: str | None = None
    quotechar: str = '"'
    escapechar: str | None = None
    encoding: str | None = None
    decimal: str = "."
    thousands: str | None = None
    skiprows: tuple[int, ...] = ()
    skipfooter: int = 0
    na_values: tuple[str, ...] = ("NULL", "\\N")
    true_values: tuple[str, ...] = ()
    false_values: tuple[str, ...] = ()
    sentinels: tuple[str, ...] = ()
    max_sentinels: float = 0.05
    time_format: tuple[str, ...] = ()
    time_window: tuple[str, str] = ("2000-01-01", "2050-01-01")
    source_timezone: str = "UTC"
    max_rejected: float = 0.01
    allow_duplicate_files: bool = False
    new_columns: str = IGNORE
    accepted_columns: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        """The columns that the file must have."""
        return tuple(column.name for column in self.columns if not column.nullable)
