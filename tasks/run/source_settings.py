"""How each source is read: its declaration with the settings of luigi.cfg.

A section is named after a source; `[source defaults]` holds for all of them.
"""

from __future__ import annotations

import codecs
import dataclasses
import functools
import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from config.declarations import EVOLVE, FREEZE, IGNORE, Source, Type
from config.sources import SOURCES
from tasks.core.config_text import unescape
from tasks.core.errors import PipelineError
from tasks.run.settings import DEFAULTS_SECTION, refuse_unknown, section_of, settings


def _reader(what: str, convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """A function that reads a text; its ValueError says what the text is not."""

    def read(text: str) -> Any:
        try:
            return convert(text)
        except (ValueError, LookupError, OSError) as error:
            raise ValueError(what) from error

    return read


def _match(pattern: str, text: str) -> str:
    if not re.fullmatch(pattern, text):
        raise ValueError
    return text


def _lines(text: str) -> tuple[str, ...]:
    return tuple(unescape(line.strip()) for line in text.splitlines() if line.strip())


_character = _reader("is not one character", lambda text: _match(r"[^\r\n]", unescape(text)))
_flag = _reader(
    "is neither true nor false", lambda text: {"true": True, "false": False}[text.lower()]
)
_count = _reader("is not a number of lines", lambda text: int(_match(r"\d+", text)))
_contract = _reader(
    "is none of ignore, freeze and evolve",
    lambda text: _match("|".join((IGNORE, FREEZE, EVOLVE)), text.strip().lower()),
)
_zone = _reader("is not a time zone such as UTC or Europe/Berlin", lambda text: ZoneInfo(text).key)


def _encoding(text: str) -> str:
    "a".encode(text).decode(text)  # Some of Python's codecs are no encodings of text.
    return codecs.lookup(text).name


def _skipped(text: str) -> tuple[int, ...]:
    if text.isdecimal():
        return tuple(range(int(text)))
    listed = _match(r"\[(\s*\d+\s*,)*\s*\d+\s*\]", text)
    return tuple(sorted({int(number) for number in listed[1:-1].split(",")}))


def _fraction(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise ValueError
    return float(text)


_share = _reader("is not a share: a number from 0 to 1, such as 0.01", _fraction)


def _window(text: str) -> tuple[str, str]:
    first, end = map(date.fromisoformat, re.split(r"\s*(?:\bto\b|,|\n)\s*", text.strip()))
    if first >= end:
        raise ValueError
    return first.isoformat(), end.isoformat()


def _formats(text: str) -> tuple[str, ...]:
    formats = _lines(text)
    for one in set(formats) - {"iso", "epoch"}:
        try:
            datetime.strptime("", one.replace("%Z", ""))
        except ValueError as error:
            if "does not match" not in str(error):
                raise ValueError(f"is not a time format: {error}") from error
    return formats


OPTIONS: dict[str, Callable[[str], Any]] = {
    "delimiter": _character,
    "quotechar": lambda text: text and _character(text),
    "escapechar": _character,
    "encoding": _reader("is not an encoding that Python knows, such as cp1252", _encoding),
    "decimal": _character,
    "thousands": _character,
    "skiprows": _reader(
        "is neither a number of lines nor a list of them from 0, such as [1, 2]", _skipped
    ),
    "skipfooter": _count,
    "na_values": _lines,
    "true_values": _lines,
    "false_values": _lines,
    "sentinels": _lines,
    "max_sentinels": _share,
    "time_format": _formats,
    "time_window": _reader("is not two days such as 2000-01-01 to 2050-01-01", _window),
    "source_timezone": _zone,
    "max_rejected": _share,
    "allow_duplicate_files": _flag,
    "new_columns": _contract,
    "accepted_columns": lambda text: tuple(name.lower() for name in _lines(text)),
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
    defaults, own = section_of(DEFAULTS_SECTION), section_of(name)
    refuse_unknown(DEFAULTS_SECTION, defaults, list(OPTIONS))
    columns = [column.name for column in declared.columns]
    refuse_unknown(name, own, [*columns, *OPTIONS])
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
    headers = {option: unescape(text.strip()) for option, text in own.items() if option in columns}
    merged = dataclasses.replace(
        declared,
        columns=tuple(
            dataclasses.replace(one, header=headers.get(one.name)) for one in declared.columns
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
