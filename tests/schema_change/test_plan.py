"""The plan: read from the live table, tried on a copy, and what it shows is what runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from config.declarations import Type
from tasks.core.errors import PipelineError
from tasks.schema_change.apply import Permission, apply
from tasks.schema_change.change import AddColumn
from tasks.schema_change.interface import Database
from tasks.schema_change.machine import SchemaChange
from tasks.schema_change.open import open_database
from tasks.schema_change.plan import (
    ABILITIES,
    GH_OST,
    NATIVE,
    SHADOW,
    TOOL,
    choose,
    is_brief,
    make_plan,
    with_default,
)
from tasks.schema_change.plan_page import write_plan
from tasks.schema_change.preflight import (
    CATALOG,
    COPIES,
    ONLINE,
    REFUSED,
    Native,
    check,
    try_natively,
)
from tasks.schema_change.recorded import TITLES
from tasks.schema_change.runs import State
from tasks.schema_change.scratch import scratch
from tests.conftest import Project

NAME = 'or"der'
"""A table whose name has to be quoted."""

TABLES = {
    "sqlite": [
        "CREATE TABLE site (id INTEGER PRIMARY KEY, name TEXT)",
        'CREATE TABLE "or""der" (id INTEGER PRIMARY KEY, site INTEGER REFERENCES site (id),'
        " note TEXT)",
        'CREATE TABLE item (id INTEGER PRIMARY KEY, o INTEGER REFERENCES "or""der" (id))',
        'CREATE VIEW open AS SELECT id, note FROM "or""der"',
    ],
    "postgresql": [
        "CREATE TABLE site (id bigint PRIMARY KEY, name text)",
        'CREATE TABLE "or""der" (id serial PRIMARY KEY, site bigint REFERENCES site, note text)',
        'CREATE TABLE item (id bigint PRIMARY KEY, o integer REFERENCES "or""der")',
        'CREATE VIEW open AS SELECT id, note FROM "or""der"',
        "CREATE FUNCTION public.count_up() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " UPDATE public.site SET name = name || '!'; RETURN NULL; END$$",
        'CREATE TRIGGER up AFTER UPDATE ON "or""der" EXECUTE FUNCTION public.count_up()',
        'GRANT SELECT ON "or""der" TO PUBLIC',
    ],
    "mariadb": [
        "CREATE TABLE site (id BIGINT PRIMARY KEY, name VARCHAR(20))",
        'CREATE TABLE `or"der` (id BIGINT PRIMARY KEY, site BIGINT, note VARCHAR(20),'
        " CONSTRAINT on_site FOREIGN KEY (site) REFERENCES site (id))",
        "CREATE TABLE item (id BIGINT PRIMARY KEY, o BIGINT,"
        ' CONSTRAINT of_order FOREIGN KEY (o) REFERENCES `or"der` (id))',
        'CREATE VIEW open AS SELECT id, note FROM `or"der`',
        'CREATE TRIGGER up AFTER UPDATE ON `or"der` FOR EACH ROW'
        " UPDATE site SET name = concat(name, '!') WHERE id = NEW.site",
    ],
}


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with a table that refers to one and is referred to by another."""
    url = f"sqlite:///{tmp_path / 'live.db'}"
    if request.param != "sqlite":
        url = request.getfixturevalue(request.param)
    database = open_database(url)
    table = database.quote(NAME)
    for sql in TABLES[request.param]:
        database.run(sql)
    database.run("INSERT INTO site VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    for number in range(1, 30):
        database.run(f"INSERT INTO {table} VALUES ({number}, {1 + number % 2}, 'x')")
    yield database
    database.close()


def everything(database: Database) -> dict[str, Any]:
    """All tables with their definitions and rows, but for the run of the change."""
    inspector = sa.inspect(database.connection)
    inspector.clear_cache()
    tables = [name for name in inspector.get_table_names() if name != "schema_change_run"]
    return {
        name: (
            database.describe(name).dependents(),
            database.run(f"SELECT * FROM {database.quote(name)} ORDER BY 1").fetchall(),
        )
        for name in tables
    } | {"schemas": sorted(inspector.get_schema_names())}


CHANGE = AddColumn(NAME, "sel ect", Type.INTEGER, 7, nullable=False)


def test_a_copy_has_what_the_table_depends_on_and_is_removed(live: Database) -> None:
    before = everything(live)
    with scratch(live, NAME, 5) as copy:
        was, now = live.describe(NAME), copy.describe(NAME)
        assert (copy.count(NAME), copy.count("site"), copy.count("item")) == (5, 2, 0)
        assert (now.columns, now.primary_key) == (was.columns, was.primary_key)
        assert (now.referred_by, [*now.views], [*now.triggers], [*now.indexes], now.grants) == (
            was.referred_by, [*was.views], [*was.triggers], [*was.indexes], was.grants
        )  # fmt: skip
        table, note = copy.quote(NAME), copy.quote("note")
        copy.run(f"UPDATE {table} SET {note} = 'y'")  # Its trigger writes to the copy.
        copy.run(f"DELETE FROM {table}")
    assert everything(live) == before


def test_a_plan_changes_nothing_and_is_what_the_engine_runs(live: Database) -> None:
    before = everything(live)
    plan = make_plan(live, CHANGE)
    assert everything(live) == before
    assert (plan.chosen, plan.native.way, plan.rows) == (NATIVE, CATALOG, 29)
    assert plan.fingerprint == live.describe(NAME).fingerprint()

    ran: list[str] = []
    sa.event.listen(
        live.connection.engine,
        "before_cursor_execute",
        lambda _c, _k, sql, *_: ran.append(sql.rstrip("; \n")),
    )
    change = SchemaChange(live, CHANGE)
    change.run()
    change.switch()
    change.sign_off()
    shown = [
        line
        for course in ("run", "switch", "sign-off")
        for step in plan.courses[course]
        for line in ";\n".join(step.statements).split(";\n")
        if line.startswith(("CREATE TABLE", "ALTER", "DROP", "RENAME", "LOCK", "GRANT"))
    ]
    assert len(shown) > 5
    assert [one for one in shown if one.rstrip(";") not in ran] == []


@pytest.mark.parametrize("live", ["postgresql"], indirect=True)
def test_the_statements_take_the_change_back(live: Database) -> None:
    """Without the engine: a person runs them one after the other."""
    before = everything(live)
    plan = make_plan(live, CHANGE)
    for course in ("run", "abort"):
        for step in plan.courses[course]:
            for text in step.statements:
                live.run(text)
    assert everything(live) == before


def test_the_plan_is_readable(live: Database, tmp_path: Path) -> None:
    result = write_plan(live, CHANGE, tmp_path)
    path = tmp_path / "schema_change" / "plan_or_der_sel_ect.md"
    assert result.endswith(str(path))
    text = path.read_text()
    for words in ("**ALTER TABLE.**", "kill -9", "Let the tables exchange their names"):
        assert words in text
    assert ("pt-online-schema-change --alter=" in text.replace("'", "")) is (live.kind == "MariaDB")
    assert "--alter-foreign-keys-method=rebuild_constraints" in text or live.kind != "MariaDB"
    assert (path.with_suffix(".html").exists(), path.with_suffix(".json").exists()) == (True, True)


@pytest.mark.parametrize("live", ["postgresql"], indirect=True)
def test_squawk_accepts_the_statements(tmp_path: Path, live: Database) -> None:
    plan = make_plan(live, CHANGE)
    for name, statements in {
        "native": plan.native_sql,
        **{
            course: [text for step in steps for text in step.statements]
            for course, steps in plan.courses.items()
        },
    }.items():
        file = tmp_path / f"{name}.sql"
        lines = [one.rstrip(";") + ";" for one in (*plan.session, *statements)]
        file.write_text("\n".join(lines))
        found = subprocess.run(
            [Path(sys.executable).parent / "squawk", f"--exclude={','.join(EXCLUDED)}",
             "--pg-version=15", "--reporter=gcc", str(file)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (found.returncode, found.stdout) == (0, "")


EXCLUDED = {
    "prefer-robust-stmts": "A step that is repeated must not find what it did not make.",
    "require-statement-timeout": "A chunk takes as long as it takes; where others wait, it is set.",
    "renaming-table": "The exchange of names.",
    "renaming-object": "The same, of indexes.",
    "ban-drop-constraint": "Each is created again in the same transaction.",
    "ban-drop-table": "Those that the change has made, and at sign-off the old one.",
    "ban-drop-function": "That of the capture.",
    "adding-field-with-default": "The number in the log, which is empty.",
}
"""Rule of squawk -> why the change does it nevertheless."""


# --- what a server can do by itself ----------------------------------------------------------


def test_mariadb_is_tried_from_the_cheapest_way_on(mariadb: str) -> None:
    live = open_database(mariadb)
    ways = {"DYNAMIC": CATALOG, "COMPRESSED": ONLINE}
    for number, (row_format, way) in enumerate(ways.items()):
        live.run(f"CREATE TABLE t{number} (id BIGINT PRIMARY KEY) ROW_FORMAT={row_format}")
        found = try_natively(live, AddColumn(f"t{number}", "c", Type.INTEGER))
        assert (found.way, live.describe(f"t{number}").has("c")) == (way, False), found
    live.close()


def test_what_a_user_of_mariadb_cannot_see_is_said(mariadb: str) -> None:
    admin, url = open_database(mariadb), sa.make_url(mariadb)
    admin.run("CREATE TABLE t (id BIGINT PRIMARY KEY)")
    admin.run(f"CREATE OR REPLACE USER blind@'127.0.0.1' IDENTIFIED BY '{url.password}'")
    admin.run(f"GRANT ALL ON {url.database}.* TO blind@'127.0.0.1'")
    blind = open_database(url.set(username="blind").render_as_string(hide_password=False))

    def judged(live: Database) -> list[str]:
        checks = check(live, live.describe("t"), AddColumn("t", "c", Type.INTEGER))
        return [one.what for one in checks if one.is_ok is None and "TRUNCATE" in one.what]

    assert len(judged(blind)) == 1
    assert judged(admin) == []
    blind.close()
    admin.run("DROP USER blind@'127.0.0.1'")
    admin.close()


def test_a_change_that_is_refused_has_the_reason(live: Database) -> None:
    found = try_natively(live, AddColumn(NAME, "note", Type.TEXT))
    assert found.way == REFUSED
    assert "note" in found.seen
    with pytest.raises(PipelineError, match="has a column NOTE already"):
        make_plan(live, AddColumn(NAME, "NOTE", Type.TEXT))


@pytest.mark.parametrize(
    ("in_the_way", "chosen"),
    [
        ((), NATIVE),
        ((NATIVE,), TOOL),
        ((NATIVE, TOOL), GH_OST),
        ((NATIVE, TOOL, GH_OST), SHADOW),
        ((NATIVE, TOOL, GH_OST, SHADOW), ""),
    ],
)
def test_the_decision_table(in_the_way: tuple[str, ...], chosen: str) -> None:
    obstacles = {name: ["no"] if name in in_the_way else [] for name in ABILITIES}
    assert choose(Native(COPIES, "seen"), obstacles, 0.5)[0] == chosen


@pytest.mark.parametrize(
    ("way", "copy_s", "brief"),
    [
        (CATALOG, None, True),
        (CATALOG, 9.0, True),
        (ONLINE, 0.9, True),
        (COPIES, 0.9, True),
        (COPIES, 1.1, False),
        (COPIES, None, False),
        (REFUSED, 0.1, False),
    ],
)
def test_a_rewrite_is_judged_by_the_rate_of_the_copy(
    way: str, copy_s: float | None, brief: bool
) -> None:
    assert is_brief(Native(way, "seen"), copy_s) is brief


def test_a_table_that_mariadb_would_rewrite_gets_another_way_if_that_takes_long(
    mariadb: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    live, change = open_database(mariadb), AddColumn("t", "c", Type.INTEGER, 7)
    live.run("CREATE TABLE t (id BIGINT PRIMARY KEY) ROW_FORMAT=COMPRESSED")
    live.run("INSERT INTO t SELECT seq FROM seq_1_to_200")
    free = Permission(without_rehearsal=True, confirm=lambda _: True)
    with monkeypatch.context() as patched:
        patched.setattr("tasks.schema_change.plan._BRIEF_S", 0)
        said = write_plan(live, change, tmp_path)
        assert said.startswith("ALTER TABLE would not do: MariaDB took ALGORITHM=")
        with pytest.raises(PipelineError, match="cannot be changed by the strategy native"):
            apply(live, change, NATIVE, tmp_path, free, print)
    said = write_plan(live, change, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("tasks.schema_change.interface.ALTER_S", 0.001)
        with pytest.raises(PipelineError, match=r"cut off after 0\.001 s: t is as before"):
            apply(live, change, NATIVE, tmp_path, free, print)
    assert not live.describe("t").has("c")
    assert re.search(r"by the rate of a copy that takes 0\.\d\d s, less than 1 s", said)
    apply(live, change, "", tmp_path, free, print)
    assert live.fetch("SELECT count(*) FROM t WHERE c = 7") == [(200,)]
    live.close()


def test_a_table_without_a_primary_key_has_no_plan(tmp_path: Path) -> None:
    live = open_database(f"sqlite:///{tmp_path / 'live.db'}")
    live.run("CREATE TABLE t (id INTEGER)")
    with pytest.raises(PipelineError, match="no primary key"):
        make_plan(live, AddColumn("t", "c", Type.INTEGER))
    assert [*tmp_path.iterdir()] == [tmp_path / "live.db"]
    live.close()


def test_the_task_writes_the_plan(ran: Project) -> None:
    result = ran.passes(
        "SchemaChangePlan", "--table", "fact_logs", "--column", "quality", "--type", "integer"
    )
    plan = ran.report("schema_change/plan_fact_logs_quality.json")
    assert plan["chosen"] == "native"
    assert plan["native_sql"][-1] == "ALTER TABLE fact_logs ADD COLUMN quality INTEGER"
    assert (plan["rows"], plan["table"]["primary_key"][0]) == (13, "point_log_inst_id")
    assert "ALTER TABLE changes the catalog alone" in result.err
    assert [path.name for path in ran.folder.iterdir() if "scratch" in path.name] == []

    error = ran.fails("SchemaChangePlan", *"--table nowhere --column c --type integer".split()).err
    assert "There is no table nowhere" in error
    for default, nullable, text in (("x", True, "x is no integer"), (None, False, "no value")):
        with pytest.raises(PipelineError, match=text):
            with_default("fact_logs", "quality", Type.INTEGER, default, nullable)


def test_states_have_titles() -> None:
    """A new state of the engine needs a title, or its statements would not be shown."""
    silent = {State.PLANNED, State.SWAPPING, State.REVERTING}
    assert {*TITLES} | silent == {*State}
