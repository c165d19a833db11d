"""Where the marks of the page's charts are; `templates/charts.html.j2` draws them.

Bars and heat map are HTML tables, whose cells hold the numbers; columns and the star are SVG.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from config.warehouse import FACT_LOGS
from tasks.core.text import readable

SHADES = 6
"""Shades of a heat map, beside that for nothing at all."""

WIDTH, HEIGHT = 860, 290
LEFT, RIGHT, TOP, BOTTOM = 76, 850, 24, 240
"""The drawing of a chart of columns, and its field within."""

_MOST_TICKS = 6
_MOST_DAYS = 400
_LABEL_LETTER = 6.5
_DATE_WIDTH = 70
"""Pixels of a date above a heat map, with room beside it."""


def columns(labels: Sequence[str], series: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Columns beside each other, the series of each stacked.

    Args:
        labels: The label of each column.
        series: Name -> its value in each column.

    Returns:
        What the macro `columns` draws: ticks and labels with their places; which labels have no
        room on a phone, where letters are twice as large; for each series its marks: x, y, width,
        height and text.
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
    longest = max(map(len, labels), default=1) * _LABEL_LETTER + 14
    every = max(1, math.ceil(len(labels) * longest / (RIGHT - LEFT)))
    places = [(LEFT + step * (at + 0.5), labels[at]) for at in range(0, len(labels), every)]
    return {
        "ticks": [(BOTTOM - scale * tick, _short(tick)) for tick in ticks],
        "labels": [
            (x, readable(label), at % 2 == 1 or x > WIDTH - longest)
            for at, (x, label) in enumerate(places)
        ],
        "series": marks,
        "field": (LEFT, RIGHT, TOP, BOTTOM),
        "size": (WIDTH, HEIGHT),
    }


def band(
    days: Sequence[str], lows: Sequence[float], means: Sequence[float], highs: Sequence[float]
) -> dict[str, Any]:
    """A band from the smallest to the largest value of each day, and a line along the means.

    Days without a value leave a hole.

    Returns:
        What the macro `band` draws: ticks and labels as of `columns`; areas and lines as the
        points of paths; a mark for each day: x, y and text.
    """
    every_day = days_between(days[0], days[-1]) or list(days)
    ticks = ticks_between(min(lows), max(highs))
    # Halves: the range of all floats is no float.
    scale = (BOTTOM - TOP) / (ticks[-1] / 2 - ticks[0] / 2)
    step = (RIGHT - LEFT) / len(every_day)
    place = {day: LEFT + step * (at + 0.5) for at, day in enumerate(every_day)}
    level = [
        [BOTTOM - scale * (value / 2 - ticks[0] / 2) for value in of] for of in (lows, means, highs)
    ]
    edge = min(step / 2, 6)
    areas, lines = [], []
    for run in _side_by_side([place[day] for day in days], 1.5 * step):
        xs = [place[days[at]] for at in run]
        # A day alone has a width, too.
        ends = [(xs[0] - edge, run[0]), *zip(xs, run, strict=True), (xs[-1] + edge, run[-1])]
        upper = [(x, level[2][at]) for x, at in ends]
        areas.append([*upper, *((x, level[0][at]) for x, at in reversed(ends))])
        lines.append([(x, level[1][at]) for x, at in ends])
    texts = (
        f"{day}: mean {mean:,.6g}, from {low:,.6g} to {high:,.6g}"
        for day, low, mean, high in zip(days, lows, means, highs, strict=True)
    )
    every = every_label(len(every_day), RIGHT - LEFT)
    last = WIDTH - len(days[0]) * _LABEL_LETTER - 14
    return {
        "ticks": [(BOTTOM - scale * (tick / 2 - ticks[0] / 2), f"{tick:,.6g}") for tick in ticks],
        "labels": [
            (place[day], day, at % 2 == 1 or place[day] > last)
            for at, day in enumerate(every_day[::every])
        ],
        "areas": areas,
        "lines": lines,
        "marks": [
            (place[day], y, text) for day, y, text in zip(days, level[1], texts, strict=True)
        ],
        "field": (LEFT, RIGHT, TOP, BOTTOM),
        "size": (WIDTH, HEIGHT),
    }


def _side_by_side(places: Sequence[float], nearest: float) -> list[list[int]]:
    """Of ascending places those that follow each other at less than a distance, by number."""
    runs: list[list[int]] = []
    for at, place in enumerate(places):
        if runs and place - places[runs[-1][-1]] < nearest:
            runs[-1].append(at)
        else:
            runs.append([at])
    return runs


def days_between(first: str, last: str) -> list[str]:
    """All days from one to another; none if there are far too many: then a clock was wrong."""
    begin = date.fromisoformat(first)
    days = (date.fromisoformat(last) - begin).days
    if days > _MOST_DAYS:
        return []
    return [str(begin + timedelta(days=at)) for at in range(days + 1)]


def ticks_between(low: float, high: float) -> list[float]:
    """Round numbers from the lowest value or below it to the highest or above it.

    >>> ticks_between(-22.4, 3.1), ticks_between(20.31, 20.32), ticks_between(5, 5)
    ([-30.0, -20.0, -10.0, 0.0, 10.0], [20.31, 20.315, 20.32], [4.0, 4.5, 5.0, 5.5, 6.0])
    """
    if high <= low:
        low, high = low - max(1.0, abs(low) / 1e6), high + max(1.0, abs(high) / 1e6)
    power = math.floor(math.log10((high / _MOST_TICKS) - (low / _MOST_TICKS)))
    steps = (factor * 10.0 ** (power + more) for more in (0, 1) for factor in (1, 2, 5))
    step = next(one for one in steps if high - low <= one * (_MOST_TICKS - 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{step * at:.12g}") for at in range(first, last + 1)]


def round_ticks(highest: int) -> list[int]:
    """Round numbers from 0 up to at least the highest value.

    >>> round_ticks(43), round_ticks(3), round_ticks(0)
    ([0, 10, 20, 30, 40, 50], [0, 1, 2, 3], [0, 1])
    """
    steps = (factor * 10**power for power in itertools.count() for factor in (1, 2, 5))
    step = next(step for step in steps if step * (_MOST_TICKS - 1) >= highest)
    return [step * at for at in range(max(1, math.ceil(highest / step)) + 1)]


def _short(number: int) -> str:
    """A round number in few letters.

    >>> [_short(number) for number in (0, 500, 1_000, 25_000, 2_500_000)]
    ['0', '500', '1k', '25k', '2.5M']
    """
    if number < 1_000:
        return str(number)
    return f"{number / 1_000:g}k" if number < 1_000_000 else f"{number / 1_000_000:g}M"


def every_label(count: int, width: int) -> int:
    """Of how many columns of a heat map one has a label: dates do not overlap in this many pixels.

    >>> every_label(6, 600), every_label(6, 280), every_label(120, 280)
    (1, 2, 30)
    """
    return max(1, math.ceil(count * _DATE_WIDTH / width))


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


# --- the star: dimensions on the left, the fact table on the right, keys as lines ------------

_ROW, _HEAD, _END, _GAP = 17, 26, 6, 16
_LETTER, _BOLD_LETTER, _PADDING = 6.0, 6.9, 8
_LEFT, _BETWEEN = 60, 120
"""Room for the lines among dimensions, and for those to the facts."""


@dataclass
class _Box:
    """A table in the diagram, its upper left corner at x and y."""

    title: str
    rows: Mapping[str, str]
    kind: str
    x: float = _LEFT
    y: float = 1

    @property
    def width(self) -> float:
        longest = max((len(text) * _LETTER for text in self.rows.values()), default=0)
        return max(longest, len(self.title) * _BOLD_LETTER) + 2 * _PADDING

    @property
    def height(self) -> float:
        return _HEAD + _ROW * len(self.rows) + _END

    def level(self, row: str) -> float:
        """The middle of a row."""
        return self.y + _HEAD + _ROW * (list(self.rows).index(row) + 0.5)


def star(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Boxes and lines of the warehouse's tables.

    Args:
        tables: As `run.json` describes them.

    Returns:
        "boxes", with all texts and their places; "lines": path and text; width and height.
    """
    boxes = {table["name"]: _box(table) for table in tables}
    left = [box for box in boxes.values() if box.kind == "dimension"]
    y = 1.0
    for box in left:
        box.y = y
        y += box.height + _GAP
    right = [box for box in boxes.values() if box.kind == "fact"]
    height = max([y - _GAP, *(box.height for box in right)]) + 1
    edge = _LEFT + max((box.width for box in left), default=0)
    for box in right:
        box.x, box.y = edge + _BETWEEN, (height - box.height) / 2
    return {
        "boxes": [
            {
                "kind": box.kind,
                "frame": (box.x, box.y, box.width, box.height),
                "title": box.title,
                "head": (box.x + _PADDING, box.y + 17),
                "rows": [
                    (box.x + _PADDING, box.level(row) + 4, text) for row, text in box.rows.items()
                ],
            }
            for box in boxes.values()
        ],
        "lines": list(_lines(tables, boxes)),
        "width": max(box.x + box.width for box in boxes.values()) + 1,
        "height": height,
    }


def _box(table: Mapping[str, Any]) -> _Box:
    rows = {}
    for column in table["columns"]:
        name = column["name"]
        is_key = name in table["primary_key"]
        mark = "PK " if is_key else "FK " if name in table["references"] else ""
        rows[name] = mark + readable(name)
    kind = "fact" if table["name"] == FACT_LOGS.name else "dimension"
    return _Box(f"{table['name']} ({table['rows']:,})", rows, kind)


def _lines(
    tables: Sequence[Mapping[str, Any]], boxes: Mapping[str, _Box]
) -> Iterator[tuple[str, str]]:
    """A line for each foreign key: to the right into the facts, to the left among dimensions."""
    for table in tables:
        for column, target in table["references"].items():
            name, _, key = target.partition(".")
            # A column that someone has added may refer to anything.
            if name not in boxes or key not in boxes[name].rows:
                continue
            parent, child = boxes[name], boxes[table["name"]]
            y1, y2 = parent.level(key), child.level(column)
            if child.kind == "fact" and parent.kind == "dimension":
                x1, x2 = parent.x + parent.width, child.x
                bend_1 = bend_2 = (x1 + x2) / 2
            else:
                x1, x2 = parent.x, child.x
                bend_1, bend_2 = x1 - _LEFT * 0.9, x2 - _LEFT * 0.9
            path = (
                f"M{x1:.0f} {y1:.1f}C{bend_1:.0f} {y1:.1f} {bend_2:.0f} {y2:.1f} {x2:.0f} {y2:.1f}"
            )
            yield path, f"{target} to {table['name']}.{column}"
