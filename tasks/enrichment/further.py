"""Further columns of a source in the warehouse, as text: their names, and which there are."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from config.declarations import Column, Table, Type
from config.warehouse import TABLES

logger = logging.getLogger("pipeline")

ALL = "all"
_LONGEST = 63
"""Bytes of a name in PostgreSQL."""


def with_further(table: Table, headers: Iterable[str], wanted: str = ALL) -> Table:
    """A table with the further columns of the source that `table.further_from` names.

    >>> from config.warehouse import DIM_POINT
    >>> found = with_further(DIM_POINT, ["I/O address", "unit_id", "Order"])
    >>> [column.name for column in found.columns[len(DIM_POINT.columns):]]
    ['i_o_address', 'point_order', 'point_unit_id']

    Args:
        table: The table as declared.
        headers: The further columns of the source.
        wanted: Those to take, with commas between, by header or by name; or `all`.
    """
    found = sorted(headers, key=lambda header: (_plain(header) != header, header))
    names = dict(_names(table, found))
    if wanted.strip().lower() != ALL:
        chosen = {name.strip().lower() for name in wanted.split(",") if name.strip()}
        known = {name: {name, header.lower()} for name, header in names.items()}
        missing = chosen - {column.name for column in table.columns}.union(*known.values())
        if missing:
            logger.warning(
                "%s has no column %s for %s",
                table.further_from,
                ", ".join(sorted(missing)),
                table.name,
            )
        names = {name: header for name, header in names.items() if known[name] & chosen}
    origins = {name: f"{table.further_from}.{header}" for name, header in names.items()}
    described = {name: f"{origin}, as exported." for name, origin in origins.items()}
    return _extended(table, described, origins)


def as_loaded(table: Table, dictionary: Mapping[str, str]) -> Table:
    """A table with the further columns that loads gave it, as `data_dictionary` describes them."""
    if not table.further_from:
        return table
    declared = {"", *(column.name for column in table.columns)}
    return _extended(table, {k: v for k, v in dictionary.items() if k not in declared}, {})


def _extended(table: Table, described: Mapping[str, str], origins: Mapping[str, str]) -> Table:
    columns = [
        Column(name, Type.TEXT, text, nullable=True, origin=origins.get(name, ""))
        for name, text in sorted(described.items())
    ]
    return dataclasses.replace(table, columns=(*table.columns, *columns))


def _names(table: Table, headers: Sequence[str]) -> Iterator[tuple[str, str]]:
    """A name for each header that no other column has and that every database takes."""
    prefix = table.name.removeprefix("dim_")
    taken = {column.name for column in TABLES[table.name].columns} | _reserved_words()
    for header in headers:
        name = _cut(_plain(header) or "column")
        if name in taken or not name[0].isalpha():
            name = _cut(f"{prefix}_{name}")
        numbered = (_cut(name, f"_{number}") for number in itertools.count(2))
        name = next(one for one in itertools.chain([name], numbered) if one not in taken)
        taken.add(name)
        yield name, header


def _cut(name: str, ending: str = "") -> str:
    """A name with an ending, as long as databases permit."""
    room = _LONGEST - len(ending)
    return name.encode()[:room].decode(errors="ignore") + ending


def _plain(header: str) -> str:
    return re.sub(r"\W+", "_", header.lower()).strip("_")


def _reserved_words() -> set[str]:
    from sqlalchemy.dialects.mysql.reserved_words import RESERVED_WORDS_MARIADB
    from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS as POSTGRESQL
    from sqlalchemy.dialects.sqlite.base import SQLiteIdentifierPreparer

    known = RESERVED_WORDS_MARIADB | POSTGRESQL | SQLiteIdentifierPreparer.reserved_words
    return {*known, "nothing"}  # SQLite's, of ON CONFLICT DO NOTHING.
