"""Diagrams of boxes in columns, joined by lines: the star and the lineage."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from tasks.page_text import readable

_ROW = 17
_HEAD = 24
_GAP = 14
_BETWEEN = 62
_LETTER = 6.4
_PADDING = 10


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
    """The column of each box: behind all that it comes from.

    Args:
        names: Of the boxes; nothing may come from itself.
        parents: Box -> the boxes that it comes from.

    >>> rank(["a", "b", "c"], {"c": ["a", "b"], "b": ["a"]})
    {'a': 0, 'b': 1, 'c': 2}
    """
    ranks: dict[str, int] = {}

    def find(name: str) -> int:
        if name not in ranks:
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
    x: float
    y: float
    width: float
    height: float
    rows: dict[str, float]


def draw_boxes(columns: Sequence[Sequence[Box]], lines: Sequence[Line], *, label: str) -> Markup:
    """Columns of boxes from left to right, and lines between them.

    Args:
        columns: The boxes, column by column; within each they are put in order of what they
            come from, so that few lines cross.
        lines: From left to right.
        label: What the diagram shows, for those who do not see it.
    """
    parents: dict[str, list[str]] = {}
    for line in lines:
        parents.setdefault(line.to_box, []).append(line.from_box)
    placed: dict[str, _Placed] = {}
    tall = max((sum(map(_height, boxes)) + _GAP * len(boxes) for boxes in columns), default=0)
    x = 1.0
    for boxes in columns:
        width = max(map(_width, boxes), default=0)
        ordered = sorted(boxes, key=lambda box: _middle(parents.get(box.name, []), placed))
        y = (tall - sum(map(_height, boxes)) - _GAP * len(boxes)) / 2 + _GAP / 2
        for box in ordered:
            rows = {name: y + _HEAD + _ROW * (at + 0.5) for at, name in enumerate(box.rows)}
            placed[box.name] = _Placed(x, y, width, _height(box), rows)
            y += _height(box) + _GAP
        x += width + _BETWEEN
    drawn = [_draw_line(line, placed) for line in lines]
    drawn += [_draw_box(box, placed[box.name]) for boxes in columns for box in boxes]
    return Markup(
        '<svg class="diagram" viewBox="0 0 {width:.0f} {height:.0f}" role="img"'
        ' aria-label="{label}" style="--natural-width:{width:.0f}px">{drawn}</svg>'
    ).format(width=x - _BETWEEN + 1, height=tall, label=label, drawn=Markup("").join(drawn))


def _height(box: Box) -> float:
    return _HEAD + _ROW * len(box.rows) + (6 if box.rows else 0)


def _width(box: Box) -> float:
    longest = max(len(readable(text)) for text in (box.title + "  ", *box.rows.values()))
    return longest * _LETTER + 2 * _PADDING


def _middle(parents: Sequence[str], placed: Mapping[str, _Placed]) -> float:
    found = [placed[name].y + placed[name].height / 2 for name in parents if name in placed]
    return sum(found) / len(found) if found else 0.0


def _draw_line(line: Line, placed: Mapping[str, _Placed]) -> Markup:
    start, end = placed[line.from_box], placed[line.to_box]
    y1 = start.rows[line.from_row] if line.from_row else start.y + start.height / 2
    y2 = end.rows[line.to_row] if line.to_row else end.y + end.height / 2
    x1, x2 = start.x + start.width, end.x
    bend = max(24.0, (x2 - x1) / 2)
    return Markup(
        '<path class="line" d="M{:.0f} {:.1f}C{:.0f} {:.1f} {:.0f} {:.1f} {:.0f} {:.1f}">'
        "<title>{} to {}</title></path>"
    ).format(x1, y1, x1 + bend, y1, x2 - bend, y2, x2, y2, line.from_box, line.to_box)


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
