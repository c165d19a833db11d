"""Damage in the warehouse's file is found, and what is damaged is loaded again."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from config.bookkeeping import ALL_TABLES, LOAD_RECEIPT
from tasks.warehouse.open import open_warehouse
from tests.conftest import Project, unwrapped
from tests.runs import new_random, soak

OWN = [name for name in ALL_TABLES if name != LOAD_RECEIPT.name]


def content(path: Path) -> list[list[tuple]] | None:
    """The rows of the pipeline's tables; None if SQLite fails."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            return [sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in OWN]
    except (sqlite3.Error, UnicodeDecodeError):
        return None


def flip(path: Path, position: int, bit: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(position)
        (byte,) = stream.read(1)
        stream.seek(position)
        stream.write(bytes([byte ^ 1 << bit]))


@pytest.mark.parametrize("flipped", [400, soak(5000)])
def test_no_flipped_bit_changes_rows_unnoticed(
    ran: Project, tmp_path: Path, flipped: int, figures: Callable[[str], None]
) -> None:
    chosen = new_random("FLIPS_SEED")
    damaged = tmp_path / "damaged.db"
    good = content(ran.database)
    # Most of so small a file is empty.
    used = [at for at, byte in enumerate(ran.database.read_bytes()) if byte]
    changed = 0
    for _ in range(flipped):
        shutil.copy(ran.database, damaged)
        position, bit = chosen.choice(used), chosen.randrange(8)
        flip(damaged, position, bit)
        if content(damaged) != good:
            changed += 1
            found = open_warehouse(f"sqlite:///{damaged}")
            assert found.changed_loads() != [] or not found.receipts(), (position, bit)
    assert changed > flipped / 4
    figures(f"{changed:,} of {flipped:,} flipped bits changed what the file has, all were found")


def flip_text(text: bytes) -> Callable[[Path], None]:
    """Change the last bit of a text's first letter, wherever it is in the file."""

    def change(path: Path) -> None:
        before = path.read_bytes()
        assert text in before
        path.write_bytes(before.replace(text, bytes([text[0] ^ 1]) + text[1:]))

    return change


def damage_header(path: Path) -> None:
    flip(path, 3, 0)


def replace_pages(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"x" * 5000)


@pytest.mark.parametrize(
    ("damage", "named", "built"),
    [
        soak(
            flip_text(b"Dairy Case"),
            "they are loaded again: dim_application_type\n",
            ["LoadDimension:dim_application_type"],
        ),
        (
            flip_text(b"NO DATA"),
            "they are loaded again: fact_logs LOG_RCD_B\n",
            ["LoadFactLogs"],
        ),
        (
            flip_text(b"01.05"),
            "they are loaded again: dim_point\n",
            ["LoadDimension:dim_point"],
        ),
        (
            flip_text(b"POINT.io_address, as"),
            "they are loaded again: dim_point\n",
            ["LoadDimension:dim_point"],
        ),
        (
            flip_text(b"Natural key, from"),
            "they are loaded again: dim_unit\n",
            ["LoadDimension:dim_unit"],
        ),
        soak(damage_header, "is damaged and was renamed to data_warehouse.db.damaged-", None),
        (replace_pages, "is damaged and was renamed to data_warehouse.db.damaged-", None),
    ],
)
def test_what_is_damaged_is_loaded_again(
    ran: Project, damage: Callable[[Path], None], named: str, built: list[str] | None
) -> None:
    good = content(ran.database)
    damage(ran.database)
    assert content(ran.database) != good
    result = ran.luigi("AllReports")
    assert result.status == 0, result.log
    assert named in result.log
    loads = [task for task in result.built if task.startswith("Load")]
    assert len(loads) == 6 if built is None else loads == built
    assert content(ran.database) == good
    assert len(list(ran.folder.glob("*.damaged-*"))) == (built is None)
    before, _, after = result.log.rpartition("INFO pipeline: Loaded ")
    compared = "data_warehouse.db changed other than by a load: its rows are compared"
    assert compared in before
    assert compared not in after
    again = ran.luigi("AllReports")
    assert (again.status, again.ran) == (0, [])


def test_a_file_that_no_run_has_loaded_is_not_set_aside(project: Project) -> None:
    project.database.write_text("notes " * 1000)
    result = project.luigi("AllReports")
    assert result.status == 30
    assert "file is not a database" in unwrapped(result.err)
    assert project.database.read_text() == "notes " * 1000


def test_a_table_of_someone_else_is_kept_and_nothing_is_loaded_again(ran: Project) -> None:
    with closing(sqlite3.connect(ran.database)) as connection, connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
        connection.execute("INSERT INTO notes VALUES ('mine')")
    result = ran.luigi("AllReports")
    assert (result.status, [task for task in result.ran if "Load" in task]) == (0, [])
    with closing(sqlite3.connect(ran.database)) as connection:
        assert connection.execute("SELECT text FROM notes").fetchall() == [("mine",)]


def test_the_rows_are_read_only_if_the_file_changed_other_than_by_a_load(ran: Project) -> None:
    def found() -> list[tuple]:
        sql = "SELECT found_ns, content FROM file_digest WHERE what = 'changed loads'"
        with closing(sqlite3.connect(ran.staging / "state.db")) as connection:
            return connection.execute(sql).fetchall()

    assert ran.luigi("LoadFactLogs").status == 0  # The fixture is a copy.
    loaded = found()
    assert [text for _, text in loaded] == ["[]"]
    assert ran.luigi("AllReports").status == 0
    assert found() == loaded
    os.utime(ran.database)
    assert ran.luigi("AllReports").status == 0
    assert found() != loaded


# --- python -m tasks verify ------------------------------------------------------------------


def rot(path: Path) -> None:
    """Change a byte without changing the times that a program can set, or the size."""
    before = path.stat()
    flip(path, before.st_size // 2, 0)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_verify_finds_nothing_in_what_was_just_built(ran: Project) -> None:
    result = ran.tasks("verify", "--deep")
    assert (result.status, result.err) == (0, "")
    assert result.out.endswith(" checked, 0 differ.\n")


def test_verify_finds_what_differs_and_repairs_it(ran: Project) -> None:
    outputs = ran.outputs()
    rotten = ran.staging / "POINT.parquet"
    rot(rotten)
    flip_text(b"Dairy Case")(ran.database)
    for arguments in (["verify"], ["verify", "--repair"]):
        result = ran.tasks(*arguments)
        assert result.status == 1
        *lines, last = result.out.splitlines()
        assert lines == [
            f"{rotten.relative_to(ran.folder)}: is not as it was built",
            "data_warehouse.db: dim_application_type: rows are not as they were loaded",
        ]
        assert " checked, 2 differ." in last
    result = ran.luigi("AllReports")
    assert result.status == 0
    assert {"CsvToParquet:POINT", "LoadDimension:dim_application_type"} <= set(result.built)
    assert ran.tasks("verify", "--deep").status == 0
    assert ran.outputs() == outputs


def test_verify_deep_compares_the_source_files(ran: Project) -> None:
    rot(ran.data / "POINT.csv")
    assert ran.tasks("verify").status == 0
    result = ran.tasks("verify", "--deep")
    assert result.status == 1
    assert result.out.startswith("take_home_data/POINT.csv: is not as it was staged\n")


def test_verify_finds_a_damaged_database(ran: Project) -> None:
    damage_header(ran.database)
    result = ran.tasks("verify", "--repair")
    assert result.status == 1
    assert "data_warehouse.db: is damaged, or no database\n" in result.out
    assert not ran.database.exists()
    assert ran.luigi("AllReports").status == 0


def test_verify_of_a_project_that_never_ran(project: Project) -> None:
    assert project.tasks("verify", "--deep").status == 0


def test_a_journal_that_was_not_begun_is_removed(ran: Project) -> None:
    journal = ran.folder / "data_warehouse.db-journal"
    before = ran.facts()
    for mode in ("delete", "wal"):
        assert ran.query(f"PRAGMA journal_mode = {mode}") == [(mode,)]
        journal.write_bytes(bytes(512))
        ran.passes("AllReports")
        assert not journal.exists()
        assert ran.facts() == before
