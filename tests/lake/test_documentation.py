"""The examples of `docs/lake.md`."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import duckdb
import pyarrow as pa

from tests.conftest import ROOT
from tests.lake.test_lake import IN_LAKE, facts, several_files


def test_readers_of_the_manifest_find_all_facts(tmp_path: Path) -> None:
    project = several_files(tmp_path)
    project.passes("AllReports", env=IN_LAKE)
    text = (ROOT / "docs" / "lake.md").read_text(encoding="utf-8")
    (sql,), (python,) = (re.findall(rf"```{of}\n(.*?)```", text, re.S) for of in ("sql", "python"))
    with contextlib.chdir(project.folder):
        days = duckdb.connect().execute(sql).fetchall()
        names: dict[str, pa.Table] = {}
        exec(python, names)
    answer = dict(zip(*names["answer"].to_pydict().values(), strict=True))
    assert sum(answer.values()) == len(facts(project)) > 2_000
    assert days == sorted(answer.items())[:3]
