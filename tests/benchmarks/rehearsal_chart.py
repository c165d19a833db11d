"""A chart for docs/schema-change.md: writers' longest latency over time, one field a rehearsal.

python -m tests.benchmarks.rehearsal_chart docs/images/schema-change.svg RESULT.json...
"""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path
from typing import Any

from tasks.core.files import read_json
from tasks.reports.charts import HEIGHT, WIDTH
from tasks.reports.templates import environment
from tasks.schema_change.plan import TITLES
from tasks.schema_change.rehearsal_page import phase_charts

COLOURS = "#d97a16 #2a78c2 #8a63c9 #2f9e77 #c2447c #8d8d3a #5b7db8 #b3552e #7b8794".split()
STYLE = (
    "text{font:11px sans-serif;fill:#222}.axis path{stroke:#ccc;fill:none}"
    ".axis.y text{text-anchor:end}.axis.x text{text-anchor:middle}.head{font-weight:bold}"
)


def field(result: dict[str, Any], top: int) -> str:
    chart = phase_charts(result)["writers"]
    macros: Any = environment(autoescape=True).get_template("charts.html.j2").module
    html = str(macros.columns(chart, "ms", "seconds", "Longest latency of writers over time"))
    svg = html[html.index("<svg") : html.index("</svg>") + 6]
    svg = re.sub(r"<title>[^<]*</title>", "", svg)
    for number, colour in enumerate(COLOURS):
        svg = svg.replace(f'<g class="series-{number}">', f'<g fill="{colour}">')
    title = f"{result['engine']}, {TITLES[result['strategy']]}: longest latency of writers, ms"
    legend = "".join(
        f'<tspan dx="10" fill="{COLOURS[at]}">{escape(name)}</tspan>'
        for at, name in enumerate(chart["series"])
    )
    return (
        f'<text class="head" x="8" y="{top + 14}">{escape(title)}</text>'
        f'<text x="0" y="{top + 30}">{legend}</text>'
        + svg.replace("<svg ", f'<svg y="{top + 34}" height="{HEIGHT}" width="{WIDTH}" ', 1)
    )


def main() -> None:
    out, *results = map(Path, sys.argv[1:])
    step = HEIGHT + 44
    fields = [field(read_json(path), step * at) for at, path in enumerate(results)]
    height = step * len(fields)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">'
    background = f'<style>{STYLE}</style><rect width="{WIDTH}" height="{height}" fill="#fff"/>'
    out.write_text("\n".join([head, background, *fields, "</svg>\n"]), encoding="utf-8")


if __name__ == "__main__":
    main()
