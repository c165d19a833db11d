"""Data quality: where every row went, what is unknown, and whether the assumptions hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.declarations import UNKNOWN
from config.sources import LOG_KINDS, SOURCES
from tasks.core.config_text import mapping_line
from tasks.core.files import read_json
from tasks.core.text import count_of, describe_reading, readable, visible_lines
from tasks.reports.charts import waterfall
from tasks.reports.registry import Inputs, Json, Outputs, Report, Results
from tasks.reports.verdicts import FAILED, OK, Limits, judge, percent, share_of, worst

if TYPE_CHECKING:
    from tasks.staging.audit import Audit

EXPORT_CAP = 1_000_000
"""An export with exactly this many rows was probably cut off."""

_LONGEST_ROW = 2_000

RECORDS_OF_INSTANCES = f"""
SELECT log_kind,
    sum(CASE point_log_inst_id WHEN {UNKNOWN} THEN records ELSE 0 END) AS orphans,
    count(nullif(point_log_inst_id, {UNKNOWN})) AS parents_in_use,
    max(CASE point_log_inst_id WHEN {UNKNOWN} THEN 0 ELSE records END) AS most_children
FROM (
    SELECT log_kind, point_log_inst_id, sum(record_count) AS records
    FROM log_instance_activity GROUP BY point_log_inst_id, log_kind
) AS of_instance
GROUP BY log_kind
"""


def build(inputs: Inputs, outputs: Outputs) -> str:
    """Write the figures as JSON, and as Markdown for people."""
    from tasks.reports.templates import render
    from tasks.staging.audit import read_audit

    audits = {name: read_audit(path) for name, path in inputs.paths["audits"].items()}
    lookups = read_json(inputs.paths["unmatched"]["hops"])
    measured = read_json(inputs.paths["relations"]["relations"])
    relations = _relations(audits, [*measured, *_relations_of_records(inputs)])
    content = {
        "sources": {name: _source(audit) for name, audit in audits.items()},
        "unmapped": unmapped(audits),
        "hops": lookups,
        "relations": relations,
        "limits": inputs.limits,
        "assumptions": judge_assumptions(audits, relations, lookups, inputs.limits),
        "further_data": further_data(audits),
    }
    outputs.write_json("figures", content)
    text = render(
        "data_quality.md.j2",
        **content,
        kinds=list(LOG_KINDS),
        describe_reading=describe_reading,
        visible_lines=visible_lines,
        cap=EXPORT_CAP,
    )
    outputs.write_text("markdown", text)
    return ""


def _source(audit: Audit) -> Json:
    return {
        **asdict(audit),
        "rejected": audit.rejected,
        "cells_emptied": audit.cells_emptied,
        "many_sentinels": audit.has_many_sentinels,
        "taken": {column: audit.headers_of(column) for column in audit.recognised},
        "carried": audit.carried,
        "capped": audit.rows == EXPORT_CAP,
    }


# --- relations -------------------------------------------------------------------------------


def _relations_of_records(inputs: Inputs) -> Iterator[Json]:
    """How log records relate to log instances, from the counts of their load."""
    counted = inputs.query(RECORDS_OF_INSTANCES).set_index("log_kind")
    for kind, name in LOG_KINDS.items():
        (key,) = SOURCES[name].references
        measured = dict.fromkeys(counted.columns, 0)
        if kind in counted.index:
            measured = {column: int(counted.at[kind, column]) for column in counted.columns}
        yield {"child": name, "key": key, **measured}


def _relations(audits: Mapping[str, Audit], measured: list[Json]) -> list[Json]:
    """How a source's rows relate to those of another that they refer to.

    Each has child, key, parent; children, the staged rows of the child; orphans, those whose parent
    is missing; parents, parents_in_use, most_children of one parent; repeated_parents, quarantined
    rows of the parent that repeat a key with other content. The relation is one-to-many if there
    are none.
    """
    relations = []
    for item in measured:
        parent, _ = SOURCES[item["child"]].references[item["key"]]
        relations.append(
            {
                "child": item["child"],
                "key": item["key"],
                "parent": parent,
                "children": audits[item["child"]].staged,
                "orphans": item["orphans"],
                "parents": audits[parent].staged,
                "parents_in_use": item["parents_in_use"],
                "most_children": item["most_children"],
                "repeated_parents": audits[parent].repeated_keys.get("different", 0),
            }
        )
    return relations


# --- verdicts --------------------------------------------------------------------------------


def judge_assumptions(
    audits: Mapping[str, Audit],
    relations: list[Json],
    lookups: list[Json],
    limits: Mapping[str, Limits],
) -> list[Json]:
    """The assumptions that the data model rests on: each with its verdict and the figures.

    `holds` is whether the verdict is not "failed".
    """
    found = [
        _one_type(audits, relations, limits["duplicated"]),
        _one_to_many(relations, limits["duplicated"]),
        _clean(audits, lookups, limits),
    ]
    return [{**one, "holds": one["verdict"] != FAILED} for one in found]


def _one_type(audits: Mapping[str, Audit], relations: list[Json], limits: Limits) -> Json:
    instances = audits["APP_INSTANCE"]
    different = instances.repeated_keys.get("different", 0)
    untyped = next(r["orphans"] for r in relations if r["child"] == "APP_INSTANCE")
    return {
        "assumption": "Each application instance belongs to one application type.",
        "verdict": judge(share_of(different, instances.rows), limits),
        "figures": f"{instances.staged:,} application instances; {different:,} further rows repeat "
        "the key of one with other content (quarantined, the first row counts); "
        f"{untyped:,} refer to a type reference that does not exist.",
    }


def _one_to_many(relations: list[Json], limits: Limits) -> Json:
    figures = []
    for r in relations:
        text = f"{r['parent']} to {r['child']}: up to {r['most_children']:,}"
        if r["repeated_parents"]:
            text += f", {r['repeated_parents']:,} parents duplicated"
        figures.append(text)
    return {
        "assumption": "The relations are one-to-many.",
        "verdict": worst(
            judge(share_of(r["repeated_parents"], r["parents"] + r["repeated_parents"]), limits)
            for r in relations
        ),
        "figures": f"{'; '.join(figures)}.",
    }


def _clean(audits: Mapping[str, Audit], lookups: list[Json], limits: Mapping[str, Limits]) -> Json:
    def share(audit: Audit) -> float:
        return share_of(audit.rejected_or_emptied, audit.rows)

    rows = sum(audit.rows for audit in audits.values())
    rejected = sum(audit.rejected for audit in audits.values())
    emptied = sum(audit.cells_emptied for audit in audits.values())
    lossy = max(audits.values(), key=share)
    records = sum(audits[name].staged for name in LOG_KINDS.values())
    # An unknown application type leaves the unit known.
    no_unit = sum(sum(h["records"].values()) for h in lookups if h["parent"] != "APP_TYPE")
    sentinels = sum(audit.word_rows for audit in audits.values())
    too_many = [
        f"in {audit.source} {share_of(audit.word_rows, audit.values):.2%} of the values, up to "
        f"{audit.max_sentinels:.2%} is clean"
        for audit in audits.values()
        if audit.has_many_sentinels
    ]
    return {
        "assumption": "The data is relatively clean.",
        "verdict": worst(
            [
                judge(share(lossy), limits["quarantined"]),
                judge(share_of(no_unit, records), limits["unknown"]),
                FAILED if too_many else OK,
            ]
        ),
        "figures": f"{rejected:,} of {rows:,} rows quarantined"
        + (f", {count_of(emptied, 'cell')} emptied" if emptied else "")
        + f" (most in {lossy.source}: {share(lossy):.2%}, OK up to "
        f"{percent(limits['quarantined'][0])}, failed above {percent(limits['quarantined'][1])}); "
        f"{no_unit:,} of {records:,} log records without a unit ({share_of(no_unit, records):.2%}, "
        f"OK up to {percent(limits['unknown'][0])}, failed above {percent(limits['unknown'][1])}); "
        f"{sentinels:,} with a word in place of a value"
        + (f" ({'; '.join(too_many)})." if too_many else "."),
    }


def unmapped(audits: Mapping[str, Audit]) -> list[dict[str, str]]:
    """The recognised columns that files lack, with the line of luigi.cfg that would map each."""
    return [
        {"source": name, "column": column, "line": mapping_line(SOURCES[name], column)}
        for name, audit in audits.items()
        for column in audit.absent
    ]


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
            "present": "not in the files; source_timezone in luigi.cfg is used for it",
        },
        {
            "what": "Names of units and of engineering units",
            "use": "reports that need no look-up",
            "present": "not in the files, which give numbers",
        },
    ]


# --- what the page and run.json take of it ---------------------------------------------------


def figures(results: Results) -> Json:
    """The sources, and what became of their rows."""
    quality = results.json("data_quality")
    sources = quality["sources"]
    return {
        "sources": sources,
        "warnings": [
            {"source": name, "warning": visible_lines(warning)}
            for name, source in sources.items()
            for warning in source["warnings"]
        ],
        **{
            name: quality[name]
            for name in ("limits", "unmapped", "assumptions", "relations", "hops")
        },
        "waterfall": _waterfall(quality),
        "rejected": list(_rejected(sources, results.staging / "quarantine")),
        "emptied": [
            {
                "source": name,
                "kind": kind,
                "cells": cells,
                "file": source["file"],
                "quarantine": f"{name}.cells.csv",
            }
            for name, source in sources.items()
            for kind, cells in source["emptied"].items()
        ],
    }


def _waterfall(quality: Json) -> list[Json]:
    """From the rows of the log files to the facts with all keys: levels, and what is subtracted."""
    logs = [quality["sources"][name] for name in LOG_KINDS.values()]
    rejected = sum(source["rejected"] for source in logs)
    facts = sum(source["staged"] for source in logs)
    unmatched = [(one["parent"], sum(one["records"].values())) for one in quality["hops"]]
    steps = [
        ("rows in the log files", facts + rejected, True),
        ("quarantined", rejected, False),
        ("facts", facts, True),
        *((f"no row in {parent}", records, False) for parent, records in unmatched),
        ("facts with all keys", facts - sum(records for _, records in unmatched), True),
    ]
    return [{"step": step, "records": n, "total": total} for step, n, total in steps]


def _rejected(sources: Json, quarantine: Path) -> Iterator[Json]:
    """The first quarantined row of each source and kind of reason, made readable."""
    from tasks.staging.audit import read_quarantine

    for name, source in sources.items():
        missing = dict(source["quarantined"])
        # Emptied cells are beside them as NAME.cells.csv; partitions have none.
        files = [quarantine / f"{name}.csv", *sorted((quarantine / name).glob("*.csv"))]
        files = [path for path in files if path.is_file()]
        for path in files:
            if not missing:
                break
            for row in read_quarantine(path):
                if row["kind"] in missing:
                    yield {
                        "source": name,
                        "kind": row["kind"],
                        "rows": missing.pop(row["kind"]),
                        "file": readable(row["file"], _LONGEST_ROW),
                        "line": int(row["line"]),
                        "reason": readable(row["reason"], _LONGEST_ROW),
                        "row": readable(row["row"], _LONGEST_ROW),
                        "quarantine": path.relative_to(quarantine).as_posix(),
                        "other_files": len(files) - 1,
                    }
                if not missing:
                    break


def values(results: Results, overview: Json) -> dict[str, Any]:
    """The steps of the waterfall as bars."""
    return {"waterfall": waterfall(overview["waterfall"])}


REPORT = Report(
    name="DataQualityReport",
    summary="Where every row went, what is unknown and why, and whether the assumptions hold.",
    reads=("warehouse", "audits", "unmatched", "relations", "limits"),
    build=build,
    anchor="trust",
    title="Trust",
    position=30,
    files={"markdown": "data_quality.md", "figures": "data_quality.json"},
    figures=figures,
    values=values,
    code_version=4,
)
