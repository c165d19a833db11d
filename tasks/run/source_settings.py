"""How each source is read: its declaration with the settings of luigi.cfg.

A section is named after a source; `[source defaults]` holds for all of them.
"""

from __future__ import annotations

import codecs
import dataclasses
import functools
import re
import zoneinfo
from collections.abc import Callable
from datetime import date, datetime

from config.declarations import Source, Type
from config.sources import SOURCES
from tasks.core.config_text import unescape
from tasks.core.errors import PipelineError
from tasks.run.settings import DEFAULTS_SECTION, refuse_unknown, section_of, settings


def _lines(text: str) -> tuple[str, ...]:
    return tuple(unescape(line.strip()) for line in text.splitlines() if line.strip())


def _character(text: str) -> str:
    found = unescape(text)
    if len(found) != 1 or found in "\r\n":
        raise ValueError("is not one character")
    return found


def _quote(text: str) -> str:
    return _character(text) if text else ""


def _encoding(text: str) -> str:
    try:
        "a".encode(text).decode(text)  # Some of Python's codecs are no encodings of text.
        return codecs.lookup(text).name
    except (LookupError, UnicodeError) as error:
        raise ValueError("is not an encoding that Python knows, such as cp1252") from error


def _skipped(text: str) -> tuple[int, ...]:
    if text.isdecimal():
        return tuple(range(int(text)))
    if re.fullmatch(r"\[\s*\d+(\s*,\s*\d+)*\s*\]", text):
        return tuple(sorted({int(number) for number in re.findall(r"\d+", text)}))
    raise ValueError("is neither a number of lines nor a list of them from 0, such as [1, 2]")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("is not a number of lines")
    return int(text)


def _formats(text: str) -> tuple[str, ...]:
    formats = _lines(text)
    for one in formats:
        if one not in ("iso", "epoch"):
            try:
                datetime.strptime("", one.replace("%Z", ""))
            except ValueError as error:
                if "does not match" not in str(error):
                    raise ValueError(f"is not a time format: {error}") from error
    return formats


def _window(text: str) -> tuple[str, str]:
    days = re.split(r"\s*(?:\bto\b|,|\n)\s*", text.strip())
    try:
        first, end = (date.fromisoformat(day) for day in days)
    except ValueError:
        first = end = date.min
    if first >= end:
        raise ValueError("is not two days such as 2000-01-01 to 2050-01-01")
    return first.isoformat(), end.isoformat()


def _zone(text: str) -> str:
    try:
        zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("is not a time zone such as UTC or Europe/Berlin") from error
    return text


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError("is not a share: a number from 0 to 1, such as 0.01")
    return share


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return text.lower() == "true"


OPTIONS: dict[str, Callable[[str], object]] = {
    "delimiter": _character,
    "quotechar": _quote,
    "escapechar": _character,
    "encoding": _encoding,
    "decimal": _character,
    "thousands": _character,
    "skiprows": _skipped,
    "skipfooter": _count,
    "na_values": _lines,
    "true_values": _lines,
    "false_values": _lines,
    "sentinels": _lines,
    "max_sentinels": _share,
    "time_format": _formats,
    "time_window": _window,
    "source_timezone": _zone,
    "max_rejected": _share,
    "allow_duplicate_files": _flag,
}
"""Option of a source -> what reads its text; a ValueError says what the text is not."""


@functools.cache
def source(name: str) -> Source:
    """The declaration of a source with what luigi.cfg says of it. Read once per process.

    Raises:
        PipelineError: A section has an unknown line or a value that cannot be used.
    """
    general = settings()
    declared = SOURCES[name]
    columns = {column.name for column in declared.columns}
    defaults, own = section_of(DEFAULTS_SECTION), section_of(name)
    refuse_unknown(DEFAULTS_SECTION, defaults, list(OPTIONS))
    refuse_unknown(name, own, [*(column.name for column in declared.columns), *OPTIONS])
    values: dict[str, object] = {
        "source_timezone": _read("pipeline", "source_timezone", general.source_timezone),
        "max_rejected": _read("pipeline", "max_rejected", str(general.max_rejected)),
    }
    for section, given in ((DEFAULTS_SECTION, defaults), (name, own)):
        for option in OPTIONS.keys() & given.keys():
            values[option] = _read(section, option, given[option])
    if not any(column.type is Type.TIMESTAMP for column in declared.columns):
        # A source without times is the same in every zone.
        values["source_timezone"] = "UTC"
    headers = {option: text.strip() for option, text in own.items() if option in columns}
    merged = dataclasses.replace(
        declared,
        columns=tuple(
            dataclasses.replace(column, header=headers.get(column.name))
            for column in declared.columns
        ),
        **values,  # type: ignore[arg-type]  # Each reader gives its field's type.
    )
    _refuse_clashes(merged)
    return merged


def _read(section: str, option: str, text: str) -> object:
    try:
        return OPTIONS[option](text)
    except ValueError as error:
        raise PipelineError(
            f"luigi.cfg: section [{section}]: {option} = {text.strip()} {error}."
        ) from error


def _refuse_clashes(merged: Source) -> None:
    for one, other in (
        ("delimiter", "quotechar"),
        ("delimiter", "escapechar"),
        ("quotechar", "escapechar"),
        ("decimal", "thousands"),
    ):
        character = getattr(merged, one)
        if character and character == getattr(merged, other):
            raise PipelineError(
                f"luigi.cfg: section [{merged.name}]: {one} and {other} are both {character!r}.",
                remedy="Give each a character of its own.",
            )


def mapping_line(table: Source, column: str, header: str = "") -> str:
    """The line of luigi.cfg that maps a column of a source to a header.

    >>> print(mapping_line(SOURCES["LOG_RCD_F"], "recorded_at"))
    [LOG_RCD_F] recorded_at = <header of the time>
    """
    meaning = {Type.TIMESTAMP: "the time", Type.NUMBER: "the value", Type.SWITCH: "the value"}
    named = header or f"<header of {meaning.get(table.column(column).type, column)}>"
    return f"[{table.name}] {column} = {named}"
