"""All source files at once: every problem is listed."""

from __future__ import annotations

import gzip
from pathlib import Path

from config.sources import (
    APP_INSTANCE,
    APP_TYPE,
    APP_TYPE_REF,
    LOG_INSTANCE,
    LOG_RCD_B,
    LOG_RCD_F,
    POINT,
)
from tasks.sources.inspection import check_sources
from tests.staged import refusal
from tests.unit.sources.test_files import contents, write


def test_files_that_fit_give_their_layouts_by_name(tmp_path: Path) -> None:
    write(tmp_path / "app_type.csv", "NAME,app_type_id\n")
    write(
        tmp_path / "LOG_RCD_F.csv.gz", gzip.compress(b"point_log_inst_id,log_time,log_value,status")
    )

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
    write(tmp_path / "LOG_RCD_F.csv", "point_log_inst_id,log_time,log_value,status")
    before = contents(tmp_path)
    sources = [APP_TYPE, APP_TYPE_REF, APP_INSTANCE, POINT, LOG_INSTANCE, LOG_RCD_B, LOG_RCD_F]

    assert refusal(check_sources, sources, tmp_path) == (
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
    assert contents(tmp_path) == before


def test_an_absent_folder_is_told_as_such(tmp_path: Path) -> None:
    message = refusal(check_sources, [POINT], tmp_path / "absent")

    assert "  POINT.csv (or .csv.gz) is missing\nThe folder is empty or absent.\n" in message
