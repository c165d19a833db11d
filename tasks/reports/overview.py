"""What a run found: the figures of `reports/index.html` and `run.json`.

Everything is read from what the other tasks have made; `docs/run.schema.json` documents the shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from config.sources import LOG_KINDS
from config.warehouse import origin_path
from tasks.core.files import read_json
from tasks.reports.advice import advise
from tasks.reports.registry import Json, Results, reports
from tasks.reports.verdicts import judge_run, worst
from tasks.state import BUILT, TaskRun
from tasks.warehouse.interface import Warehouse
from tasks.warehouse.tables import describe_tables

FORMAT = 2
"""Version of `run.json`'s shape."""


@dataclass(frozen=True)
class TaskSummary:
    """A task of the graph as the report shows it.

    Attributes:
        label: Its name.
        makes: What it makes, first of all; a file or a table, or nothing.
        comes_from: The tasks whose results it is made of.
        reads: The source files that it reads, by name in the data folder, with their SHA-256.
    """

    label: str
    makes: str
    comes_from: tuple[str, ...]
    reads: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """The run that is under way.

    Attributes:
        name: Its name.
        made_at: Now, UTC.
        graph: The tasks, the one that makes the report last.
        last_runs: The last run of each task that ever ran, by label.
    """

    name: str
    made_at: str
    graph: Sequence[TaskSummary]
    last_runs: Mapping[str, TaskRun]


def collect_overview(results: Results, warehouse: Warehouse, run: Run, previous: Path) -> Json:
    """All figures of a run.

    Args:
        results: What the reports have written.
        warehouse: The warehouse.
        run: The run.
        previous: `run.json` of the run before; it need not exist.
    """
    figures: Json = {}
    for report in reports():
        figures |= report.figures(results)
    tables = _tables(warehouse)
    totals = _totals(figures, tables, results)
    files = {name: digest for task in run.graph for name, digest in sorted(task.reads.items())}
    overview: Json = {
        "format": FORMAT,
        "run": run.name,
        "made_at": run.made_at,
        "totals": totals,
        "since": _since(previous, totals, files),
        "tasks": _tasks(run),
        "files": files,
        **figures,
        "tables": tables,
        "lineage": [
            {"task": task.label, "makes": task.makes, "comes_from": list(task.comes_from)}
            for task in run.graph
            if task.makes
        ],
    }
    overview["verdicts"] = judge_run(overview)
    judged = [*overview["verdicts"], *overview["assumptions"]]
    overview["verdict"] = worst(item["verdict"] for item in judged)
    overview["advice"] = advise(overview)
    return overview


def _totals(figures: Json, tables: Sequence[Json], results: Results) -> Json:
    sources = figures["sources"]
    counts = results.counts()
    agree = int((counts["expected"] == counts["found"]).sum())
    hold = sum(item["holds"] for item in figures["assumptions"])
    first = next(lookup for lookup in figures["hops"] if lookup["parent"] == "LOG_INSTANCE")
    rows = {table["name"]: table["rows"] for table in tables}
    unknown = {
        key: summary["unknown"]["record_count"] for key, summary in figures["summaries"].items()
    }
    return {
        "rows_in": sum(source["rows"] for source in sources.values()),
        "rows_staged": sum(source["staged"] for source in sources.values()),
        "rows_quarantined": sum(source["rejected"] for source in sources.values()),
        "cells_emptied": sum(source["cells_emptied"] for source in sources.values()),
        "records_in": sum(sources[name]["rows"] for name in LOG_KINDS.values()),
        "facts": rows["fact_logs"],
        "dimension_members": sum(n for name, n in rows.items() if name != "fact_logs"),
        "facts_unknown": {**unknown, "point_log_inst_id": sum(first["records"].values())},
        "records_missing": figures["gaps"]["missing"],
        "checks": {"passed": agree, "failed": len(counts) - agree},
        "assumptions": {"hold": hold, "fail": len(figures["assumptions"]) - hold},
    }


def _since(previous: Path, totals: Json, files: Mapping[str, str]) -> Json | None:
    """What is different from the run before; None if none is recorded."""
    try:
        before = read_json(previous)
        old_files, old_totals = before["files"], _flat(before["totals"])
        if before["format"] != FORMAT or not all(type(n) is int for n in old_totals.values()):
            return None
        return {
            "run": str(before["run"]),
            "made_at": str(before["made_at"]),
            "new": sorted(files.keys() - old_files.keys()),
            "gone": sorted(old_files.keys() - files.keys()),
            "changed": sorted(
                name for name in files.keys() & old_files.keys() if files[name] != old_files[name]
            ),
            "totals": {
                name: {"before": old_totals[name], "now": now}
                for name, now in _flat(totals).items()
                if name in old_totals and old_totals[name] != now
            },
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _flat(totals: Json) -> dict[str, int]:
    """Totals without levels.

    >>> _flat({"facts": 3, "checks": {"failed": 0}})
    {'facts': 3, 'checks failed': 0}
    """
    flat = {}
    for name, total in totals.items():
        if isinstance(total, dict):
            flat.update({f"{name} {level}": count for level, count in total.items()})
        else:
            flat[name] = total
    return flat


def _tasks(run: Run) -> list[Json]:
    """What each task did in this run, and how long it took when it last ran."""
    *others, page = run.graph
    items: list[Json] = []
    for task in others:
        last = run.last_runs.get(task.label)
        done = "up to date"
        if last is not None and last.run == run.name:
            done = "built" if last.status == BUILT else "unchanged"
        items.append(
            {
                "task": task.label,
                "done": done,
                "started_at": None if last is None else last.started_at,
                "seconds": None if last is None else last.seconds,
            }
        )
    return [*items, {"task": page.label, "done": "under way", "started_at": None, "seconds": None}]


def _tables(warehouse: Warehouse) -> list[Json]:
    """The warehouse's tables as they are, with what is declared of their columns."""
    tables = []
    for live in describe_tables(warehouse):
        table = live.declared
        declared = {column.name: column for column in table.columns}
        content = asdict(live)
        del content["declared"]
        content["columns"] = [
            {
                "name": column.name,
                "type": column.type.value,
                "description": column.description,
                "origin": origin_path(table, column),
            }
            if (column := declared.get(name))
            else {"name": name, "type": "not declared", "description": "", "origin": []}
            for name in live.columns
        ]
        tables.append(content)
    return tables
