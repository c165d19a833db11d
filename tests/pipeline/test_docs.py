"""What the documentation says is so."""

from __future__ import annotations

import re
import shlex
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
OPERATIONS, INPUTS, WAREHOUSE = (
    (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    for name in ("operations", "inputs", "warehouse")
)
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README + OPERATIONS, flags=re.DOTALL)
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


def section(name: str, text: str) -> str:
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


def test_the_required_columns_are_the_declared_ones() -> None:
    assert section("required columns", INPUTS) == required_columns()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_runs(ran: Project, command: str) -> None:
    match shlex.split(command):
        case ["python", "-m", "tasks", *arguments]:
            result = ran.tasks(*arguments)
        case ["luigi", *_] as luigi:
            result = ran.forked(*luigi)
        case other:
            result = ran.run(*other)
    assert result.status == 0, result.log


def test_commands_are_found() -> None:
    assert len(COMMANDS) == 28


def test_the_readmes_query_answers(ran: Project) -> None:
    (query,) = re.findall(r"```sql\n(.*?)```", README, flags=re.DOTALL)
    assert ran.query(query) == [
        ("Unit 7", 1, 25.0),
        ("Unit 8", 0, 0.0),
        ("Unit 9", 0, 0.0),
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
        own = r"http://127\.0\.0\.1|sqlite://|(postgresql\+psycopg|mariadb\+pymysql)://USER:PASSWORD@HOST"
        assert "://" not in re.sub(own, "", text), path
