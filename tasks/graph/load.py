"""Load the warehouse, and check it."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import luigi

from config.bookkeeping import LoadReceipt
from config.declarations import Table
from config.sources import POINT, SOURCES
from config.warehouse import (
    DIM_LOG_INSTANCE,
    DIM_POINT,
    DIMENSIONS,
    LOG_INSTANCE_CHAINS,
    TABLES,
    source_columns,
)
from tasks.core.files import set_aside
from tasks.freshness.snapshot import Snapshot, digest_of
from tasks.freshness.targets import Digested, backdate_mtime
from tasks.freshness.task import FreshTask
from tasks.graph.enrich import LogInstanceChains
from tasks.graph.files import (
    read_staged,
    staged,
    staged_columns,
)
from tasks.graph.stage import AllStaged, staging
from tasks.run.recording import state
from tasks.run.settings import max_wait, settings
from tasks.state import Receipt
from tasks.warehouse.interface import Warehouse
from tasks.warehouse.open import open_warehouse

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger("pipeline")

_CHANGED_LOADS = "changed loads"
"""Name of the record in the state file: which loads have rows that differ.

Made after each load, and each time all rows are read.
"""


def warehouse() -> Warehouse:
    """The warehouse that the settings name."""
    return open_warehouse(settings().warehouse_url, max_wait(), settings().warehouse_schema)


def _loaded(snapshot: Snapshot, table: str, partition: str = "") -> LoadReceipt | None:
    """The receipt of a load, if the rows are as it left them."""
    receipts = snapshot.memoize("warehouse receipts", lambda: _valid_receipts(snapshot))
    return receipts.get((table, partition))


def _valid_receipts(snapshot: Snapshot) -> dict[tuple[str, str], LoadReceipt]:
    """The receipts of loads whose rows are as they were loaded; none if the file is damaged.

    The rows are read if the file changed other than by a load.
    """
    receipts = warehouse().receipts()
    changed = changed_loads(snapshot)
    if changed is None:
        return {}
    of_tables = {(table, "") for table, _ in changed}
    return {key: found for key, found in receipts.items() if key not in changed | of_tables}


def changed_loads(snapshot: Snapshot) -> set[tuple[str, str]] | None:
    """(table, partition) of loads whose rows differ; None if the file is missing or damaged."""
    file = warehouse().file
    if file is None:
        return set()  # Triggers notice what others change; `verify` compares the rows.
    found = snapshot.from_content(file, _CHANGED_LOADS, _find_changed_loads)
    return None if found is None else {(table, name) for table, name in json.loads(found)}


def was_loaded() -> bool:
    """Whether earlier runs loaded the warehouse."""
    file = warehouse().file
    if file is None:
        return bool(warehouse().receipts())
    return Snapshot(state()).has_record(file, _CHANGED_LOADS)


def remove_changed(changed: set[tuple[str, str]] | None) -> None:
    """Remove the receipts of loads whose rows differ, as `changed_loads` returns them.

    A damaged file that earlier runs loaded is renamed, so that a new one is begun.
    """
    name, file, exists = warehouse().name, warehouse().file, warehouse().exists()
    if not exists and was_loaded():
        logger.warning("%s does not exist any more; all tables are loaded again", name)
    elif changed is None and file and exists and was_loaded():
        logger.warning(
            "%s is damaged and was renamed to %s; all tables are loaded again",
            name,
            set_aside(file),
        )
    for table in {table for table, _ in changed or ()}:
        warehouse().forget(table, [name for one, name in changed or () if one == table])


def _find_changed_loads(path: Path) -> str | None:
    logger.info("%s changed other than by a load: its rows are compared with the digests", path)
    changed = warehouse().changed_loads()
    if changed:
        listed = ", ".join(f"{table} {name}".rstrip() for table, name in changed)
        logger.warning(
            "%s has rows that are not as they were loaded; they are loaded again: %s",
            path,
            listed,
        )
    return None if changed is None else json.dumps(changed)


def _remember_unchanged() -> None:
    """Record that all rows are as they were loaded."""
    if file := warehouse().file:
        backdate_mtime(file)
        snapshot = Snapshot(state())
        snapshot.record(file, _CHANGED_LOADS, json.dumps([]))
        snapshot.keep()


def _receipt(snapshot: Snapshot, table: str) -> Receipt | None:
    loaded = _loaded(snapshot, table)
    return None if loaded is None else Receipt.from_json(loaded.receipt)


class TableTarget(luigi.Target):
    """A table of the warehouse, known by what its rows were made from."""

    def __init__(self, table: str):
        self.table = table

    def __str__(self) -> str:
        return self.table

    def digest(self, snapshot: Snapshot) -> str | None:
        """What its rows were made from; None if they are not as they were loaded."""
        receipt = _receipt(snapshot, self.table)
        return None if receipt is None else receipt.outputs.get("rows")

    def exists(self) -> bool:
        """Whether the table is as it was loaded."""
        return (self.table, "") in warehouse().receipts()


class LoadTarget:
    """One load of a table or partition, known by its `load_id`, which is never used again."""

    def __init__(self, table: str, partition: str = ""):
        self.loaded = (table, partition)

    def digest(self, snapshot: Snapshot) -> str | None:
        """Which load it is; None if the rows are not as it left them."""
        loaded = _loaded(snapshot, *self.loaded)
        return None if loaded is None else loaded.load_id


class CatalogTarget:
    """The database's catalog: tables, columns, indexes and triggers, also users' own."""

    def digest(self, snapshot: Snapshot) -> str | None:
        """The digest of the catalog; None if there is none."""
        return warehouse().catalog_digest()


def tables() -> dict[str, TableTarget]:
    """The tables of the star."""
    return {name: TableTarget(name) for name in TABLES}


class LoadTask(FreshTask):
    """Replaces the rows of one warehouse table, its receipt in the same transaction."""

    resources = {"warehouse": 1}
    priority = 10

    @property
    def table_name(self) -> str:
        """The table that is loaded."""
        raise NotImplementedError

    def page(self) -> str:
        """The description of the table."""
        return f"index.html#table-{self.table_name}"

    def output(self) -> dict[str, TableTarget]:
        """The table."""
        return {"rows": TableTarget(self.table_name)}

    def declarations(self) -> Mapping[str, object]:
        """How the table is declared."""
        return {self.table_name: TABLES[self.table_name]}

    def receipt(self, snapshot: Snapshot) -> Receipt | None:
        """The receipt that is stored in the warehouse."""
        return _receipt(snapshot, self.table_name)

    def why_no_receipt(self, snapshot: Snapshot) -> str:
        """Whether the file or the table is missing, or damaged."""
        name = warehouse().name
        if not warehouse().exists():
            return f"{name} does not exist"
        if changed_loads(snapshot) is None:
            return f"{name} is damaged, or no database"
        if self.table_name in warehouse().missing_tables():
            return f"the table does not exist in {name}"
        return super().why_no_receipt(snapshot)

    def forget(self) -> None:
        """Remove the receipts from the warehouse; the rows stay."""
        is_known = changed_loads(Snapshot(state())) == set()
        warehouse().forget(self.table_name)
        if is_known:  # The rows need not be compared because of this change.
            _remember_unchanged()

    def take_inputs(self, snapshot: Snapshot) -> dict[str, str]:
        """First remove the receipts of rows that differ, also in other tables."""
        remove_changed(changed_loads(snapshot))
        return super().take_inputs(snapshot)

    def make(self, receipt: Receipt) -> None:
        """Load. The digest of code, declarations and inputs identifies the rows."""
        content = digest_of([receipt.code, receipt.declarations, receipt.inputs])
        result = self.load(dataclasses.replace(receipt, outputs={"rows": content}))
        _remember_unchanged()
        logger.info("Loaded %s: %s", self.table_name, result)
        self.progress.result = f"{result} loaded"

    def load(self, receipt: Receipt) -> str:
        """Load, with this receipt; how many rows, in words."""
        raise NotImplementedError


class LoadDimension(LoadTask):
    """One dimension, from staged sources, with its unknown member."""

    code_version = 3
    table = luigi.ChoiceParameter(choices=tuple(DIMENSIONS))

    @property
    def table_name(self) -> str:
        """The dimension."""
        return str(self.table)

    def _columns_read(self) -> dict[str, tuple[str, ...]]:
        """Staged table -> its columns that are needed; of POINT the further ones come on top.

        Log instances come with their chains.
        """
        if self.table == DIM_LOG_INSTANCE.name:
            return {LOG_INSTANCE_CHAINS.name: (), POINT.name: ("point_id", "point_name")}
        return source_columns(DIMENSIONS[self.table])

    def declarations(self) -> Mapping[str, object]:
        """Which points and which of their columns are loaded, too."""
        declared = super().declarations()
        if self.table != DIM_POINT.name:
            return declared
        chosen = {"columns": settings().dim_point_columns, "all": settings().all_points}
        return {**declared, **chosen}

    def requires(self) -> list[FreshTask]:
        """All sources, staged; its own sources, and the dimensions that it refers to."""
        parents = {parent for parent, _ in DIMENSIONS[self.table].references.values()}
        return [
            AllStaged(),
            *(
                staging(name) if name in SOURCES else LogInstanceChains()
                for name in self._columns_read()
            ),
            *(LoadDimension(table=name) for name in DIMENSIONS if name in parents),
        ]

    def reads(self) -> Mapping[str, Digested]:
        """The staged rows or keys of its sources, or the chains."""
        return {name: staged_columns(name, read) for name, read in self._columns_read().items()}

    def load(self, receipt: Receipt) -> str:
        """Load all members."""
        from tasks.core.arrow import BATCH_ROWS
        from tasks.enrichment.star import members
        from tasks.warehouse.load import replace_dimension

        table, read = DIMENSIONS[self.table], self._columns_read()
        if self.table == DIM_POINT.name:
            table = _with_columns_of_points(table)
            read = source_columns(table)
        found = members(table, _read(read, self.table == DIM_POINT.name and settings().all_points))
        self.progress.begin("loading", len(found))
        rows = replace_dimension(
            warehouse(),
            table,
            found.to_batches(max_chunksize=BATCH_ROWS),
            receipt.to_json(),
            before_commit=lambda: self.check_inputs(receipt.inputs),
            progress=self.progress,
        )
        return f"{rows:,} rows"


def _with_columns_of_points(table: Table) -> Table:
    from tasks.core.arrow import parquet_schema
    from tasks.enrichment.further import with_further

    declared = {column.name for column in POINT.columns}
    names = parquet_schema(staged(POINT.name).file).names
    further = [name for name in names if name not in declared]
    return with_further(table, further, settings().dim_point_columns)


def _read(columns: Mapping[str, Sequence[str]], all_points: bool) -> dict[str, pa.Table]:
    """Staged tables; of POINT only the points that are logged, unless all are wanted."""
    found: dict[str, pa.Table] = {}
    for name, needed in columns.items():
        only = None
        if name == POINT.name and not all_points:
            (logged,) = found.values()  # What refers to POINT comes before it.
            only = "point_id", logged["point_id"]
        found[name] = read_staged(name, *needed, only=only)
    return found
