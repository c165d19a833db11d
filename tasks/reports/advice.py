"""What to do next: each item with its weight, the reason, and where its rows are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from config.sources import LOG_KINDS
from tasks.core.text import count_of
from tasks.reports.verdicts import ATTENTION, FAILED, by_weight


def advise(overview: Mapping[str, Any]) -> list[dict[str, str]]:
    """What to do next, what failed first.

    Args:
        overview: `run.json` up to there.

    Returns:
        For each: verdict; do and why, plain text; link, to an anchor of the page or a file.
    """
    verdicts = {item["name"]: item["verdict"] for item in overview["verdicts"]}
    capped = [name for name, source in overview["sources"].items() if source["capped"]]
    items = [
        *_on_counts(overview["totals"]["checks"]),
        *_on_capped(capped),
        *_on_missing_rows(overview["hops"], capped, verdicts["unknown"]),
        *_on_reading(overview, verdicts["quarantined"]),
        *_on_gaps(
            overview["gaps"],
            any(name in LOG_KINDS.values() for name in capped),
            verdicts["missing"],
        ),
        *_on_assumptions(overview["assumptions"]),
        *_on_columns(overview["schema_change"]),
    ]
    return list(by_weight(items))


def _item(verdict: str, do: str, why: str, link: str) -> dict[str, str]:
    return {"verdict": verdict, "do": do, "why": why, "link": link}


def _on_counts(checks: Mapping[str, int]) -> Iterator[dict[str, str]]:
    if checks["failed"]:
        yield _item(
            FAILED,
            "Find out why files and warehouse differ.",
            f"{count_of(checks['failed'], 'count')} of the files and of the warehouse should be "
            "the same and are not.",
            "reconciliation.csv",
        )


def _on_capped(capped: Sequence[str]) -> Iterator[dict[str, str]]:
    if capped:
        yield _item(
            ATTENTION,
            f"Ask for a full export of {_listed(capped)}.",
            "Exactly 1,000,000 rows look like an export that was cut off.",
            "#capped",
        )


def _on_missing_rows(
    lookups: Sequence[Mapping[str, Any]], capped: Sequence[str], verdict: str
) -> Iterator[dict[str, str]]:
    for lookup in lookups:
        records = sum(lookup["records"].values())
        if records and lookup["parent"] not in capped:
            yield _item(
                verdict,
                f"Find out whether the export of {lookup['parent']} left rows out.",
                f"{count_of(records, 'log record')} need{'s' if records == 1 else ''} rows that it "
                "lacks, such as "
                f"{lookup['key']} {_listed([*map(str, lookup['examples'][:3])])}.",
                f"#hop-{lookup['parent']}",
            )


def _on_reading(overview: Mapping[str, Any], verdict: str) -> Iterator[dict[str, str]]:
    for item in overview["unmapped"]:
        yield _item(
            ATTENTION,
            f"If a column of {item['source']} is the {item['column']}, name it in luigi.cfg: "
            f"{item['line']}",
            "No column was taken for it, so it is NULL in the warehouse.",
            f"#source-{item['source']}",
        )
    totals, rejected, emptied = overview["totals"], overview["rejected"], overview["emptied"]
    if totals["rows_quarantined"]:
        yield _item(
            verdict,
            f"Check what was quarantined ({count_of(totals['rows_quarantined'], 'row')}).",
            f"{_most_frequent(rejected, 'rows')} The next run reads a fixed file.",
            "#rejected" if rejected else "#lost-rows",
        )
    if totals["cells_emptied"]:
        yield _item(
            verdict,
            f"Check what was emptied ({count_of(totals['cells_emptied'], 'cell')}).",
            f"{_most_frequent(emptied, 'cells')} The warehouse has NULL in their place.",
            "#emptied" if emptied else "#lost-rows",
        )
    if overview["warnings"]:
        yield _item(
            ATTENTION,
            f"Read {count_of(len(overview['warnings']), 'warning')} about how files were read.",
            "Some of it was guessed, and may be meant otherwise.",
            "#all-warnings",
        )


def _most_frequent(items: Sequence[Mapping[str, Any]], unit: str) -> str:
    """The most frequent reason, as a sentence."""
    if not items:
        return "They could not be read as declared."
    most = max(items, key=lambda item: item[unit])
    return f"The most frequent reason, in {most['source']}: {most['kind']} ({most[unit]:,})."


def _on_gaps(
    gaps: Mapping[str, Any], log_is_capped: bool, verdict: str
) -> Iterator[dict[str, str]]:
    if gaps["missing"]:
        yield _item(
            verdict,
            f"Check {count_of(gaps['with_gaps'], 'log instance')} with fewer records than "
            f"expected; the worst: {_listed([str(key) for key in gaps['worst']])}.",
            f"{gaps['missing']:,} of {gaps['expected']:,} expected log records are missing.",
            "#gaps",
        )
    if gaps["silent"]:
        yield _item(
            ATTENTION,
            f"Find out whether {count_of(gaps['silent'], 'log instance')} without any record "
            "should record.",
            "They may be switched off"
            f"{', or missing where the export was cut off' if log_is_capped else ''}.",
            "gaps.csv",
        )


def _on_assumptions(assumptions: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for number, assumption in enumerate(assumptions, start=1):
        if assumption["verdict"] in (ATTENTION, FAILED):
            yield _item(
                assumption["verdict"],
                f"Check an assumption: {assumption['assumption']}",
                assumption["figures"],
                f"#assumption-{number}",
            )


def _on_columns(figures: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    changes, plans = figures["changes"], figures["plans"]
    if plans:
        yield _item(
            ATTENTION,
            f"Plan {count_of(len(plans), 'new column')}: the report has the commands.",
            "new_columns is evolve, and the warehouse lacks what the files have.",
            "#schema-change",
        )
    if changes:
        yield _item(
            ATTENTION,
            "Read the schema change report.",
            f"The columns of {_listed([change['source'] for change in changes])} changed.",
            "#schema-change",
        )


def _listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence.

    >>> _listed(["A", "B", "C"])
    'A, B and C'
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
