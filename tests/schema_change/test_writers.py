"""What is written while a table is changed, on all databases, against a ledger of the writers."""

from __future__ import annotations

import time

import pytest

from tasks.schema_change.runs import State
from tests.schema_change.live import Live, writing


def modes(live: Live) -> tuple[str, ...]:
    """The isolation of the writers; SQLite has one."""
    return ("", "") if live.kind == "sqlite" else ("", "READ COMMITTED", "REPEATABLE READ")


def test_no_write_is_lost_until_the_switch_and_after_a_revert(live: Live) -> None:
    live.create(rows=1_500)
    change = live.change(lambda state, watermark: time.sleep(0.01))

    with writing(live, *modes(live)) as ledger:
        change.run()
        change.switch()
        time.sleep(0.2)
    assert live.rows() == ledger
    assert {values for (values,) in live.run("select distinct q from t")} == {7}

    with writing(live, *modes(live)) as ledger:
        time.sleep(0.2)
        change.revert()
        time.sleep(0.1)
    assert live.rows() == ledger
    status = change.status()
    assert status is not None
    assert status.run.state is State.REVERTED


@pytest.mark.soak
@pytest.mark.parametrize("attempt", range(5))
def test_no_write_is_lost_again_and_again(live: Live, attempt: int) -> None:
    live.create(rows=3_000)
    for _ in range(3):
        change = live.change()
        with writing(live, *modes(live), *modes(live)) as ledger:
            change.run()
            change.switch()
            time.sleep(0.3)
            change.revert()
        assert live.rows() == ledger
