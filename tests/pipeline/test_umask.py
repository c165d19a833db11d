"""Files and folders that a run creates have the permissions that the umask leaves."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.runs import soak
from tests.ui import up

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a umask")


def modes(project: Project, before: set[Path]) -> dict[str, set[str]]:
    """The permissions of what a run has created, files and folders apart."""
    found: dict[str, set[str]] = {"files": set(), "folders": set()}
    for path in set(project.folder.rglob("*")) - before:
        if not path.is_symlink() and "__pycache__" not in path.parts:
            kind = "folders" if path.is_dir() else "files"
            found[kind].add(f"{path.stat().st_mode & 0o777:o}")
    return found


@pytest.mark.parametrize(
    ("mask", "files", "folders"), [(0o077, "600", "700"), soak(0o002, "664", "775")]
)
def test_a_run_leaves_to_the_umask_who_may_read_and_write(
    project: Project, mask: int, files: str, folders: str
) -> None:
    before = set(project.folder.rglob("*"))
    previous = os.umask(mask)
    try:
        assert project.luigi("AllReports").status == 0
        with up(project, "--no-run") as ui:
            assert ui.end(signal.SIGTERM) == 0
    finally:
        os.umask(previous)
    assert (project.staging / "luigid_history.db").exists()
    assert modes(project, before) == {"files": {files}, "folders": {folders}}
