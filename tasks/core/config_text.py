"""Values in luigi.cfg: how they are written there."""

from __future__ import annotations

import re
from collections.abc import Iterable

from config.declarations import Source, Type

Settings = dict[str, str | tuple[str, ...]]
"""Option -> its value; several values are a list, one item a line."""

_ESCAPES = re.compile(r"\\(?:\\|t|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4}))")


def unescape(text: str) -> str:
    r"""A value of luigi.cfg: `\t`, `\xNN`, `\uNNNN` and `\\` are escapes, nothing else is.

    >>> unescape(r"\x23N/A \N \\N \u2212") == "#N/A " + chr(92) + "N " + chr(92) + "N \u2212"
    True
    """

    def character(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        return chr(int(code, 16)) if code else match[0][1].replace("t", "\t")

    return _ESCAPES.sub(character, text)


def config_line(option: str, value: str | tuple[str, ...]) -> str:
    r"""The line of luigi.cfg that gives an option a value; several lines for a list.

    >>> print(config_line("delimiter", "\t"), "|", config_line("escapechar", "\\"))
    delimiter = \t | escapechar = \\
    >>> config_line("time_format", ("iso", "epoch"))
    'time_format =\n    iso\n    epoch'
    """
    if isinstance(value, str) or len(value) == 1:
        return f"{option} = {_escape(value if isinstance(value, str) else value[0])}"
    return "\n    ".join([f"{option} =", *map(_escape, value)])


def lines_to_paste(section: str, found: Iterable[list[Settings]]) -> str:
    """A section of luigi.cfg; empty if nothing was found.

    Args:
        section: Its name.
        found: Lists of alternatives: the first of each is taken, the others become comments.
    """
    options: Settings = {}
    comments: list[str] = []
    for first, *others in filter(None, found):
        for option, value in first.items():
            if option == "na_values" and option in options:  # Of several columns.
                options[option] = tuple(dict.fromkeys([*options[option], *value]))
            options.setdefault(option, value)
        for other in others:
            lines = "\n".join(config_line(*item) for item in other.items()).splitlines()
            comments += ["# or, if that is meant, instead:", *(f"# {line}" for line in lines)]
    lines = [config_line(*item) for item in options.items()]
    return "\n".join([f"[{section}]", *lines, *comments]) if options else ""


def _escape(value: str) -> str:
    text = re.sub(r"\\(?=$|[\\txu])", r"\\\\", value)
    edges = re.compile(r"^[\s#;]|\s$|[^\S ]")
    return edges.sub(lambda match: _code_of(match[0]), text)


def _code_of(character: str) -> str:
    code = ord(character)
    return "\\t" if character == "\t" else f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def place_of(section: str) -> str:
    """Where proposed lines go: Luigi rejects a file that has a section twice."""
    return f"luigi.cfg, section [{section}], in place of lines of the same name"


def mapping_line(table: Source, column: str) -> str:
    """The line of luigi.cfg that would map a column of a source to a header.

    >>> from config.sources import LOG_RCD_F
    >>> print(mapping_line(LOG_RCD_F, "recorded_at"))
    [LOG_RCD_F] recorded_at = <header of the time>
    """
    meaning = {Type.TIMESTAMP: "the time", Type.NUMBER: "the value", Type.SWITCH: "the value"}
    header = meaning.get(table.column(column).type, column)
    return f"[{table.name}] {column} = <header of {header}>"
