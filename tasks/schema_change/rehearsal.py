"""A change carried out on a copy of the table, while others write to it and read it."""

from __future__ import annotations

import bisect
import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tasks.core.errors import PipelineError
from tasks.schema_change.change import AddColumn
from tasks.schema_change.interface import Database
from tasks.schema_change.live import LiveTable
from tasks.schema_change.machine import SchemaChange, add_natively
from tasks.schema_change.plan import NATIVE, SHADOW, TITLES, TOOLS
from tasks.schema_change.runs import State
from tasks.schema_change.scratch import scratch
from tasks.schema_change.worker import Measured
from tasks.schema_change.workload import Compared, Operation, Rates, Workload

Json = dict[str, Any]

PASSED, FAILED = "passed", "failed"

LONGEST_GAP_S = 1.0
"""The target: no longer without an acknowledged write."""

_BEFORE, _AFTER, _SWITCHING = "before", "after", "switching"
_BUCKETS = 120
_EXAMPLES = 5

_PHASES = {
    State.PLANNED: "preparing",
    State.SHADOW_READY: "preparing",
    State.COPYING: "copying",
    State.DRAINED: "verifying",
    State.READY: "ready",
    State.SWAPPING: _SWITCHING,
    State.SWAPPED: "verifying again",
    State.SOAK: "kept in step",
    State.CLEANED: _AFTER,
}


@dataclass(frozen=True)
class Settings:
    """How a change is rehearsed.

    Attributes:
        rows: Of the table that are copied, the first by key; None for all.
        seconds: How long the load lasts before, after, and while both tables are kept in step.
    """

    strategy: str
    rows: int | None = None
    seconds: float = 5
    rates: Rates = Rates()


@dataclass
class Timeline:
    """Which phase began when (monotonic seconds)."""

    names: list[str] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)

    def begin(self, name: str) -> None:
        """From now on it is another phase."""
        if not self.names or self.names[-1] != name:
            self.names.append(name)
            self.starts.append(time.monotonic())

    def at(self, when: float) -> str:
        """The phase at a time."""
        return self.names[max(0, bisect.bisect_right(self.starts, when) - 1)]


def rehearse(
    live: Database,
    change: AddColumn,
    settings: Settings,
    report: Callable[[str], object] = lambda phase: None,
) -> Json:
    """Carry a change out on a copy under load; what was measured, and whether it passed.

    Args:
        live: That has the table; only read.
        change: What is asked for.
        settings: How.
        report: Is called with each phase.

    Raises:
        PipelineError: Nothing could be rehearsed.
    """
    table, tool = live.describe(change.table), TOOLS.get(settings.strategy)
    obstacles = tool.obstacles(live, table) if tool else []
    if obstacles:
        what = f"{TITLES[settings.strategy]}, cannot change {change.table}:"
        raise PipelineError(what, obstacles, "Use the strategy shadow.")
    began = datetime.now(UTC)
    with scratch(live, change.table, settings.rows) as database:
        measuring = _Rehearsal(database, change, settings, report)
        measuring.run()
    return {
        "change": change.to_json(),
        "plan_digest": change.digest(),
        "fingerprint": table.fingerprint(),
        "engine": table.engine,
        "kind": live.kind,
        "strategy": settings.strategy,
        "sampled": settings.rows is not None,
        "began_at": began.isoformat(timespec="seconds"),
        "rates": dataclasses.asdict(settings.rates),
        **measuring.results(),
    }


class _Rehearsal:
    def __init__(
        self,
        database: Database,
        change: AddColumn,
        settings: Settings,
        report: Callable[[str], object],
    ):
        self.database, self.change, self.settings = database, change, settings
        self._report = report
        self.timeline = Timeline()
        self.measured = Measured()
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.compared = Compared()

    def begin(self, phase: str) -> None:
        """Begin a phase."""
        self.timeline.begin(phase)
        self._report(phase)

    def run(self) -> None:
        """The load before, during and after the change; then what has become of the rows."""
        before = self.database.describe(self.change.table)
        self.rows = self.database.count(self.change.table)
        with Workload(self.database, before, self.settings.rates) as workload:
            self.begin(_BEFORE)
            time.sleep(self.settings.seconds)
            carry_out = {NATIVE: self._native, SHADOW: self._shadow}
            try:
                carry_out.get(self.settings.strategy, self._tool)()
            except PipelineError as error:
                self.problems.append(str(error))
            self.begin(_AFTER)
            time.sleep(self.settings.seconds)
            # Before the workers are asked what they have done: that takes time, too.
            self.ended = time.monotonic()
        self.done = workload.done
        self._report("comparing")
        self.compared = workload.compare()
        self._check(before)

    # --- the strategies ----------------------------------------------------------------------

    def _native(self) -> None:
        self.begin(_SWITCHING)
        began = time.monotonic()
        self.measured = add_natively(self.database, self.change)
        self.measured.switch_s = self.measured.exchange_s = time.monotonic() - began

    def _tool(self) -> None:
        self.begin("preparing")
        tool = TOOLS[self.settings.strategy](self.database, self.change, self.begin)
        self.measured = tool.measured
        tool.run()
        tool.sign_off()

    def _shadow(self) -> None:
        made = SchemaChange(
            self.database, self.change, lambda state, _: self.begin(_PHASES.get(state, _AFTER))
        )
        self.measured = made.measured
        self.begin("preparing")
        made.run()
        made.switch()
        until = time.monotonic() + self.settings.seconds
        made.follow(lambda: time.monotonic() > until)
        made.sign_off()

    # --- what came of it ---------------------------------------------------------------------

    def _check(self, before: LiveTable) -> None:
        """Problems, each of which makes the rehearsal fail."""
        found = self.compared
        for name in ("lost", "resurrected", "stale"):
            keys = getattr(found, name)
            if keys:
                some = "; ".join(", ".join(map(str, key)) for key in keys[:_EXAMPLES])
                self.problems.append(
                    f"{len(keys):,} rows {name}, such as those with the key {some}"
                )
        errors = Counter(one.code for one in self.done.reads if one.code)
        if errors:
            self.problems.append(f"Readers had errors: {_listed(errors)}")
        after = self.database.describe(self.change.table)
        if not after.has(self.change.column):
            if not self.problems:
                self.problems.append(f"The table has no column {self.change.column}.")
            return
        other = self.database.other_values(self.change.table, self.change)
        if other:
            self.problems.append(f"{other:,} rows have not the default in {self.change.column}.")
        self.notes = before.lost(after)

    def results(self) -> Json:
        """As JSON."""
        gap, in_phase = self._longest_gap()
        measured = self.measured
        copied_per_s = measured.copied_rows / measured.copy_s if measured.copy_s else None
        counts = {n: len(getattr(self.compared, n)) for n in ("lost", "resurrected", "stale")}
        return {
            "verdict": FAILED if self.problems else PASSED,
            "problems": self.problems,
            "notes": self.notes,
            "rows": self.rows,
            "phases": self._phases(),
            "longest_gap_s": round(gap, 3),
            "longest_gap_in": in_phase,
            "gap_target_s": LONGEST_GAP_S,
            "switch_s": round(measured.switch_s, 3),
            "exchange_s": round(measured.exchange_s, 3),
            "copied_rows": measured.copied_rows,
            "copied_rows_per_s": copied_per_s and round(copied_per_s),
            "retries": measured.retries,
            "errors": {
                "writers": Counter(one.code for one in self.done.writes if one.code),
                "readers": Counter(one.code for one in self.done.reads if one.code),
            },
            "ledger": {"keys": self.compared.keys, "unknown": self.compared.unknown, **counts},
            "series": {
                "writers": self._series(self.done.writes),
                "readers": self._series(self.done.reads),
            },
        }

    def _longest_gap(self) -> tuple[float, str]:
        """The longest time without an acknowledged write, and the phase in its middle."""
        times = sorted(one.done for one in self.done.writes if not one.code)
        ends = [self.timeline.starts[0], *times, self.ended]
        length, began = max((b - a, a) for a, b in zip(ends, ends[1:], strict=False))
        return length, self.timeline.at(began + length / 2)

    def _phases(self) -> list[Json]:
        """Each phase with the latencies of what was due in it."""
        timeline = self.timeline
        ends = [*timeline.starts[1:], self.ended]
        return [
            {
                "name": name,
                "start_s": round(start - timeline.starts[0], 3),
                "seconds": round(end - start, 3),
                "writers": _latencies(self.done.writes, start, end),
                "readers": _latencies(self.done.reads, start, end),
            }
            for name, start, end in zip(timeline.names, timeline.starts, ends, strict=True)
        ]

    def _series(self, operations: Sequence[Operation]) -> list[Json]:
        """The longest latency in each of equal pieces of the time, and its phase."""
        start = self.timeline.starts[0]
        width = (self.ended - start) / _BUCKETS
        longest: list[tuple[float, float]] = [(0.0, start + width * at) for at in range(_BUCKETS)]
        for one in operations:
            at = min(_BUCKETS - 1, max(0, int((one.due - start) / width)))
            longest[at] = max(longest[at], (one.done - one.due, one.due))
        return [
            {
                "at_s": round(width * at, 1),
                "ms": round(1000 * latency),
                "phase": self.timeline.at(when),
            }
            for at, (latency, when) in enumerate(longest)
        ]


def _latencies(operations: Sequence[Operation], start: float, end: float) -> Json | None:
    """Quantiles in milliseconds of what was due in a time; None if nothing was."""
    due = [1000 * (one.done - one.due) for one in operations if start <= one.due < end]
    if not due:
        return None
    p50, p95, p99, most = np.quantile(due, (0.5, 0.95, 0.99, 1))
    quantiles = {"p50": p50, "p95": p95, "p99": p99, "max": most}
    return {"count": len(due)} | {name: round(float(ms), 1) for name, ms in quantiles.items()}


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} x {code}" for code, count in counts.most_common())
