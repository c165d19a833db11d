"""The files that a call writes: apart at first, so that no attempt at it disturbs another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tasks.core.files import scratch_folder, sha256
from tasks.core.stores import StorePath


class Shared(NamedTuple):
    """In place of an argument that many calls have: the number of a broadcast variable."""

    number: int


@contextmanager
def written_apart(
    outputs: Iterable[Path], attempt: int
) -> Iterator[tuple[Mapping[Path, Path], dict[Path, str]]]:
    """Where to write each output; and a mapping that has its SHA-256 afterwards.

    Those of an object store are written on the local disk and stored at the end; others get their
    names then. An attempt that was given up may still be writing.

    Args:
        outputs: The files; a call may leave some out.
        attempt: No other attempt has the number.
    """
    digests: dict[Path, str] = {}
    with scratch_folder() as folder:
        # The end of a run removes what is called so and was left by an executor that was killed.
        names = {
            path: folder / f"{number}-{path.name}"
            if isinstance(path, StorePath)
            else path.with_name(f".attempt{attempt}{path.name}")
            for number, path in enumerate(outputs)
        }
        try:
            yield names, digests
            for path, written in names.items():
                if written.exists():
                    digests[path] = sha256(written)
                    if isinstance(path, StorePath):
                        path.store(written)
                    else:
                        written.replace(path)
        finally:
            for written in names.values():
                written.unlink(missing_ok=True)


def replaced(value: Any, names: Mapping[Path, Path], shared: Mapping[int, Any]) -> Any:
    """An argument with the files of this attempt, and with shared values."""
    if isinstance(value, Shared):
        return shared[value.number]
    if isinstance(value, Path):
        return names.get(value, value)
    if isinstance(value, Mapping):
        return {name: replaced(one, names, shared) for name, one in value.items()}
    if isinstance(value, tuple):
        made = [replaced(one, names, shared) for one in value]
        return type(value)(*made) if hasattr(value, "_fields") else tuple(made)
    return value
