"""How far a piece of work is, reported by those who do it. Knows nothing of Luigi."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Advance = Callable[[int, int], None]
"""Reports that an amount of work is done, in the unit of its total, and how many rows that was."""


def no_progress(amount: int, rows: int) -> None:
    """An `Advance` that reports to nobody."""


class Phases(Protocol):
    """What work in several phases reports to; `advance` is an `Advance`."""

    def begin(self, phase: str, total: int | None = None) -> None:
        """Begin a phase.

        Args:
            phase: What is done in it, such as "loading".
            total: What there is to do, in the unit of `advance`; None continues the previous
                phase, whose total holds for both.
        """

    def advance(self, amount: int, rows: int) -> None:
        """Report that more of the phase is done."""
