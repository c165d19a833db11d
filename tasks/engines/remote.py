"""What runs in a Python process of an executor: a function of this package, called once.

Before the working folder is that of the driver, it imports only `tasks.core` and `outputs`.
"""

from __future__ import annotations

import os
import pickle
import platform
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tasks.core.errors import PipelineError
from tasks.core.stores import use_urls
from tasks.engines.outputs import replaced, written_apart


class Call(NamedTuple):
    """A call, as it travels to an executor.

    Attributes:
        folder: The driver's working folder, which executors share; None if nothing is in it.
        versions: Of Python and of the libraries that write files.
        pickled: Function, arguments, named arguments.
        outputs: The files that it writes.
        urls: Of the folders in object stores.
    """

    folder: str | None
    versions: dict[str, str]
    pickled: bytes
    outputs: tuple[Path, ...]
    urls: dict[str, str]


class Answer(NamedTuple):
    """What became of it.

    Attributes:
        result: What the function has returned, unless there is an error.
        advanced: The amounts and rows that it has reported.
        digests: SHA-256 of each file that it has written.
    """

    result: Any
    error: BaseException | None
    advanced: tuple[int, int]
    digests: dict[Path, str]


def versions() -> dict[str, str]:
    """What has to be the same, so that the same rows give the same bytes."""
    import pyarrow

    return {"Python": ".".join(platform.python_version_tuple()[:2]), "pyarrow": pyarrow.__version__}


def answer(call: Call, attempt: int, shared: Mapping[int, Any]) -> Answer:
    """Call the function; an error is an answer too, so that Spark does not try again.

    Args:
        call: What to call.
        attempt: No other attempt at it has the number.
        shared: Number -> value of each `Shared` argument.
    """
    advanced = [0, 0]

    def advance(amount: int, rows: int) -> None:
        advanced[0] += amount
        advanced[1] += rows

    try:
        _enter(call)
        with written_apart(call.outputs, attempt) as (names, digests):
            function, arguments, named = pickle.loads(call.pickled)  # noqa: S301
            arguments, named = (replaced(one, names, shared) for one in (arguments, named))
            result = function(*arguments, **named, advance=advance)
    except Exception as error:
        return Answer(None, _portable(error), (0, 0), {})
    return Answer(result, None, (advanced[0], advanced[1]), digests)


def _enter(call: Call) -> None:
    """Make this process one that can do the work.

    Raises:
        PipelineError: It has other libraries, or cannot see the folder.
    """
    here = platform.node()
    try:
        found = versions()
    except ImportError as error:
        raise PipelineError(
            f"The executor on {here} cannot import pyarrow: {error}.",
            remedy=f"Install pyarrow {call.versions['pyarrow']} in the Python of the executors.",
        ) from error
    other = [
        f"{name} {found[name]}, the driver {v}"
        for name, v in call.versions.items()
        if found[name] != v
    ]
    if other:
        raise PipelineError(
            f"The executor on {here} has other versions than the driver:",
            other,
            "Use the same on both: spark.pyspark.python or spark.archives in [spark] of luigi.cfg.",
        )
    use_urls(call.urls)
    try:
        if call.folder is not None:
            os.chdir(call.folder)
    except OSError as error:
        raise PipelineError(
            f"The executor on {here} does not see the folder {call.folder}: {error}.",
            remedy="Run the pipeline in a folder of a file system that all executors share; or "
            "set data_dir, staging_dir and lake_url to URLs of an object store.",
        ) from error


def _portable(error: Exception) -> Exception:
    """An error that can travel, with its traceback if it is not one that a person can fix."""
    if isinstance(error, PipelineError | OSError):
        return error
    if isinstance(error, ImportError):
        return PipelineError(
            f"The executor on {platform.node()} lacks a library: {error}.",
            remedy="Install it in the Python of the executors, in the version of the driver.",
        )
    where = f"On the executor on {platform.node()}:\n"
    return RuntimeError(where + "".join(traceback.format_exception(error)))
