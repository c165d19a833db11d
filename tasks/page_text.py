"""Text from the data as people see it on a page."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from urllib.parse import quote

_LONGEST = 200
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Control and format characters: they are not seen, and may turn the order of the text around."""


def readable(value: object, letters: int = _LONGEST) -> str:
    r"""A value as one line of visible text, cut if it is long.

    >>> readable("a\tb\u202ec\x00")
    'a b?c?'
    >>> readable("abcdef", letters=4)
    'abc…'
    """
    # Long before any cell's width: no need to look at the rest.
    text = " ".join(str(value)[: 4 * letters].split())
    shown = text
    if not text.isprintable():
        shown = "".join("?" if unicodedata.category(char) in _INVISIBLE else char for char in text)
    return shown if len(shown) <= letters else shown[: letters - 1] + "…"


def count_of(count: int, thing: str) -> str:
    """How many there are of a thing.

    >>> count_of(1, "row"), count_of(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def link_to(folder: Path, reports: Path) -> str:
    """Where a folder is, as a page in the folder of the reports links to it."""
    try:
        return quote(Path(os.path.relpath(folder, reports)).as_posix())
    except ValueError:  # Another drive.
        return folder.absolute().as_uri()
