"""The star as a diagram: dimensions on the left, the fact table on the right, keys as lines.

`templates/charts.html.j2` draws it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config.warehouse import FACT_LOGS
from tasks.core.text import readable

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
