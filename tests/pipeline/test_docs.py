"""What the documentation says is so."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterable

import pytest

from config.aggregates import AGGREGATES
from config.bookkeeping import LOG_INSTANCE_ACTIVITY
from config.declarations import Column, Table
from config.sources import SOURCES
from config.views import VIEWS
from config.warehouse import ENRICHED_LOGS, TABLES
from tests.conftest import ROOT, Project

README = (ROOT / "README.md").read_text(encoding="utf-8")
WAREHOUSE = (ROOT / "docs" / "warehouse.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
]


def described(name: str, grain: str, columns: Iterable[Column]) -> str:
    """A table as Markdown."""
    rows = [f"| {c.name} | {c.type} | {c.description} |\n" for c in columns]
    return f"**{name}**: {grain}.\n\n| column | type | |\n|---|---|---|\n{''.join(rows)}\n"


def data_dictionary() -> str:
    """The declared tables as Markdown."""
    tables = (*TABLES.values(), *AGGREGATES.values(), LOG_INSTANCE_ACTIVITY)
    return "".join(described(t.name, t.grain, t.columns) for t in tables).rstrip("\n")


def views() -> str:
    """The declared views as Markdown."""
    found = (described(v.name, v.grain, v.described()) for v in VIEWS.values())
    return "".join(found).rstrip("\n")


def parquet() -> str:
    """The declared columns of Parquet files as Markdown."""
    files: dict[str, Table] = {
        f"staging/{name}.parquet": source for name, source in SOURCES.items()
    }
    files |= {"staging/enriched_logs/": ENRICHED_LOGS}
    found = (described(name, table.grain, table.columns) for name, table in files.items())
    return "".join(found).rstrip("\n")


def required_columns() -> str:
    """The columns that must be in the files, as Markdown."""
    rows = [
        f"| {source.name} | {source.grain} | {', '.join(source.required)} |"
        for source in SOURCES.values()
    ]
    return "\n".join(["| file | grain | required |", "|---|---|---|", *rows])


def section(name: str, text: str = README) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n?<!-- end -->", text, flags=re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.mark.parametrize(
    ("name", "declared"),
    [("data dictionary", data_dictionary), ("views", views), ("parquet", parquet)],
)
def test_what_is_documented_of_the_warehouse_is_declared(
    name: str, declared: Callable[[], str]
) -> None:
    assert section(name, WAREHOUSE) == declared()


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
