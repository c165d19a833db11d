"""Loading the facts into PostgreSQL and MariaDB, against their own clients.

`python -m tests.benchmarks.servers FOLDER`: of a project with the sample, which is run into a
throwaway server of each kind first. All load the same rows into the same table, in one transaction
that is rolled back; PostgreSQL's foreign keys come after the rows, as in a first load.
"""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pyarrow as pa
import sqlalchemy as sa

from config.warehouse import FACT_LOGS
from tasks.enrichment.star import facts
from tasks.warehouse.open import open_warehouse
from tests.servers import MariaDB, PostgreSQL, Server

RUNS = 3
INSERTED = 100_000
NAMES = ", ".join(column.name for column in FACT_LOGS.columns)


def rows(folder: Path) -> Iterator[pa.RecordBatch]:
    """The facts of a project, in batches."""
    for path in sorted((folder / "staging" / "enriched_logs").rglob("*.parquet")):
        yield from facts(path)


def run_pipeline(folder: Path, url: str) -> float:
    """Seconds of a run of everything into a warehouse."""
    command = [str(Path(sys.executable).with_name("luigi")), "--module", "tasks", "AllReports"]
    begun = time.perf_counter()
    subprocess.run(
        [*command, "--local-scheduler"],
        cwd=folder,
        env={**os.environ, "PIPELINE_WAREHOUSE_URL": url},
        capture_output=True,
        check=True,
    )
    return time.perf_counter() - begun


def ours(folder: Path, url: str) -> float:
    """Seconds in which a load adds the rows."""
    took = 0.0
    try:
        with open_warehouse(url).transaction(FACT_LOGS) as db:
            db.drop_triggers()
            if url.startswith("postgresql"):
                for name in db.references_of(FACT_LOGS.name):  # type: ignore[attr-defined]
                    db.run(f"ALTER TABLE fact_logs DROP CONSTRAINT {name}")
                db.run("TRUNCATE fact_logs")
            else:
                db.run("DELETE FROM fact_logs")
            begun = time.perf_counter()
            db.append(FACT_LOGS.name, rows(folder), Mock())
            took = time.perf_counter() - begun
            raise InterruptedError
    except InterruptedError:
        return took


def inserted(folder: Path, url: str, count: int) -> float:
    """Seconds for all rows by executemany, from those of a part."""
    batch = next(rows(folder)).slice(0, INSERTED).to_pylist()
    parameters = ", ".join(f":{column.name}" for column in FACT_LOGS.columns)
    first = sa.text("SELECT min(recorded_at) FROM fact_logs")
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        connection.exec_driver_sql(
            "CREATE TEMPORARY TABLE copied AS SELECT * FROM fact_logs LIMIT 0"
        )
        absent = connection.scalar(first)
        for row in batch:
            row["recorded_at"] = row["recorded_at"] or absent
        begun = time.perf_counter()
        connection.execute(sa.text(f"INSERT INTO copied ({NAMES}) VALUES ({parameters})"), batch)
        return (time.perf_counter() - begun) * count / len(batch)


def psql(url: str, file: Path) -> float:
    r"""Seconds of `psql \copy`."""
    drops = "".join(
        f"ALTER TABLE fact_logs DROP CONSTRAINT fk_fact_logs_{column};\n"
        for column in FACT_LOGS.references
    )
    if not file.exists():
        subprocess.run(["psql", "-q", url, "-c", f"\\copy fact_logs TO '{file}'"], check=True)
    script = f"""BEGIN; SET LOCAL controller_logs.is_loading = 'on';
{drops}TRUNCATE fact_logs;
\\timing on
\\copy fact_logs FROM '{file}'
\\timing off
ROLLBACK;"""
    done = subprocess.run(
        ["psql", "-q", url], input=script, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split("Time: ")[1].split()[0]) / 1000


def load_data(url: str, file: Path) -> float:
    """Seconds of `LOAD DATA INFILE`, from a file on the server."""
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        run = connection.exec_driver_sql
        run("SET foreign_key_checks = 0, unique_checks = 0, @controller_logs_is_loading = 1")
        if not file.exists():
            run(f"SELECT {NAMES} INTO OUTFILE '{file}' CHARACTER SET utf8mb4 FROM fact_logs")
        run("DELETE FROM fact_logs")
        begun = time.perf_counter()
        run(f"LOAD DATA INFILE '{file}' INTO TABLE fact_logs CHARACTER SET utf8mb4 ({NAMES})")
        return time.perf_counter() - begun


def measure(name: str, kinds: dict[str, Callable[[], float]], count: int) -> None:
    """Take turns; print medians and what share of the other client's rows per second is ours."""
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(RUNS):
        for kind, run in kinds.items():
            took[kind].append(run())
    medians = {kind: statistics.median(seconds) for kind, seconds in took.items()}
    for kind, seconds in medians.items():
        print(f"| {name} | {kind} | {seconds:.1f} | {count / seconds / 1000:,.0f} |", flush=True)
    one, other, *_ = medians.values()
    print(f"{name}: {other / one:.2f} times the rows per second of its own client", flush=True)


def main() -> None:
    """Measure both."""
    folder = Path(sys.argv[1]).absolute()
    count = sum(len(batch) for batch in rows(folder))
    servers: list[type[Server]] = [PostgreSQL, MariaDB]
    for kind in servers:
        with kind(durable=True) as server, server.create_database() as url:
            print(f"{kind.__name__}: the whole run took {run_pipeline(folder, url):.1f} s")
            file = server.folder / "facts"
            plain = url.replace("+psycopg", "")
            client = functools.partial(psql if kind is PostgreSQL else load_data, plain, file)
            ways: dict[str, Callable[[], float]] = {
                "ours": functools.partial(ours, folder, url),
                "the database's own client": client,
                f"executemany (from {INSERTED:,} rows)": functools.partial(
                    inserted, folder, url, count
                ),
            }
            measure(kind.__name__, ways, count)


if __name__ == "__main__":
    main()
