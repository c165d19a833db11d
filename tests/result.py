"""How a command ended, and which tasks it ran."""

from __future__ import annotations

from dataclasses import dataclass

WRAPPERS = {"AllReports", "AllStaged"}
"""The tasks that only wrap others."""


@dataclass
class Result:
    """How a command ended.

    Attributes:
        status: Its exit status.
        out: What it wrote to the standard output.
        err: What it wrote to the standard error output: what a person sees, long lines wrapped.
        log: That, and what it wrote to a log file of its own.
    """

    status: int
    out: str
    err: str
    log: str

    @property
    def ran(self) -> list[str]:
        """The tasks that the worker ran, in order."""
        return [line.rpartition(" ")[2] for line in self.log.splitlines() if "running   " in line]

    @property
    def unchanged(self) -> list[str]:
        """The tasks that found their inputs unchanged when they ran."""
        return [
            line.partition(": unchanged")[0].rpartition(" ")[2]
            for line in self.log.splitlines()
            if ": unchanged, nothing built" in line
        ]

    @property
    def built(self) -> list[str]:
        """The tasks that built something."""
        return sorted(set(self.ran) - set(self.unchanged) - WRAPPERS)
