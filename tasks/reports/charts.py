"""Charts of the report page, as inline SVG that takes its colours from the page's style.

Drawn by pygal; what it brings of scripts, styles and links is left out: the page has its own, for
light and dark. Each mark has a title, which browsers show at the pointer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pygal
from markupsafe import Markup
from pygal.graph.dot import Dot
from pygal.style import Style

from tasks.core.text import readable

SHADES = 6
"""How many shades a heat map has, beside that for nothing at all."""

_LABEL_LETTERS = 34
"""Longer labels are cut; those that leave no room for the chart would keep pygal busy for ever."""

_MOST_LABELS = 16

_STYLE = Style(
    font_family="system-ui, sans-serif",
    label_font_size=11,
    major_label_font_size=11,
    legend_font_size=12,
    title_font_size=12,
    value_font_size=11,
    # The page's style sheet has the colours: the marks carry classes.
    colors=("#000000",) * 8,
)


class Bar(NamedTuple):
    """A bar of a chart: what it stands for and how long it is."""

    label: str
    value: float


class Step(NamedTuple):
    """A step of a waterfall.

    Attributes:
        label: What it stands for.
        value: A level that is reached, or what is taken away.
        total: Whether it is a level.
    """

    label: str
    value: int
    total: bool


def draw_bars(bars: Sequence[Bar], *, unit: str, label: str) -> Markup:
    """Horizontal bars, the first one on top.

    Args:
        bars: What is drawn.
        unit: Title of the axis of values.
        label: What the chart shows, for those who do not see it.
    """
    chart = pygal.HorizontalBar(
        **_common(height=80 + 24 * max(1, len(bars))),
        x_title=unit,
        show_legend=False,
        print_values=True,
        print_values_position="top",
        value_formatter=_whole,
        range=(0, max((bar.value for bar in bars), default=1) * 1.12 or 1),
    )
    # pygal begins at the bottom.
    chart.x_labels = [_label(bar.label) for bar in reversed(bars)]
    chart.add("", [bar.value for bar in reversed(bars)])
    return _svg(chart, label, [f"{readable(b.label)}: {_whole(b.value)}" for b in reversed(bars)])


def draw_columns(
    labels: Sequence[str],
    series: Mapping[str, Sequence[int]],
    *,
    unit: str,
    axis: str,
    label: str,
    stacked: bool = True,
    classes: str = "",
) -> Markup:
    """Columns side by side, their series on top of one another.

    Args:
        labels: What each column stands for.
        series: Name -> its value in each column.
        unit: Title of the axis of values.
        axis: Title of the axis of columns.
        label: What the chart shows, for those who do not see it.
        stacked: Whether there is more than one series to put on top of each other.
        classes: Further classes for the style sheet.
    """
    kind = pygal.StackedBar if stacked else pygal.Bar
    every = max(1, math.ceil(len(labels) / _MOST_LABELS))
    chart = kind(
        **_common(height=300),
        x_title=axis,
        y_title=unit,
        show_legend=len(series) > 1,
        legend_at_bottom=False,
        value_formatter=_whole,
        include_x_axis=True,
        x_label_rotation=35 if labels and max(map(len, labels)) * min(len(labels), 16) > 90 else 0,
        x_labels_major_every=every,
        show_minor_x_labels=False,
    )
    chart.x_labels = [_label(text) for text in labels]
    for name, values in series.items():
        chart.add(name, list(values))
    titles = [
        f"{readable(text)}, {name}: {_whole(value)}"
        if len(series) > 1
        else f"{readable(text)}: {_whole(value)}"
        for name, values in series.items()
        for text, value in zip(labels, values, strict=True)
    ]
    return _svg(chart, label, titles, classes)


def draw_waterfall(steps: Sequence[Step], *, unit: str, label: str) -> Markup:
    """Levels, and between them what was taken away.

    The axis begins above 0 where what is taken away could not be seen otherwise; it says so.

    Args:
        steps: From left to right.
        unit: Title of the axis of values.
        label: What the chart shows, for those who do not see it.
    """
    tops = list(itertools.accumulate(steps, _level, initial=0))[1:]
    lowest = min(tops, default=0)
    lost = max(tops, default=0) - lowest
    # A round number, so that those at the axis are.
    ten = 10 ** len(str(lost))
    floor = 0 if lowest < 4 * lost else (lowest - lost) // ten * ten
    chart = pygal.StackedBar(
        **_common(height=320),
        y_title=unit if floor == 0 else f"{unit} (not from 0)",
        show_legend=False,
        value_formatter=lambda value: _whole(value + floor),
        x_label_rotation=20,
    )
    chart.x_labels = [
        _label(f"{step.label} {'' if step.total else MINUS}{step.value:,}") for step in steps
    ]
    chart.add("", [0 if step.total else top - floor for step, top in zip(steps, tops, strict=True)])
    chart.add("", [step.value - floor if step.total else 0 for step in steps])
    chart.add("", [0 if step.total else step.value for step in steps])
    text = [f"{readable(s.label)}: {'' if s.total else MINUS}{s.value:,}" for s in steps]
    return _svg(chart, label, ["" for _ in steps] + text + text, classes="waterfall")


MINUS = "\N{MINUS SIGN}"


def _level(before: int, step: Step) -> int:
    return step.value if step.total else before - step.value


def draw_heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[int]],
    *,
    axis: str,
    highest: int,
    label: str,
) -> Markup:
    """A field of cells, the darker the more; a cell without anything is left empty.

    Args:
        rows: What each row stands for, the first one on top.
        columns: What each column stands for.
        values: Row by row, column by column.
        axis: Title of the axis of columns.
        highest: From this value on a cell has the darkest shade.
        label: What the chart shows, for those who do not see it.
    """
    every = max(1, math.ceil(len(columns) / _MOST_LABELS))
    chart = _HeatMap(
        **_common(height=70 + 11 * max(1, len(rows))),
        x_title=axis,
        show_legend=False,
        x_label_rotation=0 if len(columns) <= 10 else 35,
        x_labels_major_every=every,
        show_minor_x_labels=False,
        range=(0, highest),
    )
    chart.x_labels = [_label(text) for text in columns]
    for name, of_row in zip(rows, values, strict=True):
        chart.add(_label(name), list(of_row))
    return _svg(chart, label, classes="heat-map")


class _HeatMap(Dot):
    """pygal's grid of dots, with cells in place of dots: a path for each row and shade."""

    def dot(self, serie: Any, r_max: float) -> None:
        """Draw a row."""
        node = self.svg.serie(serie)["plot"]
        width = self.view.x(1) - self.view.x(0)
        height = abs(self.view.y(1) - self.view.y(0))
        cells: dict[int, list[str]] = {}
        for value, point in zip(serie.values, map(self.view, serie.points), strict=True):
            if value:
                x, y = point[0] - width / 2, point[1] - height / 2
                cell = f"M{x:.1f} {y:.1f}h{width:.1f}v{height:.1f}h{-width:.1f}z"
                cells.setdefault(shade(value, self._max), []).append(cell)
        for level, paths in sorted(cells.items()):
            self.svg.node(node, "path", d="".join(paths), class_=f"shade-{level}")


def shade(value: float, highest: float) -> int:
    """The shade of a value above 0, from 1 to SHADES for the highest.

    >>> [shade(value, 600) for value in (1, 100, 101, 600)]
    [1, 1, 2, 6]
    """
    return min(SHADES, max(1, math.ceil(value / highest * SHADES)))


def _common(height: int) -> dict[str, Any]:
    return {
        "style": _STYLE,
        "width": 860,
        "height": height,
        "js": (),
        "no_prefix": True,
        "disable_xml_declaration": True,
        "margin": 12,
        "spacing": 8,
        "truncate_label": _LABEL_LETTERS,
        "no_data_text": "nothing to show",
    }


def _label(text: str) -> str:
    return readable(text, letters=_LABEL_LETTERS)


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _svg(
    chart: pygal.graph.graph.Graph, label: str, titles: Sequence[str] = (), classes: str = ""
) -> Markup:
    """The chart as an element of the page."""
    root = ElementTree.fromstring(chart.render(is_unicode=True))
    _clean(root)
    left = iter(titles)
    for mark in root.iter():
        if _name(mark) == "rect" and "rect" in mark.get("class", "").split():
            text = next(left, "")
            if text:
                ElementTree.SubElement(mark, "title").text = text
    box = root.get("viewBox", "0 0 860 300")
    inner = "".join(
        ElementTree.tostring(child, encoding="unicode", short_empty_elements=True) for child in root
    )
    inner = inner.replace("ns0:", "").replace(' xmlns:ns0="http://www.w3.org/2000/svg"', "")
    return Markup(
        '<svg class="chart {classes}" viewBox="{box}" role="img" aria-label="{label}">{inner}</svg>'
    ).format(classes=classes, box=box, label=label, inner=Markup(inner))  # noqa: S704


def _name(node: ElementTree.Element) -> str:
    return node.tag.rpartition("}")[2]


_LEFT_OUT = {"defs", "desc", "title", "script", "style"}


def _clean(node: ElementTree.Element) -> None:
    """Leave out what only pygal's own scripts and styles need, and shorten the numbers."""
    for child in list(node):
        if _name(child) in _LEFT_OUT:
            node.remove(child)
        else:
            _clean(child)
    for unneeded in ("id", "style"):
        node.attrib.pop(unneeded, None)
    for name, text in node.attrib.items():
        if name in _MEASURES:
            node.set(name, f"{float(text):.1f}".removesuffix(".0"))


_MEASURES = {"x", "y", "width", "height", "cx", "cy", "r", "rx", "ry"}
