"""Records across the borders of blocks, and files that have no records."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.runs import soak
from tests.staged import failure, stage


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n3,c\n4,d\n", "\n3,c\n4,d"])
@pytest.mark.parametrize("opening", ['2,"b', '"2,b', '2,a,"b'])
def test_a_quote_that_is_never_closed_is_refused_with_its_line(
    tmp_path: Path, opening: str, end: str
) -> None:
    message = failure(tmp_path, f'app_type_id,name\n1,"x\ny"\n1,z\n{opening}{end}')

    assert message == (
        "APP_TYPE.csv: line 5: a quote opens a field and is never closed, "
        "so that the rest of the file cannot be divided into records.\n"
        f"  the line reads: '{opening}'\n"
        "Close the quote, or double it if it belongs to the text."
    )


def test_a_last_field_that_ends_in_a_line_break_is_no_open_quote(tmp_path: Path) -> None:
    staged = stage(tmp_path, 'app_type_id,name\n1,"x\n"\n')
    malformed = stage(tmp_path, 'app_type_id,name\n1,x\n2,y,"z\n"\n')

    assert staged.columns["name"] == ["x\n"]
    assert [q.row for q in malformed.quarantined] == ['2,y,"z\n"']


@pytest.mark.parametrize(
    ("long", "begins"), [("x" * 200, f"'2,{'x' * 118}'..."), ('"' + "x\n" * 100 + '"', "'2,\"x'")]
)
def test_a_record_longer_than_the_limit_is_refused_with_its_line(
    tmp_path: Path, long: str, begins: str
) -> None:
    message = failure(
        tmp_path, f"app_type_id,name\n1,a\n\n2,{long}\n3,c\n", block_bytes=64, max_record_bytes=150
    )

    assert message == (
        "APP_TYPE.csv: line 4: a record of more than 150 bytes.\n"
        f"  it begins: {begins}\n"
        "Usually a quote is opened and not closed where it should be."
    )


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_record_may_be_as_long_as_the_limit_with_its_line_end(
    tmp_path: Path, end: str, letter: str
) -> None:
    def content(size: int) -> str:
        padding = size - len(f"2,{letter}{end}".encode())
        return f"app_type_id,name\n1,a\n2,{'x' * padding}{letter}{end}3,c\n"

    stage(tmp_path, content(150), block_bytes=64, max_record_bytes=150)
    message = failure(tmp_path, content(151), block_bytes=64, max_record_bytes=150)
    assert message.startswith("APP_TYPE.csv: line 3: a record of more than 150 bytes.")


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_packed_file_damaged_behind_its_start_is_refused(tmp_path: Path, damage: str) -> None:
    rows = "".join(f"{n},{hashlib.md5(str(n).encode()).hexdigest()}\n" for n in range(20_000))
    packed = bytearray(gzip.compress(f"app_type_id,name\n{rows}".encode()))
    if damage == "cut":
        del packed[-5000:]
    else:
        packed[-5000:-4000] = b"\xff" * 1000

    message = failure(tmp_path, bytes(packed), name="APP_TYPE.csv.gz")

    assert message.startswith("APP_TYPE.csv.gz cannot be read: ")


@pytest.mark.parametrize("step", [5, soak(1)])
def test_a_row_is_found_again_wherever_the_borders_of_blocks_fall(
    tmp_path: Path, step: int
) -> None:
    rows = [
        "1,a",
        "few",
        "x,b",
        '2,"c\r\n\r\nd"',
        "",
        '3,"e",f',
        "1,again",
        '4,"""g"""',
        'y,"h\r\ni"',
        "5,größe",
        "-1,j",
        '6,"',
        '"',
        "7,k",
    ]
    content = "app_type_id,name\r\n" + "\r\n".join(rows) + "\r\n"

    for block_bytes in range(24, 90, step):
        staged = stage(tmp_path, content, block_bytes=block_bytes)

        assert staged.columns == {
            "app_type_id": [1, 2, 4, 5, 6, 7],
            "name": ["a", "c\r\n\r\nd", '"g"', "größe", None, "k"],
        }
        assert [(q.line, q.row) for q in staged.quarantined] == [
            (3, "few"),
            (4, "x,b"),
            (9, '3,"e",f'),
            (10, "1,again"),
            (12, 'y,"h\r\ni"'),
            (15, "-1,j"),
        ]
        assert staged.audit.rows == 12


any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
awkward_text = st.text(st.sampled_from('a,"\n\r é🔥\u2028\ufeff'), max_size=20)


@given(
    rows=st.lists(st.tuples(any_text | awkward_text, any_text | awkward_text), max_size=12),
    dialect=st.sampled_from(
        [("\r\n", csv.QUOTE_MINIMAL), ("\r\n", csv.QUOTE_ALL), ("\n", csv.QUOTE_ALL)]
    ),
    encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
    packed=st.booleans(),
    block_bytes=st.sampled_from([256, None]),
)
@example(  # Arrow drops a mark at the start of a block.
    rows=[("\ufeff", "")] * 30,
    dialect=("\n", csv.QUOTE_MINIMAL),
    encoding="utf-8",
    packed=False,
    block_bytes=256,
)
def test_any_text_comes_back_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    dialect: tuple[str, int],
    encoding: str,
    packed: bool,
    block_bytes: int | None,
) -> None:
    line_end, quoting = dialect
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=line_end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(["first", "app_type_id", "last"])
    writer.writerows([first, number, last] for number, (first, last) in enumerate(rows))
    raw = text.getvalue().encode(encoding)

    staged = stage(
        tmp_path_factory.mktemp("any"),
        gzip.compress(raw) if packed else raw,
        name="APP_TYPE.csv.gz" if packed else "APP_TYPE.csv",
        max_rejected=0,
        block_bytes=block_bytes,
    )

    assert staged.columns == {
        "app_type_id": list(range(len(rows))),
        "name": [None] * len(rows),
        "first": [first for first, _ in rows],
        "last": [last for _, last in rows],
    }


good_names = st.text(st.sampled_from('ab,"\n\ré'), max_size=8)
broken_rows = st.sampled_from(
    [
        (b"few", "too few fields"),
        (b'"few\n"', "too few fields"),
        (b"1,2,3", "too many fields"),
        (b'1,2,"x\r\ny"', "too many fields"),
        (b"1,\xff,3", "not UTF-8"),
        (b"x,name", "app_type_id is not an integer"),
        (b'x,"na\nme"', "app_type_id is not an integer"),
        (b",name", "app_type_id is empty"),
        (b"-1,name", "app_type_id is -1, the key of the unknown member"),
        (b"1000,\xff", "not UTF-8"),
        (b'1000,"\n\xff"', "not UTF-8"),
        (b"999,again", "app_type_id is duplicated"),
    ]
)


@given(
    rows=st.lists(good_names | broken_rows | st.none(), max_size=25),
    line_end=st.sampled_from([b"\n", b"\r\n"]),
    last_line_end=st.booleans(),
    block_bytes=st.sampled_from([48, 64, 100, None]),
)
def test_broken_rows_never_change_the_good_ones_and_are_found_where_they_stand(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[str | tuple[bytes, str] | None],
    line_end: bytes,
    last_line_end: bool,
    block_bytes: int | None,
) -> None:
    content = b"app_type_id,name" + line_end + b"999,first"
    names: list[str | None] = ["first"]
    broken = []
    for row in rows:
        content += line_end
        line = 1 + content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n")
        if isinstance(row, str):  # A good one.
            content += b'%d,"%s"' % (len(names), row.replace('"', '""').encode())
            names.append(row if row.strip() else None)
        elif row is not None:  # None: an empty line.
            raw, kind = row
            content += raw
            broken.append((line, kind, raw))
    content += line_end * last_line_end

    staged = stage(tmp_path_factory.mktemp("broken"), content, block_bytes=block_bytes)

    assert staged.columns == {"app_type_id": [999, *range(1, len(names))], "name": names}
    assert [
        (q.line, q.kind, q.row.encode(errors="surrogateescape")) for q in staged.quarantined
    ] == broken
    assert staged.audit.rows == len(names) + len(broken)
    assert staged.audit.quarantined == Counter(kind for _, kind, _ in broken)


def test_types_are_observed_in_the_first_block_that_has_valid_rows(tmp_path: Path) -> None:
    malformed = "1,2,3,4,5\n" * 20
    staged = stage(tmp_path, f"app_type_id,name\n{malformed}7,a\n", block_bytes=64)
    assert staged.audit.observed_types == {"app_type_id": "integer", "name": "text"}
