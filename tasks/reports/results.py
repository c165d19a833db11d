"""What the build of a report reads and writes, and how the page reads what was written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from tasks.warehouse.open import Warehouse

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
    """

    paths: Mapping[str, Mapping[str, Path]]
    previous: Mapping[str, Path]
    warehouse: Warehouse
    level: str = ""

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
        import pyarrow.parquet as pq

        from tasks.core.files import write_csv

        table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata()
        write_csv(self.paths[f"{name}.csv"], table.column_names, table.to_pylist(), self.bom)
        pq.write_table(table, self.paths[f"{name}.parquet"])

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
        return json.loads((self.reports / f"{name}.json").read_text(encoding="utf-8"))

    def counts(self) -> pd.DataFrame:
        """The counts of files and warehouse that were compared."""
        import pandas as pd

        return pd.read_csv(self.reports / "reconciliation.csv")
