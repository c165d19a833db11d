"""Where the marks of the page's charts are; `templates/charts.html.j2` draws them.

Bars and heat map are HTML tables, whose cells hold the numbers; columns and the star are SVG.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config.warehouse import FACT_LOGS
from tasks.core.text import readable

SHADES = 6
"""Shades of a heat map, beside that for nothing at all."""

WIDTH, HEIGHT = 860, 290
LEFT, RIGHT, TOP, BOTTOM = 76, 850, 24, 240
"""The drawing of a chart of columns, and its field within."""

_MOST_TICKS = 6
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
