from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.schema_change.live import Live


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Live]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        found = Live(f"sqlite:///{tmp_path}/live.db")
        found.run("PRAGMA journal_mode = WAL")
    else:
        found = Live(request.getfixturevalue(request.param))
    yield found
    found.close()
