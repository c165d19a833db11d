"""Where the marks of the page's charts are; `templates/charts.html.j2` draws them.

Bars and heat map are HTML tables, whose cells hold the numbers; columns are SVG.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.core.text import readable

SHADES = 6
"""Shades of a heat map, beside that for nothing at all."""

WIDTH, HEIGHT = 860, 290
LEFT, RIGHT, TOP, BOTTOM = 76, 850, 24, 240
"""The drawing of a chart of columns, and its field within."""

_MOST_TICKS = 6
_LETTER = 6.5


def columns(labels: Sequence[str], series: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Columns beside each other, the series of each stacked.

    Args:
        labels: The label of each column.
        series: Name -> its value in each column.

    Returns:
        What the macro `columns` draws: ticks and labels with their places, and for each series its
        marks: x, y, width, height and text.
    """
    totals = [sum(of) for of in zip(*series.values(), strict=True)]
    ticks = round_ticks(max(totals, default=0))
    scale = (BOTTOM - TOP) / ticks[-1]
    step = (RIGHT - LEFT) / max(1, len(labels))
    width = max(step * 0.8, 0.5)
    bottoms = [0] * len(labels)
    marks: dict[str, list[tuple[float, float, float, float, str]]] = {}
    for name, of_series in series.items():
        marks[name] = []
        for at, value in enumerate(of_series):
            bottoms[at] += value
            x, y = LEFT + step * (at + 0.5) - width / 2, BOTTOM - scale * bottoms[at]
            text = f"{readable(labels[at])}, {name}: {value:,}"
            marks[name].append((x, y, width, value * scale, text))
    longest = max(map(len, labels), default=1) * _LETTER + 14
    every = max(1, math.ceil(len(labels) * longest / (RIGHT - LEFT)))
    return {
        "ticks": [(BOTTOM - scale * tick, f"{tick:,}") for tick in ticks],
        "labels": [
            (LEFT + step * (at + 0.5), readable(labels[at])) for at in range(0, len(labels), every)
        ],
        "series": marks,
        "field": (LEFT, RIGHT, TOP, BOTTOM),
        "size": (WIDTH, HEIGHT),
    }


def round_ticks(highest: int) -> list[int]:
    """Round numbers from 0 up to at least the highest value.

    >>> round_ticks(43), round_ticks(3), round_ticks(0)
    ([0, 10, 20, 30, 40, 50], [0, 1, 2, 3], [0, 1])
    """
    steps = (factor * 10**power for power in itertools.count() for factor in (1, 2, 5))
    step = next(step for step in steps if step * (_MOST_TICKS - 1) >= highest)
    return [step * at for at in range(max(1, math.ceil(highest / step)) + 1)]


def waterfall(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Levels, and between them what was subtracted, as bars with a start.

    Args:
        steps: `step`, its name; `records`; `total`, whether they are a level.

    Returns:
        "floor", where the scale begins: above 0 where what is subtracted could not be seen
        otherwise; "bars": label, records, whether it is a level, start and width as shares.
    """
    tops: list[int] = []
    for step in steps:
        tops.append(step["records"] if step["total"] else tops[-1] - step["records"])
    lowest, highest = min(tops, default=0), max(tops, default=0)
    subtracted = highest - lowest
    ten = 10 ** len(str(subtracted))
    floor = 0 if lowest < 4 * subtracted else (lowest - subtracted) // ten * ten
    span = (highest - floor) or 1
    bars = []
    for step, top in zip(steps, tops, strict=True):
        start, width = (0, top - floor) if step["total"] else (top - floor, step["records"])
        bars.append((step["step"], step["records"], step["total"], start / span, width / span))
    return {"floor": floor, "bars": bars}


def shade(value: float, highest: float) -> int:
    """The shade of a value: 0 for 0, else from 1 to SHADES, which the highest has.

    >>> [shade(value, 600) for value in (0, 1, 100, 101, 600, 900)]
    [0, 1, 1, 2, 6, 6]
    """
    return min(SHADES, math.ceil(value / highest * SHADES)) if value else 0
