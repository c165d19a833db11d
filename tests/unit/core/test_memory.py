from __future__ import annotations

import subprocess
import sys

import pytest

START = {
    "libraries loaded before processes are forked": "from tasks.graph.events import _load_packages;"
    " _load_packages()",
    "a process that loads them itself": "from unittest.mock import Mock;"
    " from tasks.run.lifecycle import RunningTask; RunningTask(Mock()).__enter__()",
}


@pytest.mark.skipif(sys.platform != "linux", reason="the packages for other systems may lack it")
@pytest.mark.parametrize("start", START)
def test_all_of_arrow_uses_the_allocator_that_returns_memory(start: str) -> None:
    code = f"{START[start]}; import pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "jemalloc\n"
