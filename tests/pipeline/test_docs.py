"""What the documentation says is so."""

from __future__ import annotations

import re
import shlex
import sys

import pytest

from config.bookkeeping import LOG_INSTANCE_ACTIVITY
from config.sources import SOURCES
from config.warehouse import TABLES
from tests.conftest import ROOT, Project

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
]


def data_dictionary() -> str:
    """The declared tables as Markdown."""
    parts = []
    for table in (*TABLES.values(), LOG_INSTANCE_ACTIVITY):
        parts.append(f"**{table.name}**: {table.grain}.\n\n| column | type | |\n|---|---|---|\n")
        parts += [f"| {c.name} | {c.type} | {c.description} |\n" for c in table.columns]
        parts.append("\n")
    return "".join(parts).rstrip("\n")


def required_columns() -> str:
    """The columns that must be in the files, as Markdown."""
    rows = [
        f"| {source.name} | {source.grain} | {', '.join(source.required)} |"
        for source in SOURCES.values()
    ]
    return "\n".join(["| file | grain | required |", "|---|---|---|", *rows])


def section(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n?<!-- end -->", README, flags=re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_readmes_data_dictionary_is_the_declared_one() -> None:
    assert section("data dictionary") == data_dictionary()


def test_the_readmes_required_columns_are_the_declared_ones() -> None:
    assert section("required columns") == required_columns()


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_of_the_readme_runs(ran: Project, command: str) -> None:
    program, *arguments = shlex.split(command)
    result = ran.run(sys.executable if program == "python" else program, *arguments)
    assert result.status == 0, result.log


def test_the_readme_shows_commands() -> None:
    assert len(COMMANDS) == 23


def test_the_readmes_query_answers(ran: Project) -> None:
    (query,) = re.findall(r"```sql\n(.*?)```", README, flags=re.DOTALL)
    assert ran.query(query) == [
        ("Point 1000", "Dairy Case", "2024-06-01 00:00:00", 4.5, "OK"),
        ("Point 1001", "Suction Group", "2024-06-01 00:00:00", -21.0, "ALARM"),
        ("Point 1006", "Dairy Case", "2024-06-01 01:30:00", 1.0, "OK"),
    ]


def test_every_module_is_on_the_map() -> None:
    architecture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = {
        f"{path.relative_to(ROOT)}"
        for folder in ("config", "tasks")
        for path in (ROOT / folder).glob("*.py")
        if path.name != "__init__.py"
    }
    assert modules <= set(re.findall(r"`([a-z_/]+\.py)`", architecture))


def test_the_lock_and_the_documentation_name_no_registry() -> None:
    for path in (ROOT / "requirements.lock", ROOT / "README.md", ROOT / "Makefile"):
        text = path.read_text(encoding="utf-8")
        assert "://" not in text.replace("http://127.0.0.1", "").replace("sqlite://", ""), path
