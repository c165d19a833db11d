"""Diagrams of boxes in columns, joined by lines: the star and the lineage."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from tasks.core.text import readable

_ROW = 17
_HEAD = 24
_GAP = 14
_BETWEEN = 26
_LETTER = 6.0
_BOLD_LETTER = 6.9
_PADDING = 8


@dataclass(frozen=True)
class Box:
    """A box with a title, and rows below it that lines may begin or end at.

    Attributes:
        name: By which lines name it.
        title: What stands on top.
        rows: Name of each row -> what stands there.
        kind: Class that the style sheet knows.
    """

    name: str
    title: str
    rows: Mapping[str, str]
    kind: str = ""


class Line(NamedTuple):
    """A line from a box, or a row of it, to another."""

    from_box: str
    to_box: str
    from_row: str | None = None
    to_row: str | None = None


def rank(names: Sequence[str], parents: Mapping[str, Collection[str]]) -> dict[str, int]:
    """The column of each box: behind all that it comes from, as far as they go round in no ring.

    Args:
        names: Of the boxes.
        parents: Box -> the boxes that it comes from.

    >>> rank(["a", "b", "c"], {"c": ["a", "b"], "b": ["a"]})
    {'a': 0, 'b': 1, 'c': 2}
    """
    ranks: dict[str, int] = {}

    def find(name: str) -> int:
        if name not in ranks:
            ranks[name] = 0  # Where a ring comes back to it.
            ranks[name] = 1 + max((find(parent) for parent in parents.get(name, ())), default=-1)
        return ranks[name]

    for name in names:
        find(name)
    return {name: ranks[name] for name in names}


def without_detours(parents: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """The parents of each box, those left out that are reached through another one.

    >>> without_detours({"c": ["a", "b"], "b": ["a"]})
    {'c': ['b'], 'b': ['a']}
    """
    above: dict[str, set[str]] = {}

    def ancestors(name: str) -> set[str]:
        if name not in above:
            above[name] = set(parents.get(name, ())).union(
                *(ancestors(parent) for parent in parents.get(name, ()))
            )
        return above[name]

    return {
        name: [one for one in own if not any(one in ancestors(other) for other in own)]
        for name, own in parents.items()
    }


@dataclass
class _Placed:
    """Where a box is, or a place that lines pass between two boxes (it has no height)."""

    x: float
    y: float
    width: float
    height: float
    rows: dict[str, float]


_PASSING = 3


def draw_boxes(columns: Sequence[Sequence[Box]], lines: Sequence[Line], *, label: str) -> Markup:
    """Columns of boxes from left to right, and lines between them.

    Args:
        columns: The boxes, column by column; within each they are put in order of what they
            come from, so that few lines cross.
        lines: From left to right. One that skips a column passes between its boxes.
        label: What the diagram shows, for those who do not see it.
    """
    column_of = {box.name: at for at, boxes in enumerate(columns) for box in boxes}
    ways = {line: _way(line, column_of) for line in lines}
    parents: dict[str, list[str]] = {}
    passing: list[dict[str, None]] = [{} for _ in columns]
    for way in ways.values():
        for before, name in itertools.pairwise(way):
            parents.setdefault(name, []).append(before)
        for at, name in enumerate(way[1:-1], start=column_of[way[0]] + 1):
            passing[at][name] = None

    placed: dict[str, _Placed] = {}
    sizes = [
        {**{box.name: _height(box) for box in boxes}, **dict.fromkeys(through, 0.0)}
        for boxes, through in zip(columns, passing, strict=True)
    ]
    tall = max((_column_height(of) for of in sizes), default=0)
    x = 1.0
    for boxes, of in zip(columns, sizes, strict=True):
        width = max(map(_width, boxes), default=0)
        by_name = {box.name: box for box in boxes}
        y = (tall - _column_height(of)) / 2
        for name in sorted(of, key=lambda name: _middle(parents.get(name, []), placed)):
            gap = _GAP if of[name] else _PASSING
            y += gap / 2
            rows = by_name[name].rows if name in by_name else {}
            ends = {row: y + _HEAD + _ROW * (at + 0.5) for at, row in enumerate(rows)}
            placed[name] = _Placed(x, y, width, of[name], ends)
            y += of[name] + gap / 2
        x += width + _BETWEEN
    drawn = [_draw_line(line, way, placed) for line, way in ways.items()]
    drawn += [_draw_box(box, placed[box.name]) for boxes in columns for box in boxes]
    return Markup(
        '<svg class="diagram" viewBox="0 0 {width:.0f} {height:.0f}" role="img"'
        ' aria-label="{label}" style="--natural-width:{width:.0f}px">{drawn}</svg>'
    ).format(width=x - _BETWEEN + 1, height=tall, label=label, drawn=Markup("").join(drawn))


def _way(line: Line, column_of: Mapping[str, int]) -> list[str]:
    """The boxes that a line joins, and the places that it passes; lines from one end share them."""
    skipped = range(column_of[line.from_box] + 1, column_of[line.to_box])
    through = [f"{line.from_box}.{line.from_row} at {at}" for at in skipped]
    return [line.from_box, *through, line.to_box]


def _column_height(sizes: Mapping[str, float]) -> float:
    return sum(size + (_GAP if size else _PASSING) for size in sizes.values())


def _height(box: Box) -> float:
    return _HEAD + _ROW * len(box.rows) + (6 if box.rows else 0)


def _width(box: Box) -> float:
    longest = max((len(readable(text)) * _LETTER for text in box.rows.values()), default=0)
    return max(longest, len(readable(box.title)) * _BOLD_LETTER) + 2 * _PADDING


def _middle(parents: Sequence[str], placed: Mapping[str, _Placed]) -> float:
    found = [placed[name].y + placed[name].height / 2 for name in parents if name in placed]
    return sum(found) / len(found) if found else 0.0


def _draw_line(line: Line, way: Sequence[str], placed: Mapping[str, _Placed]) -> Markup:
    path = ""
    for before, name in itertools.pairwise(way):
        start, end = placed[before], placed[name]
        y1 = start.rows[line.from_row] if line.from_row in start.rows else _centre(start)
        y2 = end.rows[line.to_row] if line.to_row in end.rows else _centre(end)
        x1, x2 = start.x + start.width, end.x
        middle = (x1 + x2) / 2
        path += f"M{x1:.0f} {y1:.1f}" if not path else f"H{x1:.0f}"
        path += f"C{middle:.0f} {y1:.1f} {middle:.0f} {y2:.1f} {x2:.0f} {y2:.1f}"
    return Markup('<path class="line" d="{}"><title>{} to {}</title></path>').format(
        path, _end(line.from_box, line.from_row), _end(line.to_box, line.to_row)
    )


def _centre(placed: _Placed) -> float:
    return placed.y + placed.height / 2


def _end(box: str, row: str | None) -> str:
    return f"{box}.{row}" if row else box


def _draw_box(box: Box, at: _Placed) -> Markup:
    rows = Markup("").join(
        Markup('<text x="{:.0f}" y="{:.1f}">{}</text>').format(
            at.x + _PADDING, at.rows[name] + 4, readable(text)
        )
        for name, text in box.rows.items()
    )
    return Markup(
        '<g class="box {kind}"><rect x="{x:.0f}" y="{y:.1f}" width="{width:.0f}"'
        ' height="{height:.1f}" rx="5"/><text class="head" x="{text:.0f}" y="{head:.1f}">{title}'
        "</text>{rows}</g>"
    ).format(
        kind=box.kind,
        x=at.x,
        y=at.y,
        width=at.width,
        height=at.height,
        text=at.x + _PADDING,
        head=at.y + 16,
        title=readable(box.title),
        rows=rows,
    )
