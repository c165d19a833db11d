"""Staging by this checkout and by another one, in turn: `python -m tests.benchmarks.staging OTHER`.

OTHER is a checkout of an earlier version (`git worktree add OTHER COMMIT`). Each file of the data
folder is staged by a process of its own; the ratio is that of the processor times.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent.parent.parent

STAGE = """
import sys, tempfile, time
from pathlib import Path
from config.sources import SOURCES
try:
    from tasks.staging import stage as staging
except ImportError:  # Up to version 0.4.0.
    from tasks import staging
try:
    from tasks.core.memory import configure_arrow
    configure_arrow()
except ImportError:  # Up to version 0.4.0, imports did that.
    pass
import pyarrow
pyarrow.array([0])  # Arrow looks for pandas, which a run loads once.
try:
    from tasks.core.memory import configure_arrow
    configure_arrow()
except ImportError:  # Then, with the import.
    pass
data, name = Path(sys.argv[1]), sys.argv[2]
source, path = SOURCES[name], data / f"{name}.csv"
with tempfile.TemporaryDirectory() as folder:
    rows, quarantine, cells, keys = (Path(folder, name) for name in "rqck")
    keys = keys if source.primary_key else None
    begun = time.process_time()
    if hasattr(staging, "Outputs"):
        staging.stage_file(path, source, staging.Outputs(rows, quarantine, cells, keys), threads=2)
    else:  # Up to version 0.3.1.
        staging.stage_file(path, source, rows, quarantine, keys=keys, threads=2)
    print(time.process_time() - begun)
"""


def seconds(checkout: Path, data: Path, name: str) -> float:
    """Processor seconds that a checkout takes for a file."""
    done = subprocess.run(
        [sys.executable, "-c", STAGE, str(data.absolute()), name],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout.absolute())},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main() -> None:
    """Print the medians and the ratio of each file and of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path)
    parser.add_argument("--data", type=Path, default=Path("take_home_data"))
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    names = sorted(path.stem for path in options.data.glob("*.csv"))
    totals: dict[str, list[float]] = {"this": [], "other": []}
    took: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.runs):
        for which, checkout in (("other", options.other), ("this", HERE)):
            found = {name: seconds(checkout, options.data, name) for name in names}
            totals[which].append(sum(found.values()))
            for name, of_file in found.items():
                took.setdefault((which, name), []).append(of_file)
    for name in names:
        this, other = (statistics.median(took[which, name]) for which in ("this", "other"))
        print(f"{name:14} this {this:6.2f} s  other {other:6.2f} s  ratio {this / other:.2f}")
    this, other = (statistics.median(totals[which]) for which in ("this", "other"))
    print(f"{'all files':14} this {this:6.2f} s  other {other:6.2f} s  ratio {this / other:.2f}")


if __name__ == "__main__":
    main()
