"""Verdicts on the data: OK, attention or failed, by limits from the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tasks.core.text import count_of

OK, ATTENTION, FAILED = "OK", "attention", "failed"
_FROM_BEST = (OK, ATTENTION, FAILED)

Limits = tuple[float, float]
"""Shares: OK up to the first, failed above the second, attention between them."""

NONE_AT_ALL: Limits = (0.0, 0.0)


def judge(share: float, limits: Limits) -> str:
    """The verdict on a share.

    >>> [judge(share, (0.01, 0.05)) for share in (0.01, 0.05, 0.06)]
    ['OK', 'attention', 'failed']
    """
    first, second = limits
    return OK if share <= first else ATTENTION if share <= second else FAILED


def worst(verdicts: Iterable[str]) -> str:
    """The worst of several verdicts; OK of none."""
    return max(verdicts, key=_FROM_BEST.index, default=OK)


def share_of(count: int, whole: int) -> float:
    """A share; 0 of nothing."""
    return count / whole if whole else 0.0


def percent(share: float) -> str:
    """A limit as text.

    >>> percent(0.01), percent(0.0005)
    ('1%', '0.05%')
    """
    return f"{100 * share:.12g}%"


def judge_run(overview: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The verdicts on what a run found.

    Args:
        overview: `run.json` up to there: limits, sources, totals, gaps, assumptions.

    Returns:
        For each: name, verdict, share, limits, figures (a sentence) and link (to its rows).
    """
    limits = overview["limits"]
    return [
        {
            "name": name,
            "verdict": judge(share, limits.get(name, NONE_AT_ALL)),
            "share": share,
            "limits": list(limits.get(name, NONE_AT_ALL)),
            "figures": f"{figures}.",
            "link": link,
        }
        for name, share, figures, link in _shares(overview)
    ]


def _shares(overview: Mapping[str, Any]) -> list[tuple[str, float, str, str]]:
    """What is judged: name, share, figures in words, link."""
    totals = overview["totals"]
    checks = totals["checks"]
    sources = overview["sources"].values()
    lossy = max(sources, key=lambda source: _lost(source) / (source["rows"] or 1))
    doubled = max(sources, key=lambda source: _repeated(source) / (source["rows"] or 1))
    unknown, missing = totals["facts_unknown"]["unit_id"], totals["records_missing"]
    expected = overview["gaps"]["expected"]
    return [
        (
            "counts",
            share_of(checks["failed"], checks["passed"] + checks["failed"]),
            f"{count_of(checks['failed'], 'count')} of files and warehouse differ",
            "reconciliation.csv",
        ),
        (
            "quarantined",
            share_of(_lost(lossy), lossy["rows"]),
            f"{_lost(lossy):,} of {lossy['rows']:,} rows of {lossy['source']} quarantined or with "
            "an emptied cell, the largest share of all sources",
            "#lost-rows",
        ),
        (
            "unknown",
            share_of(unknown, totals["facts"]),
            f"{unknown:,} of {totals['facts']:,} log records of an unknown unit",
            "#hops",
        ),
        (
            "missing",
            share_of(missing, expected),
            f"{missing:,} of {expected:,} expected log records missing",
            "#gaps",
        ),
        (
            "duplicated",
            share_of(_repeated(doubled), doubled["rows"]),
            f"{_repeated(doubled):,} of {doubled['rows']:,} rows of {doubled['source']} repeat a "
            "key with other content, the largest share of all sources",
            "#lost-rows",
        ),
    ]


def _lost(source: Mapping[str, Any]) -> int:
    return int(source["rejected"] + source["cells_emptied"])


def _repeated(source: Mapping[str, Any]) -> int:
    return int(source["repeated_keys"].get("different", 0))


def by_weight(items: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Items with a verdict, the failed ones first, else in their order."""
    yield from sorted(items, key=lambda item: -_FROM_BEST.index(item["verdict"]))
