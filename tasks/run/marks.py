"""What the end of a run writes into the page: how it ended, and how the runs before did.

The page keeps the figures of the last run that built it. Freshness covers these, not the marked
places, so that the page shows each run and is up to date.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from tasks.run.history import PastRun, read_history
from tasks.run.outcome import SUCCEEDED, Outcome, read_bytes, replace_file
from tasks.run.settings import lock_dir

_LAST_RUN, _HISTORY = "last run", "history"

_MARKED = re.compile(rb"<!-- (last run|history) -->.*?<!-- end of \1 -->", re.DOTALL)

_PAGE_TASK = "ReportPage"

_SHOWN_FAILURES = 5
"""So many failures are on the page; the others are in `last_run.json`."""

_SHOWN_RUNS = 30

_WIDTH, _HEIGHT = 240, 48
_FAILED_HEIGHT = 3


class _Figure(NamedTuple):
    """A figure of a run that has a chart: its name there, its field, how it is written."""

    name: str
    field: str
    form: str


_FIGURES = (
    _Figure("Log records", "log_records", ",d"),
    _Figure("Rows quarantined", "quarantined", ",d"),
    _Figure("Of an unknown unit", "unknown_share", ".2%"),
    _Figure("Failed assumptions", "failed_assumptions", ",d"),
    _Figure("Seconds", "seconds", ",.1f"),
)


def mark_page_at_end(reports: Path, outcome: Outcome) -> None:
    """Mark the page, unless another run builds it: then the end of that run does.

    Args:
        reports: The reports folder. Nothing fails if the page is missing or cannot be written to.
        outcome: How the run ended.
    """
    lock = FileLock(lock_dir() / f"{_PAGE_TASK}.lock", timeout=0)
    with contextlib.suppress(OSError, Timeout), lock:
        mark_page(reports, outcome)


def mark_page(reports: Path, outcome: Outcome) -> None:
    """Mark the page without a lock; as `mark_page_at_end`."""
    with contextlib.suppress(OSError):
        path = reports / "index.html"
        before = read_bytes(path)
        texts = {_LAST_RUN: _line(outcome), _HISTORY: "\n".join(_charts(read_history(reports)))}

        def marked(found: re.Match[bytes]) -> bytes:
            name = found[1].decode()
            text = f"<!-- {name} -->{texts[name]}<!-- end of {name} -->"
            return text.encode("utf-8", "replace")

        after = _MARKED.sub(marked, before)
        if after != before:
            replace_file(path, after)


def page_digest(path: Path) -> str:
    """SHA-256 of a page without what ends of runs have written into it."""
    return hashlib.sha256(_MARKED.sub(b"", read_bytes(path))).hexdigest()


def _line(outcome: Outcome) -> str:
    """The first line of the page, with the errors; empty if the run succeeded."""
    if outcome.status == SUCCEEDED:
        return ""
    text = f"{outcome.describe()} The figures below are of an earlier run."
    shown = outcome.failures[:_SHOWN_FAILURES]
    errors = "\n\n".join(f"{one['task']}\n{one['error']}".strip() for one in shown)
    details = f"<details><summary>The error</summary><pre>{html.escape(errors)}</pre></details>"
    line = f"<p>{html.escape(text)}</p>{details if errors else ''}"
    return f'<div class="last-run" role="alert">{line}</div>'


def _charts(runs: Sequence[PastRun]) -> Iterator[str]:
    """Lines of HTML: a chart of each figure by run, and the table behind them."""
    shown = runs[-_SHOWN_RUNS:]
    if not shown:
        return
    yield '\n<h2 id="history">Runs</h2>'
    which = f"The newest {len(shown)} of {len(runs)} runs" if len(shown) < len(runs) else "All runs"
    yield (
        f"<p>{which}, the oldest first. Runs that failed, were stopped or were killed are red."
        ' <a href="history.csv">history.csv</a></p>\n<div class="runs">'
    )
    for figure in _FIGURES:
        yield from _chart(figure, shown)
    yield '</div>\n<details class="behind"><summary>The table behind it</summary>'
    yield '<div class="scroll" tabindex="0" role="region" aria-label="Runs"><table id="runs">'
    names = "".join(f'<th scope="col" class="n">{figure.name}</th>' for figure in _FIGURES)
    yield '<thead><tr><th scope="col">began (UTC)</th><th scope="col">status</th>'
    yield f"{names}</tr></thead>"
    yield "<tbody>"
    for run in reversed(shown):
        cells = "".join(f'<td class="n">{_text(figure, run)}</td>' for figure in _FIGURES)
        yield f'<tr><td class="t">{_began(run)}</td><td>{run.status}</td>{cells}</tr>'
    yield "</tbody></table></div></details>\n"


def _chart(figure: _Figure, runs: Sequence[PastRun]) -> Iterator[str]:
    values = [getattr(run, figure.field) for run in runs]
    known = [text for run in runs if (text := _text(figure, run))]
    most = max((value for value in values if value), default=0) or 1
    step = _WIDTH / _SHOWN_RUNS
    yield f"<div><span>{figure.name}</span> <b>{known[-1] if known else ''}</b>"
    yield (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img"'
        f' aria-label="{figure.name} by run">'
    )
    for at, (run, value) in enumerate(zip(runs, values, strict=True)):
        least = 0 if run.status == SUCCEEDED else _FAILED_HEIGHT
        height = max(_HEIGHT * (value or 0) / most, least)
        yield (
            f'<rect class="{run.status}" x="{at * step:g}" y="{_HEIGHT - height:.1f}"'
            f' width="{step * 0.8:g}" height="{height:.1f}">'
            f"<title>{_began(run)} {run.status} {_text(figure, run)}</title></rect>"
        )
    yield "</svg></div>"


def _text(figure: _Figure, run: PastRun) -> str:
    value = getattr(run, figure.field)
    return "" if value is None else format(value, figure.form)


def _began(run: PastRun) -> str:
    return html.escape(run.began[:16].replace("T", " "))
