"""Lookup chains and enriched log records, on tables written by hand."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from config.sources import LOOKUPS
from config.warehouse import NO_INSTANT
from tasks.core.errors import PipelineError
from tasks.core.partition import Partition
from tasks.enrichment.enrich import enrich
from tasks.enrichment.lookup import Unmatched, add_up_lookups, look_up, resolve_log_instances
from tasks.parsing.numbers import INSTANT

LOG_INSTANCE = pa.table(
    {
        "point_log_inst_id": [1, 2],
        "point_id": [10, 11],
        "eng_unit_id": [2, None],
        "log_interval": [60, 60],
    }
)
POINT = pa.table({"point_id": [10, 11], "app_instance_id": [20, 21]})
APP_INSTANCE = pa.table({"app_instance_id": [20, 21], "app_type_ref_id": [0, 31]})
APP_TYPE_REF = pa.table({"app_type_ref_id": [0, 31], "app_type_id": [40, 41], "unit_id": [7, 8]})
APP_TYPE = pa.table({"app_type_id": [40, 41], "name": ["a", "b"]})
SOURCES = dict(
    zip(LOOKUPS, (LOG_INSTANCE, POINT, APP_INSTANCE, APP_TYPE_REF, APP_TYPE), strict=True)
)
KEYS = ("point_id", "app_instance_id", "app_type_ref_id", "app_type_id", "unit_id")


def chains_without(parent: str | None) -> pa.Table:
    """The chains when one parent lacks the rows of log instance 2."""
    return resolve_log_instances(
        {name: table.slice(0, 1) if name == parent else table for name, table in SOURCES.items()}
    )


@pytest.mark.parametrize(
    ("parent", "keys", "missing"),
    [
        (None, (11, 21, 31, 41, 8), None),
        ("POINT", (11, -1, -1, -1, -1), 11),
        ("APP_INSTANCE", (11, -1, -1, -1, -1), 21),
        ("APP_TYPE_REF", (11, 21, -1, -1, -1), 31),
        ("APP_TYPE", (11, 21, 31, -1, 8), 41),
    ],
)
def test_a_chain_goes_as_far_as_its_parents(
    parent: str | None, keys: tuple[int, ...], missing: int | None
) -> None:
    whole, broken = chains_without(parent).to_pylist()
    assert tuple(whole[key] for key in KEYS) == (10, 20, 0, 40, 7)
    assert tuple(broken[key] for key in KEYS) == keys
    assert (broken["unmatched_in"], broken["unmatched_key"]) == (parent, missing)
    assert whole["unmatched_in"] is None


@pytest.mark.parametrize("parent", list(LOOKUPS)[1:])
def test_a_parent_with_a_duplicate_key_is_rejected(parent: str) -> None:
    table = SOURCES[parent]
    duplicated = pa.concat_tables([table, table.slice(0, 1)])
    with pytest.raises(PipelineError, match="is not unique in the table that is joined"):
        resolve_log_instances({**SOURCES, parent: duplicated})


def test_looking_up_nothing_finds_nothing() -> None:
    parent = pa.table({"id": pa.array([], pa.int64())})
    assert look_up(pa.array([1], pa.int64()), parent, "id").to_pylist() == [None]
    assert look_up(pa.array([], pa.int64()), parent, "id").to_pylist() == []


def records(*instances: int, status: list[str | None] | None = None) -> pa.Table:
    count = len(instances)
    return pa.table(
        {
            "point_log_inst_id": pa.array(instances, pa.int64()),
            "recorded_at": pa.nulls(count, INSTANT),
            "value": pa.array([float(at) for at in range(count)]),
            "value_text": pa.nulls(count, pa.string()),
            "status": pa.array(status or [None] * count, pa.string()),
        }
    )


def enriched_from(partition: Partition, batch: pa.Table, first_row: int = 1) -> pa.Table:
    chains = chains_without(None)
    rows = look_up(batch["point_log_inst_id"].combine_chunks(), chains, "point_log_inst_id")
    return enrich(batch, chains, rows, partition, first_row)


def test_records_keep_their_number_and_order_and_are_numbered_on() -> None:
    partition = Partition("LOG_RCD_F/x", Path("x.csv"), 5)
    enriched = enriched_from(partition, records(2, 99, 1), 101)
    assert enriched["log_id"].to_pylist() == [50_000_000_101, 50_000_000_102, 50_000_000_103]
    assert enriched["partition_id"].to_pylist() == [5, 5, 5]
    assert enriched["value"].to_pylist() == [0.0, 1.0, 2.0]
    assert enriched["unit_id"].to_pylist() == [8, -1, 7]
    assert enriched["point_log_inst_id"].to_pylist() == [2, -1, 1]
    assert enriched["log_kind"].to_pylist() == ["F", "F", "F"]


def test_a_blank_status_is_none() -> None:
    batch = records(1, 1, 1, status=["", " ", "OK"])
    enriched = enriched_from(Partition("LOG_RCD_B", Path("LOG_RCD_B.csv")), batch)
    assert enriched["status"].to_pylist() == [None, None, "OK"]


def test_the_first_instant_is_no_time() -> None:
    batch = records(1, 1, 1)
    at = batch.schema.get_field_index("recorded_at")
    field = batch.schema.field(at)
    times = pa.array([NO_INSTANT, NO_INSTANT.replace(microsecond=1), None], field.type)
    batch = batch.set_column(at, field, times)
    enriched = enriched_from(Partition("LOG_RCD_B", Path("LOG_RCD_B.csv")), batch)
    assert enriched["recorded_at"].is_null().to_pylist() == [True, False, True]


def unmatched_of(chains: pa.Table, *batches: pa.Table) -> Unmatched:
    unmatched = Unmatched()
    for batch in batches:
        keys = batch["point_log_inst_id"].combine_chunks()
        unmatched.add(keys, chains, look_up(keys, chains, "point_log_inst_id"))
    return unmatched


def test_unmatched_records_add_up_over_batches_and_partitions_by_kind() -> None:
    chains = chains_without("POINT")
    digital = unmatched_of(chains, records(1, 2), records(2))
    floats = unmatched_of(chains, records(2, 98, 99), records(97))
    first, second, *others = add_up_lookups(chains, [("B", digital), ("F", floats)])
    assert (first.parent, first.records) == ("LOG_INSTANCE", {"B": 0, "F": 3})
    assert first.examples == [97, 98, 99]
    assert (second.parent, second.log_instances) == ("POINT", 1)
    assert (second.records, second.examples) == ({"B": 2, "F": 1}, [11])
    assert all(lookup.records == {"B": 0, "F": 0} for lookup in others)
