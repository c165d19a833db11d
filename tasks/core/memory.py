"""The memory that Arrow takes."""

from __future__ import annotations

import os
import sys


def configure_arrow() -> None:
    """Use the allocator that returns what is free; the default one keeps 50 to 100 MiB more.

    To be called in each process before pyarrow is imported, which reads the variables then. A pool
    that is set later leaves the buffers of Parquet files with the default one.
    """
    if sys.platform == "linux":  # The packages for other systems may lack it.
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
        # One arena: what one thread has freed, the others can use.
        os.environ.setdefault("JE_ARROW_MALLOC_CONF", "narenas:1")
