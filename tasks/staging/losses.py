"""Rejected rows that have something in common: a loss that comes back every night."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from config.declarations import Source
from tasks.core.arrow import open_parquet
from tasks.sources.csv_records import Rejected
from tasks.staging.batch import count_values

_FEWEST = 3
"""Fewer rows are no pattern."""

_NAMED = 3
_MINUTES = 24 * 60
_INSTANCE, _TIME = "point_log_inst_id", "recorded_at"


class Losses:
    """The rejected log records of a file, by log instance and by minute of the day.

    Args:
        source: The file's declaration.
    """

    def __init__(self, source: Source):
        self._zone = source.source_timezone
        # Column -> kind of the reason -> log instance or minute -> rows.
        self._lost: dict[str, dict[str, Counter[int]]] = {
            column: defaultdict(Counter) for column in (_INSTANCE, _TIME)
        }

    def add(self, rejected: Mapping[int, Rejected], table: pa.Table) -> None:
        """Add rejected rows of a table."""
        if not rejected:
            return
        rows = table.select([_INSTANCE, _TIME]).take(pa.array(list(rejected)))
        instances, minutes = rows[_INSTANCE].to_pylist(), self._minutes(rows[_TIME]).to_pylist()
        for one, instance, minute in zip(rejected.values(), instances, minutes, strict=True):
            if minute is None and one.column == _TIME:
                minute = _minute_in(one.cell)
            for column, key in ((_INSTANCE, instance), (_TIME, minute)):
                if key is not None:
                    self._lost[column][one.kind][key] += 1

    def add_malformed(self, kind: str, instance: str) -> None:
        """Add a row that has no columns, with the text where a log instance should be."""
        text = instance.strip(' "')
        if text.isdecimal() and len(text) < 19:  # Of 64 bits.
            self._lost[_INSTANCE][kind][int(text)] += 1

    def _minutes(self, times: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """The minute of the day of each time, by the clocks of the source's zone."""
        local = pc.local_timestamp(times.cast(pa.timestamp("us", tz=self._zone)))
        return pc.add(pc.multiply(pc.hour(local), 60), pc.minute(local))

    def warnings(self, staged: Path) -> Iterator[str]:
        """What was rejected for one reason and makes up most of a pattern.

        Args:
            staged: The rows that were not rejected.
        """
        for column, by_kind in self._lost.items():
            most: Counter[int] = Counter()
            for lost in by_kind.values():
                most |= Counter({key: rows for key, rows in lost.items() if rows >= _FEWEST})
            kept = self._count_kept(staged, column, most)
            for kind, lost in by_kind.items():
                worst = sorted(key for key in most if lost[key] > max(kept[key], _FEWEST - 1))
                if worst and not (column == _TIME and len(worst) > _MINUTES // 4):
                    rows = sum(lost[key] for key in worst)
                    of_all = rows + sum(kept[key] for key in worst)
                    named = _named(column, worst)
                    yield f"{rows:,} of {of_all:,} rows of {named} were rejected: {kind}"

    def _count_kept(self, staged: Path, column: str, most: Counter[int]) -> Counter[int]:
        """How many staged rows have each of some keys, or that they are not fewer than `most`."""
        kept: Counter[int] = Counter()
        keys = pa.array(most, pa.int64())
        with open_parquet(staged) as file:
            for batch in file.iter_batches(columns=[column]):
                if kept >= most:
                    break
                values = batch[column] if column == _INSTANCE else self._minutes(batch[column])
                kept += count_values(values.filter(pc.is_in(values, keys)))
        return kept


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


def _named(column: str, keys: list[int]) -> str:
    """Keys with what they are, the first of them.

    >>> _named("point_log_inst_id", [7]), _named("recorded_at", [0, 61])
    ('log instance 7', 'the times of day 00:00 and 01:01')
    """
    if column == _TIME:
        one, several = "the time of day", "the times of day"
        texts = [f"{key // 60:02}:{key % 60:02}" for key in keys]
    else:
        one, several = "log instance", "the log instances"
        texts = [str(key) for key in keys]
    if len(texts) == 1:
        return f"{one} {texts[0]}"
    more = f" and {len(texts) - _NAMED:,} more" if len(texts) > _NAMED else ""
    listed = ", ".join(texts[:_NAMED]) if more else f"{', '.join(texts[:-1])} and {texts[-1]}"
    return f"{several} {listed}{more}"
