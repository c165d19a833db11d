"""Rejected rows and cells that have something in common: a loss that comes back every night."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from config.declarations import Source
from tasks.staging.batch import Invalid

_FEWEST = 3
"""Fewer rows are no pattern."""

_NAMED = 3
_MINUTES = 24 * 60
_MINUTE_US = 60_000_000


class Losses:
    """The rejected rows of a file, by log instance and time of day.

    Args:
        source: The file's declaration.
    """

    def __init__(self, source: Source):
        self._source = source
        self._instances: dict[str, Counter[int]] = defaultdict(Counter)
        self._minutes: dict[str, Counter[int]] = defaultdict(Counter)

    def add(self, rejected: dict[int, Invalid], table: pa.Table) -> None:
        """Add rejected rows of a table: row -> its invalid cell."""
        if self._source.primary_key is not None or not rejected:
            return
        rows = table.select(["point_log_inst_id", "recorded_at"]).take(pa.array(list(rejected)))
        timed = rows["recorded_at"].is_valid().to_pylist()
        minutes = iter(self._minutes_of(rows["recorded_at"].drop_null()).tolist())
        instances = rows["point_log_inst_id"].to_pylist()
        for cell, instance, is_timed in zip(rejected.values(), instances, timed, strict=True):
            minute = next(minutes) if is_timed else None
            if instance is not None:
                self._instances[cell.kind][instance] += 1
            if minute is None and cell.column == "recorded_at":
                minute = _minute_in(cell.text)
            if minute is not None:
                self._minutes[cell.kind][minute] += 1

    def add_malformed(self, kind: str, fields: list[str], position: int) -> None:
        """Add a row without columns, if a log instance is where one should be."""
        if self._source.primary_key is None and position < len(fields):
            text = fields[position].strip(' "')
            if text.isdecimal():
                self._instances[kind][int(text)] += 1

    def _minutes_of(self, times: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """The minute of the day of each time, by the clocks of the source's zone."""
        zoned = times.cast(pa.timestamp("us", tz=self._source.source_timezone))
        return pc.local_timestamp(zoned).cast(pa.int64()).to_numpy() // _MINUTE_US % _MINUTES

    def warnings(self, staged: Path) -> Iterator[str]:
        """What was rejected for one reason and makes up most of a pattern.

        Args:
            staged: The rows that were not rejected.
        """
        lost = {"log instance": self._instances, "time of day": self._minutes}
        for name, by_kind in lost.items():
            found = {
                kind: {key: n for key, n in counts.items() if n >= _FEWEST}
                for kind, counts in by_kind.items()
            }
            most: Counter[int] = Counter()
            for counts in found.values():
                most |= Counter(counts)
            kept: Counter[int] = Counter()
            column = "point_log_inst_id" if name == "log instance" else "recorded_at"
            with pq.ParquetFile(staged) as file:
                for batch in file.iter_batches(columns=[column]):
                    if kept >= most:  # No key of which most rows are lost.
                        break
                    values = batch[column].drop_null()
                    if name == "time of day":
                        values = pa.array(self._minutes_of(values))
                    kept.update(values.filter(pc.is_in(values, pa.array(list(most)))).to_pylist())
            for kind, counts in found.items():
                worst = sorted(key for key, n in counts.items() if n > kept[key])
                if worst and not (name == "time of day" and len(worst) > _MINUTES // 4):
                    rows = sum(counts[key] for key in worst)
                    of_all = rows + sum(kept[key] for key in worst)
                    named = _named(name, worst)
                    yield f"{rows:,} of {of_all:,} rows of {named} were rejected: {kind}"


def _minute_in(text: str) -> int | None:
    """The minute of day in a text that is no time; midnight if a date is all that it has.

    >>> _minute_in("2024-06-01 24:00"), _minute_in("01.06.2024"), _minute_in("1/6 1:05:00 PM")
    (0, 0, 785)
    >>> _minute_in("unknown")
    """
    match = re.search(r"(\d{1,2}):(\d{2})(?::[\d.,]+)?\s*([AP]M)?", text, re.I)
    if match is None:
        return 0 if re.search(r"\d[-./ ]\w{1,9}[-./ ]\d", text) else None
    hour = int(match[1]) % 12 + 12 * (match[3].upper() == "PM") if match[3] else int(match[1])
    return (hour * 60 + int(match[2])) % _MINUTES


def _named(name: str, keys: list[int]) -> str:
    """Keys with what they are, the first of them.

    >>> _named("log instance", [7]), _named("time of day", [0, 61])
    ('log instance 7', 'the times of day 00:00 and 01:01')
    """
    if name == "time of day":
        texts = [f"{key // 60:02}:{key % 60:02}" for key in keys]
    else:
        texts = [str(key) for key in keys]
    if len(texts) == 1:
        return f"{'the ' if name == 'time of day' else ''}{name} {texts[0]}"
    plural = "the times of day" if name == "time of day" else "the log instances"
    more = f" and {len(texts) - _NAMED:,} more" if len(texts) > _NAMED else ""
    listed = ", ".join(texts[:_NAMED]) if more else f"{', '.join(texts[:-1])} and {texts[-1]}"
    return f"{plural} {listed}{more}"
