"""What a run found: the figures of `reports/index.html` and `reports/run.json`.

Everything is read from what the other tasks have made; `docs/run.schema.json` documents the shape.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from config.declarations import UNKNOWN
from config.sources import LOG_KINDS
from config.warehouse import SUMMARY_LEVELS, TABLES, origin_path
from tasks.core.spreadsheet import plain_text
from tasks.core.text import count_of, readable, visible_lines
from tasks.reports.schema_change import describe_tables
from tasks.staging.quarantine import read_quarantine
from tasks.state import BUILT, TaskRun

FORMAT = 1
"""Version of `run.json`'s shape."""

LARGEST = 12
"""How many of the largest are told of by name."""

_CLASSES = 14
_LONGEST_ROW = 2_000
_SHOWN_GAPS = 5

Json = dict[str, Any]


@dataclass(frozen=True)
class TaskShown:
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


def collect_overview(
    *,
    reports: Path,
    quarantine: Path,
    warehouse_url: str,
    graph: Sequence[TaskShown],
    notes: Mapping[str, TaskRun],
    run: str,
    made_at: str,
    former: Path,
) -> Json:
    """All figures of a run.

    Args:
        reports: Folder in which the other reports are.
        quarantine: Folder of the rows that could not be read.
        warehouse_url: The warehouse.
        graph: The tasks, the one that makes the report last.
        notes: Of the tasks that ever ran, by label.
        run: Name of the run that is under way.
        made_at: Now, UTC.
        former: `run.json` of the run before; need not be there.
    """
    quality = read_json(reports / "data_quality.json")
    counts = list(read_rows(reports / "reconciliation.csv"))
    schema = read_json(reports / "schema_change.json")
    summaries = {level: _summary(reports, level) for level in SUMMARY_LEVELS}
    tables = _tables(warehouse_url)
    gaps = _gap_totals(read_rows(reports / "gaps.csv"))
    totals = _totals(quality, counts, summaries, tables, gaps)
    files = {name: digest for task in graph for name, digest in sorted(task.reads.items())}
    overview: Json = {
        "format": FORMAT,
        "run": run,
        "made_at": made_at,
        "totals": totals,
        "since": _since(former, totals, files),
        "tasks": _tasks(graph, notes, run),
        "files": files,
        "sources": quality["sources"],
        "warnings": [
            {"source": name, "warning": visible_lines(warning)}
            for name, source in quality["sources"].items()
            for warning in source["warnings"]
        ],
        "unmapped": quality["unmapped"],
        "assumptions": quality["assumptions"],
        "relations": quality["relations"],
        "hops": quality["hops"],
        "waterfall": _waterfall(quality, summaries),
        "rejected": _rejected(quality["sources"], quarantine),
        "emptied": _emptied(quality["sources"]),
        "summaries": summaries,
        "gaps": gaps,
        "tables": tables,
        "schema_change": schema,
        "lineage": [
            {"task": task.label, "makes": task.makes, "comes_from": list(task.comes_from)}
            for task in graph
            if task.makes
        ],
    }
    overview["advice"] = list(_advise(overview))
    return overview


# --- reading what other tasks have made ------------------------------------------------------


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_rows(path: Path) -> Iterable[dict[str, str]]:
    """The rows of a report's CSV file, streamed; texts as they were before they were made safe."""
    for row in _read_raw_rows(path):
        yield {name: plain_text(text) for name, text in row.items()}


def _read_raw_rows(path: Path) -> Iterable[dict[str, str]]:
    csv.field_size_limit(2**31 - 1)  # A quarantined row may be as long as its file.
    with path.open(encoding="utf-8-sig", newline="") as stream:
        yield from csv.DictReader(stream)


# --- the parts -------------------------------------------------------------------------------


def _summary(reports: Path, level: str) -> Json:
    """What a summary adds up to, what of it is unknown, and how the others are spread."""
    name = f"summary_by_{level}.csv"
    totals: Counter[str] = Counter()
    unknown = {"log_count": 0, "record_count": 0}
    members = []
    for row in read_rows(reports / name):
        numbers = {column: int(row[column]) for column in unknown}
        totals.update(numbers)
        totals["rows"] += 1
        if int(row[level]) == UNKNOWN:
            unknown = numbers
        else:
            members.append((numbers["record_count"], int(row[level]), _named(row, level)))
    members.sort(key=lambda member: (-member[0], member[1]))
    others = classify([count for count, _, _ in members[LARGEST:]])
    return {
        "csv": name,
        "rows": totals["rows"],
        "log_count": totals["log_count"],
        "record_count": totals["record_count"],
        "unknown": unknown,
        "largest": [
            {"key": key, "name": name, "record_count": count}
            for count, key, name in members[:LARGEST]
        ],
        "others": [{"record_count": name, "members": count} for name, count in others],
    }


def _named(row: Mapping[str, str], level: str) -> str:
    """A key with the name that belongs to it."""
    match level:
        case "unit_id":
            return row["unit_name"]
        case "app_type_id":
            return f"{row['app_type_description']} ({row['app_type_id']})"
    return f"{row['app_instance_id']} {row['app_type_description']}"


def classify(values: Sequence[int]) -> list[tuple[str, int]]:
    """How many values lie in which class; classes of one round width side by side.

    >>> classify([3, 4, 12])
    [('3', 1), ('4', 1), ('5', 0), ('6', 0), ('7', 0), ('8', 0), ('9', 0), ('10', 0), ('11', 0), \
('12', 1)]
    >>> classify([0, 1999])
    [('0 to 199', 1), ('200 to 399', 0), ('400 to 599', 0), ('600 to 799', 0), ('800 to 999', 0), \
('1,000 to 1,199', 0), ('1,200 to 1,399', 0), ('1,400 to 1,599', 0), ('1,600 to 1,799', 0), \
('1,800 to 1,999', 1)]
    """
    if not values:
        return []
    span = max(values) - min(values) + 1
    widths = (factor * 10**power for power in itertools.count() for factor in (1, 2, 5))
    width = next(width for width in widths if width * _CLASSES >= span)
    counts: dict[int, int] = defaultdict(int)
    for value in values:
        counts[value // width] += 1
    return [
        (_class_name(at * width, width), counts.get(at, 0))
        for at in range(min(counts), max(counts) + 1)
    ]


def _class_name(first: int, width: int) -> str:
    return f"{first:,}" if width == 1 else f"{first:,} to {first + width - 1:,}"


def _totals(
    quality: Json,
    counts: Sequence[Mapping[str, str]],
    summaries: Json,
    tables: Sequence[Json],
    gaps: Json,
) -> Json:
    sources = quality["sources"].values()
    agree = sum(row["expected"] == row["found"] for row in counts)
    hold = sum(item["holds"] for item in quality["assumptions"])
    first = next(hop for hop in quality["hops"] if hop["parent"] == "LOG_INSTANCE")
    rows = {table["name"]: table["rows"] for table in tables}
    return {
        "rows_in": sum(source["rows"] for source in sources),
        "rows_staged": sum(source["staged"] for source in sources),
        "rows_quarantined": sum(source["rejected"] for source in sources),
        "cells_emptied": sum(source["cells_emptied"] for source in sources),
        "records_in": sum(quality["sources"][name]["rows"] for name in LOG_KINDS.values()),
        "facts": rows["fact_logs"],
        "dimension_members": sum(n for name, n in rows.items() if name != "fact_logs"),
        "facts_unknown": {
            "unit_id": summaries["unit_id"]["unknown"]["record_count"],
            "app_instance_id": summaries["app_instance_id"]["unknown"]["record_count"],
            "app_type_id": summaries["app_type_id"]["unknown"]["record_count"],
            "point_log_inst_id": sum(first["records"].values()),
        },
        "records_missing": gaps["missing"],
        "checks": {"passed": agree, "failed": len(counts) - agree},
        "assumptions": {"hold": hold, "fail": len(quality["assumptions"]) - hold},
    }


def _since(former: Path, totals: Json, files: Mapping[str, str]) -> Json | None:
    """What is different from the run before; None if there is none on record."""
    try:
        before = read_json(former)
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
            flat.update({f"{name} {part}": count for part, count in total.items()})
        else:
            flat[name] = total
    return flat


def _tasks(graph: Sequence[TaskShown], notes: Mapping[str, TaskRun], run: str) -> list[Json]:
    """What each task did in this run, and how long it took when it last ran."""
    *others, page = graph
    shown: list[Json] = []
    for task in others:
        note = notes.get(task.label)
        mine = note is not None and note.run == run
        done = "up to date"
        if note is not None and mine:
            done = "built" if note.status == BUILT else "unchanged"
        shown.append(
            {
                "task": task.label,
                "done": done,
                "started_at": None if note is None else note.started_at,
                "seconds": None if note is None else note.seconds,
            }
        )
    return [*shown, {"task": page.label, "done": "under way", "started_at": None, "seconds": None}]


def _waterfall(quality: Json, summaries: Json) -> list[Json]:
    """From the rows of the log files to the facts whose chain is whole: levels and losses."""
    logs = [quality["sources"][name] for name in LOG_KINDS.values()]
    rejected = sum(source["rejected"] for source in logs)
    facts = sum(source["staged"] for source in logs)
    steps: list[Json] = [
        {"step": "rows in the log files", "records": facts + rejected, "total": True},
        {"step": "quarantined", "records": rejected, "total": False},
        {"step": "facts", "records": facts, "total": True},
    ]
    whole = facts
    for hop in quality["hops"]:
        lost = sum(hop["records"].values())
        whole -= lost
        steps.append({"step": f"no row in {hop['parent']}", "records": lost, "total": False})
    return [*steps, {"step": "facts with a whole chain", "records": whole, "total": True}]


def _rejected(sources: Json, quarantine: Path) -> list[Json]:
    """The first quarantined row of each source and kind of reason, as people can read it."""
    found = []
    for name, source in sources.items():
        left = dict(source["quarantined"])
        # Beside them are cells that were emptied, as NAME.cells.csv; partitions have none.
        files = [quarantine / f"{name}.csv", *sorted((quarantine / name).glob("*.csv"))]
        files = [path for path in files if path.is_file()]
        for path in files:
            if not left:
                break
            for row in read_quarantine(path):
                kind = row["kind"]
                if kind not in left:
                    continue
                found.append(
                    {
                        "source": name,
                        "kind": kind,
                        "rows": left.pop(kind),
                        "file": readable(row["file"], _LONGEST_ROW),
                        "line": int(row["line"]),
                        "reason": readable(row["reason"], _LONGEST_ROW),
                        "row": readable(row["row"], _LONGEST_ROW),
                        "quarantine": path.relative_to(quarantine).as_posix(),
                        "other_files": len(files) - 1,
                    }
                )
                if not left:
                    break
    return found


def _emptied(sources: Json) -> list[Json]:
    """The cells that were emptied, of each source and kind of reason."""
    return [
        {
            "source": name,
            "kind": kind,
            "cells": cells,
            "file": source["file"],
            "quarantine": f"{name}.cells.csv",
        }
        for name, source in sources.items()
        for kind, cells in source["emptied"].items()
    ]


def _gap_totals(rows: Iterable[Mapping[str, str]]) -> Json:
    """How many log instances were judged, and what they lack."""
    totals = {"log_instances": 0, "judged": 0, "silent": 0, "expected": 0, "actual": 0}
    missing = 0
    with_gaps = 0
    worst: list[int] = []
    for row in rows:
        totals["log_instances"] += 1
        actual = int(row["actual"] or 0)
        totals["silent"] += actual == 0
        if row["expected"]:
            totals["judged"] += 1
            totals["expected"] += int(row["expected"])
            totals["actual"] += actual
            lacking = int(row["missing"] or 0)
            missing += lacking
            with_gaps += lacking > 0
            if lacking and len(worst) < _SHOWN_GAPS:
                worst.append(int(row["point_log_inst_id"]))
    return {**totals, "missing": missing, "with_gaps": with_gaps, "worst": worst, "csv": "gaps.csv"}


def _tables(warehouse_url: str) -> list[Json]:
    """The warehouse's tables as they stand there, with what is declared of their columns."""
    tables = []
    for live in describe_tables(warehouse_url):
        declared = {column.name: column for column in TABLES[live.name].columns}
        content = asdict(live)
        del content["create_sql"], content["triggers"]
        content["columns"] = [
            {
                "name": name,
                "type": declared[name].type.value if name in declared else "not declared",
                "description": declared[name].description if name in declared else "",
                "origin": origin_path(TABLES[live.name], declared[name])
                if name in declared
                else [],
            }
            for name in live.columns
        ]
        tables.append(content)
    return tables


def _advise(overview: Json) -> Iterable[str]:
    """What to do next, the most important first. Plain text."""
    capped = [name for name, source in overview["sources"].items() if source["capped"]]
    if capped:
        yield (
            f"Ask for a full export of {_listed(capped)}: exactly 1,000,000 rows look like an "
            "export that was cut off."
        )
    for hop in overview["hops"]:
        lost = sum(hop["records"].values())
        if lost and hop["parent"] not in capped:
            yield (
                f"{hop['parent']} lacks rows that {count_of(lost, 'log record')} need (such as "
                f"{hop['key']} {_listed([str(key) for key in hop['examples'][:3]])}): find out "
                "whether the export left them out."
            )
    for item in overview["unmapped"]:
        yield (
            f"{item['source']} has no column that was taken for {item['column']}: if one is "
            f"meant, name it in luigi.cfg: {item['line']}"
        )
    if overview["totals"]["rows_quarantined"]:
        rows = count_of(overview["totals"]["rows_quarantined"], "row")
        yield f"Look at what was quarantined ({rows}); a fixed file is taken up by the next run."
    if overview["totals"]["cells_emptied"]:
        cells = count_of(overview["totals"]["cells_emptied"], "cell")
        yield f"Look at what was emptied ({cells} without a valid value, null in the warehouse)."
    if overview["warnings"]:
        yield (
            f"Read {count_of(len(overview['warnings']), 'warning')} about how files were read: "
            "some may be meant otherwise."
        )
    gaps = overview["gaps"]
    cut_off = any(name in LOG_KINDS.values() for name in capped)
    if gaps["missing"]:
        yield (
            f"{count_of(gaps['with_gaps'], 'log instance')} with fewer records than expected "
            f"({gaps['missing']:,} are missing); the worst: "
            f"{_listed([str(key) for key in gaps['worst']])}."
        )
    if gaps["silent"]:
        yield (
            f"{count_of(gaps['silent'], 'log instance')} without any record: switched off"
            f"{', or lost where the export was cut off' if cut_off else ''}?"
        )
    for assumption in overview["assumptions"]:
        if not assumption["holds"]:
            yield f"An assumption does not hold: {assumption['assumption']}"
    changes = overview["schema_change"]["changes"]
    if changes:
        yield (
            f"The columns of {_listed([change['source'] for change in changes])} changed: see "
            "the schema change report."
        )


def _listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence.

    >>> _listed(["A", "B", "C"])
    'A, B and C'
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
