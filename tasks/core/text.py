"""Text from the data as people see it on a page."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tasks.core.stores import StorePath

_LONGEST = 200
_LONGEST_LINE = 2_000
_MOST_STATES = 20
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Control and format characters: they are not seen, and may turn the order of the text around."""


def readable(value: object, letters: int = _LONGEST) -> str:
    r"""A value as one line of visible text, cut if it is long.

    >>> readable("a\tb\u202ec\x00")
    'a b?c?'
    >>> readable("abcdef", letters=4)
    'abc…'
    """
    # The rest of a very long text would be cut in any case.
    text = " ".join(str(value)[: 4 * letters].split())
    if not text.isprintable():
        text = "".join("?" if unicodedata.category(char) in _INVISIBLE else char for char in text)
    return text if len(text) <= letters else text[: letters - 1] + "…"


def visible_lines(text: str) -> str:
    r"""A text of several lines, such as some of luigi.cfg, with codes for invisible characters.

    >>> print(visible_lines("odd \x1b:\n[LOG_RCD_B]\ntime_format =\n    iso"))
    odd \x1b:
    [LOG_RCD_B]
    time_format =
        iso
    """
    lines = []
    for line in text.split("\n"):
        visible = line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"
        if not visible.isprintable():
            visible = "".join(
                ascii(char)[1:-1] if unicodedata.category(char) in _INVISIBLE else char
                for char in visible
            )
        lines.append(visible)
    return "\n".join(lines)


def displayed_size(size: int | None) -> str:
    """A number of bytes; None is unknown.

    >>> displayed_size(5 * 2**30), displayed_size(3 * 2**20), displayed_size(16 * 2**10)
    ('5.0 GiB', '3.0 MiB', '16 KiB')
    >>> displayed_size(None)
    'unknown'
    """
    if size is None:
        return "unknown"
    if size < 2**20:
        return f"{size / 2**10:.0f} KiB"
    return f"{size / 2**20:.1f} MiB" if size < 2**30 else f"{size / 2**30:,.1f} GiB"


def displayed_url(url: str) -> str:
    """The URL of a database without what may be secret: the password and the options.

    >>> displayed_url("postgresql://etl:secret@db/logs?password=secret")
    'postgresql://etl:***@db/logs?***'
    """
    scheme, separator, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    place, options, _ = place.partition("?")
    hidden = "***" if colon else ""
    return f"{scheme}{separator}{user}{colon}{hidden}{at}{place}{options}{'***' if options else ''}"


def describe_reading(source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """How the file of a source was read: what, and how; as far as it is not as usual.

    Args:
        source: Its audit, with "taken" (declared column -> headers).
    """
    if source["notes"]:
        yield "recognised", "; ".join(source["notes"])
    renamed = [
        f"{column} from {' and '.join(headers)}"
        for column, headers in source["taken"].items()
        if len(headers) > 1 or headers[0].lower() != column
    ]
    if renamed:
        yield "columns", "; ".join(renamed)
    states = sorted(source["states"].items(), key=lambda item: (-item[1][1], item[0]))
    for state in (1.0, 0.0):
        words = [
            f"{word} ({count_of(rows, 'row')})" for word, (value, rows) in states if value == state
        ]
        if words:
            more = len(words) - _MOST_STATES
            listed = ", ".join(words[:_MOST_STATES]) + (f" and {more:,} more" if more > 0 else "")
            yield f"read as {state:g}", listed
    if source["times"]:
        kinds = (f"{rows:,} {kind}" for kind, rows in source["times"].items())
        yield "odd times", "; ".join(kinds)


def count_of(count: int, thing: str) -> str:
    """A number with its noun.

    >>> count_of(1, "row"), count_of(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def link_to(folder: Path, reports: Path) -> str:
    """Where a folder is, as a page in the folder of the reports links to it."""
    if isinstance(folder, StorePath):
        return str(folder)
    try:
        return quote(Path(os.path.relpath(folder, reports)).as_posix())
    except ValueError:  # Another drive.
        return folder.absolute().as_uri()


def ascii_upper(text: str) -> str:
    """Text as SQLite's upper() returns it: letters beyond ASCII stay as they are."""
    return "".join(char.upper() if char.isascii() else char for char in text)


def spellings(words: Iterable[str]) -> set[str]:
    """What `ascii_upper` returns of words in any case.

    >>> sorted(spellings(["Störung"]))
    ['STÖRUNG', 'STöRUNG']
    """
    return {ascii_upper(t) for word in words for t in (word, word.lower(), word.upper())}
