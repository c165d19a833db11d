"""What is derived from the facts is the same however they came in, and as plain Python has it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, pairwise
from math import isinf
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from config.aggregates import AGGREGATES, Rules
from config.warehouse import (
    DIM_APPLICATION_INSTANCE,
    DIM_APPLICATION_TYPE,
    DIM_LOG_INSTANCE,
    DIM_POINT,
    DIM_UNIT,
    FACT_LOGS,
    PARTITION_ROWS,
)
from tasks.core.partition import Partition
from tasks.core.progress import Phases
from tasks.warehouse.load import Course, Enriched, replace_partitions
from tasks.warehouse.log_days import Derivation
from tasks.warehouse.open import open_warehouse
from tests.runs import soak
from tests.servers import Server
from tests.warehouses.stars import as_table, load, nothing, rows_of

INTERVALS: dict[int, int | None] = {1: 600, 2: None, 3: 86_400}
"""Log instance -> its interval. What is of -1 has none."""

START = datetime(2024, 3, 30, 20, tzinfo=UTC)


@dataclass(frozen=True)
class Record:
    log_instance: int
    at: datetime | None
    value: float | None
    status: str | None = None
    kind: str = "B"


RECORDS = st.lists(
    st.builds(
        Record,
        st.sampled_from([-1, *INTERVALS]),
        st.none() | st.integers(0, 500).map(lambda n: START + timedelta(minutes=5 * n)),
        st.none() | st.sampled_from([0.0, 1.0, 0.1, -7.25, 1e17, 1.7e308]),
        st.sampled_from([None, "OK", " alarm ", 'quo"ted']),
        st.sampled_from("BF"),
    ),
    max_size=12,
)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"])
Partitions = dict[str, list[Record]]
SILENT = Mock()


def load_star(url: str) -> None:
    load(url, DIM_APPLICATION_TYPE, [(-1, "Unknown")])
    load(url, DIM_UNIT, [(-1, "Unknown")])
    load(url, DIM_APPLICATION_INSTANCE, [(-1, "Unknown", -1, -1, -1)])
    load(url, DIM_POINT, [(-1, "Unknown", None, -1, -1)])
    keys = {-1: None, **INTERVALS}
    rows: list[tuple] = [(key, -1, "x", -1, -1, -1, None, every) for key, every in keys.items()]
    load(url, DIM_LOG_INSTANCE, rows)


def partition_of(name: str) -> Partition:
    return Partition(f"LOG_RCD_F/{name}", Path(f"{name}.csv"), ord(name))


def load_records(url: str, partitions: Partitions, rules: Rules, progress: Phases = SILENT) -> None:
    with TemporaryDirectory() as folder:
        load_from(Path(folder), url, partitions, rules, progress)


def load_from(
    folder: Path, url: str, partitions: Partitions, rules: Rules, progress: Phases
) -> None:
    enriched = {}
    for name, records in partitions.items():
        partition = partition_of(name)
        rows: list[tuple] = [
            (number, -1, -1, -1, -1, r.log_instance, r.at, r.value, None, r.status, r.kind)
            for number, r in enumerate(records, start=partition.id * PARTITION_ROWS)
        ]
        table = as_table(FACT_LOGS, [(*row, partition.id) for row in rows])
        pq.write_table(table, folder / f"{name}.parquet")
        enriched[partition] = Enriched(repr(records), folder / f"{name}.parquet")
    how = Derivation(rules, "rules")
    warehouse = open_warehouse(url)
    replace_partitions(warehouse, enriched, how, "receipt", Course(nothing, progress))


def derived(url: str) -> tuple[list[tuple], list[tuple]]:
    days, gaps = (rows_of(url, f"SELECT * FROM {name} ORDER BY 1, 2") for name in AGGREGATES)
    return days, gaps


def expected(partitions: Partitions, rules: Rules) -> tuple[list[tuple], list[tuple]]:
    """The same in plain Python, record by record."""
    zone = ZoneInfo(rules.timezone)
    numbered = [
        (r.log_instance, r.at, partition_of(name).id, row, r)
        for name, records in partitions.items()
        for row, r in enumerate(records)
        if r.at is not None
    ]
    of_day: dict[tuple[int, date], list[Record]] = defaultdict(list)
    states: dict[tuple[int, date], list[timedelta]] = defaultdict(lambda: [timedelta(0)] * 2)
    gaps = []
    for key, group in groupby(sorted(numbered, key=lambda one: one[:4]), lambda one: one[0]):
        records = [one[4] for one in group]
        every = INTERVALS.get(key)
        for record in records:
            assert record.at is not None
            day = record.at.astimezone(zone).date()
            of_day[key, day].append(record)
            if record.kind == "B":
                states[key, day]  # No second of it need be known.
        for record, following in pairwise(records) if key != -1 else ():
            assert record.at is not None
            assert following.at is not None
            longest = timedelta(seconds=every * rules.max_gap) if every else timedelta(days=1)
            if every and following.at - record.at > longest:
                seconds = (following.at - record.at).total_seconds()
                missing = int(seconds / every + 0.5) - 1
                times = [f"{at:%Y-%m-%d %H:%M:%S.%f}" for at in (record.at, following.at)]
                gaps.append((key, *times, seconds, missing))
            if record.kind == "B" and record.value is not None:
                at, end = record.at, min(following.at, record.at + longest)
                while at < end:
                    until = min(at + timedelta(minutes=5), end)  # No midnight is within.
                    totals = states[key, at.astimezone(zone).date()]
                    on = until - at if record.value == 1 else timedelta(0)
                    states[key, at.astimezone(zone).date()] = [
                        totals[0] + on,
                        totals[1] + until - at,
                    ]
                    at = until
    return [
        (key, f"{day}", *figures(of_day.get((key, day), []), states.get((key, day))))
        for key, day in sorted({*of_day, *states})
    ], gaps


def figures(records: list[Record], state: list[timedelta] | None) -> tuple[object, ...]:
    values = [r.value for r in records if r.value is not None]
    total = 0.0
    for value in values:
        total += value
    mean = total / len(values) if values else None
    if isinf(total):
        mean = 0.0
        for value in values:
            mean += value / len(values)
    statuses = Counter(r.status or "" for r in records)
    return (
        len(records),
        len(values),
        sum((r.status or "").strip().upper() == "ALARM" for r in records),
        min(values, default=None),
        mean,
        max(values, default=None),
        values[-1] if values else None,
        *(one.total_seconds() for one in state or []),
        *([None, None] if state is None else []),
        json.dumps(dict(sorted(statuses.items()))),
    )


FIRST, SECOND = [Record(1, START, 1.0)], [Record(1, START + timedelta(minutes=90), 0.0)]
LARGE = [Record(1, START, 1.7e308, kind="F"), Record(1, START, 1.5e308, kind="F")]
"""Their sum exceeds the largest float."""


DATABASES = [
    ("sqlite", 4),
    *(soak(*given) for given in (("sqlite", 500), ("postgresql", 30), ("mariadb", 30))),
]


@pytest.mark.parametrize(("kind", "examples"), DATABASES)
def test_days_and_gaps_are_the_same_however_the_records_came(
    kind: str, examples: int, request: pytest.FixtureRequest
) -> None:
    server: Server | None = None
    if kind != "sqlite":
        server = request.getfixturevalue(f"{kind}_server")

    @contextmanager
    def database() -> Iterator[str]:
        with TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/warehouse.db"

    empty = server.create_database if server else database

    @given(
        st.lists(RECORDS, min_size=4, max_size=4),
        st.lists(
            st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), min_size=1), max_size=4
        ),
        ZONES,
    )
    @example([FIRST, SECOND, [], []], [{"a": 0}, {"a": 0, "b": 1}, {"b": 1}], "UTC")
    @example([LARGE, [], [], []], [{"a": 0}], "UTC")
    @settings(max_examples=examples)
    def compare(files: list[list[Record]], changes: list[dict[str, int]], zone: str) -> None:
        rules = Rules(zone, 3, ("ALARM",))
        with empty() as one:
            load_star(one)
            for chosen in changes:
                partitions = {name: files[number] for name, number in chosen.items()}
                load_records(one, partitions, rules)
                assert derived(one) == expected(partitions, rules)
            found = digests(one) if changes else {}
        with database() as other:
            if changes:
                load_star(other)
                load_records(other, partitions, rules)
                assert digests(other) == found

    compare()


class RowsOfPhases(Counter[str]):
    """The rows of each phase of a load."""

    phase = ""

    def begin(self, phase: str, total: int | None = None) -> None:
        self.phase = phase

    def advance(self, amount: int, rows: int) -> None:
        self[self.phase] += rows


def test_only_the_records_of_days_that_changed_are_read_again(tmp_path: Path) -> None:
    url, rules = f"sqlite:///{tmp_path}/one.db", Rules("UTC", 3, ())
    days = {
        name: [Record(1, START + timedelta(days=day, minutes=5 * n), 1.0) for n in range(20)]
        for name, day in (("a", 0), ("b", 10), ("c", 20))
    }
    load_star(url)
    load_records(url, {name: days[name] for name in "ab"}, rules)

    added, removed = RowsOfPhases(), RowsOfPhases()
    load_records(url, days, rules, added)
    # The new file's, those of the day before, whose last state it ends, and one record before them.
    assert added["summing up by day"] == 41
    load_records(url, {name: days[name] for name in "ac"}, rules, removed)
    # Those of the day before, and one record after them.
    assert removed["summing up by day"] == 21


def digests(url: str) -> dict[str, str]:
    loaded = open_warehouse(url).receipts()
    return {name: loaded[name, ""].rows_digest for name in AGGREGATES}
