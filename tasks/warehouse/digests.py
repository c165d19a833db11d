"""Digests of a table's rows, defined on values: the same in each database and in any order.

The digest of rows is the sum of the digests of each row modulo 2**64, so those of several parts
are added. It finds damage and changes by mistake; it is no protection against an attacker.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Hashes = npt.NDArray[np.uint64]

_NULL = 0x9E3779B97F4A7C15


def rows_digest(batch: pa.RecordBatch) -> int:
    """The digest of the rows of a batch, 0 if there are none.

    >>> one = pa.record_batch({"a": [1, 2], "b": ["x", None]})
    >>> two = pa.record_batch({"b": [None, "x"], "a": [2, 1]})
    >>> rows_digest(one) == rows_digest(two) != rows_digest(one.slice(1))
    True
    """
    return int(row_digests(batch).sum(dtype=np.uint64))


def row_digests(batch: pa.RecordBatch) -> Hashes:
    """The digest of each row of a batch.

    Each value becomes 64 bits (an integer, a float's bits, microseconds of a time, the hash of a
    text); columns count by their names, so their order does not matter.
    """
    rows = np.zeros(len(batch), dtype=np.uint64)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        rows += _mixed(_bits(column) ^ np.uint64(_text_hash(name)))
    return _mixed(rows)


def digested(
    batches: Iterable[pa.RecordBatch], digests: Counter[str], key: str
) -> Iterator[pa.RecordBatch]:
    """The same batches; their digest is added to `digests` while they pass."""
    for batch in batches:
        digests[key] += rows_digest(batch)
        yield batch


def digest_text(digest: int) -> str:
    """A sum of digests as it is stored."""
    return f"{digest % 2**64:016x}"


def _bits(column: pa.Array) -> Hashes:
    """64 bits of each value."""
    if pa.types.is_string(column.type):
        encoded = column.dictionary_encode()
        texts = np.array([_text_hash(text) for text in encoded.dictionary.to_pylist()], np.uint64)
        codes = pc.fill_null(encoded.indices, 0).to_numpy()
        bits = texts[codes] if len(texts) else np.zeros(len(column), np.uint64)
    elif pa.types.is_floating(column.type):
        # Not every database keeps -0.0 apart from 0.0, or NaN from NULL.
        column = pc.if_else(pc.is_nan(column), None, column)
        bits = (pc.fill_null(column, 0.0).to_numpy() + 0.0).view(np.uint64)
    else:
        times = pa.types.is_timestamp(column.type)
        whole = column.cast(pa.timestamp("us", column.type.tz)).cast("int64") if times else column
        bits = pc.fill_null(whole.cast("int64"), 0).to_numpy().view(np.uint64)
    if column.null_count:
        bits = np.where(column.is_null().to_numpy(zero_copy_only=False), np.uint64(_NULL), bits)
    return bits


def _mixed(values: Hashes) -> Hashes:
    """Each value spread over all 64 bits: the last step of SplitMix64 (Steele and others, 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _text_hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
