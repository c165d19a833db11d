"""Differences between what two runs left behind: warehouse, Parquet, CSV, JSON, Markdown, HTML."""

from __future__ import annotations

import csv
import difflib
import io
import itertools
import json
import marshal
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

BEGAN = f"{datetime.now(UTC) - timedelta(minutes=1):%Y-%m-%d %H:%M}"
DATABASE = "data_warehouse.db"
BOOKKEEPING = ("load_receipt", "loaded_part", "log_tally", "retained_member")
FILES = ("staging/**/*.parquet", "staging/quarantine/**/*.csv", "reports/**/*.*")
LISTS = {"tasks": "task", "lineage": "task", "columns": "name", "tables": "name"}
"""Lists of JSON whose items are told apart by a name, not by their number."""
OF_THE_RUN = ("run", "made_at", "started_at", "seconds")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( UTC|Z)?(-\d+)?")
SIZE = re.compile(r"[\d.,]+ [KMG]i?B\b")
TASK_COUNT = re.compile(r"\d+ built something, \d+ found their inputs unchanged, \d+ up to date")
# Places: of words about figures, of words alone, of what depends on the layout of a version, and of
# what one version may lack.
PROSE = re.compile(r"\.(advice|assumption|figures|notes|step|warnings?|what|\w+_in)\b")
FREE_TEXT = re.compile(r"\.(description|grain|reason)$")
SIZE_OR_LINEAGE = re.compile(r"size_bytes$|run\.json\.lineage\.")
ONE_SIDED = re.compile(
    r"\.(partition_id|is_retained)\b|^staging/[^:]*\.parquet$|run\.json\.tasks\.[^.]*\.[^.]*$"
)
WANTED = {
    r"data_dictionary\.(data_dictionary|log_instance_activity)\.": "bookkeeping is described too",
    r"staging/enriched_logs/.*: schema": "partition_id is a column; keys are declared not null",
    r"staging/log_instance_chains\.parquet: schema": "unmatched_* instead of lost_*",
    r"staging/activity/.*: (schema|steps|first|last)": "times as times; the report merges steps",
    r"profile\.(csv|json)\..*\b(distinct|frequent_error): ": "estimates, by another hash",
    r"schema_change\.\w+: .*\b(Part 1|Risks|After the swap|The pipeline|default that differs)": (
        "words around figures"
    ),
    r"schema_change\.\w+: .*\b(INSERT|CONSTRAINT|CREATE)": "columns partition_id, is_retained",
    r"run\.json\.tables\..*\.origin\.": "every lookup of a column's chain is an origin",
    r"further_data\.\d\.present: ": "words around figures",
    r"index\.html: [-+]run: (Log records|Look at|Check|Gone|Removed)": "words around figures",
    r"index\.html: [-+]trust: −?[\d,]+$": "what is subtracted has a minus in the waterfall",
    r"index\.html: -trust: The bars begin": "the waterfall says where its bars begin",
    r"index\.html: [-+]time: from none": "words around figures",
    r"index\.html: [-+]trust: (: exactly|APP_TYPE to|[\d,]+ (rows|applic))": "words around figures",
    r"index\.html: [-+]source-\w+: about ": "estimates, by another hash",
    r"index\.html: [-+]summary-\w+: .*(hacked|xxxx|Very long)": "long labels are cut",
}
"""Places of differences that version 0.5.0 makes on purpose, and why."""
csv.field_size_limit(2**31 - 1)


@dataclass
class Found:
    """Differences, other words for the same, and what only one layout has."""

    different: list[str] = field(default_factory=list)
    wording: list[str] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)

    def verdict(self) -> str:
        if self.different:
            return f"DIFFERENT ({len(self.different)})"
        return f"wording only ({len(self.wording)})" if self.wording else "equal"

    def lines(self, shown: int) -> Iterator[str]:
        for kind in ("different", "wording", "listed"):
            lines: list[str] = getattr(self, kind)
            yield from (f"  {kind}: {line[:400]}" for line in lines[:shown])
            if len(lines) > shown:
                yield f"  {kind}: ... {len(lines) - shown} more"

    def sort_out(self) -> None:
        """List the differences that are wanted as such."""
        for line in self.different[:]:
            reason = next((why for place, why in WANTED.items() if re.search(place, line)), None)
            if reason:
                self.different.remove(line)
                self.listed.append(f"{line} ({reason})")

    def add(self, at: str, here: object, other: object) -> None:
        """Sort a difference by where it is; None stands for what is not there."""
        into = self.different
        if SIZE_OR_LINEAGE.search(at) or (None in (here, other) and ONE_SIDED.search(at)):
            into = self.listed
        elif None not in (here, other) and (
            FREE_TEXT.search(at) or (PROSE.search(at) and figures(str(here)) == figures(str(other)))
        ):
            into = self.wording
        told = ("nothing" if one is None else repr(one)[:150] for one in (here, other))
        into.append(f"{at}: {' / '.join(told)}")

    def values(self, at: str, here: dict[str, Any], other: dict[str, Any]) -> None:
        """Compare values place by place."""
        for place in dict.fromkeys([*here, *other]):
            one, two = here.get(place), other.get(place)
            if one != two or type(one) is not type(two):
                self.add(f"{at}{place}", one, two)

    def texts(self, at: str, here: list[str], other: list[str], *, ordered: bool) -> None:
        """Compare the figures of lines of text, and then the words."""
        one, two = (figures("\n".join(lines)) for lines in (here, other))
        same = one == two if ordered else sorted(one) == sorted(two)
        for line in changes(here, other):
            if same:
                self.wording.append(f"{at}: {line}")
            elif figures(line):
                self.different.append(f"{at}: {line}")


def changes(here: Sequence[str], other: Sequence[str]) -> list[str]:
    """What is only here, with a minus; what is only in the other, with a plus."""
    lines = list(difflib.unified_diff(here, other, n=0, lineterm=""))[2:]
    return [line for line in lines if not line.startswith("@@")]


def without_run(text: str) -> str:
    """A text without the times of these runs, sizes on disk and numbers of tasks."""

    def keep(match: re.Match[str]) -> str:
        return (
            "" if BEGAN <= match[0][:16].replace("T", " ") <= f"{datetime.now(UTC)}" else match[0]
        )

    return TASK_COUNT.sub("", SIZE.sub("", TIME.sub(keep, text)))


def figures(text: str) -> list[str]:
    """The tokens of a text that contain a digit."""
    tokens = (token.strip(".,;:()[]{}|*`'\"") for token in without_run(text).split())
    return [token for token in tokens if any(map(str.isdigit, token))]


# --- the warehouse ---------------------------------------------------------------------------


def compare_warehouses(here: Path, other: Path, found: Found) -> None:
    """Compare tables and views by content; the order of rows and columns does not matter."""
    with closing(sqlite3.connect(here / DATABASE)) as connection:
        connection.execute("ATTACH ? AS other", (str(other / DATABASE),))
        sql = "SELECT name FROM {}.sqlite_schema WHERE type IN ('table', 'view')"
        sql += " AND name NOT LIKE 'sqlite_%'"
        one, two = ({n for (n,) in connection.execute(sql.format(s))} for s in ("main", "other"))
        for name in sorted(one | two):
            if name in one & two and name not in BOOKKEEPING:
                _compare_table(connection, name, found)
            elif name not in one & two:
                ours = name.startswith(("dim_", "fact_")) or name == "data_dictionary"
                told = found.different if ours else found.listed
                told.append(f"{name}: only {'here' if name in one else 'in the other'}")


def _compare_table(connection: sqlite3.Connection, name: str, found: Found) -> None:
    sql = "SELECT name, pk FROM pragma_table_info(?, ?)"
    one, two = (dict(connection.execute(sql, (name, s)).fetchall()) for s in ("main", "other"))
    found.values(f"{name}.", dict.fromkeys(one, "a column"), dict.fromkeys(two, "a column"))
    # The primary key first: then SQLite need not sort.
    columns = sorted(one.keys() & two.keys(), key=lambda column: (not one[column], column))
    if name == "data_dictionary":
        _compare_dictionaries(connection, found)
        return
    picked = ", ".join(f'"{column}"' for column in columns)
    rows = {s: f"SELECT {picked} FROM {s}.{name}" for s in ("main", "other")}
    cursors = [connection.execute(f"{sql} ORDER BY {picked}") for sql in rows.values()]
    for _ in itertools.count():
        block, block_2 = (cursor.fetchmany(20_000) for cursor in cursors)
        # As bytes, so that 1 is not 1.0; this old format depends on the values alone.
        if marshal.dumps(block, 2) != marshal.dumps(block_2, 2):
            break
        if not block:
            return
    counts, rows_of_one = [], []
    for side, against in (("main", "other"), ("other", "main")):
        connection.execute(f"CREATE TEMP TABLE rest AS {rows[side]} EXCEPT {rows[against]}")
        counts.append(connection.execute("SELECT count(*) FROM rest").fetchone()[0])
        first = connection.execute(f"SELECT * FROM rest ORDER BY {picked} LIMIT 1").fetchone()
        rows_of_one.append(dict(zip(columns, first or (), strict=False)))
        connection.execute("DROP TABLE rest")
    row, row_2 = rows_of_one
    told = [f"{c} {row.get(c)!r} / {row_2.get(c)!r}" for c in columns if row.get(c) != row_2.get(c)]
    key = [f"{columns[0]} {row[columns[0]]}"] if row and columns[0] in row_2 else []
    found.different.append(
        f"{name}: {counts[0]} rows only here, {counts[1]} only in the other; the first: "
        + (", ".join([*key, *told]) or "other types, or rows not as often")
    )


def _compare_dictionaries(connection: sqlite3.Connection, found: Found) -> None:
    sides: list[dict[str, Any]] = []
    for schema in ("main", "other"):
        cursor = connection.execute(f"SELECT * FROM {schema}.data_dictionary")
        names = [column[0] for column in cursor.description]
        sides.append({})
        for row in cursor:
            entry = dict(zip(names, row, strict=True))
            at = f".{entry.pop('table_name')}.{entry.pop('column_name')}"
            if at.split(".")[1] not in BOOKKEEPING:
                sides[-1] |= {f"{at}.{name}": value for name, value in entry.items()}
    found.values("data_dictionary", *sides)


# --- files -----------------------------------------------------------------------------------


def compare_parquet(at: str, here: Path, other: Path, found: Found) -> None:
    """Compare schema and rows, in their order."""
    one, two = pq.read_table(here), pq.read_table(other)
    schemas = ([f"{f.name} {f.type} {f.nullable}" for f in table.schema] for table in (one, two))
    for line in changes(*schemas):
        found.different.append(f"{at}: schema: {line}")
    for name in one.column_names if not one.equals(two) else ():
        if name in two.column_names:
            texts = [[*map(repr, table[name].to_pylist())] for table in (one, two)]  # nan is nan.
            rows = [
                row for row, pair in enumerate(itertools.zip_longest(*texts)) if len({*pair}) > 1
            ]
            if rows:
                pair = tuple(text[rows[0]] if rows[0] < len(text) else None for text in texts)
                found.add(f"{at}: {name}: {len(rows)} rows differ, first {rows[0]}", *pair)


def read_csv(path: Path) -> dict[str, Any]:
    """The cells by row and column."""
    text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    header, *rows = [*csv.reader(io.StringIO(text, newline=""))] or [[]]
    cells: dict[str, Any] = {".header": header, ".rows": len(rows)}
    for number, row in enumerate(rows):
        for name, cell in itertools.zip_longest(header, row, fillvalue="?"):
            cells[f".{number}.{name}"] = cell
    return cells


def flatten(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """The places and leaves of a JSON value, without those that tell of the run."""
    last = at.rpartition(".")[2]
    if isinstance(value, list):
        keys = [item[LISTS[last]] for item in value] if last in LISTS else range(len(value))
        value = dict(zip(keys, value, strict=True))
    if isinstance(value, dict) and value:
        for key, item in value.items():
            if key not in OF_THE_RUN:
                yield from flatten(item, f"{at}.{key}")
    elif isinstance(value, dict):
        yield at, "empty"
    else:
        yield (
            at,
            without_run(value) if isinstance(value, str) else "null" if value is None else value,
        )


class Page(HTMLParser):
    """The sections of a page, and its visible text in lines; that of the lineage apart."""

    def __init__(self, html: str, left_out: set[str]):
        super().__init__()
        self.sections: list[str] = []
        self.lines: dict[bool, list[str]] = {True: [], False: []}
        self._left_out = left_out
        self._open: list[str] = []
        self._hidden: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = dict(attrs).get("id") or ""
        # The table of tasks has times and durations; charts are drawn in other ways.
        if tag in (self._hidden or ("script", "style", "svg")) or name == "tasks":
            self._hidden.append(tag)
        elif tag == "section":
            self._open.append(name)
            self.sections.append(name)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            self._hidden.pop()
        elif tag == "section":
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip() not in self._left_out:
            section = self._open[-1] if self._open else "page"
            lines = [f"{section}: {line}" for line in lines_of(data)]
            self.lines[section == "lineage"] += lines


def lines_of(text: str) -> list[str]:
    """The lines of a text, without those about bookkeeping tables."""
    lines = (" ".join(without_run(line).split()) for line in text.splitlines())
    return [line for line in lines if line and not any(name in line for name in BOOKKEEPING)]


def descriptions(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        return {d.strip() for (d,) in connection.execute("SELECT description FROM data_dictionary")}


def compare(here: Path, other: Path) -> Found:
    """Compare everything that the runs in two folders left behind."""
    found = Found()
    compare_warehouses(here, other, found)
    files: list[dict[str, Path]] = []
    for folder in (here, other):
        paths = [path for pattern in FILES for path in folder.glob(pattern)]
        paths = [path for path in paths if path.is_file() and ".receipts" not in path.parts]
        files.append({path.relative_to(folder).as_posix(): path for path in sorted(paths)})
    found.values("", *({at: "a file" for at in side} for side in files))
    both = files[0].keys() & files[1].keys()
    for at in sorted(both, key=lambda at: (at.endswith(".html"), at.endswith(".json"), at)):
        one, two = (side[at] for side in files)
        before = str(found)
        if at.endswith(".parquet"):
            compare_parquet(at, one, two, found)
        elif at.endswith(".csv") and one.read_bytes() != two.read_bytes():
            found.values(at, read_csv(one), read_csv(two))
            if str(found) == before:
                found.different.append(f"{at}: equal cells, other bytes (quotes, line ends, mark)")
        elif at.endswith(".json"):
            values = (dict(flatten(json.loads(path.read_bytes()))) for path in (one, two))
            found.values(at, *values)
        elif at.endswith(".md"):
            text, text_2 = (path.read_text(encoding="utf-8") for path in (one, two))
            found.texts(at, lines_of(text), lines_of(text_2), ordered=True)
        elif at.endswith(".html"):
            page, page_2 = (
                Page(path.read_text(encoding="utf-8"), descriptions(folder))
                for path, folder in ((one, here), (two, other))
            )
            for line in changes(page.sections, page_2.sections):
                found.different.append(f"{at}: sections: {line}")
            found.texts(at, page.lines[False], page_2.lines[False], ordered=False)
            for line in changes(page.lines[True], page_2.lines[True]):
                found.listed.append(f"{at}, lineage: {line}")
    found.sort_out()
    return found
