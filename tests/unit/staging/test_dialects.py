"""Files in any dialect: what is written in it is read back, what is invalid is rejected alone."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from config.sources import LOG_RCD_F
from tasks.run.source_settings import OPTIONS
from tests.staged import stage

HEADER = ["point_log_inst_id", "recorded_at", "value", "note"]


@dataclass(frozen=True)
class Written:
    """How a file is written, as `luigi.cfg` names it, and what no setting names."""

    delimiter: str = ","
    quotechar: str = '"'
    escapechar: str = ""
    encoding: str = "utf-8"
    decimal: str = "."
    thousands: str = ""
    line_end: str = "\n"
    preamble: tuple[str, ...] = ()
    footer: tuple[str, ...] = ()
    trailing: bool = False
    quote_all: bool = True
    last_line_end: bool = True
    given: frozenset[str] = field(default_factory=frozenset)

    def record(self, fields: list[str]) -> str:
        if self.trailing and fields != HEADER:
            fields = [*fields, ""]
        if not self.quotechar:
            return self.delimiter.join(fields) + self.line_end
        text = io.StringIO(newline="")
        csv.writer(
            text,
            delimiter=self.delimiter,
            quotechar=self.quotechar,
            doublequote=not self.escapechar,
            escapechar=self.escapechar or None,
            quoting=csv.QUOTE_ALL if self.quote_all else csv.QUOTE_MINIMAL,
            lineterminator=self.line_end,
        ).writerow(fields)
        return text.getvalue()

    def number(self, text: str) -> str:
        """A number in Python's notation with commas, in this one."""
        return text.translate({ord(","): self.thousands, ord("."): self.decimal})

    @property
    def settings(self) -> dict[str, Any]:
        """The settings without which it cannot be read, and those that are given anyway."""
        options: dict[str, str] = {"skiprows": str(len(self.preamble))} if self.preamble else {}
        options |= {"skipfooter": str(len(self.footer))} if self.footer else {}
        for option in ("delimiter", "quotechar", "escapechar", "encoding", "decimal", "thousands"):
            value = getattr(self, option)
            usual = value == getattr(Written(), option)
            recognised = option in ("delimiter", "encoding") and value in (
                *",;\t|", "utf-8-sig", "utf-16",
            )  # fmt: skip
            if option in self.given and value or not usual and not recognised:
                options[option] = value.replace("\\", "\\\\").replace("\t", "\\t")
        return {option: OPTIONS[option](text) for option, text in options.items()}


@st.composite
def dialects(draw: st.DrawFn) -> Written:
    def pick(*items: Any) -> Any:
        return draw(st.sampled_from(items))

    quotechar = pick('"', '"', "'", "")
    lines = st.lists(st.text(st.sampled_from("ab ,;\"'#"), min_size=1, max_size=9), max_size=3)
    decimal = pick(".", ",")
    thousands = pick("", "", *{",", ".", " ", "'"} - {decimal})
    beside = {decimal, thousands} if not quotechar else set()
    return Written(
        delimiter=pick(*(one for one in ",;\t|^~" if one not in beside)),
        quotechar=quotechar,
        escapechar=pick("", "\\") if quotechar else "",
        encoding=pick("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"),
        decimal=decimal,
        thousands=thousands,
        line_end=pick("\n", "\r\n", "\r"),
        preamble=tuple(draw(lines)),
        footer=tuple(draw(lines)),
        trailing=draw(st.booleans()),
        quote_all=draw(st.booleans()),
        last_line_end=draw(st.booleans()),
        given=frozenset(draw(st.sets(st.sampled_from(["delimiter", "encoding", "decimal"])))),
    )


NOTES = "ab é€,;\t|^~\"'\\\n\r"
INVALID = [
    ("few", "too few fields"),
    (0, "point_log_inst_id is not an integer"),
    (1, "recorded_at is not a timestamp"),
    (2, "value is not a number"),
]
rows_of_any_kind = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2049, 12, 31)),
        st.none() | st.just("NO DATA") | st.integers(-(10**12), 10**12),
        st.text(st.sampled_from(NOTES + "温🔥\u2028"), max_size=6),
        st.sampled_from([None] * 6 + INVALID),
    ),
    max_size=10,
)


@settings(phases=[Phase.explicit, Phase.generate])
@given(how=dialects(), rows=rows_of_any_kind, block_bytes=st.sampled_from([None, 64, 150]))
@example(
    Written(encoding="utf-8-sig", given=frozenset(["encoding"])), [(1, None, 1, "é", None)], 64
)
def test_what_is_written_in_a_dialect_is_read_back_or_rejected_on_its_line(
    tmp_path_factory: pytest.TempPathFactory,
    how: Written,
    rows: list[tuple[int, datetime | None, Any, str, Any]],
    block_bytes: int | None,
) -> None:
    if how.encoding == "cp1252":
        rows = [(*row[:3], re.sub("[温🔥\u2028]", "", row[3]), row[4]) for row in rows]
    if not how.quotechar:
        rows = [
            (*row[:3], re.sub("[\n\r" + re.escape(how.delimiter) + "]", "", row[3]), row[4])
            for row in rows
        ]
    elif not how.quote_all:
        rows = [(*row[:3], re.sub("[\n\r]", "", row[3]), row[4]) for row in rows]
    texts = [*(line + how.line_end for line in how.preamble), how.record(HEADER)]
    expected: dict[str, list[Any]] = {
        name: [] for name in (*HEADER[:3], "value_text", "status", "note")
    }
    rejected = []
    for key, time, value, note, invalid in rows:
        number = how.number(f"{value / 1000:,.3f}") if isinstance(value, int) else value or ""
        fields = [how.number(f"{key:,}"), time.isoformat(" ") if time else "", number, note]
        if invalid is not None:
            at, kind = invalid
            if at == "few" and how.trailing:  # How many rows have an empty last field decides.
                continue
            fields = ["few"] if at == "few" else [*fields[:at], "4..5 x", *fields[at + 1 :]]
        text = how.record(fields)
        if invalid is not None:
            line = 1 + len(re.findall("\r\n|\r|\n", "".join(texts)))
            rejected.append((line, kind, text.removesuffix(how.line_end)))
        else:
            expected["point_log_inst_id"].append(key)
            expected["recorded_at"].append(time and time.replace(tzinfo=UTC))
            is_number = isinstance(value, int)
            expected["value"].append(float(f"{value / 1000:.3f}") if is_number else None)
            expected["value_text"].append(None if is_number else value)
            expected["status"].append(None)
            expected["note"].append(note)
        texts.append(text)
    texts += [line + how.line_end for line in how.footer]
    content = "".join(texts)
    if not how.last_line_end:
        content = content.removesuffix(how.line_end)

    staged = stage(
        tmp_path_factory.mktemp("dialect"),
        content.encode(how.encoding),
        LOG_RCD_F,
        block_bytes=block_bytes,
        **how.settings,
    )

    assert staged.columns == expected
    assert [(q.line, q.kind, q.row) for q in staged.quarantined] == rejected
