"""PostgreSQL and MariaDB: whole runs against SQLite, loads against the servers' own clients.

`python -m tests.benchmarks.servers FOLDER [runs] [loads] [PostgreSQL] [MariaDB]`: all if nothing
is named. FOLDER has the configuration of a project, and source files in `take_home_data/`. The
servers are thrown away afterwards; they wait for the disk. The exit status is 1 if the tables or
reports of a whole run are not those of SQLite.
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from unittest.mock import Mock

import psycopg
import pyarrow as pa
import pymysql
import sqlalchemy as sa

from config.warehouse import FACT_LOGS, NO_INSTANT
from tasks.enrichment.star import facts
from tasks.warehouse.mariadb import rows as mariadb
from tasks.warehouse.open import open_warehouse
from tests.servers import MariaDB, PostgreSQL, Server

RUNS = 3
SOME = 100_000
"""Rows of the ways that load one by one."""
COLUMNS = [column.name for column in FACT_LOGS.columns]
NAMES = ", ".join(COLUMNS)
MEMORY = "--innodb-buffer-pool-size=1G"
"""What docs/warehouses.md says of MariaDB."""


class _RollBackError(Exception):
    """Ends a load that is not to be committed."""


# --- whole runs ------------------------------------------------------------------------------


def run_pipeline(folder: Path, url: str) -> float:
    """Seconds of a cold run of everything into a warehouse."""
    for made in ("staging", "reports"):
        shutil.rmtree(folder / made, ignore_errors=True)
    for path in folder.glob("data_warehouse.db*"):
        path.unlink()
    command = [str(Path(sys.executable).with_name("luigi")), "--module", "tasks", "AllReports"]
    environment = {**os.environ, "PIPELINE_WAREHOUSE_URL": url}
    begun = time.perf_counter()
    done = subprocess.run(
        [*command, "--local-scheduler"],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return time.perf_counter() - begun


def results(folder: Path, url: str) -> dict[str, object]:
    """The digest of each table's rows, and the CSV reports."""
    digests = "SELECT table_name, partition_name, row_count, rows_digest FROM load_receipt"
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        found = {"/".join(row[:2]): row[2:] for row in connection.exec_driver_sql(digests)}
    reports = {
        path.name: path.read_bytes()
        for path in (folder / "reports").glob("*.csv")
        if path.name != "history.csv"  # When what ran, and how long.
    }
    return {**{name: tuple(row) for name, row in found.items()}, **reports}


def compare_runs(folder: Path, servers: dict[str, Server]) -> bool:
    """Cold runs in turn; whether the results are equal."""
    took: dict[str, list[float]] = defaultdict(list)
    different = False
    for _ in range(RUNS):
        with ExitStack() as stack:
            urls = {"SQLite": f"sqlite:///{folder / 'data_warehouse.db'}"}
            for name, server in servers.items():
                urls[name] = stack.enter_context(server.create_database())
            first: dict[str, object] = {}
            for name, url in urls.items():
                took[name].append(run_pipeline(folder, url))
                found = results(folder, url)
                first = first or found
                for what in sorted({*first, *found}):
                    if first.get(what) != found.get(what):
                        different = True
                        print(f"{name}: {what} is not that of SQLite", flush=True)
    print("| whole run | s | times SQLite |")
    print("|---|---|---|")
    for name, seconds in took.items():
        ratios = [one / other for one, other in zip(seconds, took["SQLite"], strict=True)]
        listed = " / ".join(f"{one:.1f}" for one in sorted(seconds))
        print(f"| {name} | {listed} | {statistics.median(ratios):.2f} |")
    said = "different" if different else f"{len(first)} tables, partitions and reports are equal"
    print(f"\n{said}", flush=True)
    return not different


# --- loads -----------------------------------------------------------------------------------


def rows(folder: Path) -> Iterator[pa.RecordBatch]:
    """The facts of a project, in the batches and the order of a load."""
    for path in sorted((folder / "staging" / "enriched_logs").rglob("*.parquet")):
        yield from facts(path)


def some_rows(folder: Path) -> list[tuple]:
    """The first rows, as drivers take them."""
    batches = itertools.islice(rows(folder), SOME // 65_536 + 1)
    table = pa.Table.from_batches(batches).slice(0, SOME)
    at = table.schema.get_field_index("recorded_at")
    plain = table.set_column(at, "recorded_at", table["recorded_at"].cast(pa.timestamp("us")))
    columns = plain.to_pydict()
    columns["recorded_at"] = [time or NO_INSTANT for time in columns["recorded_at"]]
    return list(zip(*columns.values(), strict=True))


def ours(folder: Path, url: str, streams: bool = True, keys: bool = False) -> float:
    """Seconds in which a load adds the rows to the empty table.

    Args:
        folder: The project.
        url: The warehouse.
        streams: Whether MariaDB takes files of clients.
        keys: Whether PostgreSQL's foreign keys exist before the rows.
    """
    took = 0.0
    try:
        with open_warehouse(url).transaction(FACT_LOGS) as db:
            db.drop_triggers()
            if url.startswith("postgresql"):
                prepare_postgresql(db.run, () if keys else FACT_LOGS.references)
            elif not streams:
                db._streams = False  # type: ignore[attr-defined]
            begun = time.perf_counter()
            db.append(FACT_LOGS.name, rows(folder), Mock())
            took = time.perf_counter() - begun
            raise _RollBackError
    except _RollBackError:
        return took


def prepare_postgresql(
    run: Callable[[str], object], released: Iterable[str] = tuple(FACT_LOGS.references)
) -> None:
    """Empty the table; a first load adds its foreign keys, of the columns released, at the end."""
    run("SET LOCAL controller_logs.is_loading = 'on'")
    for column in released:
        run(f"ALTER TABLE fact_logs DROP CONSTRAINT IF EXISTS fk_fact_logs_{column}")
    run("TRUNCATE fact_logs")


def psql(url: str, file: Path) -> float:
    r"""Seconds of `psql \copy` from a file."""
    statements: list[str] = []
    prepare_postgresql(statements.append)
    copy = f"\\timing on\n\\copy fact_logs FROM '{file}'\n\\timing off\nROLLBACK;"
    script = "BEGIN;\n" + "".join(f"{one};\n" for one in statements) + copy
    done = subprocess.run(
        ["psql", "-q", "-v", "ON_ERROR_STOP=1", url],
        input=script,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split("Time: ")[1].split()[0]) / 1000


def psycopg_rows(url: str, rows: list[tuple], copies: bool) -> float:
    """Seconds of psycopg's binary COPY, or of its executemany."""
    with closing(psycopg.connect(url)) as connection, connection.cursor() as cursor:
        prepare_postgresql(cursor.execute)
        cursor.execute("SELECT * FROM fact_logs")
        types = [column.type_code for column in cursor.description or ()]
        begun = time.perf_counter()
        if copies:
            with cursor.copy(f"COPY fact_logs ({NAMES}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(types)
                for row in rows:
                    copy.write_row(row)
        else:
            marks = ", ".join(["%s"] * len(COLUMNS))
            cursor.executemany(f"INSERT INTO fact_logs ({NAMES}) VALUES ({marks})", rows)
        return time.perf_counter() - begun


def pymysql_rows(url: str, run: Callable[[pymysql.cursors.Cursor], object]) -> float:
    """Seconds in which a connection without checks does something to the empty table."""
    at = sa.make_url(url)
    with (
        closing(
            pymysql.connect(
                host=at.host,
                port=at.port,
                user=at.username,
                password=at.password,
                database=at.database,
            )
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "SET foreign_key_checks = 0, unique_checks = 0, @controller_logs_is_loading = 1,"
            " sql_mode = 'STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES,ANSI_QUOTES'"
        )
        begun = time.perf_counter()
        run(cursor)
        return time.perf_counter() - begun


def load_data(file: Path, cursor: pymysql.cursors.Cursor) -> None:
    """`LOAD DATA INFILE`, from a file on the server."""
    into = f"INTO TABLE fact_logs {mariadb._FORMAT} ({NAMES})"
    cursor.execute(f"LOAD DATA INFILE '{file}' {into}")


def executemany(rows: list[tuple], cursor: pymysql.cursors.Cursor) -> None:
    """PyMySQL's, which makes statements of many rows."""
    marks = ", ".join(["%s"] * len(COLUMNS))
    cursor.executemany(f"INSERT INTO fact_logs ({NAMES}) VALUES ({marks})", rows)


def ways_postgresql(folder: Path, url: str, file: Path) -> dict[str, Callable[[], float]]:
    """Name -> what loads all rows, or some if its name says so."""
    plain = url.replace("+psycopg", "")
    subprocess.run(["psql", "-q", plain, "-c", f"\\copy fact_logs TO '{file}'"], check=True)
    some = some_rows(folder)
    return {
        "ours: ADBC, binary COPY": functools.partial(ours, folder, url),
        "`psql \\copy`": functools.partial(psql, plain, file),
        "psycopg, binary COPY (some)": functools.partial(psycopg_rows, plain, some, True),
        "ours, with foreign keys": functools.partial(ours, folder, url, keys=True),
        "psycopg, executemany (some)": functools.partial(psycopg_rows, plain, some, False),
    }


def ways_mariadb(folder: Path, url: str, file: Path) -> dict[str, Callable[[], float]]:
    """Name -> what loads all rows, or some if its name says so."""
    with file.open("wb") as stream:
        for batch in rows(folder):
            text = mariadb._rendered(batch, FACT_LOGS.key_columns, "", "\n")
            stream.write(mariadb._bytes(text))
    some = some_rows(folder)

    def emptied(run: Callable[[], float]) -> float:
        pymysql_rows(url, lambda cursor: cursor.execute("TRUNCATE fact_logs"))
        return run()

    ways: dict[str, Callable[[], float]] = {
        "ours: LOAD DATA LOCAL from a pipe": functools.partial(ours, folder, url),
        "`LOAD DATA INFILE`": functools.partial(
            pymysql_rows, url, functools.partial(load_data, file)
        ),
        "ours without local_infile: INSERT of many rows": functools.partial(
            ours, folder, url, False
        ),
        "PyMySQL, executemany (some)": functools.partial(
            pymysql_rows, url, functools.partial(executemany, some)
        ),
    }
    return {name: functools.partial(emptied, run) for name, run in ways.items()}


def measure_loads(folder: Path, servers: dict[str, Server]) -> None:
    """Take turns; print medians, and what share of the other client's rows per second is ours."""
    for name, server in servers.items():
        with server.create_database() as url:
            run_pipeline(folder, url)
            count = sum(len(batch) for batch in rows(folder))
            make = ways_postgresql if name == "PostgreSQL" else ways_mariadb
            ways = make(folder, url, server.folder / "facts")
            took: dict[str, list[float]] = defaultdict(list)
            for _ in range(RUNS):
                for way, run in ways.items():
                    took[way].append(run())
                    print(f"{way}: {took[way][-1]:.1f} s", file=sys.stderr, flush=True)
            print(f"\n| {name} | rows | s | rows per second |")
            print("|---|---|---|---|")
            speeds = []
            for way, seconds in took.items():
                number = min(SOME, count) if "(some)" in way else count
                median = statistics.median(seconds)
                speeds.append(number / median)
                title = way.removesuffix(" (some)")
                print(f"| {title} | {number:,} | {median:.1f} | {speeds[-1]:,.0f} |")
            print(f"\nours: {speeds[0] / speeds[1]:.2f} times the server's own client", flush=True)


def main() -> None:
    """Measure what is named, or both."""
    folder = Path(sys.argv[1]).absolute()
    named = set(sys.argv[2:])
    kinds: dict[str, Callable[[], Server]] = {
        "PostgreSQL": functools.partial(PostgreSQL, durable=True),
        "MariaDB": functools.partial(MariaDB, durable=True, options=[MEMORY]),
    }
    equal = True
    with ExitStack() as stack:
        chosen = named & set(kinds) or set(kinds)
        servers = {name: stack.enter_context(kinds[name]()) for name in kinds if name in chosen}
        if named <= set(kinds) or "runs" in named:
            equal = compare_runs(folder, servers)
        if named <= set(kinds) or "loads" in named:
            measure_loads(folder, servers)
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
