"""The state file: what it loses costs a rebuild, what is in its way is reported."""

from __future__ import annotations

import logging
import sqlite3
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tasks.core.errors import PipelineError
from tasks.state import BUILT, FAILED, FORMAT, PENDING, FileDigest, Receipt, State, TaskRun

RECEIPT = Receipt(2, {"zone": "a"}, {"POINT.csv": "b"}, {"rows": "c"})
DIGEST = FileDigest(1, 2, 3, 4, 5, "content")


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "staging" / "state.db")


def test_what_is_stored_is_found_by_others(state: State) -> None:
    state.keep_digests({("POINT.csv", "sha256"): DIGEST})
    state.keep_receipt("CsvToParquet:POINT", "", RECEIPT)
    state.keep_receipt("EnrichedLogs", "LOG_RCD_F/1", RECEIPT)
    other = State(state.path)
    assert other.digests() == {("POINT.csv", "sha256"): DIGEST}
    assert other.task_receipts() == {"CsvToParquet:POINT": RECEIPT}
    assert other.receipts("EnrichedLogs") == {"LOG_RCD_F/1": RECEIPT}

    other.forget("EnrichedLogs", ["LOG_RCD_F/2"])
    assert state.receipts("EnrichedLogs") == {"LOG_RCD_F/1": RECEIPT}
    other.forget("EnrichedLogs")
    assert state.receipts("EnrichedLogs") == {}


def test_the_last_status_of_a_task_counts_and_old_runs_are_dropped(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.state._KEPT_TASK_RUNS", 3)
    for status in (PENDING, BUILT):
        state.record(TaskRun("first", "A", status))
    state.record(TaskRun("first", "B", FAILED, why="x\udcff.csv"))
    assert state.task_runs("first") == [
        TaskRun("first", "A", BUILT),
        TaskRun("first", "B", FAILED, why="x\\udcff.csv"),
    ]
    state.record(TaskRun("second", "A", PENDING))
    assert state.last_runs(BUILT, FAILED)["A"].run == "first"
    state.record(TaskRun("second", "B", BUILT))
    assert {task: found.run for task, found in state.last_runs(BUILT, FAILED).items()} == {
        "B": "second"
    }


def test_a_receipt_as_text_is_valid_in_this_format_alone() -> None:
    text = RECEIPT.to_json()
    assert Receipt.from_json(text) == RECEIPT
    for damaged in ("", "{", "[]", "{}", text.replace(f'"format": {FORMAT}', '"format": 99')):
        assert Receipt.from_json(damaged) is None


def test_reading_a_file_that_does_not_exist_creates_none(state: State) -> None:
    assert (state.digests(), state.task_receipts(), state.task_runs("x")) == ({}, {}, [])
    assert not state.path.parent.exists()


@pytest.mark.parametrize("damage", ["no database", "cut", "pages", "version", "tables"])
def test_a_file_that_cannot_be_used_is_reported_and_begun_again(
    state: State, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    state.keep_receipt("A", "", RECEIPT)
    match damage:
        case "no database":
            state.path.write_text("mine " * 1000)
        case "cut":
            state.path.write_bytes(state.path.read_bytes()[:5000])
        case "pages":
            content = state.path.read_bytes()
            state.path.write_bytes(content[:4096] + b"x" * (len(content) - 4096))
        case "version":
            with closing(sqlite3.connect(state.path)) as connection:
                connection.execute("PRAGMA user_version = 99")
        case "tables":
            with closing(sqlite3.connect(state.path)) as connection:
                connection.execute("DROP TABLE receipt")
    with caplog.at_level(logging.WARNING, "pipeline"):
        assert state.task_receipts() == {}
        state.keep_receipt("A", "", RECEIPT)
    (line,) = caplog.messages
    assert line.startswith(f"{state.path} cannot be used and is begun again (")
    assert state.task_receipts() == {"A": RECEIPT}


def test_a_damaged_row_is_no_receipt(state: State) -> None:
    state.keep_receipt("A", "", RECEIPT)
    with closing(sqlite3.connect(state.path)) as connection, connection:
        connection.execute("UPDATE receipt SET inputs = '{'")
    assert state.task_receipts() == {}


def test_receipts_of_an_earlier_version_are_removed(
    state: State, caplog: pytest.LogCaptureFixture
) -> None:
    earlier = state.path.parent / ".receipts"
    earlier.mkdir(parents=True)
    (earlier / "digests.jsonl").touch()
    with caplog.at_level(logging.WARNING, "pipeline"):
        state.keep_receipt("A", "", RECEIPT)
    assert not earlier.exists()
    assert caplog.messages == [
        "Receipts of an earlier version are removed: everything is built again."
    ]


def record_many(path: Path, run: str) -> None:
    for number in range(50):
        State(path).record(TaskRun(run, f"task {number}", BUILT))
        State(path).keep_receipt(run, f"{number}", RECEIPT)


def test_several_processes_share_a_file(state: State) -> None:
    runs = ["one", "two", "three", "four"]
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(record_many, [state.path] * 4, runs))
    assert [len(state.task_runs(run)) for run in runs] == [50] * 4
    assert [len(state.receipts(run)) for run in runs] == [50] * 4


def record_in_each(files: list[Path], run: str, begin_at: float) -> None:
    for number, path in enumerate(files):
        while time.time() < begin_at + number * 0.01:
            pass
        State(path).record(TaskRun(run, "task", BUILT))


@pytest.mark.parametrize("content", [b"", b"no database"])
def test_several_processes_begin_a_file_at_once(tmp_path: Path, content: bytes) -> None:
    files = [tmp_path / f"{number}.db" for number in range(100)]
    for path in files:
        path.write_bytes(content)
    runs = ["one", "two", "three", "four"]
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(record_in_each, [files] * 4, runs, [time.time() + 0.5] * 4))
    for path in files:
        assert [len(State(path).task_runs(run)) for run in runs] == [1] * 4


def test_a_folder_in_its_place_is_reported(state: State) -> None:
    state.path.mkdir(parents=True)
    with pytest.raises(PipelineError, match="cannot be read or written: .*Is a directory") as error:
        state.keep_receipt("A", "", RECEIPT)
    assert error.value.remedy.startswith("A folder is in the place of a file: move it away")
