"""Digests of a table's rows, defined on values: the same in each database and in any order.

The digest of rows is the sum of the digests of each row modulo 2**64, so those of several parts
are added. It finds damage and changes by mistake; it is no protection against an attacker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Hashes = npt.NDArray[np.uint64]

_NULL = 0x9E3779B97F4A7C15
_TEXTS = 8_192
_FIRST = 256


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
        rows += _mixed(_bits(column) ^ _text_bits(pa.array([name])))
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
        first = column.slice(0, _FIRST)
        if pc.count_distinct(first).as_py() > len(first) / 2:
            bits = _text_bits(pc.fill_null(column, ""))
        else:
            encoded = column.dictionary_encode()
            texts = _text_bits(pc.fill_null(encoded.dictionary, ""))
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


def _text_bits(texts: pa.StringArray) -> Hashes:
    """64 bits of each text: its bytes, each with its place, added up, and its length.

    >>> len({*_text_bits(pa.array(["ab", "ba", "", "ab", "b"])).tolist()})
    4
    """
    # As many at a time as the processor's cache holds.
    pieces = [texts.slice(at, _TEXTS) for at in range(0, len(texts), _TEXTS)]
    return np.concatenate([np.zeros(0, np.uint64), *map(_piece_bits, pieces)])


def _piece_bits(texts: pa.StringArray) -> Hashes:
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)[texts.offset :][: len(texts) + 1].astype(np.int64)
    content = np.frombuffer(data or b"", np.uint8)[bounds[0] : bounds[-1]].astype(np.uint64)
    bounds -= bounds[0]
    lengths = np.diff(bounds)
    places = (np.arange(len(content)) - np.repeat(bounds[:-1], lengths)).astype(np.uint64)
    added = np.zeros(len(content) + 1, np.uint64)
    np.cumsum(_mixed((places + np.uint64(1)) << np.uint64(8) | content), out=added[1:])
    return _mixed(added[bounds[1:]] - added[bounds[:-1]] + lengths.astype(np.uint64))
