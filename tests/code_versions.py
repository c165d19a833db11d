"""The code that each task's result depends on, and its digest under the declared version.

`python -m tests.code_versions` records the present digests, after `code_version` was raised in
`tasks/graph`, or where a change of the code cannot change the result.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import grimp

from tasks.freshness.task import FreshTask, WrapperTask, walk
from tasks.graph import AllReports
from tasks.graph.report import ReportPage, ReportTask
from tasks.reports.registry import reports

ROOT = Path(__file__).parent.parent
RECORDED = Path(__file__).with_suffix(".json")
TEMPLATES = ROOT / "tasks" / "reports" / "templates"

EXEMPT = (
    "tasks.core.errors",
    "tasks.core.progress",
    "tasks.freshness",
    "tasks.graph",
    "tasks.run",
    "tasks.state",
)
"""Modules that change when a task runs and what people see of it, not what it builds. What a task's
own class and the functions of `tasks.graph` that it calls do is counted by itself."""


@functools.cache
def _imports() -> grimp.ImportGraph:
    found = grimp.build_graph("config", "tasks", exclude_type_checking_imports=True)
    for module in found.modules:
        if _is_exempt(module):
            found.remove_module(module)
    return found


def _is_exempt(module: str) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in EXEMPT)


def _path(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


class _Definitions:
    """The classes, functions and imported names of a module of `tasks.graph`."""

    def __init__(self, module: str):
        text = _path(module).read_text(encoding="utf-8")
        tree = ast.parse(text)
        self.lines = text.splitlines()
        self.classes = {one.name: one for one in tree.body if isinstance(one, ast.ClassDef)}
        self.functions = {one.name: one for one in tree.body if isinstance(one, ast.FunctionDef)}
        self.imported = {name: at for one in tree.body for name, at in _imported(one)}

    def code(self, node: ast.stmt) -> str:
        """The lines of a class or function that are code."""
        return _bare("\n".join(self.lines[node.lineno - 1 : node.end_lineno]))


_definitions = functools.cache(_Definitions)


def _imported(node: ast.AST) -> Iterator[tuple[str, tuple[str, str]]]:
    """Name -> module and name there, of an import."""
    if isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            yield alias.asname or alias.name, (node.module, alias.name)


def _modules(module: str, node: ast.AST, functions: set[str]) -> Iterator[str]:
    """The modules that a class or function uses, by itself or by functions of `tasks.graph`."""
    known = _definitions(module)
    for one in ast.walk(node):
        places = [place for _, place in _imported(one)]
        if isinstance(one, ast.Name):
            places.append(known.imported.get(one.id, (module, one.id)))
        for where, name in places:
            if where.startswith("tasks.graph"):
                function = _definitions(where).functions.get(name)
                if function is not None and f"{where}.{name}" not in functions:
                    functions.add(f"{where}.{name}")
                    yield from _modules(where, function, functions)
            elif f"{where}.{name}" in _imports().modules:
                yield f"{where}.{name}"
            elif where in _imports().modules:
                yield where


def code_of(task: type[FreshTask]) -> tuple[set[str], str]:
    """The modules that a task's result depends on, and its own code in `tasks.graph`."""
    modules: set[str] = set()
    functions: set[str] = set()
    own = []
    for one in task.__mro__:
        if one.__module__.startswith("tasks.graph"):
            definitions = _definitions(one.__module__)
            node = definitions.classes.get(one.__name__)
            if node is None:  # Made of a registered report.
                continue
            modules.update(_modules(one.__module__, node, functions))
            own.append(definitions.code(node))
    for place in sorted(functions):
        module, _, name = place.rpartition(".")
        own.append(_definitions(module).code(_definitions(module).functions[name]))
    if issubclass(task, ReportTask):
        modules.add(task.report.build.__module__)
    if task is ReportPage:  # What the registry imports by name.
        modules.update(report.build.__module__ for report in reports())
    for module in set(modules):
        modules |= _imports().find_upstream_modules(module)
    return modules, "\n".join(own)


def templates_of(texts: list[str]) -> set[str]:
    """The templates that texts name, and those that these name."""
    found: set[str] = set()
    files = [path for path in TEMPLATES.rglob("*") if path.suffix in (".j2", ".css", ".js")]
    names = [path.relative_to(TEMPLATES).as_posix() for path in files]
    while texts:
        text = texts.pop()
        new = {name for name in names if f'"{name}"' in text or f"'{name}'" in text} - found
        found |= new
        texts += [(TEMPLATES / name).read_text(encoding="utf-8") for name in new]
    return found


def digest(task: type[FreshTask]) -> str:
    """The digest of all that a task's result depends on; comments and docstrings aside."""
    modules, own = code_of(task)
    texts = [_path(module).read_text(encoding="utf-8") for module in sorted(modules)]
    if task is ReportPage:  # Their names follow from those of the modules.
        texts += [f'"{report.template}"' for report in reports()]
    templates = [(TEMPLATES / name).read_text("utf-8") for name in sorted(templates_of(texts[:]))]
    code = "\n".join([own, *map(_bare, texts), *templates])
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def _bare(text: str) -> str:
    """The lines that are code: the same whatever Python reads them."""
    ignored: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                ignored.update(range(value.lineno, (value.end_lineno or value.lineno) + 1))
    lines = (
        line.strip()
        for number, line in enumerate(text.splitlines(), start=1)
        if number not in ignored
    )
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def tasks_with_results() -> dict[str, type[FreshTask]]:
    """Name -> each kind of task that builds something."""
    found = {type(one) for one in walk(AllReports()) if not isinstance(one, WrapperTask)}
    return {one.__name__: one for one in sorted(found, key=lambda one: one.__name__)}


def present() -> dict[str, list[object]]:
    """Task -> its declared code version and the digest of its code."""
    return {name: [task.code_version, digest(task)] for name, task in tasks_with_results().items()}


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(present(), indent=1) + "\n", encoding="utf-8")
