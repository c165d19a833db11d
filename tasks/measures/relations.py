"""Relations: how the rows of a source refer to those of another."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from config.sources import SOURCES
from tasks.core.arrow import read_parquet
from tasks.core.files import write_json


def relate(children: np.ndarray, parents: np.ndarray) -> dict[str, int]:
    """Measure a foreign key.

    Args:
        children: The foreign keys of the child's rows.
        parents: The keys of the parent's rows, unique.

    Returns:
        orphans: rows of the child whose parent is missing; parents_in_use: rows of the parent with
        a child; most_children: the most children of one parent.

    >>> relate(np.array([1, 1, 5]), np.array([2, 1]))
    {'orphans': 1, 'parents_in_use': 1, 'most_children': 2}
    """
    keys, counts = np.unique(children, return_counts=True)
    known = np.isin(keys, parents)
    return {
        "orphans": int(counts[~known].sum()),
        "parents_in_use": int(known.sum()),
        "most_children": int(counts[known].max(initial=0)),
    }


def write_relations(staged: Mapping[str, Path], into: Path, threads: int) -> None:
    """Measure the foreign keys of the sources that describe the log records.

    Args:
        staged: Source -> its staged rows.
        into: JSON file to write: child, key, then as `relate` gives them.
        threads: Foreign keys measured in parallel.
    """

    def measure(child: str, key: str) -> dict[str, Any]:
        parent, parent_key = SOURCES[child].references[key]
        children, parents = (
            read_parquet(staged[source], column)[column].to_numpy()
            for source, column in ((child, key), (parent, parent_key))
        )
        return {"child": child, "key": key, **relate(children, parents)}

    keys = [(name, key) for name in staged for key in SOURCES[name].references]
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(measure, *zip(*keys, strict=True)))
    write_json(found, into)
