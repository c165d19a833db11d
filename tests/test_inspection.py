"""How files are written, what their headers say, and every way they are refused."""

from __future__ import annotations

import dataclasses
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.declarations import Source
from config.sources import (
    APP_INSTANCE,
    APP_TYPE,
    APP_TYPE_REF,
    LOG_INSTANCE,
    LOG_RCD_B,
    LOG_RCD_F,
    POINT,
)
from tasks.core.errors import PipelineError
from tasks.run.source_settings import OPTIONS
from tasks.sources.csv_records import Dialect, Record, read_records, shorten, split_lines
from tasks.sources.files import content_digest, open_bytes
from tasks.sources.header import match_columns
from tasks.sources.inspection import check_duplicates, check_sources, inspect_file
from tests.test_source_files import contents, write

RECORD_HEADER = ["point_log_inst_id", "log_time", "log_value", "status"]


def with_header(source: Source, column: str, header: str) -> Source:
    """The source as if luigi.cfg named the header of a column."""
    return dataclasses.replace(
        source,
        columns=tuple(
            dataclasses.replace(c, header=header) if c.name == column else c for c in source.columns
        ),
    )


# Reading headers


@pytest.mark.parametrize(
    ("content", "header"),
    [
        ("a,b\n1,2\n", ("a", "b")),
        ("a,b", ("a", "b")),
        ("a,b\r\n", ("a", "b")),
        ("\ufeffa,b\n", ("a", "b")),
        ('\ufeff"a","b"\n', ("a", "b")),
        ("\n\r\na,b\n", ("a", "b")),
        ('"a,1","b ""x""","c\nd"\n1,2,3\n', ("a,1", 'b "x"', "c\nd")),
        (" a ,,b\n", ("a", "column_2", "b")),
        ("\u200ba\u00a0,\ufeffb\n", ("a", "b")),
        ("sep=;\na;b\n", ("a", "b")),
        ("größe,温度\n", ("größe", "温度")),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_header_is_read_as_it_stands(
    tmp_path: Path, content: str, header: tuple[str, ...], packed: bool
) -> None:
    raw = content.encode()
    path = write(tmp_path / f"T.csv{'.gz' * packed}", gzip.compress(raw) if packed else raw)

    source = dataclasses.replace(APP_TYPE, columns=())
    assert inspect_file(path, source).layout.header == header


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "POINT.csv is empty: it has no header."),
        (b"\xef\xbb\xbf", "POINT.csv is empty: it has no header."),
        (b" \r\n\n", "POINT.csv is empty: it has no header."),
        (
            "point_id,app_instance_id\n1,1\n".encode("utf-16-le"),
            "POINT.csv is not a text file in UTF-8: its header has NUL characters.\n"
            "[POINT]\nencoding = utf-16-le",
        ),
        (
            "point_id,app_instance_id\n1,1\n".encode("utf-16-be"),
            "POINT.csv is not a text file in UTF-8: its header has NUL characters.\n"
            "[POINT]\nencoding = utf-16-be",
        ),
        (
            b"point_id,app_instance_id,gr\xf6\xdfe\n1,2,3\n",
            "POINT.csv is not a text file in UTF-8: its header has other bytes.\n"
            "[POINT]\nencoding = cp1252",
        ),
        (
            b'point_id,"app_instance_id"x\n1,2\n',
            "POINT.csv: line 1: the header has text after a closing quote.\n"
            "  the line reads: 'point_id,\"app_instance_id\"x'",
        ),
        (
            b'\npoint_id,"app_instance_id\n1,2\n',
            "POINT.csv: line 2: a quote opens a field and is never closed, so that the rest of "
            "the file cannot be divided into records.\n"
            "  the line reads: 'point_id,\"app_instance_id'\n"
            "Close the quote, or double it if it belongs to the text.",
        ),
    ],
)
def test_a_file_without_a_readable_header_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = write(tmp_path / "POINT.csv", content)

    with pytest.raises(PipelineError) as error:
        inspect_file(path, POINT)

    assert str(error.value) == message
    if "\nencoding = " in message:
        encoding = message.rpartition(" = ")[2]
        pasted = dataclasses.replace(POINT, encoding=encoding)
        assert inspect_file(path, pasted).layout.recognised == {
            "point_id": (0,),
            "app_instance_id": (1,),
        }


def test_what_only_claims_to_be_packed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "POINT.csv.gz", "point_id\n1\n")

    with pytest.raises(PipelineError, match=r"^POINT\.csv\.gz cannot be read: Not a gzipped file"):
        inspect_file(path, POINT)


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_packed_file_damaged_at_its_start_is_refused(tmp_path: Path, damage: str) -> None:
    packed = gzip.compress(b"point_id,app_instance_id\n" + b"1,2\n" * 5)
    damaged = packed[:20] if damage == "cut" else packed[:10] + b"\xff" * 30
    path = write(tmp_path / "POINT.csv.gz", damaged)

    with pytest.raises(PipelineError, match=r"^POINT\.csv\.gz cannot be read: "):
        inspect_file(path, POINT)


# Recognised without a setting, or proposed


def rows_of(path: Path, source: Source) -> list[list[str]]:
    file = inspect_file(path, source)
    return [
        list(row)
        for block, _ in file.read(lambda block: None)
        for row in zip(*(column.to_pylist() for column in block.columns), strict=True)
    ]


@pytest.mark.parametrize(
    ("raw", "notes"),
    [
        ("app_type_id,name\n1,a\n", []),
        ("\ufeffapp_type_id,name\n1,a\n", ["byte order mark of UTF-8"]),
        ("\ufeff\ufeffapp_type_id,name\n1,a\n", ["byte order mark of UTF-8, more than once"]),
        ("app_type_id,name\n1,a\n".encode("utf-16"), ["byte order mark of UTF-16-LE"]),
        (
            b"\xfe\xff" + "app_type_id,name\n1,a\n".encode("utf-16-be"),
            ["byte order mark of UTF-16-BE"],
        ),
        ("app_type_id;name\r\n1;a\r\n", ["fields separated by semicolons"]),
        ("app_type_id\tname\n1\ta\n", ["fields separated by tabs"]),
        ("app_type_id|name\r1|a\r", ["fields separated by bars"]),
        ("sep=;\napp_type_id;name\n1;a\n", ["sep= line: semicolons"]),
        (
            '\ufeff"sep=\t"\r\n\r\napp_type_id\tname\r\n1\ta',
            ["byte order mark of UTF-8", "sep= line: tabs"],
        ),
        ("app_type_id,name\n1,a,\n", ["an empty field at the end of each row"]),
        ("app_type_id,name\n1,a,\n\n", ["an empty field at the end of each row"]),
        ("\u200bapp_type_id\u00a0,name\u200b\n1,a\n", []),
    ],
)
def test_an_ordinary_dialect_is_recognised_and_told(
    tmp_path: Path, raw: str | bytes, notes: list[str]
) -> None:
    path = write(tmp_path / "APP_TYPE.csv", raw)

    assert list(inspect_file(path, APP_TYPE).notes) == notes
    assert rows_of(path, APP_TYPE) == [["1", "a"]]


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        ("History\n\nof today\napp_type_id,name\n1,a\n", {"skiprows": "3"}),
        ("A report, of\nx;y\napp_type_id;name\n1;a\n", {"skiprows": "2"}),
        ("app_type_id^name\n1^a\n", {"delimiter": "^"}),
        ("Report\napp_type_id~name\n1~a\n", {"skiprows": "1", "delimiter": "~"}),
        ("sep=,\nReport\napp_type_id,name\n1,a\n", {"skiprows": "2"}),
        ('"open\nReport\napp_type_id,name\n1,a\n', {"skiprows": "2"}),
        ("app_type_id,n\xe4me\n1,a\n".encode("cp1252"), {"encoding": "cp1252"}),
        ("number,name\n1,a\n", {}),
    ],
)
def test_lines_that_would_find_the_columns_are_proposed_and_pasted_they_do(
    tmp_path: Path, raw: str | bytes, lines: dict[str, str]
) -> None:
    path = write(tmp_path / "APP_TYPE.csv", raw)

    with pytest.raises(PipelineError) as error:
        inspect_file(path, APP_TYPE)

    proposed = str(error.value).rpartition("[APP_TYPE]\n")[2].splitlines()
    if not lines:
        assert proposed == ["# app_type_id = <header of that column>"]
        return
    assert proposed == [f"{option} = {value}" for option, value in lines.items()]
    pasted = {option: OPTIONS[option](value) for option, value in lines.items()}
    declared = dataclasses.replace(APP_TYPE, **pasted)  # type: ignore[arg-type]
    assert rows_of(path, declared) == [["1", "a"]]


def test_two_delimiters_that_both_yield_the_columns_are_not_chosen_from(tmp_path: Path) -> None:
    path = write(tmp_path / "APP_TYPE.csv", "x|app_type_id|y;app_type_id;x\n1,2\n")

    with pytest.raises(PipelineError, match="column 'app_type_id' is missing"):
        inspect_file(path, APP_TYPE)


def test_two_files_of_the_same_records_are_refused_unless_they_may_be(tmp_path: Path) -> None:
    header = ",".join(RECORD_HEADER)
    rows = {"a": "1,,2,\n", "b": "1,,2,\n", "c": "1,,3,\n", "d": "", "e": ""}
    files = {
        f"LOG_RCD_F/{name}": write(tmp_path / f"{name}.csv", f"{header}\n{text}")
        for name, text in rows.items()
    }

    with pytest.raises(PipelineError) as error:
        check_duplicates(LOG_RCD_F, files, content_digest)

    assert str(error.value) == (
        "LOG_RCD_F: files have the same content, so that their records would count twice:\n"
        "  LOG_RCD_F/a and LOG_RCD_F/b\n"
        "Remove all but one of them; or, if they are meant to be the same, paste into luigi.cfg, "
        "section [LOG_RCD_F], in place of lines of the same name:\n"
        "[LOG_RCD_F]\nallow_duplicate_files = true"
    )
    allowed = dataclasses.replace(LOG_RCD_F, allow_duplicate_files=True)
    check_duplicates(allowed, files, content_digest)


# Recognising columns


@pytest.mark.parametrize(
    "header",
    [
        ["point_id", "app_instance_id", "vendor"],
        ["vendor", "app_instance_id", "point_id"],
        ["POINT_ID", "App_Instance_Id", "vendor"],
        ["  point_id", "app_instance_id\t", " vendor "],
    ],
)
def test_order_case_and_blanks_of_headers_do_not_matter(header: list[str]) -> None:
    layout = match_columns(POINT, header)

    place = {name.strip().lower(): position for position, name in enumerate(header)}
    assert layout.header == tuple(name.strip() for name in header)
    assert layout.recognised == {name: (place[name],) for name in ("point_id", "app_instance_id")}
    assert layout.carried == {"vendor": place["vendor"]}
    assert layout.absent == ()


@pytest.mark.parametrize("source", [LOG_RCD_B, LOG_RCD_F], ids=lambda source: source.name)
@pytest.mark.parametrize("column", ["recorded_at", "value", "status"])
def test_each_alias_of_a_column_is_recognised(source: Source, column: str) -> None:
    declared = source.column(column)
    found = {
        name: match_columns(source, ["Point_Log_Inst_Id", f" {name.upper()} "])
        for name in (declared.name, *declared.aliases)
    }

    assert len(found) > 5
    assert {layout.recognised.get(column) for layout in found.values()} == {(1,)}
    assert not any(layout.carried for layout in found.values())


def test_the_likeliest_of_several_names_is_taken_and_the_others_are_carried() -> None:
    header = ["point_log_inst_id", "date", "time", "TIMESTAMP", "value", "log_value"]

    layout = match_columns(LOG_RCD_F, header)

    assert layout.recognised == {"point_log_inst_id": (0,), "recorded_at": (3,), "value": (4,)}
    assert layout.carried == {"date": 1, "time": 2, "log_value": 5}
    assert layout.absent == ("status",)


def test_a_header_that_the_configuration_names_is_the_only_one_that_will_do() -> None:
    source = with_header(LOG_RCD_F, "recorded_at", "Log Dt")

    layout = match_columns(source, ["point_log_inst_id", "log_time", " LOG DT "])
    assert layout.recognised == {"point_log_inst_id": (0,), "recorded_at": (2,)}
    assert layout.carried == {"log_time": 1}

    with pytest.raises(PipelineError) as error:
        match_columns(source, ["point_log_inst_id", "log_time"])
    assert str(error.value) == (
        "LOG_RCD_F was rejected:\n"
        "  column 'Log Dt' is missing, which luigi.cfg names for recorded_at; "
        "the file has: point_log_inst_id, log_time"
    )


def test_a_column_of_a_declared_name_beside_the_configured_one_is_refused() -> None:
    source = with_header(LOG_RCD_F, "recorded_at", "log_dt")

    with pytest.raises(PipelineError) as error:
        match_columns(source, ["point_log_inst_id", "log_dt", "Recorded_At"])

    assert str(error.value) == (
        "LOG_RCD_F was rejected:\n"
        "  column 'Recorded_At' exists beside the one that luigi.cfg names for recorded_at: "
        "rename or remove one"
    )


def test_other_columns_are_carried_under_their_own_names_in_the_order_of_the_file() -> None:
    layout = match_columns(APP_TYPE, ["Zone", "app_type_id", "ß, ü", "A b"])

    assert list(layout.carried.items()) == [("Zone", 0), ("ß, ü", 2), ("A b", 3)]
    assert layout.absent == ("name",)


def test_columns_without_a_name_are_named_by_their_place() -> None:
    layout = match_columns(APP_TYPE, ["", "app_type_id", "  "])

    assert layout.header == ("column_1", "app_type_id", "column_3")
    assert layout.carried == {"column_1": 0, "column_3": 2}


def test_a_header_that_is_duplicated_and_a_missing_one_are_told_at_once() -> None:
    with pytest.raises(PipelineError) as error:
        match_columns(APP_TYPE_REF, ["app_type_id", "x", "APP_TYPE_ID ", "", "column_4", "unit"])

    assert str(error.value) == (
        "APP_TYPE_REF was rejected:\n"
        "  column 'APP_TYPE_ID' is duplicated, as number 1 and 3: rename or remove one\n"
        "  column 'column_4' is duplicated, as number 4 and 5: rename or remove one\n"
        "  column 'app_type_ref_id' is missing; "
        "the file has: app_type_id, x, APP_TYPE_ID, column_4, column_4, unit\n"
        "  column 'unit_id' is missing; "
        "the file has: app_type_id, x, APP_TYPE_ID, column_4, column_4, unit\n"
        "[APP_TYPE_REF]\n"
        "# app_type_ref_id = <header of that column>\n"
        "unit_id = unit"
    )


@pytest.mark.parametrize(
    ("source", "required"),
    [
        (APP_TYPE, ["app_type_id"]),
        (APP_TYPE_REF, ["app_type_ref_id", "app_type_id", "unit_id"]),
        (LOG_INSTANCE, ["point_log_inst_id", "point_id"]),
        (APP_INSTANCE, ["app_instance_id", "app_type_ref_id"]),
        (POINT, ["point_id", "app_instance_id"]),
        (LOG_RCD_B, ["point_log_inst_id"]),
        (LOG_RCD_F, ["point_log_inst_id"]),
    ],
    ids=lambda value: value.name if isinstance(value, Source) else "",
)
def test_only_the_join_keys_are_required(source: Source, required: list[str]) -> None:
    assert list(match_columns(source, required).recognised) == required

    for missing in required:
        others = [name for name in required if name != missing] + ["other"]
        with pytest.raises(PipelineError) as error:
            match_columns(source, others)
        assert error.value.problems == (
            f"column {missing!r} is missing; the file has: {', '.join(others)}",
        )


# All files at once


def test_files_that_fit_give_their_layouts_by_name(tmp_path: Path) -> None:
    write(tmp_path / "app_type.csv", "NAME,app_type_id\n")
    write(tmp_path / "LOG_RCD_F.csv.gz", gzip.compress(",".join(RECORD_HEADER).encode()))

    layouts = check_sources([APP_TYPE, LOG_RCD_F], tmp_path)

    assert {name: layout.recognised for name, layout in layouts.items()} == {
        "APP_TYPE": {"app_type_id": (1,), "name": (0,)},
        "LOG_RCD_F": {
            "point_log_inst_id": (0,),
            "recorded_at": (1,),
            "value": (2,),
            "status": (3,),
        },
    }


def test_every_problem_of_every_file_is_told_at_once_and_nothing_is_touched(tmp_path: Path) -> None:
    write(tmp_path / "APP_TYPE.csv", "")
    write(tmp_path / "APP_TYPE_REF.csv", "app_type_id,Unit_Id,unit_id\n")
    write(tmp_path / "POINT.csv", "point_id,app_instance_id\n")
    write(tmp_path / "point.csv.gz", gzip.compress(b"point_id,app_instance_id\n"))
    write(tmp_path / "LOG_INSTANCE.csv", "point_log_inst_id,point_id\n".encode("utf-16"))
    write(tmp_path / "LOG_RCD_B.csv", b"point_log_inst_id,gr\xf6\xdfe\n")
    write(tmp_path / "LOG_RCD_F.csv", ",".join(RECORD_HEADER))
    before = contents(tmp_path)
    sources = [APP_TYPE, APP_TYPE_REF, APP_INSTANCE, POINT, LOG_INSTANCE, LOG_RCD_B, LOG_RCD_F]

    with pytest.raises(PipelineError) as error:
        check_sources(sources, tmp_path)

    assert str(error.value) == (
        f"The source files in {tmp_path} cannot be staged; nothing was changed:\n"
        "  APP_TYPE.csv is empty: it has no header.\n"
        "  APP_TYPE_REF.csv: column 'unit_id' is duplicated, as number 2 and 3: "
        "rename or remove one\n"
        "  APP_TYPE_REF.csv: column 'app_type_ref_id' is missing; "
        "the file has: app_type_id, Unit_Id, unit_id\n"
        "  APP_INSTANCE.csv (or .csv.gz) is missing\n"
        "  POINT.csv and point.csv.gz exist both: keep one of them\n"
        "  LOG_RCD_B.csv is not a text file in UTF-8: its header has other bytes.\n"
        "The folder holds: APP_TYPE.csv, APP_TYPE_REF.csv, LOG_INSTANCE.csv, LOG_RCD_B.csv, "
        "LOG_RCD_F.csv, POINT.csv, point.csv.gz.\n"
        "Fix the files.\n"
        "Or say in luigi.cfg how to read them, in its section of that name:\n"
        "[APP_TYPE_REF]\n"
        "# app_type_ref_id = <header of that column>\n"
        "[LOG_RCD_B]\n"
        "encoding = cp1252\n"
        "Or make missing files up: luigi --module tasks SampleData --local-scheduler"
    )
    assert len(error.value.problems) == 6
    assert contents(tmp_path) == before


def test_an_absent_folder_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as error:
        check_sources([POINT], tmp_path / "absent")

    assert error.value.problems == ("POINT.csv (or .csv.gz) is missing",)
    assert "\nThe folder is empty or absent.\n" in str(error.value)


def test_a_header_named_for_one_column_is_no_other_column() -> None:
    columns = tuple(
        dataclasses.replace(column, header="state") if column.name == "status" else column
        for column in LOG_RCD_B.columns
    )
    source = dataclasses.replace(LOG_RCD_B, columns=columns)
    layout = match_columns(source, ["point_log_inst_id", "State"])
    assert layout.recognised == {"point_log_inst_id": (0,), "status": (1,)}
    assert layout.absent == ("recorded_at", "value")


# Records


def records(path: Path) -> list[Record]:
    with io.TextIOWrapper(
        open_bytes(path), "utf-8-sig", errors="surrogateescape", newline=""
    ) as stream:
        return list(read_records(split_lines(stream), Dialect(), path.name))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\n1,2\n", [(1, "a,b"), (2, "1,2")]),
        ("a,b\n1,2", [(1, "a,b"), (2, "1,2")]),
        ("a,b\r\n1,2\r\n", [(1, "a,b"), (2, "1,2")]),
        ("a\r1\r", [(1, "a"), (2, "1")]),
        ("\ufeffa\n1\n", [(1, "a"), (2, "1")]),
        ("\n\na\n\r\n\n1\n\n", [(3, "a"), (6, "1")]),
        ("a\n  \n\t\n", [(1, "a"), (2, "  "), (3, "\t")]),
        ('a\n"1\n2"\n3\n', [(1, "a"), (2, '"1\n2"'), (4, "3")]),
        ('a\r\n"1\r\n\r\n2"\r\n3\r\n', [(1, "a"), (2, '"1\r\n\r\n2"'), (5, "3")]),
        ('a,b\n"1\n2",x,"3\n4"\n5\n', [(1, "a,b"), (2, '"1\n2",x,"3\n4"'), (5, "5")]),
        ('a\n"x ""y"" z"\n1\n', [(1, "a"), (2, '"x ""y"" z"'), (3, "1")]),
        ('a\n5" pipe\n1\n', [(1, "a"), (2, '5" pipe'), (3, "1")]),
        ('"a\nb"\n1\n', [(1, '"a\nb"'), (3, "1")]),
        ("a\u2028b\x0b\x85c\n1\n", [(1, "a\u2028b\x0b\x85c"), (2, "1")]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_every_record_comes_with_its_first_line_and_its_text(
    tmp_path: Path, content: str, expected: list[tuple[int, str]], packed: bool
) -> None:
    raw = content.encode()
    path = write(tmp_path / f"T.csv{'.gz' * packed}", gzip.compress(raw) if packed else raw)

    assert [(record.line + 1, record.text) for record in records(path)] == expected


def test_bytes_that_are_no_utf_8_can_be_got_back_from_a_record(tmp_path: Path) -> None:
    path = write(tmp_path / "T.csv", b"a\nK\xf6ln\n")

    assert [r.text.encode(errors="surrogateescape") for r in records(path)] == [
        b"a",
        b"K\xf6ln",
    ]


@st.composite
def plain_records(draw: st.DrawFn) -> str:
    """A record of quoted fields, blank ones too, none of which is misread by anyone."""
    fields = draw(st.lists(st.text(st.sampled_from('a,"\n\r é'), max_size=5), min_size=1))
    return ",".join('"' + field.replace('"', '""') + '"' for field in fields)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(plain_records(), st.just("")), max_size=10),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_records_stand_where_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, written: list[str], line_end: str
) -> None:
    text, expected = "", []
    for record in written:
        if record:
            line = 1 + text.replace("\r\n", "\n").replace("\r", "\n").count("\n")
            expected.append((line, record))
        text += record + line_end
    path = write(tmp_path_factory.mktemp("records") / "T.csv", text)

    assert [(record.line + 1, record.text) for record in records(path)] == expected


def test_a_long_text_is_cut_for_messages_and_shown_on_one_line() -> None:
    assert shorten("a\tb\n") == r"'a\tb'"
    assert shorten("x" * 120) == f"'{'x' * 120}'"
    assert shorten("x" * 121) == f"'{'x' * 120}'..."
