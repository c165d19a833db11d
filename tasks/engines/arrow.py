"""This machine: each call in the thread that makes it; Arrow releases Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tasks.core.progress import Advance
from tasks.core.stores import StorePath
from tasks.engines.engine import Engine
from tasks.engines.outputs import replaced, written_apart

THREADS = min(4, os.cpu_count() or 1)
"""How many threads one task uses."""

_Result = TypeVar("_Result")


class Arrow(Engine):
    """The default engine."""

    threads = THREADS

    def call(  # noqa: D102
        self,
        function: Callable[..., _Result],
        *arguments: Any,
        out: Mapping[str, Path],
        advance: Advance,
        **named: Any,
    ) -> _Result:
        stored = [path for path in out.values() if isinstance(path, StorePath)]
        if not stored:  # A task replaces its files itself.
            return function(*arguments, advance=advance, **named)
        with written_apart(stored, 0) as (names, digests):
            arguments, named = (replaced(one, names, {}) for one in (arguments, named))
            result = function(*arguments, advance=advance, **named)
        self._digests.update(digests)
        return result
