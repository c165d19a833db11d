"""Facts that several processes copy into PostgreSQL: what is loaded, and what failures leave."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from config.warehouse import FACT_LOGS
from tasks.core.errors import PipelineError
from tasks.core.partition import Partition
from tasks.warehouse.load import Course, Enriched, replace_partitions
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.postgresql import copy
from tests.warehouses.stars import (
    BINARY,
    DERIVED,
    FLOAT,
    NOON,
    as_table,
    change,
    connect,
    dump,
    fact,
    load_dimensions,
    nothing,
    rows_of,
)

TABLES = "SELECT relname FROM pg_class WHERE starts_with(relname, 'fact_logs_copy') ORDER BY 1"
DIGESTS = "SELECT partition_name, row_count, rows_digest FROM load_receipt ORDER BY table_name, 1"
ROWS = 3_000


def call(function: Any, *arguments: Any) -> Any:
    return function(*arguments)


def write(folder: Path, partition: Partition, *rows: tuple) -> Enriched:
    path = folder / f"{partition.name}.parquet"
    pq.write_table(as_table(FACT_LOGS, list(rows)), path)
    return Enriched("1", path)


def written(folder: Path) -> dict[Partition, Enriched]:
    """Facts of two partitions, some without a time."""
    times = [NOON + timedelta(minutes=row) if row % 100 else None for row in range(ROWS)]
    rows = [fact(row, 7 + row % 2, at) for row, at in enumerate(times)]
    of_float = sorted(rows, key=lambda row: (row[1], row[6] or NOON - timedelta(1), row[0]))
    binary = [(row, 7, 70, 1, 1, 7, NOON, 1.0, None, None, "B", 0) for row in range(3)]
    return {FLOAT: write(folder, FLOAT, *of_float), BINARY: write(folder, BINARY, *binary)}


def load(url: str, facts: dict[Partition, Enriched], called: Any = None) -> tuple[list[str], int]:
    warehouse = open_warehouse(url)
    with warehouse.copying(called, lambda: 2) if called else nullcontext() as how:
        return replace_partitions(warehouse, facts, DERIVED, "all", Course(nothing, Mock(), how))


def test_copies_are_loaded_as_one_process_loads(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "_BLOCKS", 7)
    load_dimensions(postgresql)
    facts = written(tmp_path)
    load(postgresql, facts)
    expected, digests = dump(postgresql), rows_of(postgresql, DIGESTS)
    again = {one: found._replace(digest="2") for one, found in facts.items()}
    assert load(postgresql, again, call) == ([BINARY.name, FLOAT.name], ROWS + 3)
    assert dump(postgresql) == expected
    assert rows_of(postgresql, DIGESTS) == digests
    assert rows_of(postgresql, TABLES) == []


def test_a_copy_that_fails_leaves_the_previous_rows(postgresql: str, tmp_path: Path) -> None:
    load_dimensions(postgresql)
    facts = written(tmp_path)
    load(postgresql, facts, call)
    before = dump(postgresql)
    change(postgresql, "CREATE TABLE fact_logs_copy_of_somebody (a int)")

    def fails(function: Any, *arguments: Any) -> Any:
        done = call(function, *arguments)
        if FLOAT in arguments:
            raise PipelineError("The executor was lost.")
        return done

    again = {one: found._replace(digest="2") for one, found in facts.items()}
    with pytest.raises(PipelineError, match="The executor was lost"):
        load(postgresql, again, fails)
    assert dump(postgresql) == before
    assert rows_of(postgresql, TABLES) == [("fact_logs_copy_of_somebody",)]
    load(postgresql, again, call)
    assert dump(postgresql) == before


def test_what_a_killed_load_left_is_dropped_and_attempts_given_up_do_not_count(
    postgresql: str, tmp_path: Path
) -> None:
    load_dimensions(postgresql)
    facts = written(tmp_path)
    load(postgresql, facts)
    before = dump(postgresql)
    change(postgresql, "CREATE TABLE fact_logs_copy_left (a int)")
    change(postgresql, f"COMMENT ON TABLE fact_logs_copy_left IS '{copy._MARK}'")

    def twice(function: Any, *arguments: Any) -> Any:
        call(function, *arguments)
        return call(function, *arguments)

    again = {one: found._replace(digest="2") for one, found in facts.items()}
    load(postgresql, again, twice)
    assert dump(postgresql) == before
    assert rows_of(postgresql, TABLES) == []


def test_a_table_that_somebody_reads_stays_for_now(postgresql: str, tmp_path: Path) -> None:
    load_dimensions(postgresql)
    facts = written(tmp_path)
    reading = connect(postgresql)

    def read(function: Any, *arguments: Any) -> Any:
        done = call(function, *arguments)
        if function is copy.copy_facts:
            reading.exec_driver_sql(f"SELECT count(*) FROM {arguments[2]}")
        return done

    load(postgresql, facts, read)
    assert len(rows_of(postgresql, TABLES)) == 1
    reading.close()
    load(postgresql, {one: found._replace(digest="2") for one, found in facts.items()}, call)
    assert rows_of(postgresql, TABLES) == []


def test_the_isolation_that_is_the_default_of_the_database_does_not_count(
    postgresql: str, tmp_path: Path
) -> None:
    name = str(sa.make_url(postgresql).database)
    change(
        postgresql,
        f'ALTER DATABASE "{name}" SET default_transaction_isolation = "repeatable read"',
        f'ALTER DATABASE "{name}" SET idle_in_transaction_session_timeout = 1000',
    )
    load_dimensions(postgresql)
    load(postgresql, written(tmp_path), call)
    assert rows_of(postgresql, "SELECT count(*) FROM fact_logs") == [(ROWS + 3,)]


def test_where_others_cannot_connect_this_process_loads(
    postgresql: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_dimensions(postgresql)

    def cannot(function: Any, *arguments: Any) -> Any:
        raise PipelineError("The executor on host lacks a library: adbc_driver_postgresql.")

    load(postgresql, written(tmp_path), cannot)
    assert rows_of(postgresql, "SELECT count(*) FROM fact_logs") == [(ROWS + 3,)]
    assert "The facts are loaded by this process: The executor on host lacks" in caplog.text


def test_rows_without_a_parent_are_refused(postgresql: str, tmp_path: Path) -> None:
    load_dimensions(postgresql)
    facts = {FLOAT: write(tmp_path, FLOAT, fact(1, 99, NOON))}
    with pytest.raises(PipelineError, match="rows refer to rows that do not exist"):
        load(postgresql, facts, call)


def test_a_server_that_does_not_answer_is_named_without_the_password(tmp_path: Path) -> None:
    url = "postgresql+psycopg://someone:secret@127.0.0.1:1/facts"
    facts = write(tmp_path, FLOAT, fact(1, 7, NOON))
    with pytest.raises(PipelineError, match="LOG_RCD_F could not be copied \\(") as caught:
        copy.copy_facts(url, "", "fact_logs_copy_x", FLOAT, facts.file)
    assert "secret" not in str(caught.value)
