"""Columns that were added to the live warehouse: `config/added_columns.json`, which you commit.

`python -m tasks schema-change` writes the file, below the current folder. The columns come from the
log records, by their header or as luigi.cfg maps them, and may be NULL.
"""

import json
from pathlib import Path

from config.declarations import Column, Type

FILE = Path("config") / "added_columns.json"


def added_columns(table: str, origin: str = "") -> tuple[Column, ...]:
    """The columns that were added to a table.

    Args:
        table: Its name.
        origin: The source of the values; "" for the columns of that source itself.

    Raises:
        SystemExit: The file is damaged; with the message.
    """
    if not FILE.exists():
        return ()
    try:
        return tuple(
            Column(
                name=one["column"],
                type=Type(one["type"]),
                description=one["description"],
                nullable=True,
                aliases=(one["header"],),
                origin=f"{origin}.{one['column']}" if origin else "",
            )
            for one in json.loads(FILE.read_text(encoding="utf-8"))
            if one["table"] == table
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        # The modules that declare the tables cannot be imported: nothing else can report it.
        raise SystemExit(
            f"{FILE} cannot be read: {type(error).__name__}: {error}.\n"
            "Restore it as it was committed."
        ) from None
