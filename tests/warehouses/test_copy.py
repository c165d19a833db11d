"""Facts that several processes copy into PostgreSQL: what is loaded, and what failures leave."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow.parquet as pq
import pytest

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
    how = warehouse.copying(called, 2) if called else None
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

    def fails(function: Any, url: str, schema: str, partition: Partition, file: Path) -> Any:
        done = call(function, url, schema, partition, file)
        if partition == FLOAT:
            raise PipelineError("The executor was lost.")
        return done

    again = {one: found._replace(digest="2") for one, found in facts.items()}
    with pytest.raises(PipelineError, match="The executor was lost"):
        load(postgresql, again, fails)
    assert dump(postgresql) == before
    assert len(rows_of(postgresql, TABLES)) > 1
    load(postgresql, again, call)
    assert dump(postgresql) == before
    assert rows_of(postgresql, TABLES) == [("fact_logs_copy_of_somebody",)]


def test_rows_without_a_parent_are_refused(postgresql: str, tmp_path: Path) -> None:
    load_dimensions(postgresql)
    facts = {FLOAT: write(tmp_path, FLOAT, fact(1, 99, NOON))}
    with pytest.raises(PipelineError, match="rows refer to rows that do not exist"):
        load(postgresql, facts, call)


def test_a_server_that_does_not_answer_is_named_without_the_password(tmp_path: Path) -> None:
    url = "postgresql+psycopg://someone:secret@127.0.0.1:1/facts"
    facts = write(tmp_path, FLOAT, fact(1, 7, NOON))
    with pytest.raises(PipelineError, match="LOG_RCD_F could not be copied into") as caught:
        copy.copy_facts(url, "", FLOAT, facts.file)
    assert "secret" not in str(caught.value)
