"""What a report is, and which ones there are.

A report is a module of this folder that declares `REPORT`, and a template of the same name, its
section of the page: `summaries.py` and `templates/sections/summaries.html.j2`. Its Luigi task, its
place on the page, the digest of its code and what is loaded before processes are forked follow from
that. Every run imports these modules, also if nothing has to be done: they import pandas, pyarrow,
SQLAlchemy and Jinja in their functions.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.reports.results import Inputs, Json, Outputs, Results

SECTIONS = Path(__file__).parent / "templates" / "sections"


def no_figures(results: Results) -> Json:
    """The part of `run.json` of a report that has none."""
    return {}


def no_values(results: Results, overview: Json) -> dict[str, Any]:
    """What a template needs that shows tables alone."""
    return {}


@dataclass(frozen=True)
class Report:
    """A report: what it reads, what it writes, and its section of the page.

    Attributes:
        name: Of its Luigi task, such as ActivityReport.
        summary: What it shows, in one sentence.
        reads: Names of its inputs; `INPUTS` in `tasks/graph/report.py` declares what each is.
        build: Writes the tables and files, and returns the result in a few words, or "".
        anchor: Id of its section on the page.
        title: The section in the page's navigation.
        position: Sections are in the order of this number.
        tables: CSV files of the reports folder, without ".csv"; the page reads the same rows.
        files: Other files: name -> path in the reports folder, or "staging/..." in that one.
        figures: Its part of `run.json`, from what was built.
        values: What its template needs beside `o`, which is all of `run.json`, and `tables`.
        levels: The values of the task's parameter `level`, each a task. In the names of tables and
            in `page` {level} is replaced. Empty if there is one task without a parameter.
        page: Where the report is shown; empty for its section.
        code_version: To be raised when the same inputs give another result.
    """

    name: str
    summary: str
    reads: tuple[str, ...]
    build: Callable[[Inputs, Outputs], str]
    anchor: str
    title: str
    position: int
    tables: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    figures: Callable[[Results], Json] = no_figures
    values: Callable[[Results, Json], dict[str, Any]] = no_values
    levels: tuple[str, ...] = ()
    page: str = ""
    code_version: int = 1

    @property
    def module(self) -> str:
        """The name of the module that declares it, without its package."""
        return self.build.__module__.rpartition(".")[2]

    @property
    def template(self) -> str:
        """The template of its section."""
        return f"sections/{self.module}.html.j2"


@functools.cache
def reports() -> tuple[Report, ...]:
    """All reports, as the page has them."""
    package = Path(__file__).parent
    modules = [module.name for module in pkgutil.iter_modules([str(package)])]
    found: list[Report] = [
        importlib.import_module(f"tasks.reports.{name}").REPORT
        for name in modules
        if (SECTIONS / f"{name}.html.j2").exists()
    ]
    return tuple(sorted(found, key=lambda report: report.position))
