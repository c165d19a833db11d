"""Data quality: where every row went, what is unknown, and whether the assumptions hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from config.declarations import UNKNOWN
from config.sources import LOG_KINDS, SOURCES
from tasks.core.arrow import read_parquet
from tasks.core.text import count_of, describe_reading, visible_lines
from tasks.enrichment.lookup import Lookup
from tasks.freshness.snapshot import THREADS
from tasks.reports.templates import render
from tasks.run.source_settings import mapping_line
from tasks.staging.audit import Audit

EXPORT_CAP = 1_000_000
"""An export with exactly this many rows was probably cut off."""

CLEAN_REJECTED = 0.01
CLEAN_UNKNOWN = 0.05
"""Up to these shares of quarantined rows (and emptied cells) and of records without unit, data is
relatively clean; if sentinels among the values are as few as accepted, too."""


@dataclass
class Relation:
    """How a source's rows relate to those of another that they point to.

    Attributes:
        child: Source with the foreign key.
        key: The foreign key's column.
        parent: Source that it points to.
        children: Staged rows of the child.
        orphans: Those whose parent is missing.
        parents: Staged rows of the parent.
        parents_in_use: Those with at least one child.
        most_children: The most children that one parent has.
        repeated_parents: Rows of the parent that repeat a key and tell something else;
            quarantined. The relation is one-to-many if there are none.
    """

    child: str
    key: str
    parent: str
    children: int
    orphans: int
    parents: int
    parents_in_use: int
    most_children: int
    repeated_parents: int


@dataclass
class Assumption:
    """An assumption about the data, tested."""

    assumption: str
    holds: bool
    figures: str


def relate(child: Iterable[pa.Array], parent: np.ndarray) -> dict[str, int]:
    """Measure a foreign key: what `Relation` tells of the keys alone.

    Args:
        child: The foreign keys of the child's rows, in batches.
        parent: The keys of the parent's rows, unique.

    >>> relate([pa.array([1, 1]), pa.array([5])], np.array([2, 1]))
    {'orphans': 1, 'parents_in_use': 1, 'most_children': 2}
    """
    # Sorted keys take 8 bytes each, a table of hashes several times that.
    known = np.sort(parent)
    # Those without a parent are counted behind the last one.
    places = [np.array([], dtype=np.int64)]
    for batch in child:
        keys = batch.to_numpy()
        place = np.searchsorted(known, keys)
        there = np.append(known, 0)[place] == keys
        places.append(np.where(there & (place < len(known)), place, len(known)))
    children = np.bincount(np.concatenate(places), minlength=len(known) + 1)
    return {
        "orphans": int(children[-1]),
        "parents_in_use": int(np.count_nonzero(children[:-1])),
        "most_children": int(children[:-1].max(initial=0)),
    }


def write_relations(staged: Mapping[str, Path], into: Path) -> None:
    """Measure the foreign keys of the sources that describe the log records.

    Args:
        staged: Source -> its staged rows.
        into: JSON file: the child's name, its key, then as `relate` gives it.
    """

    def measure(child: str, key: str) -> dict[str, Any]:
        parent, parent_key = SOURCES[child].references[key]
        keys = read_parquet(staged[parent], parent_key)[parent_key].to_numpy()
        with pq.ParquetFile(staged[child]) as file:
            batches = (batch[key] for batch in file.iter_batches(columns=[key]))
            return {"child": child, "key": key, **relate(batches, keys)}

    keys = [(name, key) for name in staged for key in SOURCES[name].references]
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(measure, *zip(*keys, strict=True)))
    into.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8", newline="\n")


def _relate_records(tally: Mapping[str, Mapping[int, int]]) -> list[dict[str, Any]]:
    """The same of the log records, as they were counted while they were loaded."""
    found = []
    for kind, name in LOG_KINDS.items():
        known = {key: count for key, count in tally.get(kind, {}).items() if key != UNKNOWN}
        (key,) = SOURCES[name].references
        found.append(
            {
                "child": name,
                "key": key,
                "orphans": tally.get(kind, {}).get(UNKNOWN, 0),
                "parents_in_use": len(known),
                "most_children": max(known.values(), default=0),
            }
        )
    return found


def _relations(audits: Mapping[str, Audit], measured: list[dict[str, Any]]) -> list[Relation]:
    relations = []
    for item in measured:
        parent, _ = SOURCES[item["child"]].references[item["key"]]
        relations.append(
            Relation(
                **item,
                parent=parent,
                children=audits[item["child"]].staged,
                parents=audits[parent].staged,
                repeated_parents=audits[parent].repeated_keys.get("different", 0),
            )
        )
    return relations


def judge_assumptions(
    audits: Mapping[str, Audit], relations: list[Relation], hops: list[Lookup]
) -> list[Assumption]:
    """The assumptions that the data model rests on, with verdict and figures."""
    instances = audits["APP_INSTANCE"]
    different = instances.repeated_keys.get("different", 0)
    untyped = next(r for r in relations if r.child == "APP_INSTANCE").orphans
    not_one = [r for r in relations if r.repeated_parents]
    rows = sum(audit.rows for audit in audits.values())
    rejected = sum(audit.rejected for audit in audits.values())
    emptied = sum(audit.cells_emptied for audit in audits.values())
    worst = max(audits.values(), key=lambda audit: _share(audit.rejected_or_emptied, audit.rows))
    records = sum(audits[name].staged for name in LOG_KINDS.values())
    lost = sum(sum(hop.records.values()) for hop in hops if hop.parent != "APP_TYPE")
    words = sum(audit.word_rows for audit in audits.values())
    wordy = [audit for audit in audits.values() if audit.has_many_sentinels]
    too_many = "; ".join(
        f"in {audit.source} {_share(audit.word_rows, audit.values):.2%} of the values, up to "
        f"{audit.max_sentinels:.2%} is clean"
        for audit in wordy
    )
    return [
        Assumption(
            "Each application instance belongs to one application type.",
            different == 0,
            f"{instances.staged:,} application instances; {different:,} further rows give one of "
            "them again with other content (quarantined, the first row counts); "
            f"{untyped:,} refer to a type reference that is not there.",
        ),
        Assumption(
            "The relations are one-to-many.",
            not not_one,
            "; ".join(
                f"{r.parent} to {r.child}: up to {r.most_children:,}"
                + (f", {r.repeated_parents:,} parents given twice" if r.repeated_parents else "")
                for r in relations
            )
            + ".",
        ),
        Assumption(
            "The data is relatively clean.",
            _share(worst.rejected_or_emptied, worst.rows) <= CLEAN_REJECTED
            and _share(lost, records) <= CLEAN_UNKNOWN
            and not wordy,
            f"{rejected:,} of {rows:,} rows quarantined"
            + (f", {count_of(emptied, 'cell')} emptied" if emptied else "")
            + f" (most in {worst.source}: {_share(worst.rejected_or_emptied, worst.rows):.2%}, "
            f"up to {CLEAN_REJECTED:.0%} is clean); "
            f"{lost:,} of {records:,} log records without a unit ({_share(lost, records):.2%}, up "
            f"to {CLEAN_UNKNOWN:.0%}); {words:,} with a word in place of a value"
            + (f" ({too_many})." if wordy else "."),
        ),
    ]


def unmapped(audits: Mapping[str, Audit]) -> list[dict[str, str]]:
    """The recognised columns that files lack, with the line of luigi.cfg that would map each."""
    return [
        {"source": name, "column": column, "line": mapping_line(SOURCES[name], column)}
        for name, audit in audits.items()
        for column in audit.absent
    ]


def collect(
    audits: Mapping[str, Audit], hops: list[Lookup], relations: list[Relation]
) -> dict[str, Any]:
    """All figures of the report, as JSON can hold them."""
    return {
        "sources": {
            name: {
                **asdict(audit),
                "rejected": audit.rejected,
                "cells_emptied": audit.cells_emptied,
                "many_sentinels": audit.has_many_sentinels,
                "taken": {column: audit.headers_of(column) for column in audit.recognised},
                "carried": audit.carried,
                "capped": audit.rows == EXPORT_CAP,
            }
            for name, audit in audits.items()
        },
        "unmapped": unmapped(audits),
        "hops": [asdict(hop) for hop in hops],
        "relations": [asdict(relation) for relation in relations],
        "assumptions": [asdict(item) for item in judge_assumptions(audits, relations, hops)],
        "further_data": further_data(audits),
    }


def further_data(audits: Mapping[str, Audit]) -> list[dict[str, str]]:
    """What would help to make more of the logs, and what of it is present."""
    logs = [audits[name] for name in LOG_KINDS.values()]
    headers = {f"{a.source}.{column}" for a in audits.values() for column in a.header}
    users = sorted(
        name
        for name in headers
        if any(word in name.partition(".")[2].lower() for word in ("user", "operator", "_by"))
    )

    def present(column: str) -> str:
        found = [
            f"{a.source}.{' + '.join(a.headers_of(column))}" for a in logs if column in a.recognised
        ]
        missing = sum(a.nulls[column] for a in logs if column in a.recognised)
        if not found:
            return "not in the files"
        text = "present: " + ", ".join(found)
        return f"{text}; empty in {missing:,} records" if missing else text

    times = present("recorded_at")
    return [
        {"what": "Times of the records", "use": "gaps, rates and day cycles", "present": times},
        {
            "what": "Status codes of the records",
            "use": "telling bad sensors from real readings",
            "present": present("status"),
        },
        {
            "what": "Users",
            "use": "who changed a setpoint or silenced an alarm",
            "present": "present: " + ", ".join(users) if users else "not in the files",
        },
        {
            "what": "The controllers' time zone",
            "use": "placing times without a zone",
            "present": "not in the files; source_timezone in luigi.cfg stands for it",
        },
        {
            "what": "Names of units and of engineering units",
            "use": "reports that need no look-up",
            "present": "not in the files, which give numbers",
        },
    ]


def write_quality_report(
    audit_paths: Mapping[str, Path],
    hops_path: Path,
    relations_path: Path,
    tally: Mapping[str, Mapping[int, int]],
    markdown: Path,
    figures: Path,
) -> None:
    """Write the report for people (Markdown) and its figures for programs (JSON).

    Args:
        audit_paths: Source -> its audit.
        hops_path: What was lost on the way.
        relations_path: As `write_relations` has written it.
        tally: Kind of log record -> log instance -> records.
        markdown: The report to write.
        figures: The figures to write.
    """
    audits = {n: Audit.from_json(p.read_text(encoding="utf-8")) for n, p in audit_paths.items()}
    hops = [Lookup(**hop) for hop in json.loads(hops_path.read_text(encoding="utf-8"))]
    measured = json.loads(relations_path.read_text(encoding="utf-8"))
    relations = _relations(audits, [*measured, *_relate_records(tally)])
    collected = collect(audits, hops, relations)
    figures.write_text(
        json.dumps(collected, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n"
    )
    text = render(
        "data_quality.md.j2",
        **collected,
        kinds=list(LOG_KINDS),
        describe_reading=describe_reading,
        visible_lines=visible_lines,
        cap=EXPORT_CAP,
        records=sum(audits[name].staged for name in LOG_KINDS.values()),
    )
    markdown.write_text(text, encoding="utf-8", newline="\n")


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
