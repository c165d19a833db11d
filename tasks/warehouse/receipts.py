"""What a load leaves behind in `load_receipt`."""

from __future__ import annotations

from typing import NamedTuple


class LoadReceipt(NamedTuple):
    """A row of `load_receipt`, but for its time."""

    table_name: str
    partition: str
    partition_id: int | None
    receipt: str
    load_id: str
    row_count: int
    size_bytes: int | None
