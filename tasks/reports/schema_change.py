"""Schema change: what changed in the source columns, and how to add a column to a live table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from config.warehouse import FACT_LOGS, TABLES
from tasks.reports.templates import render, render_markdown_page
from tasks.staging.audit import Audit
from tasks.warehouse.open import open_warehouse

LARGE_ROWS = 100_000
"""From this many rows a table is described in full."""

CHUNK_ROWS = 10_000

Columns = dict[str, dict[str, str]]
"""Source -> column -> type of its values, as the first rows show it."""


# --- changes of the source columns -----------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """What changed in one source's columns."""

    source: str
    appeared: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    retyped: tuple[tuple[str, str, str], ...] = ()

    @property
    def renamed(self) -> tuple[str, str] | None:
        """A pair that may be one column renamed: the only one gone and the only one new."""
        if len(self.appeared) == len(self.vanished) == 1:
            return self.vanished[0], self.appeared[0]
        return None


def compare_columns(before: Columns, now: Columns) -> list[Change]:
    """What changed from one set of headers to another. A column without values has no type.

    >>> compare_columns({"POINT": {"id": "integer", "a": "text"}},
    ...                 {"POINT": {"id": "text", "b": "text"}})
    [Change(source='POINT', appeared=('b',), vanished=('a',), retyped=(('id', 'integer', 'text'),))]
    """
    changes = []
    for source in now:
        old, new = before.get(source, {}), now[source]
        retyped = tuple(
            (name, old[name], kind)
            for name, kind in new.items()
            if name in old and old[name] != kind and "empty" not in (old[name], kind)
        )
        change = Change(
            source=source,
            appeared=tuple(name for name in new if name not in old),
            vanished=tuple(name for name in old if name not in new),
            retyped=retyped,
        )
        if change.appeared or change.vanished or change.retyped:
            changes.append(change)
    return changes


def columns_of(audits: Mapping[str, Audit]) -> Columns:
    """The columns that each source's file has now; names in lower case."""
    return {
        name: {header.lower(): audit.observed_types.get(header, "empty") for header in audit.header}
        for name, audit in audits.items()
    }


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
                name: history[-1].columns.get(source, {}).get(name, kind)
                if kind == "empty"
                else kind
                for name, kind in of_source.items()
            }
            for source, of_source in columns.items()
        }
    if history and not compare_columns(history[-1].columns, columns):
        last = history[-1]
        return [*history[:-1], Version(last.first_seen, now, last.columns)]
    return [*history, Version(now, now, columns)]


def _read_history(path: Path) -> list[Version]:
    try:
        return [Version(**item) for item in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


# --- the live tables -------------------------------------------------------------------------


@dataclass
class LiveTable:
    """A table of the warehouse as it stands there.

    Attributes:
        size_bytes: Pages of the table and its indexes; None if SQLite cannot tell.
        references: Column -> table.column that it points to.
        referred_by: table.column that point to this one.
        indexes: Index -> columns.
        create_sql: The statement that creates it.
        triggers: Those that invalidate its receipt: name -> the statement that creates it.
    """

    name: str
    grain: str
    rows: int
    size_bytes: int | None
    columns: list[str]
    primary_key: list[str]
    references: dict[str, str] = field(default_factory=dict)
    referred_by: list[str] = field(default_factory=list)
    indexes: dict[str, list[str]] = field(default_factory=dict)
    create_sql: str = ""
    triggers: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The primary key's column; the declared tables have one each."""
        return self.primary_key[0]


def describe_tables(warehouse_url: str) -> list[LiveTable]:
    """The warehouse's tables, largest first, read from the live database.

    Rows and sizes are as the last load noted them, if nobody has changed the table since: to
    count them takes the longer the larger the table is.
    """
    warehouse = open_warehouse(warehouse_url)
    loaded = {name: r for (name, partition), r in warehouse.receipts().items() if not partition}
    engine = warehouse.engine()
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        tables = {
            name: LiveTable(
                name=name,
                grain=TABLES[name].grain,
                rows=loaded[name].row_count
                if name in loaded
                else connection.scalar(sa.select(sa.func.count()).select_from(sa.table(name))) or 0,
                size_bytes=(loaded[name].size_bytes if name in loaded else None)
                or warehouse.size_bytes(connection, name),
                columns=[column["name"] for column in inspector.get_columns(name)],
                primary_key=inspector.get_pk_constraint(name)["constrained_columns"],
                references={
                    key["constrained_columns"][0]: (
                        f"{key['referred_table']}.{key['referred_columns'][0]}"
                    )
                    for key in inspector.get_foreign_keys(name)
                },
                indexes={
                    str(index["name"]): [str(column) for column in index["column_names"]]
                    for index in inspector.get_indexes(name)
                },
                create_sql=warehouse.create_sql(connection, name),
                triggers=warehouse.triggers(name),
            )
            for name in TABLES
        }
    engine.dispose()
    for table in tables.values():
        for column, target in table.references.items():
            parent = target.partition(".")[0]
            if parent in tables:
                tables[parent].referred_by.append(f"{table.name}.{column}")
    return sorted(tables.values(), key=lambda table: -table.rows)


# --- the shadow table on SQLite --------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A step of the change: what it is for, and its statements.

    Attributes:
        repeat: Whether it is run again and again until it changes no row.
    """

    title: str
    statements: tuple[str, ...]
    repeat: bool = False


_NOTES = {"insert": ("NEW",), "update": ("OLD", "NEW"), "delete": ("OLD",)}
"""Event -> the rows whose keys a trigger notes; an update may change the key itself."""


def native_steps(table: LiveTable, column: str = "new_column") -> list[Step]:
    """Add a nullable column natively on SQLite, and take it back."""
    return [
        Step(
            "Add the column",
            (
                "PRAGMA busy_timeout = 5000",
                "BEGIN IMMEDIATE",
                f"ALTER TABLE {table.name} ADD COLUMN {column} INTEGER",
                "COMMIT",
            ),
        ),
        Step("Take it back", (f"ALTER TABLE {table.name} DROP COLUMN {column}",)),
    ]


def shadow_steps(table: LiveTable, column: str = "new_column") -> list[Step]:
    """Add a column on SQLite through a shadow table, while others write to the table.

    Triggers note the keys of changed rows; one worker copies chunk by chunk and applies the
    noted keys by reading the row again, so that no order of events can make a row stale.
    """
    name, key = table.name, table.key
    shadow, old, log, progress = f"{name}_new", f"{name}_old", f"{name}_changed", f"{name}_copied"
    columns = ", ".join(table.columns)
    # The new column goes behind the last one, before the table's constraints.
    body = table.create_sql[table.create_sql.index("(") :]
    head, _, constraints = body.partition("CONSTRAINT")
    rows_of = f"SELECT {columns} FROM {name}"
    noted = f"(SELECT row_key FROM {log} ORDER BY entry LIMIT {CHUNK_ROWS})"
    next_keys = (
        f"SELECT {key} FROM {name} WHERE {key} > (SELECT last_key FROM {progress})"
        f" ORDER BY {key} LIMIT {CHUNK_ROWS}"
    )
    upto = f"(SELECT max({key}) FROM ({next_keys}))"
    return [
        Step(
            "Make the shadow table with the new column, and its bookkeeping",
            (
                f"CREATE TABLE {shadow} {head}{column} INTEGER, \n\tCONSTRAINT{constraints}",
                f"CREATE TABLE {log} (entry INTEGER PRIMARY KEY AUTOINCREMENT, row_key INTEGER)",
                f"CREATE TABLE {progress} (last_key INTEGER)",
                f"INSERT INTO {progress} SELECT coalesce(min({key}), 0) - 1 FROM {name}",
            ),
        ),
        Step(
            "Note the key of every row that changes from now on",
            tuple(
                f"CREATE TRIGGER {name}_note_{event} AFTER {event.upper()} ON {name} BEGIN "
                + " ".join(f"INSERT INTO {log} (row_key) VALUES ({row}.{key});" for row in rows)
                + " END"
                for event, rows in _NOTES.items()
            ),
        ),
        Step(
            f"Copy {CHUNK_ROWS:,} rows and their progress in one transaction; pause in between",
            (
                "BEGIN IMMEDIATE",
                f"INSERT OR IGNORE INTO {shadow} ({columns}) {rows_of}"
                f" WHERE {key} > (SELECT last_key FROM {progress}) AND {key} <= {upto}",
                f"UPDATE {progress} SET last_key = {upto} WHERE EXISTS ({next_keys})",
                "COMMIT",
            ),
            repeat=True,
        ),
        Step(
            "Apply noted keys: read the rows again, remove exactly the notes that were applied",
            (
                "BEGIN IMMEDIATE",
                f"DELETE FROM {shadow} WHERE {key} IN {noted}",
                f"INSERT INTO {shadow} ({columns}) {rows_of} WHERE {key} IN {noted}",
                f"DELETE FROM {log} WHERE entry IN"
                f" (SELECT entry FROM {log} ORDER BY entry LIMIT {CHUNK_ROWS})",
                "COMMIT",
            ),
            repeat=True,
        ),
        Step(
            "Index the shadow table",
            tuple(
                f"CREATE INDEX {index}_new ON {shadow} ({', '.join(on)})"
                for index, on in table.indexes.items()
            ),
        ),
        Step(
            "Verify by content: both statements must give no row",
            (
                f"{rows_of} EXCEPT SELECT {columns} FROM {shadow}",
                f"SELECT {columns} FROM {shadow} EXCEPT {rows_of}",
            ),
        ),
        Step(
            "Swap, in one transaction, after applying the last notes",
            (
                "PRAGMA foreign_keys = OFF",
                "PRAGMA legacy_alter_table = ON",
                "BEGIN IMMEDIATE",
                f"DELETE FROM {shadow} WHERE {key} IN (SELECT row_key FROM {log})",
                f"INSERT INTO {shadow} ({columns}) {rows_of}"
                f" WHERE {key} IN (SELECT row_key FROM {log})",
                f"DELETE FROM {log}",
                *(f"DROP TRIGGER {name}_note_{event}" for event in _NOTES),
                *(f"DROP TRIGGER IF EXISTS {trigger}" for trigger in table.triggers),
                f"ALTER TABLE {name} RENAME TO {old}",
                f"ALTER TABLE {shadow} RENAME TO {name}",
                *table.triggers.values(),
                f"PRAGMA foreign_key_check({name})",
                "COMMIT",
                "PRAGMA legacy_alter_table = OFF",
            ),
        ),
        Step(
            "Clean up, when the change is signed off",
            (
                f"DROP TABLE {old}",
                f"DROP TABLE {log}",
                f"DROP TABLE {progress}",
                *(
                    statement
                    for index, on in table.indexes.items()
                    for statement in (
                        f"CREATE INDEX IF NOT EXISTS {index} ON {name} ({', '.join(on)})",
                        f"DROP INDEX {index}_new",
                    )
                ),
            ),
        ),
    ]


def abandon_steps(table: LiveTable) -> list[Step]:
    """Give the shadow table up before the swap: the triggers first, or writes would fail."""
    name = table.name
    return [
        Step(
            "Give up before the swap",
            (
                *(f"DROP TRIGGER IF EXISTS {name}_note_{event}" for event in _NOTES),
                f"DROP TABLE IF EXISTS {name}_changed",
                f"DROP TABLE IF EXISTS {name}_copied",
                f"DROP TABLE IF EXISTS {name}_new",
            ),
        )
    ]


# --- the report ------------------------------------------------------------------------------


def write_schema_change_report(
    audit_paths: Mapping[str, Path],
    warehouse_url: str,
    history_path: Path,
    new_history: Path,
    *,
    markdown: Path,
    page: Path,
    figures: Path,
) -> None:
    """Write the report, and the history of headers with those of this run.

    Args:
        audit_paths: Source -> its audit.
        warehouse_url: The warehouse.
        history_path: The history as earlier runs left it; need not be there.
        new_history: Where the new history goes.
        markdown: Where the report goes.
        page: Where the same report goes as HTML.
        figures: Where the changes go as JSON: "last", the run to compare with (UTC), "changes"
            since, and "earlier", all on record.
    """
    audits = {n: Audit.from_json(p.read_text(encoding="utf-8")) for n, p in audit_paths.items()}
    history = _read_history(history_path)
    columns = columns_of(audits)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    tables = describe_tables(warehouse_url)
    large = [table for table in tables if table.rows >= LARGE_ROWS] or [
        table for table in tables if table.name == FACT_LOGS.name
    ]
    recognised = {
        name: {header.lower() for column in audit.recognised for header in audit.headers_of(column)}
        for name, audit in audits.items()
    }
    updated = add_version(history, columns, now)
    changes = compare_columns(history[-1].columns, columns) if history else []
    earlier = [
        (after.first_seen, compare_columns(before.columns, after.columns))
        for before, after in zip(updated, updated[1:], strict=False)
    ]
    text = render(
        "schema_change.md.j2",
        now=now,
        last=history[-1] if history else None,
        changes=changes,
        recognised=recognised,
        earlier=earlier,
        tables=tables,
        large=large,
        native_steps=native_steps,
        abandon_steps=abandon_steps,
        shadow_steps=shadow_steps,
        large_rows=LARGE_ROWS,
    )
    markdown.write_text(text, encoding="utf-8", newline="\n")
    page.write_text(render_markdown_page("Schema change", text), encoding="utf-8", newline="\n")
    content = {
        "last": history[-1].last_seen if history else None,
        "changes": [asdict(change) for change in changes],
        "earlier": [
            {"seen": seen, "changes": [asdict(change) for change in changed]}
            for seen, changed in earlier
        ],
    }
    for path, told in ((figures, content), (new_history, [vars(one) for one in updated])):
        path.write_text(
            json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n"
        )
