"""The questions of docs/queries.md, and their answers: `python -m tests.queries WAREHOUSE`."""

from __future__ import annotations

import re
import sqlite3
import statistics
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from tasks.explore import QUESTIONS as PAGE
from tasks.explore import questions

_RUNS = 5
_BLOCK = re.compile(r"```sql\n(.*?)```\n(?:\n```text\n(.*?)```\n\n(.*?)\n)?", re.DOTALL)
QUESTIONS = questions(PAGE.read_text(encoding="utf-8"))


class Answer(NamedTuple):
    """The columns and rows of a query."""

    columns: list[str]
    rows: list[tuple]

    def text(self) -> str:
        """As a table."""
        cells = [self.columns, *[["" if v is None else str(v) for v in row] for row in self.rows]]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
        return "".join(f"{line}\n" for line in lines)


def documented() -> dict[str, str]:
    """The documented answer to each SQL."""
    return {sql: answer for sql, answer, _ in _BLOCK.findall(PAGE.read_text(encoding="utf-8"))}


def ask(warehouse: Path, sql: str) -> Answer:
    """The answer of a warehouse, which is not changed."""
    with closing(sqlite3.connect(f"{warehouse.absolute().as_uri()}?mode=ro", uri=True)) as db:
        found = db.execute(sql)
        return Answer([name for name, *_ in found.description], found.fetchall())


def _answered(block: re.Match[str], warehouse: Path) -> str:
    sql = block[1]
    seconds = []
    for _ in range(_RUNS):
        began = time.process_time()
        answer = ask(warehouse, sql)
        seconds.append(time.process_time() - began)
    took = statistics.median(seconds) * 1000
    shown = f"{took:.0f} ms" if took >= 1 else "under 1 ms"
    return f"```sql\n{sql}```\n\n```text\n{answer.text()}```\n\n{shown}\n"


def main(warehouse: Path) -> None:
    """Write the answers of a warehouse into the page."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_BLOCK.sub(lambda block: _answered(block, warehouse), text), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
