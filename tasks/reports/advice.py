"""What to do next after a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from config.sources import LOG_KINDS
from tasks.core.text import count_of
from tasks.reports.results import Json


def advise(overview: Json) -> Iterator[str]:
    """What to do next, the most important first. Plain text."""
    capped = [name for name, source in overview["sources"].items() if source["capped"]]
    if capped:
        yield (
            f"Ask for a full export of {_listed(capped)}: exactly 1,000,000 rows look like an "
            "export that was cut off."
        )
    yield from _on_missing_rows(overview["hops"], capped)
    yield from _on_reading(overview)
    yield from _on_gaps(overview["gaps"], any(name in LOG_KINDS.values() for name in capped))
    for assumption in overview["assumptions"]:
        if not assumption["holds"]:
            yield f"An assumption does not hold: {assumption['assumption']}"
    changes = overview["schema_change"]["changes"]
    if changes:
        yield (
            f"The columns of {_listed([change['source'] for change in changes])} changed: see "
            "the schema change report."
        )


def _on_missing_rows(hops: Sequence[Json], capped: Sequence[str]) -> Iterator[str]:
    for hop in hops:
        records = sum(hop["records"].values())
        if records and hop["parent"] not in capped:
            yield (
                f"{hop['parent']} lacks rows that {count_of(records, 'log record')} need (such as "
                f"{hop['key']} {_listed([str(key) for key in hop['examples'][:3]])}): find out "
                "whether the export left them out."
            )


def _on_reading(overview: Json) -> Iterator[str]:
    for item in overview["unmapped"]:
        yield (
            f"{item['source']} has no column that was taken for {item['column']}: if one is "
            f"meant, name it in luigi.cfg: {item['line']}"
        )
    totals = overview["totals"]
    if totals["rows_quarantined"]:
        rows = count_of(totals["rows_quarantined"], "row")
        yield f"Look at what was quarantined ({rows}); the next run reads a fixed file."
    if totals["cells_emptied"]:
        cells = count_of(totals["cells_emptied"], "cell")
        yield f"Look at what was emptied ({cells} without a valid value, null in the warehouse)."
    if overview["warnings"]:
        yield (
            f"Read {count_of(len(overview['warnings']), 'warning')} about how files were read: "
            "some may be meant otherwise."
        )


def _on_gaps(gaps: Json, log_is_capped: bool) -> Iterator[str]:
    if gaps["missing"]:
        yield (
            f"{count_of(gaps['with_gaps'], 'log instance')} with fewer records than expected "
            f"({gaps['missing']:,} are missing); the worst: "
            f"{_listed([str(key) for key in gaps['worst']])}."
        )
    if gaps["silent"]:
        yield (
            f"{count_of(gaps['silent'], 'log instance')} without any record: switched off"
            f"{', or missing where the export was cut off' if log_is_capped else ''}?"
        )


def _listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence.

    >>> _listed(["A", "B", "C"])
    'A, B and C'
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
