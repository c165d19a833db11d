"""Where source files are found, how their headers are read, and every way they are refused."""

from __future__ import annotations

import dataclasses
import gzip
import zipfile
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
from tasks import archive as archive_module
from tasks.archive import ARCHIVE, unpack_archive
from tasks.errors import PipelineError
from tasks.headers import check_sources, match_columns, read_header, records, shorten
from tasks.source_files import find_files, source_path

RECORD_HEADER = ["point_log_inst_id", "log_time", "log_value", "status"]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def with_header(source: Source, column: str, header: str) -> Source:
    """The source as if luigi.cfg named the header of a column."""
    return dataclasses.replace(
        source,
        columns=tuple(
            dataclasses.replace(c, header=header) if c.name == column else c for c in source.columns
        ),
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# Finding files


@pytest.mark.parametrize(
    "name", ["POINT.csv", "point.csv", "Point.CSV", "POINT.csv.gz", "point.CSV.GZ"]
)
def test_a_source_is_found_in_any_case_and_packed(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "")

    assert find_files("POINT", tmp_path) == [path]
    assert source_path("POINT", tmp_path) == path


def test_files_of_other_names_are_no_source(tmp_path: Path) -> None:
    for name in ("POINTS.csv", "POINT.csv.bak", "POINT.txt", "POINT", "MY_POINT.csv", "POINT.gz"):
        write(tmp_path / name, "")

    assert find_files("POINT", tmp_path) == []
    assert source_path("POINT", tmp_path) == tmp_path / "POINT.csv"


def test_no_folder_holds_no_files(tmp_path: Path) -> None:
    assert find_files("POINT", tmp_path / "absent") == []


def test_two_files_of_one_source_are_both_found(tmp_path: Path) -> None:
    packed = write(tmp_path / "POINT.csv.gz", "")
    plain = write(tmp_path / "POINT.csv", "")

    assert find_files("POINT", tmp_path) == [plain, packed]


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
        (" a ,,b\n", (" a ", "", "b")),
        ("größe,温度\n", ("größe", "温度")),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_header_is_read_as_it_stands(
    tmp_path: Path, content: str, header: tuple[str, ...], packed: bool
) -> None:
    raw = content.encode()
    path = write(tmp_path / f"T.csv{'.gz' * packed}", gzip.compress(raw) if packed else raw)

    assert read_header(path) == header


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "POINT.csv is empty: it has no header."),
        (b"\xef\xbb\xbf", "POINT.csv is empty: it has no header."),
        (b" \r\n\n", "POINT.csv is empty: it has no header."),
        (
            "point_id\n1\n".encode("utf-16"),
            "POINT.csv is not a text file (it looks like UTF-16): save it as UTF-8 CSV.",
        ),
        (
            b"\xfe\xff" + "point_id\n1\n".encode("utf-16-be"),
            "POINT.csv is not a text file (it looks like UTF-16): save it as UTF-8 CSV.",
        ),
        (
            b"point_id\n1\0\n",
            "POINT.csv is not a text file: save it as UTF-8 CSV.",
        ),
        (
            b"point_id,gr\xf6\xdfe\n1,2\n",
            "POINT.csv is not UTF-8: its header has other bytes; save it as UTF-8 CSV.",
        ),
    ],
)
def test_a_file_without_a_readable_header_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = write(tmp_path / "POINT.csv", content)

    with pytest.raises(PipelineError) as error:
        read_header(path)

    assert str(error.value) == message


def test_what_only_claims_to_be_packed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "POINT.csv.gz", "point_id\n1\n")

    with pytest.raises(PipelineError, match=r"^POINT\.csv\.gz cannot be read: Not a gzipped file"):
        read_header(path)


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_packed_file_damaged_at_its_start_is_refused(tmp_path: Path, damage: str) -> None:
    packed = gzip.compress(b"point_id,app_instance_id\n" + b"1,2\n" * 5)
    damaged = packed[:20] if damage == "cut" else packed[:10] + b"\xff" * 30
    path = write(tmp_path / "POINT.csv.gz", damaged)

    with pytest.raises(PipelineError, match=r"^POINT\.csv\.gz cannot be read: "):
        read_header(path)


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
    assert layout.recognised == {name: place[name] for name in ("point_id", "app_instance_id")}
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
    assert {layout.recognised.get(column) for layout in found.values()} == {1}
    assert not any(layout.carried for layout in found.values())


def test_the_likeliest_of_several_names_is_taken_and_the_others_are_carried() -> None:
    header = ["point_log_inst_id", "date", "time", "TIMESTAMP", "value", "log_value"]

    layout = match_columns(LOG_RCD_F, header)

    assert layout.recognised == {"point_log_inst_id": 0, "recorded_at": 3, "value": 4}
    assert layout.carried == {"date": 1, "time": 2, "log_value": 5}
    assert layout.absent == ("status",)


def test_a_header_that_the_configuration_names_is_the_only_one_that_will_do() -> None:
    source = with_header(LOG_RCD_F, "recorded_at", "Log Dt")

    layout = match_columns(source, ["point_log_inst_id", "log_time", " LOG DT "])
    assert layout.recognised == {"point_log_inst_id": 0, "recorded_at": 2}
    assert layout.carried == {"log_time": 1}

    with pytest.raises(PipelineError) as error:
        match_columns(source, ["point_log_inst_id", "log_time"])
    assert str(error.value) == (
        "LOG_RCD_F was refused:\n"
        "  column 'Log Dt' is missing, which luigi.cfg names for recorded_at; "
        "the file has: point_log_inst_id, log_time"
    )


def test_a_column_of_a_declared_name_beside_the_configured_one_is_refused() -> None:
    source = with_header(LOG_RCD_F, "recorded_at", "log_dt")

    with pytest.raises(PipelineError) as error:
        match_columns(source, ["point_log_inst_id", "log_dt", "Recorded_At"])

    assert str(error.value) == (
        "LOG_RCD_F was refused:\n"
        "  column 'Recorded_At' stands beside the one that luigi.cfg names for recorded_at: "
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


def test_a_header_that_stands_twice_and_a_missing_one_are_told_at_once() -> None:
    with pytest.raises(PipelineError) as error:
        match_columns(APP_TYPE_REF, ["app_type_id", "x", "APP_TYPE_ID ", "", "column_4", "unit"])

    assert str(error.value) == (
        "APP_TYPE_REF was refused:\n"
        "  column 'APP_TYPE_ID' stands twice, as number 1 and 3: rename or remove one\n"
        "  column 'column_4' stands twice, as number 4 and 5: rename or remove one\n"
        "  column 'app_type_ref_id' is missing; "
        "the file has: app_type_id, x, APP_TYPE_ID, column_4, column_4, unit\n"
        "  column 'unit_id' is missing; "
        "the file has: app_type_id, x, APP_TYPE_ID, column_4, column_4, unit"
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
        "APP_TYPE": {"app_type_id": 1, "name": 0},
        "LOG_RCD_F": {"point_log_inst_id": 0, "recorded_at": 1, "value": 2, "status": 3},
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
        "  APP_TYPE_REF.csv: column 'unit_id' stands twice, as number 2 and 3: "
        "rename or remove one\n"
        "  APP_TYPE_REF.csv: column 'app_type_ref_id' is missing; "
        "the file has: app_type_id, Unit_Id, unit_id\n"
        "  APP_INSTANCE.csv (or .csv.gz) is missing\n"
        "  POINT.csv and point.csv.gz stand side by side: keep one of them\n"
        "  LOG_INSTANCE.csv is not a text file (it looks like UTF-16): save it as UTF-8 CSV.\n"
        "  LOG_RCD_B.csv is not UTF-8: its header has other bytes; save it as UTF-8 CSV.\n"
        "The folder holds: APP_TYPE.csv, APP_TYPE_REF.csv, LOG_INSTANCE.csv, LOG_RCD_B.csv, "
        "LOG_RCD_F.csv, POINT.csv, point.csv.gz.\n"
        "Mend the files.\n"
        "Or name a differing header in luigi.cfg, such as\n"
        "  [LOG_RCD_F]\n"
        "  point_log_inst_id = <header of that column>\n"
        "Or make missing files up: luigi --module tasks SampleData --local-scheduler"
    )
    assert len(error.value.problems) == 7
    assert contents(tmp_path) == before


def test_an_absent_folder_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as error:
        check_sources([POINT], tmp_path / "absent")

    assert error.value.problems == ("POINT.csv (or .csv.gz) is missing",)
    assert "\nThe folder is empty or absent.\n" in str(error.value)


# Unpacking the archive


def archive(path: Path, **members: str) -> Path:
    """An archive of the given members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in members.items():
            packed.writestr(name, text)
    return path


@pytest.mark.parametrize("beside", [False, True])
def test_an_archive_in_the_folder_or_beside_it_is_unpacked(tmp_path: Path, beside: bool) -> None:
    data = tmp_path / "data"
    archive(
        (tmp_path if beside else data) / ARCHIVE,
        **{
            "POINT.csv": "point",
            "take_home_data/LOG_INSTANCE.CSV": "instance",
            "a/b/c/LOG_RCD_F.csv.gz": "packed",
            "windows\\folder\\APP_TYPE.csv": "type",
        },
    )

    made = unpack_archive(data)

    unpacked = {
        "APP_TYPE.csv": b"type",
        "LOG_INSTANCE.CSV": b"instance",
        "LOG_RCD_F.csv.gz": b"packed",
        "POINT.csv": b"point",
    }
    assert made == [data / name for name in unpacked]
    assert {name: raw for name, raw in contents(data).items() if name != ARCHIVE} == unpacked


@pytest.mark.parametrize(
    "name", ["../evil.csv", "../../evil.csv", "/tmp/../evil.csv", "..\\evil.csv", "C:\\evil.csv"]
)
def test_nothing_lands_outside_the_folder(tmp_path: Path, name: str) -> None:
    data = tmp_path / "project" / "data"
    archive(data / ARCHIVE, **{name: "evil"})
    packed = contents(tmp_path)

    assert unpack_archive(data) == [data / "evil.csv"]

    assert contents(tmp_path) == {**packed, "project/data/evil.csv": b"evil"}


def test_a_file_that_is_there_already_stays_as_it_is(tmp_path: Path) -> None:
    archive(tmp_path / ARCHIVE, **{"POINT.csv": "packed", "APP_TYPE.csv": "packed"})
    write(tmp_path / "POINT.csv", "mine")

    assert unpack_archive(tmp_path) == [tmp_path / "APP_TYPE.csv"]
    assert (tmp_path / "POINT.csv").read_text() == "mine"


def test_what_is_no_csv_file_is_left_out(tmp_path: Path) -> None:
    archive(
        tmp_path / ARCHIVE,
        **{
            "README.md": "text",
            "POINT.csv.exe": "text",
            "__MACOSX/._POINT.csv": "text",
            "folder\\.hidden.csv": "text",
            "folder.csv/": "",
        },
    )
    before = contents(tmp_path)

    assert unpack_archive(tmp_path) == []
    assert contents(tmp_path) == before


def test_no_archive_is_no_error(tmp_path: Path) -> None:
    assert unpack_archive(tmp_path / "absent") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "members",
    [
        {"POINT.csv": "x" * 101},
        {"APP_TYPE.csv": "x" * 60, "POINT.csv": "x" * 60},
    ],
    ids=["one large file", "two files, large together"],
)
def test_an_archive_above_the_bound_is_refused_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: dict[str, str]
) -> None:
    monkeypatch.setattr(archive_module, "MAX_UNPACKED_BYTES", 100)
    archive(tmp_path / ARCHIVE, **members)
    before = contents(tmp_path)

    with pytest.raises(PipelineError) as error:
        unpack_archive(tmp_path)

    assert str(error.value) == (
        "take_home_data.zip unpacks to more than 100 bytes.\n"
        "Unpack it by hand into the data folder if it is to be trusted."
    )
    assert contents(tmp_path) == before


def test_an_archive_just_within_the_bound_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "MAX_UNPACKED_BYTES", 100)
    archive(tmp_path / ARCHIVE, **{"APP_TYPE.csv": "x" * 40, "POINT.csv": "y" * 60})

    assert len(unpack_archive(tmp_path)) == 2
    assert (tmp_path / "POINT.csv").read_text() == "y" * 60


@pytest.mark.parametrize("damage", ["cut", "overwritten", "checksum", "no archive"])
def test_a_damaged_archive_is_refused_and_leaves_nothing_behind(
    tmp_path: Path, damage: str
) -> None:
    rows = "".join(f"{number},{number * number}\n" for number in range(2000))
    path = archive(tmp_path / ARCHIVE, **{"APP_TYPE.csv": "whole", "POINT.csv": rows})
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as packed:
        point = packed.getinfo("POINT.csv")
    if damage == "cut":
        del raw[len(raw) // 2 :]
    elif damage == "overwritten":
        middle = point.header_offset + point.compress_size // 2
        raw[middle : middle + 200] = b"\xff" * 200
    elif damage == "checksum":
        wrong = (point.CRC ^ 1).to_bytes(4, "little")
        raw = raw.replace(point.CRC.to_bytes(4, "little"), wrong)
    else:
        raw = bytearray(b"no archive")
    path.write_bytes(raw)
    before = contents(tmp_path)

    with pytest.raises(PipelineError) as error:
        unpack_archive(tmp_path)

    assert str(error.value).startswith(f"{path} cannot be unpacked: ")
    assert str(error.value).endswith("\nUnpack it by hand into the data folder, or remove it.")
    assert contents(tmp_path) == before


# Records


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

    assert list(records(path)) == expected


def test_bytes_that_are_no_utf_8_can_be_got_back_from_a_record(tmp_path: Path) -> None:
    path = write(tmp_path / "T.csv", b"a\nK\xf6ln\n")

    assert [text.encode(errors="surrogateescape") for _, text in records(path)] == [
        b"a",
        b"K\xf6ln",
    ]


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n3,4\n5,6\n"])
def test_a_quote_that_is_never_closed_is_refused_with_its_line(tmp_path: Path, end: str) -> None:
    path = write(tmp_path / "T.csv", f'a,b\n1,"x\ny"\n2,"open{end}')

    with pytest.raises(PipelineError) as error:
        list(records(path))

    assert str(error.value) == (
        "T.csv: line 4: a quote opens a field and is never closed, "
        "so the rest of the file cannot be told apart.\n"
        "  the line reads: '2,\"open'\n"
        "Close the quote, or double it if it belongs to the text."
    )


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

    assert list(records(path)) == expected


def test_a_long_text_is_cut_for_messages_and_shown_on_one_line() -> None:
    assert shorten("a\tb\n") == r"'a\tb'"
    assert shorten("x" * 120) == f"'{'x' * 120}'"
    assert shorten("x" * 121) == f"'{'x' * 120}'..."


def test_an_archive_with_two_files_of_one_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "take_home_data.zip", "w") as archive:
        archive.writestr("a/POINT.csv", "one")
        archive.writestr("b/POINT.csv", "two")
    with pytest.raises(PipelineError, match=r"holds several files POINT\.csv"):
        unpack_archive(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["take_home_data.zip"]


def test_a_header_named_for_one_column_is_no_other_column() -> None:
    columns = tuple(
        dataclasses.replace(column, header="state") if column.name == "status" else column
        for column in LOG_RCD_B.columns
    )
    source = dataclasses.replace(LOG_RCD_B, columns=columns)
    layout = match_columns(source, ["point_log_inst_id", "State"])
    assert layout.recognised == {"point_log_inst_id": 0, "status": 1}
    assert layout.absent == ("recorded_at", "value")
