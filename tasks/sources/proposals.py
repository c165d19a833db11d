"""Settings that would read a file that cannot be read now: each is tried before it is proposed."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from tasks.core.config_text import Settings
from tasks.sources.csv_records import Dialect, Rejected, csv_reader

_MOST_TEXTS = 200
_PREAMBLE_LINES = 50
_FOOTER_LINES = 10
_LONGEST_FOOTER = 1000
_DELIMITERS = ",;\t|^~:"
_ENCODINGS = "cp1252 cp1250 cp1251 cp1253 cp1254 cp932 gb18030 big5 euc_kr".split()


def propose_for_header(
    lines: Sequence[str], dialect: Dialect, fits: Callable[[Sequence[str]], bool], start: int
) -> Settings:
    """What would find the required columns in the first lines of a file.

    Args:
        lines: The first lines.
        dialect: How the file is read now.
        fits: Whether a header has the required columns.
        start: Which of the lines is taken for the header now.
    """
    numbers = range(start, min(len(lines), start + _PREAMBLE_LINES))
    for number, delimiter in itertools.product(numbers, _DELIMITERS):
        if fits(_fields(lines[number:], replace(dialect, delimiter=delimiter))):
            found: Settings = {}
            if "".join(lines[start:number]).strip():
                found["skiprows"] = str(number)
            # The usual ones are recognised.
            if delimiter not in ",;\t|" or not found and delimiter != dialect.delimiter:
                found["delimiter"] = delimiter
            return found
    return {}


def propose_for_rows(
    rejected: Sequence[Rejected], dialect: Dialect, last_lines: range
) -> list[list[Settings]]:
    """What would read malformed rows, or skip lines that are none.

    Args:
        rejected: Rows, in the order of the file.
        dialect: How the file is read now.
        last_lines: Numbers of the lines behind the last one that is a row.
    """
    found: list[list[Settings]] = []
    rulers = [
        row
        for row in rejected
        if row.line <= dialect.head + 3
        and re.search("--|==|__", row.text)
        and not row.text.strip(" ,;|\t+=_-")
    ]
    if rulers:
        skipped = [*range(dialect.head - 1), *(row.line - 1 for row in rulers)]
        found.append([{"skiprows": str(skipped)}])
    footer = [row for row in rejected if row.line in last_lines and is_footer(row.text, dialect)]
    if footer and len(last_lines) <= _FOOTER_LINES:
        found.append([{"skipfooter": str(len(last_lines))}])
    others = {*rulers, *footer}
    rest = [row.text for row in rejected if row not in others][:_MOST_TEXTS]
    for option, character in (("escapechar", "\\"), ("quotechar", "'")):
        using = [text for text in rest if character in text]
        changed = replace(dialect, **{option: character})  # type: ignore[arg-type]
        if _reads(using, changed) * 2 > max(len(rest), 2 * _reads(using, dialect)):
            found.append([{option: character}])
    return found


def is_footer(text: str, dialect: Dialect) -> bool:
    """Whether a rejected row at the end of a file looks as if it were none."""
    if dialect.delimiter not in text:
        return True
    return len(text) < _LONGEST_FOOTER and re.search(r"\brows?\b.*\)?$", text, re.I) is not None


def _reads(texts: Iterable[str], dialect: Dialect) -> int:
    """How many rows have the right number of fields in a dialect."""
    return sum(len(_fields([text], dialect)) == dialect.width + dialect.trailing for text in texts)


def _fields(lines: Sequence[str], dialect: Dialect) -> list[str]:
    """The fields of the first record; none where it is malformed."""
    try:
        return next(csv_reader(lines, dialect), [])
    except csv.Error:
        return []


def propose_encoding(raw: bytes) -> str | None:
    """The encoding that some bytes which are no UTF-8 are most likely in; None if none fits."""
    sample = raw[: 64 * 1024]
    if sample.isascii() and b"\0" not in sample:
        return "utf-8"
    for encoding, zeros in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[::2])):
        if zeros.count(0) * 2 > len(zeros):
            return encoding
    lines = b"\n".join(line for line in sample.splitlines() if not line.isascii())
    if not lines:
        return None
    if _is_western(lines):
        return "cp1252"
    from charset_normalizer import from_bytes

    best = from_bytes(lines, cp_isolation=_ENCODINGS, threshold=0.6).best()
    if best is None or lines.decode("cp1252", "replace") == lines.decode(best.encoding, "replace"):
        return None if best is None else "cp1252"  # The usual one of those that read the same.
    return str(best.encoding)


def _is_western(raw: bytes) -> bool:
    """Whether bytes are text of Western Europe: a few accented letters and signs among others."""
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        return False
    few = [
        sign
        for word in re.findall(r"\S*[^\x00-\x7f]\S*", text)
        if len(signs := re.findall(r"[^\x00-\x7f]", word)) == 1 or 2 * len(signs) <= len(word)
        for sign in signs
    ]
    odd = re.findall(r"[a-ln-zA-Z][\xa1-\xb0\xb2-\xbf]|[\xa1-\xaf\xb2-\xbf][a-zA-Z]", text)
    # As Western European, Czech has the letters of Danish and of Italian.
    if "\u00f8" in text and re.search("[\u00e8\u00ec\u00f9\u00ed]", text):
        return False
    return 2 * len(few) > len(re.findall(r"[^\x00-\x7f]", text)) and not odd
