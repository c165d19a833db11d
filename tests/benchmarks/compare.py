"""What this checkout and another one leave behind: `python -m tests.benchmarks.compare OTHER`.

Both run the same source files from nothing, each with its own `.venv` and `luigi.cfg`. Compared are
the warehouse, Parquet files, CSV files of reports and quarantine, and the figures of JSON, Markdown
and HTML reports. Times of the runs, durations and sizes on disk are left out. What only one layout
has (bookkeeping, intermediate files, tasks) is listed and is no difference. The exit status is 1 if
there is a difference. `--time` measures instead of comparing; it needs psutil, which
`.venv-bench` of `make bench` has.
"""

from __future__ import annotations

import argparse
import csv
import difflib
import functools
import io
import itertools
import json
import marshal
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

HERE = Path(__file__).parent.parent.parent
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
        # The table of tasks has times and durations.
        if tag in (self._hidden or ("script", "style")) or name == "tasks":
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
    return found


# --- source files: each function makes `take_home_data/` in a folder, and perhaps `more.cfg` ---


def miniature(folder: Path) -> None:
    shutil.copytree(HERE / "tests" / "miniature", folder / "take_home_data")


def hostile(folder: Path) -> None:
    """Hostile texts, and rows that are broken in every way."""
    from tests.conftest import make_project
    from tests.hostile import make_hostile

    make_hostile(make_project(folder, None))
    night = datetime(2024, 10, 27, 1, 30)
    # An hour that occurs twice, and instances that have records in one of the two only.
    minutes = [*range(0, 90, 20), *range(30, 150, 20)]
    local = [(7, night + timedelta(minutes=at)) for at in minutes]
    local += [(8, night + timedelta(minutes=at)) for at in minutes[:6]]
    rows = {
        "APP_TYPE": b"0,again,,\n0,again,,\nx,x,,\n,no key,,\n77\n88,,,\n89,a,b,c,d,e\n",
        "APP_TYPE_REF": b"20,1,x\n21,555,3\n22,2,\n1,1,1\n1,2,2\n",
        "APP_INSTANCE": b"30,21\n31,666\n3,3\n3,4\n32,1e\n33,\n",
        "POINT": b"40,30\n41,777\n42,31\n42,31\n43,0x1\n99999999999999999999,1\n",
        "LOG_INSTANCE": b"50,40,2,180\n51,888,2,180\n52,41,2 K,60\n53,42,,\n50,40,2,180\n",
        "LOG_RCD_B": b"50,2024-06-02 00:00:00,on,OK\n51,2024-06-02 00:01:00,OFF,\n1,,0,OK\n"
        b"999,2024-06-02 00:02:00,1,OK\n1,2024-06-02 00:03:00,2,OK\n"
        b"2,2024-06-02 00:04:00,NO DATA,OK\n2,2024-13-02 00:04:00,1,OK\n",
        "LOG_RCD_F": b'50,2024-06-02 00:00:00,12abc,OK\n1,2024-06-02 00:01:00,"4,5",OK\n'
        b"1,2024-06-02 00:02:00,(5.0),OK\n2,2024-06-02 00:03:00,4.5,\xff\xfe\n"
        b"2,2024-06-02 00:04:00,4\x005,OK\n2,2024-06-02 00:05:00,5,O\x00K\n"
        b'3,"2024-06-02 00:06:00"x,5,OK\n3,2024-06-02 00:07:00,5,"a ""b""\nc"\n'
        b"888,2024-06-02 00:08:00,5,OK\n,2024-06-02 00:09:00,5,OK\nx,2024-06-02,5,OK\n"
        b"4,2024-06-02 00:10:00,POINT FAIL,\n4,2024-06-02 00:11:00,NaN,\n4,1717200000,-1e400,\n"
        b"4,2024-03-31 02:30:00,1,OK\n4,2024-06-02T00:12:00+05:00,-0.0,OK\n4,1717200000000,1,\n"
        b"5,1970-01-01 00:00:00,1,OK\n6,2024-10-27 02:30:00,1,OK\n6,2024-06-02 00:13:00,1,OK,9\n"
        + b"".join(f"{one},{time},{time.minute},OK\n".encode() for one, time in local),
    }
    for name, more in rows.items():
        with (folder / "take_home_data" / f"{name}.csv").open("ab") as stream:
            stream.write(more)
    settings = ("[source defaults]", "max_rejected = 0.5", "[LOG_RCD_F]")
    lines = (*settings, "source_timezone = Europe/Berlin", "")
    (folder / "more.cfg").write_text("\n".join(lines), encoding="utf-8")


def sample(folder: Path) -> None:
    (folder / "take_home_data").mkdir(parents=True, exist_ok=True)
    configure(HERE, folder)
    luigi(HERE, folder, "SampleData", "--scale", "1", "--seed", "1")


def real(folder: Path) -> None:
    """The files that were given, with sample data for the others."""
    given = HERE.parent / "shared" / "take_home_data"
    if given.is_dir():
        shutil.copytree(given, folder / "take_home_data")
        sample(folder)


def partitions(folder: Path) -> None:
    """The sample with 50 files of each kind of log records; one more is kept back."""
    sample(folder)
    for log in ("LOG_RCD_B", "LOG_RCD_F"):
        path = folder / "take_home_data" / f"{log}.csv"
        header, *rows = path.read_bytes().splitlines(keepends=True)
        path.unlink()
        (folder / "take_home_data" / log).mkdir()
        size = len(rows) // 51 + 1
        for number in range(51):
            part = header + b"".join(rows[number * size : (number + 1) * size])
            name = f"take_home_data/{log}/part_{number:02}.csv" if number < 50 else f"{log}_50.csv"
            (folder / name).write_bytes(part)


def change_app_type(folder: Path) -> None:
    path = folder / "take_home_data" / "APP_TYPE.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1000] = lines[1000].partition(b",")[0] + b",Changed\n"
    path.write_bytes(b"".join(lines))


def add_partition(folder: Path) -> None:
    target = folder / "take_home_data" / "LOG_RCD_F" / "part_50.csv"
    shutil.copy(folder / "LOG_RCD_F_50.csv", target)


def exchange_partition(folder: Path) -> None:
    (folder / "take_home_data" / "LOG_RCD_B" / "part_10.csv").unlink()
    add_partition(folder)


DATA = {one.__name__: one for one in (miniature, hostile, sample, real, partitions)}
CHANGES = {
    "sample": [("one row of APP_TYPE changed", change_app_type)],
    "partitions": [("one partition removed and another one added", exchange_partition)],
}


# --- running ---------------------------------------------------------------------------------


def configure(checkout: Path, folder: Path) -> None:
    """Give a project folder the configuration of a checkout, and the lines of `more.cfg`."""
    text = (checkout / "luigi.cfg").read_text(encoding="utf-8")
    more = folder / "more.cfg"
    text += "\n" + more.read_text(encoding="utf-8") if more.exists() else ""
    (folder / "luigi.cfg").write_text(text, encoding="utf-8")
    shutil.rmtree(folder / "config", ignore_errors=True)
    for path in (checkout / "config").glob("*.cfg"):
        (folder / "config").mkdir(exist_ok=True)
        shutil.copy(path, folder / "config")


def command(checkout: Path, *task: str) -> list[str]:
    return [f"{checkout}/.venv/bin/luigi", "--module", "tasks", *task, "--local-scheduler"]


def luigi(checkout: Path, folder: Path, *task: str) -> None:
    """Run a task of a checkout in a project folder.

    Raises:
        RuntimeError: It did not exit with 0.
    """
    words = command(checkout, *task)
    done = subprocess.run(words, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise RuntimeError(f"{checkout} exited with {done.returncode}:\n{done.stderr[-2000:]}")


def make_projects(name: str, work: Path, checkouts: dict[str, Path]) -> dict[str, Path]:
    """A project folder for each checkout, with the same source files; none if there are none."""
    DATA[name](work / "seed")
    folders = {side: work / side for side in checkouts if (work / "seed").exists()}
    for side, folder in folders.items():
        shutil.copytree(work / "seed", folder, ignore=shutil.ignore_patterns("logs", "staging"))
        configure(checkouts[side], folder)
    return folders


def check(name: str, work: Path, checkouts: dict[str, Path]) -> bool:
    """Run and compare a data set; print the first findings, write all, tell whether it is equal."""
    folders = make_projects(name, work, checkouts)
    if not folders:
        print(f"{name}: skipped, its files are not there", flush=True)
        return True
    equal = True
    for told, change in [("", None), *CHANGES.get(name, ())]:
        title = f"{name}, {told}" if told else name
        try:
            for side, folder in folders.items():
                if change:
                    change(folder)
                luigi(checkouts[side], folder, "AllReports")
            found = compare(*folders.values())
        except RuntimeError as error:
            found = Found(different=[str(error)])
        print(f"{title}: {found.verdict()}", *found.lines(5), sep="\n", flush=True)
        with (work / "found.txt").open("a", encoding="utf-8") as stream:
            print(f"{title}: {found.verdict()}", *found.lines(10**6), sep="\n", file=stream)
        equal = equal and not found.different
    return equal


def measure_both(work: Path, checkouts: dict[str, Path], runs: int) -> None:
    """Measure both in turn; print medians, and the ratio of this checkout to the other."""
    from tests.benchmarks.measure import measure

    folders = make_projects("partitions", work, checkouts)
    took: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for turn in range(runs):
        for side in list(folders)[:: -1 if turn % 2 else 1]:
            folder = folders[side]
            for made in ("take_home_data", "staging", "reports"):
                shutil.rmtree(folder / made, ignore_errors=True)
            for path in folder.glob(f"{DATABASE}*"):
                path.unlink()
            shutil.copytree(work / "seed" / "take_home_data", folder / "take_home_data")
            run = functools.partial(measure, command(checkouts[side], "AllReports"), folder)
            cold = run()
            took["cold, s"][side].append(cold.wall)
            took["cold, CPU s"][side].append(cold.cpu)
            took["cold, peak MiB"][side].append(cold.peak)
            took["nothing to do, s"][side].append(run().wall)
            add_partition(folder)
            took["one partition added to 100, s"][side].append(run().wall)
    print(f"{f'median of {runs}':32}{'here':>10}{'other':>10}{'ratio':>8}")
    for what, sides in took.items():
        here, other = (statistics.median(sides[side]) for side in ("here", "other"))
        print(f"{what:32}{here:10.2f}{other:10.2f}{here / other:8.2f}")


def main() -> None:
    """Compare, or measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="another checkout, set up by `make setup`")
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="an empty one to work in")
    parser.add_argument("--time", action="store_true", help="measure instead of comparing")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    for name in list(os.environ):
        if name.startswith("PIPELINE_") or name in ("LUIGI_CONFIG_PATH", "PYTHONPATH"):
            del os.environ[name]
    checkouts = {"here": HERE, "other": options.other.absolute()}
    equal = True
    for name in ["time"] if options.time else options.data:
        with tempfile.TemporaryDirectory() as scratch:
            work = (options.keep / name if options.keep else Path(scratch)).absolute()
            work.mkdir(parents=True, exist_ok=True)
            if options.time:
                measure_both(work, checkouts, options.runs)
            else:
                equal = check(name, work, checkouts) and equal
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
