"""What an engine is: where the functions that build partitions are called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tasks.core.progress import Advance

_Result = TypeVar("_Result")


class Engine:
    """Calls functions of this package, each for a partition.

    Attributes:
        threads: How many threads there are for all partitions that are built at the same time.
        is_remote: Whether other processes do the work.
    """

    threads: int
    is_remote = False

    def __init__(self) -> None:
        self._digests: dict[Path, str] = {}

    @property
    def at_once(self) -> int:
        """How many partitions are built at the same time."""
        return self.threads

    @property
    def page(self) -> str | None:
        """The address where the work can be followed; None if there is none."""
        return None

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
        raise NotImplementedError

    def digests_of(self, files: Iterable[Path]) -> dict[Path, str]:
        """The digests of files that `call` has had written, as far as they are known; once."""
        return {path: self._digests.pop(path) for path in files if path in self._digests}

    def share(self, value: Any) -> Any:
        """A value that many calls have as an argument."""
        return value
