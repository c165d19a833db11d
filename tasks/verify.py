"""`python -m tasks verify`: whether all is as it was built, whatever the times of files say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tasks.freshness.snapshot import Snapshot
from tasks.freshness.targets import FileTarget
from tasks.freshness.task import walk
from tasks.graph import AllReports
from tasks.graph.check import CheckWarehouse
from tasks.graph.load import LoadTask, remove_changed, warehouse, was_loaded
from tasks.graph.stage import CsvToParquet
from tasks.run.console import print_lines
from tasks.run.recording import state


def verify(*, deep: bool, repair: bool) -> int:
    """Print what differs from what was built or loaded; 1 if anything does.

    Args:
        deep: Whether the source files are compared too with what was staged of them.
        repair: Whether what differs is recorded, so that the next run builds it again.
    """
    snapshot = Snapshot(state(), recall=False)
    changed = warehouse().changed_loads()
    checked, different = 0, 0
    for what, why in [*_check_files(snapshot, deep), *_check_warehouse(changed)]:
        checked += 1
        if why:
            different += 1
            print_lines([f"{what}: {why}"])
    if repair and different:
        snapshot.keep()
        remove_changed(None if changed is None else set(changed))
    advice = ""
    if different:
        advice = (
            " Run again." if repair else " To have it built again: python -m tasks verify --repair"
        )
    print_lines([f"{checked:,} checked, {different:,} differ.{advice}"])
    return 1 if different else 0


def _check_files(snapshot: Snapshot, deep: bool) -> Iterator[tuple[str, str]]:
    """The files that are checked, and how each differs; "" if it does not."""
    tasks = [task for task in walk(AllReports()) if not isinstance(task, LoadTask)]
    built = {task: receipt for task in tasks if (receipt := task.receipt(snapshot))}
    file = snapshot.state.path
    if not built and any(one.exists() for task in tasks for one in task.output().values()):
        yield str(file), "has no record of what was built"
    elif file.exists():
        yield str(file), "" if snapshot.state.is_sound() else "is damaged"
    for task, receipt in built.items():
        yield from _differences(task.output(), receipt.outputs, snapshot, "built")
        if deep and isinstance(task, CsvToParquet):
            yield from _differences(task.reads(), receipt.inputs, snapshot, "staged")


def _differences(
    targets: Mapping[str, object], expected: Mapping[str, str], snapshot: Snapshot, verb: str
) -> Iterator[tuple[str, str]]:
    for name, target in targets.items():
        if isinstance(target, FileTarget):
            found = target.digest(snapshot)
            why = "is missing" if found is None else f"is not as it was {verb}"
            yield str(target.file), "" if found == expected.get(name) else why


def _check_warehouse(changed: list[tuple[str, str]] | None) -> Iterator[tuple[str, str]]:
    name, exists = warehouse().name, warehouse().exists()
    missing: list[str] = []
    if changed is None and exists:
        yield name, "is damaged, or no database"
    elif was_loaded() or CheckWarehouse().receipt(Snapshot(state())):
        missing = warehouse().missing_tables() if exists else [""]
    if changed == [] and not missing:
        yield name, ""
    for table in missing:
        yield f"{name}: {table}".removesuffix(": "), "is missing"
    for table, partition in changed or ():
        yield f"{name}: {table} {partition}".rstrip(), "rows are not as they were loaded"
