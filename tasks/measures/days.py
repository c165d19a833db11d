"""Log records by log instance and day, and the gaps between them, from records in order.

The result depends on the records alone, to the last bit: values of a day are added up one by one in
the order of the records, seconds as whole microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from config.aggregates import Rules
from config.declarations import UNKNOWN
from tasks.core.text import ascii_upper, spellings

RECORDS = pa.schema(
    [
        ("point_log_inst_id", pa.int64()),
        ("recorded_at", pa.timestamp("us")),
        ("value", pa.float64()),
        ("is_digital", pa.bool_()),
        ("status", pa.string()),
    ]
)
"""What is read of a record. Each has a time; they are sorted by log instance, then time."""

_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US
_LONGEST_US = 2**60

Whole = npt.NDArray[np.int64]


class Calendar:
    """The days of a time zone, counted from 1970-01-01.

    Args:
        zone: Its IANA name.
    """

    def __init__(self, zone: str):
        self._zone = zone

    def days(self, us: Whole) -> Whole:
        """The day of each instant, given in microseconds."""
        if self._zone == "UTC":
            return us // _DAY_US
        instants = pa.array(us).cast(pa.timestamp("us", tz=self._zone))
        local = pc.local_timestamp(instants).cast(pa.int64()).to_numpy()
        return local // _DAY_US

    def starts(self, days: Whole) -> Whole:
        """The first instant of each day, in microseconds."""
        if self._zone == "UTC":
            return days * _DAY_US
        different, which = np.unique(days, return_inverse=True)
        midnights = pa.array(different * _DAY_US).cast(pa.timestamp("us"))
        # Where clocks are put forward at midnight, the day begins with the first time after it.
        first = pc.assume_timezone(
            midnights, self._zone, ambiguous="earliest", nonexistent="latest"
        )
        return first.cast(pa.int64()).to_numpy()[which]


@dataclass(frozen=True)
class Intervals:
    """How often log instances log.

    Attributes:
        keys: The log instances, sorted.
        seconds: The interval of each; 0 if it has none.
    """

    keys: Whole
    seconds: Whole

    def of(self, keys: Whole) -> Whole:
        """The interval of each log instance; 0 if it has none, or is unknown."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        found = np.where(self.keys[at] == keys, self.seconds[at], 0)
        return np.where(keys == UNKNOWN, 0, np.maximum(found, 0))

    def longest_us(self, keys: Whole, max_gap: float) -> Whole:
        """How long a state of each log instance lasts at most, in microseconds."""
        seconds = self.of(keys)
        lasting = np.minimum(seconds * (max_gap * _SECOND_US), _LONGEST_US).astype(np.int64)
        return np.where(seconds > 0, lasting, _DAY_US)


def measure_days(
    records: Iterable[pa.RecordBatch], rules: Rules, intervals: Intervals
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The days and the gaps of records; memory grows with these, not with the records.

    Args:
        records: As RECORDS.
        rules: How they are made.
        intervals: Of the log instances.

    Returns:
        Rows of `fact_log_days` and of `fact_log_gaps`, sorted by their keys; `day` is counted from
        1970-01-01, times are in microseconds.
    """
    calendar = Calendar(rules.timezone)
    days, states, gaps = [], [], []
    for block, following in _whole_days(records, calendar):
        days.append(_days(block, rules))
        steps = _steps(block, following)
        states.append(
            _states(block, steps, calendar, intervals.longest_us(block.keys, rules.max_gap))
        )
        gaps.append(_gaps(block, steps, intervals, rules.max_gap))
    return _merged(days, states), pd.concat([_gap_rows(), *gaps], ignore_index=True)


_KEYS = ["point_log_inst_id", "day"]
_ENDS = ["first_us", "last_us", "end_value", "end_is_digital"]
"""Of the first and last record of a day."""


def measure_day(
    records: pa.Table, rules: Rules, intervals: Intervals
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The days and the gaps of all records of one day, for `join_days`.

    Args:
        records: As RECORDS, at least one.
        rules: How they are made.
        intervals: Of the log instances.

    Returns:
        Rows as of `measure_days`, but that nothing is known after a log instance's last record;
        seconds are in microseconds, and there are the columns of _ENDS.
    """
    calendar = Calendar(rules.timezone)
    block = _block(records, calendar)
    steps = _steps(block, None)
    longest = intervals.longest_us(block.keys, rules.max_gap)
    first = _first_of_groups(block.keys, block.days)
    last = np.append(first[1:], len(block.keys)) - 1
    days = _days(block, rules).assign(
        first_us=block.us[first],
        last_us=block.us[last],
        end_value=block.values[last],
        end_is_digital=block.digital[last],
    )
    states = _states(block, steps, calendar, longest)
    return days.merge(states, "left", _KEYS), _gaps(block, steps, intervals, rules.max_gap)


def join_days(
    measured: Iterable[tuple[pd.DataFrame, pd.DataFrame]], rules: Rules, intervals: Intervals
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What `measure_days` returns for the records of all days; memory grows with the days.

    Args:
        measured: What `measure_day` returned for each day.
        rules: As there.
        intervals: As there.
    """
    found = list(measured)
    if not found:
        return _merged([], []), _gap_rows()
    days = pd.concat([day for day, _ in found]).sort_values(_KEYS, ignore_index=True)
    keys, last = days["point_log_inst_id"].to_numpy(), days["last_us"].to_numpy()
    ends = _Block(
        keys,
        last,
        days["day"].to_numpy(),
        days["end_value"].to_numpy(),
        days["end_is_digital"].to_numpy(),
        [],
        np.empty(0, np.int64),
    )
    is_followed = (keys[1:] == keys[:-1]) & (keys[1:] != UNKNOWN)
    following = np.where(is_followed, days["first_us"].to_numpy()[1:] - last[:-1], -1)
    steps = np.append(following, -1)
    states = ["seconds_on", "seconds_known"]
    known = days[[*_KEYS, *states]].dropna()
    longest = intervals.longest_us(keys, rules.max_gap)
    between = _states(ends, steps, Calendar(rules.timezone), longest)
    gaps = [*(gap for _, gap in found), _gaps(ends, steps, intervals, rules.max_gap)]
    return (
        _merged([days.drop(columns=[*states, *_ENDS])], [known, between]),
        pd.concat(gaps).sort_values(["point_log_inst_id", "began_at"], ignore_index=True),
    )


@dataclass(frozen=True)
class _Block:
    """Records: all of each of their days.

    Attributes:
        keys: Their log instances.
        us: Their times.
        days: Their days.
        values: NaN where there is none.
        digital: Whether they are digital records.
        statuses: Their different statuses.
        which: The status of each record.
    """

    keys: Whole
    us: Whole
    days: Whole
    values: npt.NDArray[np.float64]
    digital: npt.NDArray[np.bool_]
    statuses: list[str]
    which: Whole

    def first(self, rows: int) -> _Block:
        """The first rows."""
        return _Block(
            self.keys[:rows],
            self.us[:rows],
            self.days[:rows],
            self.values[:rows],
            self.digital[:rows],
            self.statuses,
            self.which[:rows],
        )


def _whole_days(
    records: Iterable[pa.RecordBatch], calendar: Calendar
) -> Iterator[tuple[_Block, tuple[int, int] | None]]:
    """The records in blocks, each with the log instance and time of the record that follows."""
    held = RECORDS.empty_table()
    for batch in records:
        held = pa.concat_tables([held, pa.Table.from_batches([batch])]).combine_chunks()
        block = _block(held, calendar)
        last = int(_first_of_groups(block.keys, block.days)[-1])
        if last:
            yield block.first(last), (int(block.keys[last]), int(block.us[last]))
            held = held.slice(last)
    if len(held):
        yield _block(held, calendar), None


def _block(records: pa.Table, calendar: Calendar) -> _Block:
    us = records["recorded_at"].cast(pa.int64()).to_numpy()
    status = pc.fill_null(records["status"], "").combine_chunks().dictionary_encode()
    return _Block(
        records["point_log_inst_id"].to_numpy(),
        us,
        calendar.days(us),
        pc.fill_null(records["value"], np.nan).to_numpy(),
        records["is_digital"].to_numpy(),
        status.dictionary.to_pylist(),
        status.indices.to_numpy().astype(np.int64),
    )


def _first_of_groups(keys: Whole, days: Whole) -> Whole:
    """The place of the first record of each log instance and day."""
    is_first = np.append(True, (keys[1:] != keys[:-1]) | (days[1:] != days[:-1]))
    return np.flatnonzero(is_first)


def _days(block: _Block, rules: Rules) -> pd.DataFrame:
    """The rows of `fact_log_days`, but for the seconds."""
    first = _first_of_groups(block.keys, block.days)
    records = np.diff(np.append(first, len(block.keys)))
    group = np.repeat(np.arange(len(first)), records)
    has_value = ~np.isnan(block.values)
    counts = np.add.reduceat(has_value.astype(np.int64), first)
    sums = np.bincount(group, np.where(has_value, block.values, 0.0), len(first))
    last = np.maximum.reduceat(np.where(has_value, np.arange(len(group)), -1), first)
    alarms = spellings(rules.alarms)
    is_alarm = np.array([ascii_upper(text.strip(" ")) in alarms for text in block.statuses], bool)
    means = sums / np.where(counts > 0, counts, np.nan)
    if np.isinf(sums).any():  # A mean is within the range of its values even if their sum is not.
        shares = np.where(has_value, block.values, 0.0) / np.maximum(counts, 1)[group]
        means = np.where(np.isinf(sums), np.bincount(group, shares, len(first)), means)
    return pd.DataFrame(
        {
            "point_log_inst_id": block.keys[first],
            "day": block.days[first],
            "record_count": records,
            "value_count": counts,
            "alarm_count": np.add.reduceat(is_alarm[block.which].astype(np.int64), first),
            "value_min": np.fmin.reduceat(block.values, first),
            "value_mean": means,
            "value_max": np.fmax.reduceat(block.values, first),
            "value_last": np.where(last >= 0, block.values[last], np.nan),
            "statuses": _counted(block, group),
        }
    )


def _counted(block: _Block, group: Whole) -> list[str]:
    """The records of each group by status, as JSON."""
    many = len(block.statuses)
    pairs, counts = np.unique(group * many + block.which, return_counts=True)
    found: list[dict[str, int]] = [{} for _ in range(int(group[-1]) + 1)]
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        found[pair // many][block.statuses[pair % many]] = count
    return [json.dumps(one, sort_keys=True, ensure_ascii=False) for one in found]


def _steps(block: _Block, following: tuple[int, int] | None) -> Whole:
    """From each record to the next one of its log instance, in microseconds; -1 if none follows."""
    key, us = following or (UNKNOWN, 0)
    keys, times = np.append(block.keys, key), np.append(block.us, us)
    is_followed = (keys[1:] == keys[:-1]) & (block.keys != UNKNOWN)
    return np.where(is_followed, np.diff(times), -1)


def _states(block: _Block, steps: Whole, calendar: Calendar, longest: Whole) -> pd.DataFrame:
    """Microseconds in state 1 and in any state, by log instance and day; 0 where none is known."""
    is_known = ~np.isnan(block.values) & (steps > 0)
    of = block.digital
    keys, begin, first = block.keys[of], block.us[of], block.days[of]
    end = begin + np.where(is_known, np.minimum(steps, longest), 0)[of]
    pieces = calendar.days(np.maximum(end - 1, begin)) - first + 1
    row = np.repeat(np.arange(len(keys)), pieces)
    day = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    lasting = np.minimum(end[row], calendar.starts(day + 1))
    lasting -= np.maximum(begin[row], calendar.starts(day))
    states = pd.DataFrame(
        {
            "point_log_inst_id": keys[row],
            "day": day,
            "seconds_on": np.where(block.values[of][row] == 1, lasting, 0),
            "seconds_known": lasting,
        }
    )
    return states.groupby(_KEYS, as_index=False).sum()


def _gaps(block: _Block, steps: Whole, intervals: Intervals, max_gap: float) -> pd.DataFrame:
    """The rows of `fact_log_gaps`."""
    seconds = intervals.of(block.keys)
    is_gap = (seconds > 0) & (steps > seconds * (max_gap * _SECOND_US))
    lasting, every = steps[is_gap], seconds[is_gap]
    expected = (lasting + every * (_SECOND_US // 2)) // (every * _SECOND_US)
    began = block.us[is_gap]
    return _gap_rows(block.keys[is_gap], began, began + lasting, lasting / _SECOND_US, expected - 1)


def _gap_rows(*columns: npt.NDArray[Any]) -> pd.DataFrame:
    names = ("point_log_inst_id", "began_at", "ended_at", "gap_seconds", "missing_count")
    types = (np.int64, np.int64, np.int64, np.float64, np.int64)
    filled = columns or [np.empty(0, kind) for kind in types]
    return pd.DataFrame(dict(zip(names, filled, strict=True)))


def _merged(days: list[pd.DataFrame], states: list[pd.DataFrame]) -> pd.DataFrame:
    """Rows of `fact_log_days`: those with records, and those with a state that began before."""
    if not days:
        return pd.DataFrame()
    known = pd.concat(states).groupby(_KEYS, as_index=False).sum()
    merged = pd.concat(days).merge(known, how="outer", on=_KEYS, sort=True, validate="1:1")
    for name in ("seconds_on", "seconds_known"):
        merged[name] /= _SECOND_US
    counts = ["record_count", "value_count", "alarm_count"]
    merged[counts] = merged[counts].fillna(0).astype("int64")
    merged["statuses"] = merged["statuses"].fillna("{}")
    return merged
