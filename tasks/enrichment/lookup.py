"""The lookup chain: the rows of other sources that the keys of a log instance lead to.

The chain (`config.sources.LOOKUPS`) is resolved once, in memory: the result is as long as
LOG_INSTANCE.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from config.declarations import UNKNOWN, Table
from config.sources import LOG_KINDS, LOOKUPS, SOURCES
from config.warehouse import LOG_INSTANCE_CHAINS
from tasks.core.errors import PipelineError

_EXAMPLES = 5
_FIRST = next(iter(LOOKUPS))


def look_up(keys: pa.Array, parent: pa.Table, key: str) -> pa.Array:
    """The row of `parent` for each key; null where it has none. Many-to-one, and checked so.

    >>> parent = pa.table({"id": [7, 9]})
    >>> look_up(pa.array([9, 8, 9]), parent, "id").to_pylist()
    [1, None, 1]

    Raises:
        PipelineError: `parent` has a duplicate key.
    """
    column = parent[key].combine_chunks()
    if pc.count_distinct(column).as_py() != len(column):
        counts = pc.value_counts(column).to_pylist()
        duplicates = [str(item["values"]) for item in counts if item["counts"] > 1]
        raise PipelineError(
            f"{key} is not unique in the table that is joined:", duplicates[:_EXAMPLES]
        )
    return pc.index_in(keys, column)


class _Match(NamedTuple):
    """A source and, for each row of the first one, the key looked up in it and the row found."""

    table: pa.Table
    keys: pa.Array
    rows: pa.Array


def _match(sources: Mapping[str, pa.Table]) -> dict[str, _Match]:
    """Look up the parents of each row of the first source, one after another."""
    first, *parents = sources
    table = sources[first]
    rows = pa.array(np.arange(len(table)))
    found = {first: _Match(table, rows, rows)}
    child = first
    for parent in parents:
        ((reference, (_, key)),) = SOURCES[child].references.items()
        keys = table[reference].combine_chunks().take(rows)
        # Only the rows that some key leads to: often far fewer than the parent has.
        table = sources[parent].filter(pc.is_in(sources[parent][key], pc.unique(keys)))
        rows = look_up(keys, table, key)
        found[parent] = _Match(table, keys, rows)
        child = parent
    return found


def take(table: pa.Table, name: str, rows: pa.Array, nullable: bool = False) -> pa.Array:
    """A column's values at some rows; the unknown key where a key has none, unless nullable."""
    values = table[name].combine_chunks().take(rows)
    keeps_null = nullable or not pa.types.is_integer(values.type)
    return values if keeps_null else pc.fill_null(values, UNKNOWN)


def _columns(found: Mapping[str, _Match], table: Table) -> dict[str, pa.Array]:
    return {
        column.name: take(
            found[column.source].table,
            column.source_column,
            found[column.source].rows,
            column.nullable,
        )
        for column in table.columns
        if column.source in found
    }


def resolve(sources: Mapping[str, pa.Table], table: Table) -> pa.Table:
    """The columns of a table that come from sources, each from its origin.

    Grain: one row per row of the first source, in its order. Keys are -1 where a lookup found none.

    Args:
        sources: As `config.warehouse.source_columns` names them for the table, in that order.
        table: The declared columns.

    Raises:
        PipelineError: A parent has a duplicate key.
    """
    return pa.table(_columns(_match(sources), table))


def resolve_log_instances(sources: Mapping[str, pa.Table]) -> pa.Table:
    """`LOG_INSTANCE_CHAINS`, and where the lookup chain of each log instance ended.

    Grain: one row per log instance, in the order of LOG_INSTANCE. `unmatched_in` names the first
    parent in which a lookup found no row, `unmatched_key` the key; both null where all are found.

    Raises:
        PipelineError: A parent has a duplicate key.
    """
    found = _match(sources)
    count = len(sources[_FIRST])
    unmatched_in, unmatched_key = pa.nulls(count, pa.string()), pa.nulls(count, pa.int64())
    for parent in list(found)[:0:-1]:  # The first lookup that fails is the one to name.
        fails = pc.is_null(found[parent].rows)
        unmatched_in = pc.if_else(fails, parent, unmatched_in)
        unmatched_key = pc.if_else(fails, found[parent].keys, unmatched_key)
    taken = _columns(found, LOG_INSTANCE_CHAINS)
    return pa.table({**taken, "unmatched_in": unmatched_in, "unmatched_key": unmatched_key})


# --- what was not found ----------------------------------------------------------------------


@dataclass
class Lookup:
    """A lookup of the chain, and what it did not find.

    Attributes:
        parent: The source in which a row was looked up.
        key: By which column.
        log_instances: Log instances whose chain ends here.
        records: Kind of log record -> records whose chain ends here.
        examples: Some of the keys that the parent does not have.
    """

    parent: str
    key: str
    log_instances: int = 0
    records: dict[str, int] = field(default_factory=dict)
    examples: list[int] = field(default_factory=list)


@dataclass
class Unmatched:
    """The records of one partition whose lookup chain ends early.

    Attributes:
        records: Parent without a row for them -> records.
        orphans: Some of the log instances that LOG_INSTANCE does not have.
    """

    records: dict[str, int] = field(default_factory=dict)
    orphans: list[int] = field(default_factory=list)

    def add(self, keys: pa.Array, chains: pa.Table, rows: pa.Array) -> None:
        """Count a batch of staged log records.

        Args:
            keys: Their log instances.
            chains: As from `resolve_log_instances`.
            rows: The row of `chains` for each record.
        """
        if rows.null_count:
            orphans = keys.filter(pc.is_null(rows))
            self.records[_FIRST] = self.records.get(_FIRST, 0) + len(orphans)
            self.orphans = sorted({*self.orphans, *pc.unique(orphans).to_pylist()})[:_EXAMPLES]
        # By chain first: there are far fewer chains than records.
        counts = np.bincount(rows.drop_null().to_numpy(), minlength=len(chains))
        for parent, count in zip(chains["unmatched_in"].to_pylist(), counts.tolist(), strict=True):
            if parent is not None and count:
                self.records[parent] = self.records.get(parent, 0) + count


def add_up_lookups(chains: pa.Table, partitions: Iterable[tuple[str, Unmatched]]) -> list[Lookup]:
    """Each lookup of the chain with the log instances and records of all partitions.

    Args:
        chains: As from `resolve_log_instances`.
        partitions: Kind of log record and unmatched records of each partition.
    """
    lookups = {
        parent: Lookup(parent, key, 0, dict.fromkeys(LOG_KINDS, 0))
        for parent, key in LOOKUPS.items()
    }
    for parent, lookup in lookups.items():
        ends = chains.filter(pc.fill_null(pc.equal(chains["unmatched_in"], parent), False))
        lookup.log_instances = len(ends)
        lookup.examples = sorted(set(ends["unmatched_key"].to_pylist()))[:_EXAMPLES]
    first = lookups[_FIRST]
    for kind, unmatched in partitions:
        for parent, count in unmatched.records.items():
            lookups[parent].records[kind] += count
        first.examples = sorted({*first.examples, *unmatched.orphans})[:_EXAMPLES]
    return list(lookups.values())
