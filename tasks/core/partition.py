"""A partition: one CSV file of a source, and all that is built from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from config.sources import LOG_KINDS

_KINDS = {source: kind for kind, source in LOG_KINDS.items()}


@dataclass(frozen=True, order=True)
class Partition:
    """One CSV file of a source, and all that is built from it.

    Attributes:
        name: LOG_RCD_F for LOG_RCD_F.csv, LOG_RCD_F/2024-06-01 for a file of that folder.
        path: The CSV file; empty where only the name counts.
        id: `partition_id` of its facts; 0 for a describing source.
    """

    name: str
    path: Path = Path()
    id: int = 0

    @property
    def source(self) -> str:
        """The source that it belongs to.

        >>> Partition("LOG_RCD_F/2024-06-01", Path("LOG_RCD_F/2024-06-01.csv")).source
        'LOG_RCD_F'
        """
        return self.name.partition("/")[0]

    @property
    def kind(self) -> str:
        """Kind of its log records, B or F; empty for a describing source."""
        return _KINDS.get(self.source, "")
