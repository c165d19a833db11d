"""This machine: each call in the thread that makes it; Arrow releases Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tasks.core.progress import Advance

THREADS = min(4, os.cpu_count() or 1)
"""How many threads one task uses."""

_Result = TypeVar("_Result")


class Arrow:
    """The default engine.

    Attributes:
        at_once: How many partitions are built at the same time.
        threads: How many threads there are for all of them.
        page: The address where the work can be followed; None if there is none.
    """

    at_once = threads = THREADS
    page: str | None = None

    def call(
        self,
        function: Callable[..., _Result],
        *arguments: Any,
        out: Mapping[str, Path],
        advance: Advance,
        **named: Any,
    ) -> _Result:
        """What a function returns.

        Args:
            function: Of a module; takes `advance` as well.
            arguments: Its arguments, with files that it writes, and with what `share` gave.
            out: The files that it writes.
            advance: Is called with what is done.
            named: Further arguments.
        """
        return function(*arguments, advance=advance, **named)

    def digests_of(self, files: Iterable[Path]) -> dict[Path, str]:
        """The digests of files that `call` has had written, as far as they are known."""
        return {}

    def share(self, value: Any) -> Any:
        """A value that many calls have as an argument."""
        return value
