"""`python -m tasks explore`: the warehouse in a browser, by Datasette, for this machine alone."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from config.bookkeeping import DATA_DICTIONARY, LOAD_RECEIPT
from tasks.core.errors import PipelineError
from tasks.run.console import print_lines
from tasks.run.settings import max_wait, settings
from tasks.run.signals import stop_instead
from tasks.warehouse.interface import Warehouse
from tasks.warehouse.open import open_warehouse

ADDRESS = "127.0.0.1"

QUESTIONS = Path(__file__).parent.parent / "docs" / "queries.md"

LABELS = {
    "dim_unit": "unit_name",
    "dim_application_type": "app_type_description",
    "dim_application_instance": "app_instance_name",
    "dim_point": "point_name",
    "dim_log_instance": "log_instance_label",
}
"""Dimension -> the column that is shown in place of its key."""

FACETS = {
    "dim_point": ("point_type", "unit_id"),
    "dim_log_instance": ("unit_id", "log_interval", "eng_unit_id"),
    "fact_logs": ("status", "log_kind"),
    "fact_log_days": ("day",),
    "v_alarms": ("unit_name",),
    "v_last_value": ("status", "point_name"),
    "v_unit_day": ("day",),
    "v_point_day": ("day", "point_name"),
    "v_gaps": ("unit_name",),
}
"""Table or view -> columns whose values are counted beside its rows."""

SETTINGS = {
    "default_facet_size": 10,
    # Counting a column of two million facts takes half a second; Datasette would give up.
    "facet_time_limit_ms": 2_000,
    # Trying all columns of a table takes longer than its rows and facets.
    "suggest_facets": False,
    "sql_time_limit_ms": 5_000,
}
"""Datasette's, where its own are for small tables that many people read."""

# Else the descriptions of a table's columns, each on two lines, fill the screen before its rows.
_STYLE = """
dl.column-descriptions { columns: 26em; font-size: 85%; }
dl.column-descriptions dt { break-after: avoid; }
dl.column-descriptions dd { break-before: avoid; margin-left: 1em; }
"""

_QUESTION = re.compile(r"^## (.*?)\n\n(.*?)```sql\n(.*?)```", re.DOTALL | re.MULTILINE)
_HOSTS = {"127.0.0.1", "localhost", "[::1]"}
_STOPS_S = 2

_App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class Question(NamedTuple):
    """A question to the warehouse.

    Attributes:
        title: In words.
        remark: What else to know; may be empty.
        sql: One statement, for SQLite.
    """

    title: str
    remark: str
    sql: str

    @property
    def name(self) -> str:
        """As in an address.

        >>> Question("Which units alarm most?", "", "SELECT 1").name
        'which-units-alarm-most'
        """
        return "-".join(re.findall(r"[a-z0-9]+", self.title.lower()))


def questions(text: str) -> list[Question]:
    """The questions of a Markdown page: each has a heading, maybe a remark, and SQL."""
    return [Question(title, " ".join(r.split()), sql) for title, r, sql in _QUESTION.findall(text)]


def explore(port: int) -> int:
    """Serve the warehouse until a signal ends it; return 0.

    Raises:
        PipelineError: No table has been loaded, Datasette is not installed, or the port is in use.
    """
    warehouse = open_warehouse(settings().warehouse_url, max_wait(), settings().warehouse_schema)
    file = warehouse.file
    if file is None:
        raise PipelineError(
            f"Datasette reads SQLite only, not {warehouse.name}.",
            remedy="Use the database's own client; docs/queries.md has questions in SQL.",
        )
    if not warehouse.receipts():
        raise PipelineError(
            f"The warehouse {warehouse.name} has no tables yet.",
            remedy="Load them: luigi --module tasks AllReports --local-scheduler",
        )
    try:
        import datasette.app
        import uvicorn
    except ImportError as error:
        raise PipelineError(
            f"Datasette is not installed: {error}.",
            remedy="Install it in this environment: "
            "python -m pip install --require-hashes -r requirements-explore.lock",
        ) from error
    datasette.handle_exception.rich = None  # It would print a traceback of each mistake in a query.
    with _listen(port) as listener:
        # Not as immutable: SQLite would miss what later runs write. Datasette opens it read-only.
        pages = datasette.app.Datasette(
            [str(file)], metadata=page_metadata(warehouse, file.stem), settings=SETTINGS
        )
        served = uvicorn.Config(
            own_requests_only(pages.app()), log_level="critical", timeout_graceful_shutdown=_STOPS_S
        )
        server = uvicorn.Server(served)
        stop_instead(lambda number: setattr(server, "should_exit", True))
        address = f"http://{ADDRESS}:{port}{pages.urls.database(file.stem)}"
        print_lines([f"warehouse  {address}", "Ctrl-C ends it."])
        asyncio.run(server.serve(sockets=[listener]))
    pages.executor.shutdown()  # Waits for a query that is running, at most for its time limit.
    pages.get_database(file.stem).close()
    # The last connection that may write removes the write-ahead log; one that only reads does not.
    warehouse.receipts()
    return 0


def page_metadata(warehouse: Warehouse, database: str) -> dict[str, Any]:
    """What Datasette shows beside the rows: descriptions, labels, facets and questions.

    Args:
        warehouse: The warehouse.
        database: Datasette's name of it.
    """
    import sqlalchemy as sa

    from tasks.warehouse.tables import dictionary_rows, metadata

    # The warehouse has the further columns too, but not the order of the declared ones.
    rows = [tuple(row.values()) for row in dictionary_rows()]
    with warehouse.connect() as connection:
        stored = metadata().tables[DATA_DICTIONARY.name]
        rows += [tuple(row) for row in connection.execute(sa.select(stored))]
    tables: dict[str, dict[str, Any]] = {}
    for table, column, _, description in rows:
        entry = tables.setdefault(table, {"columns": {}})
        if column:
            entry["columns"][column] = description
        else:
            entry["description"] = f"{description[:1].upper()}{description[1:]}."
    for table, label in LABELS.items():
        tables[table]["label_column"] = label
    for table, facets in FACETS.items():
        tables[table]["facets"] = list(facets)
    tables[LOAD_RECEIPT.name]["hidden"] = True
    queries = {
        question.name: {
            "title": question.title,
            "description": question.remark,
            "sql": question.sql,
        }
        for question in questions(QUESTIONS.read_text(encoding="utf-8"))
    }
    return {
        "title": "Controller logs",
        "extra_css_urls": [f"data:text/css,{quote(_STYLE)}"],
        "databases": {database: {"tables": tables, "queries": queries}},
    }


def own_requests_only(app: _App) -> _App:
    """An ASGI application that rejects requests sent to another name of this machine.

    A site whose name was made to lead here (DNS rebinding) could read the warehouse otherwise.
    """
    from datasette import Response

    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        host = dict(scope.get("headers", ())).get(b"host", b"").decode("latin-1").lower()
        if scope["type"] == "lifespan" or re.sub(r":\d+$", "", host) in _HOSTS:
            await app(scope, receive, send)
        else:
            rejection = "Rejected: it was sent to another name of this machine.\n"
            await Response.text(rejection, status=403).asgi_send(send)

    return answer


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        raise PipelineError(
            f"The warehouse cannot be served at {ADDRESS}:{port}: {error.strerror}.",
            remedy="Choose another port: --port",
        ) from error
