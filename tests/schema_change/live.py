"""A database with a table that is changed, and writers with a ledger of what was committed."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from config.declarations import Type
from tasks.schema_change.change import AddColumn
from tasks.schema_change.interface import Database
from tasks.schema_change.machine import Observe, Pace, SchemaChange
from tasks.schema_change.open import open_database

WORDS = {
    "sqlite": {"int": "integer", "text": "text", "key": "text", "real": "real", "time": "text"},
    "postgresql": {
        "int": "bigint",
        "text": "text",
        "key": 'text collate "C"',
        "real": "double precision",
        "time": "timestamp",
    },
    "mariadb": {
        "int": "bigint",
        "text": "longtext collate utf8mb4_nopad_bin",
        "key": "varchar(60) collate utf8mb4_nopad_bin",
        "real": "double",
        "time": "datetime(6)",
    },
}

COLUMNS = "a, b, v, note, x, at"
TABLE = (
    "create table {t} (a {int} not null, b {key} not null, v {int}, note {text}, x {real},"
    " at {time}, primary key (a, b))"
)
Row = tuple[Any, ...]


class Live:
    """An empty database.

    Args:
        url: Its URL.
    """

    def __init__(self, url: str):
        self.url = url
        self.kind = sa.make_url(url).get_backend_name()
        self.engine = self.new_engine()
        self.opened: list[Database] = []

    def new_engine(self) -> sa.Engine:
        options = {"timeout": 30} if self.kind == "sqlite" else {}
        engine = sa.create_engine(
            self.url,
            isolation_level="AUTOCOMMIT",
            poolclass=sa.pool.NullPool,
            connect_args=options,
        )
        if self.kind == "sqlite":
            sa.event.listen(
                engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys = ON")
            )
        if self.kind == "mariadb":
            mode = "SET sql_mode = 'STRICT_ALL_TABLES,ANSI_QUOTES'"
            sa.event.listen(engine, "connect", lambda raw, _: raw.cursor().execute(mode))
        return engine

    def run(self, *statements: str) -> list[Row]:
        """Run statements, each committed; the rows of the last one."""
        rows: list[Row] = []
        with self.engine.connect() as connection:
            for sql in statements:
                result = connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
                rows = [tuple(row) for row in result] if result.returns_rows else []
        return rows

    def ddl(self, sql: str, **names: str) -> str:
        return sql.format(**WORDS[self.kind], **names)

    def create(self, rows: int = 0, table: str = "t") -> None:
        """The usual table, with rows that have all kinds of values."""
        self.run(self.ddl(TABLE, t=f'"{table}"'))
        values = [made_up(random.Random(n), n - rows // 2) for n in range(rows)]
        self.insert(values, table)

    def insert(self, rows: list[Row], table: str = "t") -> None:
        with self.engine.connect() as connection:
            statement = sa.insert(sa.table(table, *map(sa.column, COLUMNS.split(", "))))
            if rows:
                connection.execute(sa.text("BEGIN"))
                names = COLUMNS.split(", ")
                connection.execute(statement, [dict(zip(names, r, strict=True)) for r in rows])
                connection.execute(sa.text("COMMIT"))

    def rows(self, table: str = "t") -> dict[Row, Row]:
        """Key -> other values, of the usual columns."""
        found = self.run(f'select {COLUMNS} from "{table}"')
        return {(a, b): (v, note, x, str(at)) for a, b, v, note, x, at in found}

    def change(
        self,
        observe: Observe = lambda state, watermark: None,
        opened: Callable[[str], Database] = open_database,
        table: str = "t",
        **asked: Any,
    ) -> SchemaChange:
        """A change that copies 50 rows at a time; the run of an earlier one ends."""
        self.close()
        database = opened(self.url)
        self.opened.append(database)
        wanted = AddColumn(table, **{"column": "q", "type": Type.INTEGER, "default": 7, **asked})
        return SchemaChange(database, wanted, observe, Pace(rows=50, seconds=0, rest=0))

    def close(self) -> None:
        while self.opened:
            self.opened.pop().close()

    def catalog(self) -> list[str]:
        """All that is declared in the database, but where runs are stored."""
        if self.kind == "sqlite":
            rows = self.run(
                "select type, name, tbl_name, replace(sql, '\"', '') from sqlite_schema"
            )
            lines = [str(row) for row in rows]
        elif self.kind == "postgresql":
            command = [
                "/usr/lib/postgresql/15/bin/pg_dump",
                "--schema-only",
                "-T",
                "schema_change_run",
            ]
            url = self.url.replace("+psycopg", "")
            dump = subprocess.run([*command, "-d", url], capture_output=True, text=True, check=True)
            lines = [line for line in dump.stdout.splitlines() if not line.startswith("\\")]
        else:
            lines = self._mariadb_catalog()
        return sorted(line for line in lines if "schema_change_run" not in line)

    def _mariadb_catalog(self) -> list[str]:
        lines = []
        for name, *_ in self.run("show tables"):
            definition = self.run(f'show create table "{name}"')[0][1]
            lines += [
                f"{name}: {line.partition(' AUTO_INCREMENT=')[0].rstrip(',')}"
                for line in definition.splitlines()
            ]
        triggers = self.run(
            "select trigger_name, event_object_table, action_timing, event_manipulation,"
            " action_statement, definer from information_schema.triggers"
            " where trigger_schema = database()"
        )
        return lines + [str(row) for row in triggers]


def in_child(live: Live, work: Callable[[], object]) -> bool:
    """Do something in a process of its own; whether it was killed."""
    live.close()
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def made_up(chance: random.Random, a: int, b: str | None = None) -> Row:
    """A row with values that are easily damaged."""
    return (
        a * 7 + chance.randrange(3) if b is None else a,
        chance.choice(("", " ", "k", "K", "ü😀", "é ")) if b is None else b,
        chance.choice((None, 0, -1, chance.randrange(-(2**62), 2**62))),
        chance.choice((None, "", "NULL", "a", "A", "trailing  ", "ü😀", "'\"\\%:x")),
        chance.choice((None, 0.1, 1 / 3, 5e-324, -1.7976931348623157e308, chance.random())),
        f"2024-05-01 12:00:00.{chance.randrange(1, 999_999):06}",
    )


class Writer(threading.Thread):
    """Writes rows of its own keys, and keeps what was committed."""

    def __init__(self, live: Live, number: int, ledger: dict[Row, Row], isolation: str = ""):
        super().__init__()
        self.live = live
        self.number = number
        self.isolation = isolation
        self.chance = random.Random(number)
        self.ledger = ledger
        self.errors: list[str] = []
        self.written = 0
        self._ends = threading.Event()

    def stop(self) -> None:
        self._ends.set()
        self.join()

    def run(self) -> None:
        with self.live.new_engine().connect() as connection:
            while not self._ends.is_set():
                try:
                    self._write(connection)
                except sa.exc.DBAPIError as error:
                    with contextlib.suppress(sa.exc.DBAPIError):
                        connection.exec_driver_sql("ROLLBACK")
                    self.errors.append(str(error.orig))
                self._ends.wait(0.004 if self.live.kind == "sqlite" else 0.001)

    def _key(self) -> Row:
        return (self.chance.randrange(-300, 300), f"w{self.number}")

    def _write(self, connection: sa.Connection) -> None:
        changed: dict[Row, Row | None] = {}
        kind = self.live.kind
        if self.isolation:
            level = f"ISOLATION LEVEL {self.isolation}"
            if kind == "mariadb":
                connection.exec_driver_sql(f"SET TRANSACTION {level}")
            connection.exec_driver_sql("BEGIN" if kind == "mariadb" else f"BEGIN {level}")
            connection.exec_driver_sql("select count(*) from t where a = 0").all()
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if kind == "sqlite" else "BEGIN")
        for _ in range(self.chance.choice((1, 1, 2, 5))):
            self._write_one(connection, changed)
        connection.exec_driver_sql("COMMIT")
        self.written += 1
        for key, values in changed.items():
            if values is None:
                self.ledger.pop(key, None)
            else:
                self.ledger[key] = values

    def _write_one(self, connection: sa.Connection, changed: dict[Row, Row | None]) -> None:
        current = self.ledger | {key: row for key, row in changed.items() if row is not None}
        mine = [k for k in current if k[1] == f"w{self.number}" and changed.get(k, ()) is not None]
        key, what = self._key(), self.chance.choice(("upsert", "delete", "update", "move"))
        values = made_up(self.chance, *key)
        names = dict(zip(COLUMNS.split(", "), values, strict=True))
        if what == "upsert" or not mine:
            excluded = (
                "on duplicate key update v = values(v), note = values(note), x = values(x),"
                " at = values(at)"
                if self.live.kind == "mariadb"
                else "on conflict (a, b) do update set v = excluded.v, note = excluded.note,"
                " x = excluded.x, at = excluded.at"
            )
            if self.live.kind == "sqlite" and self.chance.random() < 0.5:
                sql, excluded = "insert or replace into t", ""
            else:
                sql = "insert into t"
            sql = f"{sql} ({COLUMNS}) values (:a, :b, :v, :note, :x, :at) {excluded}"
            connection.execute(sa.text(sql), names)
            changed[key] = values[2:]
            return
        old = self.chance.choice(mine)
        at = {"old_a": old[0], "old_b": old[1]}
        where = "where a = :old_a and b = :old_b"
        if what == "delete":
            connection.execute(sa.text(f"delete from t {where}"), at)
            changed[old] = None
        elif what == "update" or key in mine:
            sql = f"update t set v = :v, note = :note, x = :x, at = :at {where}"
            connection.execute(sa.text(sql), {**names, **at})
            changed[old] = values[2:]
        else:
            connection.execute(sa.text(f"update t set a = :a {where}"), {**names, **at})
            changed[key] = current[old]
            changed[old] = None


@contextlib.contextmanager
def writing(live: Live, *isolations: str) -> Iterator[dict[Row, Row]]:
    """Writers at work; the ledger, which is complete at the end."""
    ledger = live.rows()
    writers = [Writer(live, n, ledger, isolation) for n, isolation in enumerate(isolations)]
    for writer in writers:
        writer.start()
    try:
        yield ledger
    finally:
        for writer in writers:
            writer.stop()
    allowed = ("deadlock", "could not serialize", "lock wait", "changed since last read")
    unexpected = [
        e for w in writers for e in w.errors if not any(word in e.lower() for word in allowed)
    ]
    assert not unexpected, unexpected[:3]
    assert all(writer.written for writer in writers)
