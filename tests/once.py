"""What several tests read is made once, also where pytest has several processes."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from filelock import FileLock

Made = TypeVar("Made")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Made]) -> Made:
    """What `make` returns for a new folder; all processes of pytest have the same."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    kept = folder / f"{name}.pickle"
    with FileLock(folder / f"{name}.lock"):
        if not kept.exists():
            shutil.rmtree(folder / name, ignore_errors=True)  # Of a process that has failed at it.
            kept.write_bytes(pickle.dumps(make(folder / name)))
        made: Made = pickle.loads(kept.read_bytes())  # noqa: S301
    return made
