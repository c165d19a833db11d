"""Digests of rows: defined on values, whatever their order and the database."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tasks.warehouse.digests import rows_digest

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SCHEMA = pa.schema(
    {
        "key": pa.int64(),
        "value": pa.float64(),
        "name": pa.string(),
        "at": pa.timestamp("us", tz="UTC"),
    }
)
ROWS = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False),
        st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        st.none() | st.datetimes(timezones=st.just(UTC)),
    ),
    max_size=8,
)
TOP = 2**64


def batch(rows: list[tuple[object, ...]]) -> pa.RecordBatch:
    columns = [pa.array([row[at] for row in rows], kind) for at, kind in enumerate(SCHEMA.types)]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def mixed(value: int) -> int:
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % TOP
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % TOP
    return value ^ (value >> 31)


def hashed(text: str) -> int:
    content = text.encode()
    added = sum(mixed((place << 8) + byte) for place, byte in enumerate(content, start=1))
    return mixed((added + len(content)) % TOP)


def bits(value: object) -> int:
    match value:
        case None:
            return 0x9E3779B97F4A7C15
        case float():
            (found,) = struct.unpack("<Q", struct.pack("<d", value + 0.0))
            return int(found)
        case datetime():
            return (value - EPOCH) // timedelta(microseconds=1) % TOP
        case int():
            return value % TOP
        case _:
            return hashed(str(value))


def digest_of_one(row: tuple[object, ...]) -> int:
    named = zip(SCHEMA.names, row, strict=True)
    return mixed(sum(mixed(bits(value) ^ hashed(name)) for name, value in named) % TOP)


@given(ROWS)
def test_the_digest_is_the_sum_of_those_of_the_rows(rows: list[tuple[object, ...]]) -> None:
    assert rows_digest(batch(rows)) == sum(map(digest_of_one, rows)) % TOP


@given(ROWS)
def test_neither_the_order_of_rows_nor_that_of_columns_counts(
    rows: list[tuple[object, ...]],
) -> None:
    other = batch(rows[::-1]).select(SCHEMA.names[::-1])
    assert rows_digest(other) == rows_digest(batch(rows))


def test_zero_has_no_sign_and_nan_is_null() -> None:
    def of(value: float | None) -> int:
        return rows_digest(pa.record_batch({"value": pa.array([value], pa.float64())}))

    assert of(-0.0) == of(0.0) != of(None) == of(float("nan"))


def test_values_in_another_column_or_twice_count() -> None:
    one = pa.record_batch({"a": [1], "b": [2]})
    assert rows_digest(one) != rows_digest(pa.record_batch({"a": [2], "b": [1]}))
    assert rows_digest(one) != rows_digest(pa.record_batch({"a": [1, 1], "b": [2, 2]}))
