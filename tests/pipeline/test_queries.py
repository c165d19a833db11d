"""The documented questions: their SQL, and the same with pandas and DuckDB."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable

import duckdb
import pandas as pd
import pytest

from tests.conftest import ROOT, Project
from tests.queries import QUESTIONS, Answer, ask, documented

PARQUET = (ROOT / "docs" / "parquet.md").read_text(encoding="utf-8")
OF_WAREHOUSE = {question.title: question.sql for question in QUESTIONS}
WITHOUT_ANSWER = {"Where are data missing?"}
"""On the small sample: its log instances have too few records for a gap."""


def test_every_question_is_answered(sample: Project) -> None:
    answers = {question: ask(sample.database, question.sql) for question in QUESTIONS}
    empty = {question.title for question, answer in answers.items() if not answer.rows}
    assert empty == WITHOUT_ANSWER
    of_page = documented()
    assert list(of_page) == [question.sql for question in QUESTIONS]
    for question, answer in answers.items():
        assert answer.columns == of_page[question.sql].splitlines()[0].split(), question.title


@pytest.mark.soak
def test_the_documented_answers_are_those_of_the_sample_in_full_size(
    full_size: Project, figures: Callable[[str], None]
) -> None:
    of_page, took = documented(), {}
    for title, _, sql in QUESTIONS:
        began = time.process_time()
        answer = ask(full_size.database, sql)
        took[title] = time.process_time() - began
        assert answer.text() == of_page[sql], title
    slowest = max(took, key=lambda title: took[title])
    figures(f"{slowest} {took[slowest] * 1000:.0f} ms")


def blocks(language: str) -> dict[str, str]:
    """The blocks of code of the page by the heading above; "" for what is before all headings."""
    sections = re.split(r"^## (.*)$", PARQUET, flags=re.MULTILINE)
    texts = zip(["", *sections[1::2]], sections[::2], strict=True)
    found = {
        title: re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) for title, text in texts
    }
    return {title: block for title, (block,) in found.items()}


def text(frame: pd.DataFrame) -> str:
    rows = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    return Answer(list(frame.columns), rows).text()


@pytest.mark.parametrize("title", list(blocks("python"))[1:])
def test_pandas_and_duckdb_answer_as_the_warehouse_does(sample: Project, title: str) -> None:
    expected = ask(sample.database, OF_WAREHOUSE[title])
    assert expected.rows
    first, of_pandas = blocks("python")[""], blocks("python")[title]
    names: dict[str, pd.DataFrame] = {}
    with contextlib.chdir(sample.folder), duckdb.connect() as connection:
        exec(first + of_pandas, names)
        assert text(names["answer"]) == expected.text()
        connection.execute(blocks("sql")[""])
        answer = connection.execute(blocks("sql")[title])
        columns = [name for name, *_ in answer.description]
        assert Answer(columns, answer.fetchall()).text() == expected.text()


def test_each_answer_of_the_page_is_compared() -> None:
    titles = re.findall(r"^## (.*)$", PARQUET, re.MULTILINE)
    assert len(titles) == 5
    assert list(blocks("python")) == list(blocks("sql")) == ["", *titles]
