"""Chains and enriched log records, on tables written by hand."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tasks.core.errors import PipelineError
from tasks.enrichment.enrich import (
    PartLosses,
    add_up_losses,
    enrich,
    look_up,
    resolve_log_instances,
)
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
CHAIN = (LOG_INSTANCE, POINT, APP_INSTANCE, APP_TYPE_REF, APP_TYPE)
KEYS = ("point_id", "app_instance_id", "app_type_ref_id", "app_type_id", "unit_id")


def chains_without(lost: str | None) -> pa.Table:
    """The chains when one parent lacks the rows of log instance 2."""
    names = ("LOG_INSTANCE", "POINT", "APP_INSTANCE", "APP_TYPE_REF", "APP_TYPE")
    tables = [
        table.slice(0, 1) if name == lost else table
        for name, table in zip(names, CHAIN, strict=True)
    ]
    return resolve_log_instances(*tables)


@pytest.mark.parametrize(
    ("lost", "keys", "missing"),
    [
        (None, (11, 21, 31, 41, 8), None),
        ("POINT", (11, -1, -1, -1, -1), 11),
        ("APP_INSTANCE", (11, -1, -1, -1, -1), 21),
        ("APP_TYPE_REF", (11, 21, -1, -1, -1), 31),
        ("APP_TYPE", (11, 21, 31, -1, 8), 41),
    ],
)
def test_a_chain_goes_as_far_as_its_parents(
    lost: str | None, keys: tuple[int, ...], missing: int | None
) -> None:
    whole, broken = chains_without(lost).to_pylist()
    assert tuple(whole[key] for key in KEYS) == (10, 20, 0, 40, 7)
    assert tuple(broken[key] for key in KEYS) == keys
    assert (broken["lost_at"], broken["lost_key"]) == (lost, missing)
    assert whole["lost_at"] is None


@pytest.mark.parametrize("twice", range(1, 5))
def test_a_parent_that_holds_a_key_twice_is_refused(twice: int) -> None:
    tables = list(CHAIN)
    tables[twice] = pa.concat_tables([tables[twice], tables[twice].slice(0, 1)])
    with pytest.raises(PipelineError, match="is to be unique in the table that is joined"):
        resolve_log_instances(*tables)


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
            "status": pa.array(status or [None] * count, pa.string()),
        }
    )


def test_records_keep_their_number_and_order_and_are_numbered_on() -> None:
    enriched = enrich(records(2, 99, 1), chains_without(None), "F", 101)
    assert enriched["log_id"].to_pylist() == [101, 102, 103]
    assert enriched["value"].to_pylist() == [0.0, 1.0, 2.0]
    assert enriched["unit_id"].to_pylist() == [8, -1, 7]
    assert enriched["point_log_inst_id"].to_pylist() == [2, -1, 1]
    assert enriched["log_kind"].to_pylist() == ["F", "F", "F"]


def test_a_blank_status_is_none() -> None:
    enriched = enrich(records(1, 1, 1, status=["", " ", "OK"]), chains_without(None), "B", 1)
    assert enriched["status"].to_pylist() == [None, None, "OK"]


def losses_of(chains: pa.Table, *batches: pa.Table) -> PartLosses:
    losses = PartLosses()
    for batch in batches:
        keys = batch["point_log_inst_id"].combine_chunks()
        losses.add(keys, chains, look_up(keys, chains, "point_log_inst_id"))
    return losses


def test_losses_add_up_over_batches_and_parts_by_kind() -> None:
    chains = chains_without("POINT")
    digital = losses_of(chains, records(1, 2), records(2))
    floats = losses_of(chains, records(2, 98, 99), records(97))
    first, second, *others = add_up_losses(chains, [("B", digital), ("F", floats)])
    assert (first.parent, first.records, first.examples) == (
        "LOG_INSTANCE",
        {"B": 0, "F": 3},
        [97, 98, 99],
    )
    assert (second.parent, second.log_instances, second.records, second.examples) == (
        "POINT",
        1,
        {"B": 2, "F": 1},
        [11],
    )
    assert all(hop.records == {"B": 0, "F": 0} for hop in others)
