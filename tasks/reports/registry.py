"""What a report is, what its build reads and writes, and which reports there are.

A report is a module of this folder that declares `REPORT`, and a template of the same name, its
section of the page: `summaries.py` and `templates/sections/summaries.html.j2`. Its Luigi task, its
place on the page, the digest of its code and what is loaded before processes are forked follow from
that. Every run imports these modules, also if nothing has to be done: they import pandas, pyarrow,
SQLAlchemy and Jinja in their functions.
"""

from __future__ import annotations

import functools
import importlib
import json
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core.files import read_json, write_csv

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from config.declarations import Source
    from tasks.warehouse.interface import Warehouse

SECTIONS = Path(__file__).parent / "templates" / "sections"

Json = dict[str, Any]

TABLES_FOLDER = "reports"
"""Folder in staging with the tables of the reports as Parquet."""


@dataclass(frozen=True)
class Inputs:
    """What a report is built from.

    Attributes:
        paths: Input -> name -> file, of each input that is made of files.
        previous: Name -> file of the report as its last build left it; it need not exist.
        warehouse: The warehouse; it is loaded and checked if the report reads it.
        level: The task's parameter; "" if it has none.
        limits: Defect -> shares, as `judge` takes them; of a report that reads "limits".
        max_gap: Of how many intervals a gap is a hole; of a report that reads "max gap".
        sources: Source -> its declaration, with the settings; of a report that reads "sources".
    """

    paths: Mapping[str, Mapping[str, Path]]
    previous: Mapping[str, Path]
    warehouse: Warehouse
    level: str = ""
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    max_gap: float = 3
    sources: Mapping[str, Source] = field(default_factory=dict)

    def query(self, sql: str, times: tuple[str, ...] = ()) -> pd.DataFrame:
        """The rows that a SELECT gives; whole numbers stay whole beside NULL.

        Args:
            sql: The statement.
            times: Columns that are times.
        """
        import pandas as pd
        import sqlalchemy as sa

        with self.warehouse.connect() as connection:
            return pd.read_sql(
                sa.text(sql),
                connection,
                parse_dates={name: {"format": "ISO8601"} for name in times},
                dtype_backend="numpy_nullable",
            )


@dataclass(frozen=True)
class Outputs:
    """Where the build of a report writes.

    Attributes:
        paths: Name of a file -> where it goes. A table has two: NAME.csv and NAME.parquet.
        bom: As for `write_csv`.
    """

    paths: Mapping[str, Path]
    bom: bool | None = None

    def write_table(self, name: str, rows: pd.DataFrame) -> None:
        """Write a table as CSV for people, and as Parquet for the page.

        None and NaN are empty cells; whole numbers beside them stay whole in a column of objects.
        """
        import pyarrow as pa

        from tasks.core.arrow import write_parquet

        table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata()
        write_csv(self.paths[f"{name}.csv"], table.column_names, table.to_pylist(), self.bom)
        write_parquet(table, self.paths[f"{name}.parquet"])

    def write_json(self, name: str, content: object) -> None:
        """Write what JSON can hold, dataclasses as objects."""
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=asdict)
        self.write_text(name, text + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text as UTF-8."""
        self.paths[name].write_text(text, encoding="utf-8", newline="\n")


@dataclass(frozen=True)
class Results:
    """What the reports have written.

    Attributes:
        reports: The reports folder.
        staging: The staging folder.
    """

    reports: Path
    staging: Path

    def table(self, name: str) -> pa.Table:
        """The rows of NAME.csv, texts as they were before they were made safe for spreadsheets."""
        from tasks.core.arrow import read_parquet

        return read_parquet(self.staging / TABLES_FOLDER / f"{name}.parquet")

    def json(self, name: str) -> Any:
        """The content of NAME.json."""
        return read_json(self.reports / f"{name}.json")

    def counts(self) -> pd.DataFrame:
        """The counts of files and warehouse that were compared."""
        import pandas as pd

        return pd.read_csv(self.reports / "reconciliation.csv")


@dataclass(frozen=True)
class Report:
    """A report: what it reads, what it writes, and its section of the page.

    Attributes:
        name: Of its Luigi task, such as ActivityReport.
        summary: What it shows, in one sentence.
        reads: Names of its inputs; `INPUTS` in `tasks/graph/report.py` declares what each is.
        build: Writes the tables and files, and returns the result in a few words, or "".
        anchor: Id of its section on the page.
        title: The section in the page's navigation.
        position: Sections are in the order of this number.
        tables: CSV files of the reports folder, without ".csv"; the page reads the same rows.
        leading: Columns that follow the first one in the page's tables: names and measures. A table
            need not have them.
        files: Other files: name -> path in the reports folder, or "staging/..." in that one.
        figures: Its part of `run.json`, from what was built.
        values: What its template needs beside `o`, which is all of `run.json`, and `tables`.
        levels: The values of the task's parameter `level`, each a task. In the names of tables and
            in `page` {level} is replaced. Empty if there is one task without a parameter.
        page: Where the report is shown; empty for its section.
        code_version: To be raised when the same inputs give another result.
    """

    name: str
    summary: str
    reads: tuple[str, ...]
    build: Callable[[Inputs, Outputs], str]
    anchor: str
    title: str
    position: int
    tables: tuple[str, ...] = ()
    leading: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    figures: Callable[[Results], Json] = lambda results: {}
    values: Callable[[Results, Json], dict[str, Any]] = lambda results, overview: {}
    levels: tuple[str, ...] = ()
    page: str = ""
    code_version: int = 1

    @property
    def template(self) -> str:
        """The template of its section, named as the module that declares it."""
        return f"sections/{self.build.__module__.rpartition('.')[2]}.html.j2"


@functools.cache
def reports() -> tuple[Report, ...]:
    """All reports, as the page has them."""
    package = Path(__file__).parent
    modules = [module.name for module in pkgutil.iter_modules([str(package)])]
    found: list[Report] = [
        importlib.import_module(f"tasks.reports.{name}").REPORT
        for name in modules
        if (SECTIONS / f"{name}.html.j2").exists()
    ]
    return tuple(sorted(found, key=lambda report: report.position))
