"""What rehearsals have measured: JSON of each, and a page that compares the strategies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.core.files import read_json, write_json
from tasks.reports import charts
from tasks.reports.templates import render_page, render_section
from tasks.schema_change.change import AddColumn
from tasks.schema_change.interface import Database
from tasks.schema_change.plan import GH_OST, TITLES, TOOLS, plan_path
from tasks.schema_change.rehearsal import Json

_NONE = "-"


def rehearsal_path(reports: Path, change: AddColumn, suffix: str) -> Path:
    """Where the results of a rehearsal are; the suffix is of the page or `.STRATEGY.json`."""
    path = plan_path(reports, change, suffix)
    return path.with_name(path.name.replace("plan_", "rehearsal_", 1))


def write_rehearsal(result: Json, live: Database, reports: Path) -> Path:
    """Write a result, and the page with those of other strategies for the same plan; the page."""
    change = AddColumn.from_json(result["change"])
    path = rehearsal_path(reports, change, f".{result['strategy']}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(result, path)
    results = _results(reports, change, result)
    is_shown = live.kind == "MariaDB" and GH_OST not in results
    table = live.describe(change.table)
    obstacles = {name: tool.obstacles(live, table) for name, tool in TOOLS.items()}
    content = render_section(
        "schema_change_rehearsal.html.j2",
        change=change,
        results=results,
        titles=TITLES,
        engine=result["engine"],
        table=list(_compare(results, obstacles)),
        charts={name: phase_charts(one) for name, one in results.items()},
        gh_ost=TOOLS[GH_OST].commands(live, change, table) if is_shown else {},
        preflight=TOOLS[GH_OST].checks(live, table) if is_shown else [],
    )
    page = rehearsal_path(reports, change, ".html")
    title = f"Rehearsal: {change.column} in {change.table}"
    page.write_text(
        render_page("article.html.j2", title=title, content=content, home="../index.html"),
        encoding="utf-8",
    )
    return page


def _results(reports: Path, change: AddColumn, last: Json) -> dict[str, Json]:
    """The last result of each strategy for the same plan, table and server."""
    results = {}
    for strategy in TITLES:
        path = rehearsal_path(reports, change, f".{strategy}.json")
        found = read_json(path) if path.exists() else {}
        if all(found.get(n) == last[n] for n in ("plan_digest", "fingerprint", "engine")):
            results[strategy] = found
    return results


def _compare(
    results: Mapping[str, Json], obstacles: Mapping[str, Sequence[str]]
) -> Iterator[Sequence[str]]:
    """Rows of the table: what, and its value for each strategy."""
    columns = [_column(one) for one in results.values()]
    yield ("", *TITLES.values())
    for name in columns[0]:
        values = dict(zip(results, (column[name] for column in columns), strict=True))
        if name == "verdict":
            not_run = {
                one: f"not possible: {'; '.join(why)}" for one, why in obstacles.items() if why
            }
            values = dict.fromkeys(TITLES, "not rehearsed") | not_run | values
        yield (name, *(values.get(strategy, _NONE) for strategy in TITLES))


def _column(result: Json) -> dict[str, str]:
    """What the table says of a strategy."""
    phases = result["phases"]
    before, during = phases[0], phases[1:-1]
    ledger, errors = result["ledger"], result["errors"]
    gap_s, target_s = result["longest_gap_s"], result["gap_target_s"]
    is_long = "" if gap_s <= target_s else f", above the target of {target_s:g} s"
    copied = result["copied_rows_per_s"]
    return {
        "verdict": result["verdict"],
        "rows": f"{result['rows']:,}{', a sample' if result['sampled'] else ''}",
        "duration of the change": f"{sum(phase['seconds'] for phase in during):,.1f} s",
        "rows copied": _NONE if copied is None else f"{copied:,} a second",
        "writers before: p50, p99, longest": _quantiles([before], "writers"),
        "writers during: p50, p99, longest": _quantiles(during, "writers"),
        "readers before: p50, p99, longest": _quantiles([before], "readers"),
        "readers during: p50, p99, longest": _quantiles(during, "readers"),
        "longest time without an acknowledged write": f"{gap_s:.2f} s"
        f" ({result['longest_gap_in']}){is_long}",
        "switch: waits and attempts": f"{result['switch_s'] - result['exchange_s']:.2f} s",
        "switch: the attempt that succeeded": f"{result['exchange_s']:.2f} s",
        "steps tried again": _counts(result["retries"]),
        "writers' errors": _counts(errors["writers"]),
        "readers' errors": _counts(errors["readers"]),
        "rows lost, resurrected, stale": f"{ledger['lost']}, {ledger['resurrected']}, "
        f"{ledger['stale']} of {ledger['keys']:,} keys",
    }


def _quantiles(phases: Sequence[Json], who: str) -> str:
    """The worst of the phases."""
    found = [phase[who] for phase in phases if phase[who]]
    if not found:
        return _NONE
    return ", ".join(
        f"{max(one[name] for one in found):,.0f}" for name in ("p50", "p99", "max")
    ) + (" ms")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} x {code}" for code, count in counts.items()) or "none"


def phase_charts(result: Json) -> dict[str, dict[str, Any]]:
    """Of writers and readers: the longest latency over time, a colour for each phase."""
    names = list(dict.fromkeys(phase["name"] for phase in result["phases"]))
    return {
        who: charts.columns(
            [f"{one['at_s']:.1f}" for one in series],
            {name: [one["ms"] if one["phase"] == name else 0 for one in series] for name in names},
        )
        for who, series in result["series"].items()
    }


def summary(result: Json) -> list[str]:
    """Lines for the console."""
    width = max(map(len, _column(result)))
    lines = [f"{name:{width}}  {value}" for name, value in _column(result).items()]
    return [f"{TITLES[result['strategy']]}, {result['engine']}", *lines, *result["problems"]]
