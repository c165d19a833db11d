"""The templates of the reports."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tasks.reports.templates import environment


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for compiled templates."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    return tmp_path


def rendered() -> str:
    templates = environment.__wrapped__(autoescape=True)
    page = templates.get_template("article.html.j2")
    return page.render(title="<", content="", style="", script="", policy="")


@pytest.mark.parametrize("damage", [b"", b"x", b"\0" * 1000])
def test_a_damaged_compiled_template_is_compiled_again(compiled: Path, damage: bytes) -> None:
    before = rendered()
    (path,) = [path for path in compiled.rglob("*") if path.is_file()]
    good = path.read_bytes()
    path.write_bytes(damage + good[len(damage) :] if damage else b"")
    assert rendered() == before
    assert path.read_bytes() == good


def test_a_folder_that_cannot_be_written_does_no_harm(compiled: Path) -> None:
    (compiled / "file").touch()
    sys.pycache_prefix = str(compiled / "file")
    assert rendered()
    assert [path.name for path in compiled.rglob("*")] == ["file"]
