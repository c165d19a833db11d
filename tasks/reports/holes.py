"""Holes: times without records, one row for those that log instances share.

The gaps of each log instance come from the warehouse: those of `v_gaps`. Times are UTC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from config.declarations import UNKNOWN
from config.warehouse import PARTITION_ROWS
from tasks.reports.isolated import listed

HOLE_COLUMNS = (
    "began_at",
    "ended_at",
    "gap_hours",
    "log_instance_count",
    "missing_count",
    "note",
    "units",
    "log_instances",
)

_OF = "FROM fact_logs AS f WHERE f.point_log_inst_id = gap.point_log_inst_id AND f.recorded_at"

GAPS = f"""
SELECT gap.point_log_inst_id, gap.began_at, gap.ended_at, gap.missing_count,
    (SELECT log_id {_OF} > {{no_time}} AND f.recorded_at < gap.began_at
     ORDER BY f.recorded_at DESC LIMIT 1) AS id_earlier,
    (SELECT max(log_id) {_OF} = gap.began_at) AS id_before,
    (SELECT min(log_id) {_OF} = gap.ended_at) AS id_after,
    (SELECT log_id {_OF} > gap.ended_at ORDER BY f.recorded_at LIMIT 1) AS id_later
FROM fact_log_gaps AS gap
WHERE gap.point_log_inst_id IN (SELECT point_log_inst_id FROM v_gaps)
ORDER BY gap.point_log_inst_id, gap.began_at
"""  # noqa: S608
"""The gaps of `v_gaps`, with the keys of the two records before each and of the two after it."""

_KNOWN = ["unit_id", "step_s", "log_interval", "log_begin", "log_end", "begin", "end"]
_NAMED_UNITS = 3
_SECOND_US = 1_000_000
_HOUR_US = 3_600 * _SECOND_US

Whole = npt.NDArray[np.int64]


def read_gaps(query: Callable[..., pd.DataFrame], no_time: str) -> pd.DataFrame:
    """The rows of GAPS, times as UTC, and `is_jump`: whether it is a clock jump.

    Args:
        query: As `Inputs.query`.
        no_time: As the warehouse has it.
    """
    gaps = query(GAPS.format(no_time=no_time), times=("began_at", "ended_at"))
    times = {name: gaps[name].astype("datetime64[us]") for name in ("began_at", "ended_at")}
    times = {name: one.dt.tz_localize("UTC") for name, one in times.items()}
    return gaps.assign(**times, is_jump=_are_jumps(gaps))


def find_holes(gaps: pd.DataFrame, instances: pd.DataFrame, max_gap: float) -> pd.DataFrame:
    """The times in which log instances with a steady step did not record, the largest first.

    A hole is a gap of a log instance, or the time from its last record to the end of the log if
    that is longer than `max_gap` steps. The log ends where isolated records do not count. Holes
    that begin and end within one step of each other may be one, and are merged: from the last
    record of any of the log instances before it to the first one of any after it.

    Grain: one row per hole. Columns: HOLE_COLUMNS; times as text. `missing_count` adds up what
    `fact_log_gaps` has; to an end of the log, the steps that fit in.

    `note` is "clock jump" if the record after the hole comes before the one before it in the file:
    the clock was wrong on one side of the hole. A clock that was set for good cannot be
    distinguished from a controller that was off; both concern all log instances of a unit.

    Args:
        gaps: As `read_gaps` gives them.
        instances: As `judge_instances` gives them.
        max_gap: Of how many steps a gap is a hole.
    """
    rows = _holes_of_instances(gaps, instances, max_gap)
    began, ended = rows["began"].to_numpy(), rows["ended"].to_numpy()
    slack = np.minimum(rows["step"].to_numpy(), (ended - began) // 4)
    kinds = 2 * rows["is_open"].to_numpy(np.int64) + rows["is_jump"].to_numpy(np.int64)
    rows["hole"] = _together(_together(kinds, began, began + slack), ended - slack, ended)
    holes = rows.groupby("hole").agg(
        began=("began", "max"),
        ended=("ended", "min"),
        log_instance_count=("point_log_inst_id", "nunique"),
        missing_count=("missing_count", "sum"),
        is_open=("is_open", "first"),
        is_jump=("is_jump", "first"),
    )
    keys, units = _of_each(rows, "point_log_inst_id"), _of_each(rows, "unit_id")
    holes["log_instances"] = [listed(of) for of in keys]
    holes["units"] = [_list_units(of) for of in units]
    whole = _whole_units(holes, keys, units, _members(instances, max_gap))
    holes["note"] = list(map(_note, holes["is_open"], holes["is_jump"], whole))
    for name in ("began", "ended"):
        holes[f"{name}_at"] = pd.to_datetime(holes[name], unit="us").map(str).astype("str")
    holes["gap_hours"] = ((holes["ended"] - holes["began"]) / _HOUR_US).round(2)
    holes = holes.sort_values(["missing_count", "began"], ascending=[False, True])
    return holes[list(HOLE_COLUMNS)]


def _holes_of_instances(
    gaps: pd.DataFrame, instances: pd.DataFrame, max_gap: float
) -> pd.DataFrame:
    """The holes of each log instance: its key and unit, times and step in microseconds."""
    ends = instances.loc[instances["step_s"].notna(), ["last_recorded_at", "end"]].reset_index()
    ends.columns = ["point_log_inst_id", "began_at", "ended_at"]
    rows = pd.concat([gaps, ends], ignore_index=True)
    rows = rows.join(instances[_KNOWN], on="point_log_inst_id")
    # A gap to or from isolated records is one only within the log, as of those without any.
    began = rows["began_at"].mask(rows["began_at"] < rows["log_begin"], rows["begin"])
    ended = rows["ended_at"].mask(rows["ended_at"] > rows["log_end"], rows["end"])
    step = pd.to_timedelta(rows["step_s"].fillna(rows["log_interval"]).astype("float64"), unit="s")
    is_cut = (began > rows["began_at"]) | (ended < rows["ended_at"])
    is_gap = rows["missing_count"].notna() & ~is_cut
    found = pd.DataFrame(
        {
            "point_log_inst_id": rows["point_log_inst_id"],
            "unit_id": rows["unit_id"].fillna(UNKNOWN),
            "began": began.astype("datetime64[us, UTC]").astype("int64"),
            "ended": ended.astype("datetime64[us, UTC]").astype("int64"),
            "step": step.dt.total_seconds() * _SECOND_US,
            "missing_count": rows["missing_count"].where(is_gap, (ended - began) // step),
            "is_open": ~is_gap & (began >= rows["began_at"]),
            "is_jump": rows["is_jump"].eq(True),
        }
    )[is_gap | (ended - began > max_gap * step)]
    whole = ("point_log_inst_id", "unit_id", "step", "missing_count")
    return found.astype(dict.fromkeys(whole, "int64")).reset_index(drop=True)


def _are_jumps(gaps: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether the record after each gap comes before the one before it in the file.

    Files may be in the order of time or in reverse: the records beside these two show which.
    """
    names = ("id_earlier", "id_before", "id_after", "id_later")
    ids = [gaps[name].astype("Int64").fillna(-1).to_numpy(np.int64) for name in names]
    earlier, across, later = (
        np.where(one // PARTITION_ROWS == two // PARTITION_ROWS, np.sign(two - one), 0)
        for one, two in zip(ids, ids[1:], strict=False)
    )
    return np.asarray(across == np.where(earlier + later < 0, 1, -1))


def _together(groups: Whole, first: Whole, last: Whole) -> Whole:
    """Numbers for rows: equal for those of a group whose ranges all have an instant in common."""
    found = np.empty(len(groups), np.int64)
    number, group, until = -1, None, 0
    for at in np.lexsort((first, groups)).tolist():
        if groups[at] != group or first[at] > until:
            number, group, until = number + 1, groups[at], last[at]
        until = min(until, last[at])
        found[at] = number
    return found


def _of_each(rows: pd.DataFrame, column: str) -> list[set[int]]:
    """The different values of each hole, in the order of holes."""
    found: list[set[int]] = [set() for _ in range(rows["hole"].max() + 1 if len(rows) else 0)]
    for hole, value in zip(rows["hole"].tolist(), rows[column].tolist(), strict=True):
        found[hole].add(value)
    return found


class _Member(NamedTuple):
    """A log instance of a unit; times in microseconds, and how long a gap is at most."""

    key: int
    first: int
    last: int
    longest: float


def _members(instances: pd.DataFrame, max_gap: float) -> dict[int, list[_Member]]:
    """The log instances of each unit that have a steady step."""
    steady = instances[instances["step_s"].notna() & (instances["unit_id"] != UNKNOWN)]
    first, last = (
        steady[name].astype("int64") for name in ("first_recorded_at", "last_recorded_at")
    )
    longest = steady["step_s"].astype("float64") * max_gap * _SECOND_US
    members: dict[int, list[_Member]] = defaultdict(list)
    for unit, *member in zip(steady["unit_id"], steady.index, first, last, longest, strict=True):
        members[unit].append(_Member(*member))
    return members


def _whole_units(
    holes: pd.DataFrame,
    keys: list[set[int]],
    units: list[set[int]],
    members: Mapping[int, list[_Member]],
) -> Iterator[list[int]]:
    """Of each hole, the units all of whose log instances have it, those with a steady step.

    One log instance alone, and those whose step is too long for a hole, say nothing of a unit.
    """
    for began, ended, of, of_units in zip(holes["began"], holes["ended"], keys, units, strict=True):
        whole = []
        for unit in of_units:
            those = members.get(unit, [])
            has_others = any(
                one.key not in of
                and one.first < ended
                and one.last > began
                and one.longest < ended - began
                for one in those
            )
            if not has_others and sum(one.key in of for one in those) > 1:
                whole.append(unit)
        yield whole


def _list_units(units: set[int]) -> str:
    """Units as text, the unknown one last."""
    known = listed(units - {UNKNOWN})
    return ", ".join(filter(None, (known, "unknown" if UNKNOWN in units else "")))


def _note(is_open: bool, is_jump: bool, units: list[int]) -> str:
    """What is known of a hole, in words."""
    known = "clock jump" if is_jump else "no record since" if is_open else ""
    if not units:
        return known
    of = f"all log instances of unit{'s' if len(units) > 1 else ''} {listed(units, _NAMED_UNITS)}"
    return f"{known}: {of}" if known else f"{of} at once: off, or the clock was set"
