"""The pipeline against what a user would write instead: `make bench`.

Everything is a whole process, started from cold outputs unless told otherwise, and each command's
first run is a warm-up that does not count. The commands take turns, so that a machine that gets
slower slows all of them. Prints the tables of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import shutil
import sqlite3
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.measure import Measured, measure
from tests.benchmarks.projects import (
    LOGS,
    PART_RECORDS,
    ROOT,
    Project,
    change_app_type,
    compare,
    copy_reference,
    make_dvc,
    make_project,
    make_sample,
    overlapping_logs,
    peer,
    split_logs,
    touch_all,
)


def take_turns(commands: dict[str, Callable[[], Measured]], runs: int) -> dict[str, list[Measured]]:
    """Run each command once uncounted, then all in turn."""
    found: dict[str, list[Measured]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, run in commands.items():
            measured = run()
            print(f"  {name} {turn}: {measured.wall:.2f} s", file=sys.stderr, flush=True)
            if turn:
                found[name].append(measured)
    return found


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Minimum, median and maximum."""
    picked = (min(values), statistics.median(values), max(values))
    return " / ".join(f"{value:,.{digits}f}" for value in picked)


def section(title: str, measured: dict[str, list[Measured]]) -> Iterator[str]:
    """A heading and the lines of a Markdown table: minimum / median / maximum."""
    yield from (f"## {title}", "")
    yield "| run | wall, s | CPU, s | peak memory, MiB | runs |"
    yield "|---|---|---|---|---|"
    for name, runs in measured.items():
        wall, cpu = spread([run.wall for run in runs]), spread([run.cpu for run in runs])
        yield f"| {name} | {wall} | {cpu} | {spread([run.peak for run in runs], 0)} | {len(runs)} |"
    yield ""


def median(runs: list[Measured], of: str) -> float:
    return statistics.median(getattr(run, of) for run in runs)


def ratio(one: list[Measured], other: list[Measured]) -> str:
    """Wall time of one by the other's, turn by turn: minimum / median / maximum."""
    return spread([a.wall / b.wall for a, b in zip(one, other, strict=True)])


def machine() -> str:
    """What this was measured on."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(": ")[2]
    packages = ("luigi", "pyarrow", "adbc-driver-sqlite", "sqlalchemy", "pandas", "duckdb", "dvc")
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} x {cpu}, {platform.system()} "
        f"{platform.release().partition('-')[0]}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in packages)
    )


def bench_peers(seed: Project, work: Path, runs: int) -> Iterator[str]:
    """Cold runs against the peers."""
    commands = {
        "pipeline": seed.run_cold,
        "DuckDB": peer("duckdb", seed.data, work / "duckdb"),
        "pandas": peer("pandas", seed.data, work / "pandas"),
    }
    measured = take_turns(commands, runs)
    for name in ("duckdb", "pandas"):
        compare(seed.folder / "data_warehouse.db", seed.folder / "reports", work / name)
    yield from section("Cold runs", measured)
    yield f"- pipeline / DuckDB, wall: {ratio(measured['pipeline'], measured['DuckDB'])}"
    yield f"- pipeline / pandas, wall: {ratio(measured['pipeline'], measured['pandas'])}"


def bench_reruns(seed: Project, work: Path, runs: int) -> Iterator[str]:
    """Runs after a change, or none."""
    seed.run()
    turns = iter(range(1000))

    def touched() -> Measured:
        touch_all(seed)
        return seed.run()

    def changed() -> Measured:
        change_app_type(seed, next(turns))
        return seed.run()

    paths = sorted(seed.data.glob("*.csv"))
    code = (
        "import hashlib, sys\nfor p in sys.argv[1:]: hashlib.file_digest(open(p, 'rb'), 'sha256')"
    )
    hashing = [sys.executable, "-c", code, *map(str, paths)]
    dvc = make_dvc(seed, work / "dvc")
    measured = take_turns(
        {
            "nothing to do": seed.run,
            "dvc repro, nothing to do": lambda: measure(dvc, work / "dvc"),
            "import luigi": lambda: measure([sys.executable, "-c", "import luigi"], work),
            "all CSVs touched": touched,
            "hashing all CSVs": lambda: measure(hashing, work),
            "one changed row in APP_TYPE": changed,
            "cold": lambda: Project(work / "again").run_cold(),
        },
        runs,
    )
    yield from section("Re-runs", measured)
    nothing, dvc_runs, _, touched_runs, hashed, one_row, cold = measured.values()
    allowed = statistics.median(a.wall + b.wall for a, b in zip(nothing, hashed, strict=True))
    touched_wall = median(touched_runs, "wall")
    yield f"- nothing to do / dvc repro: {ratio(nothing, dvc_runs)}"
    yield f"- all touched: {touched_wall:.2f} s; nothing to do and hashing: {allowed:.2f} s"
    yield f"- one changed row / cold: {ratio(one_row, cold)}"


def bench_parts(seed: Project, work: Path, runs: int, records: int = PART_RECORDS) -> Iterator[str]:
    """A hundred partitions, or ten times as many, and one more."""
    project = make_project(work / f"parts_of_{records}")
    shutil.rmtree(project.data)
    project.data.mkdir()
    path, content = split_logs(seed, project, records)
    parts = f"{len(list(project.data.glob('*/*.csv'))):,} partitions"
    changed = content.replace(b"OK", b"ok")

    def added() -> Measured:
        path.unlink(missing_ok=True)
        project.run()
        path.write_bytes(content)
        return project.run()

    def altered() -> Measured:
        path.write_bytes(changed if path.read_bytes() == content else content)
        return project.run()

    def removed() -> Measured:
        path.write_bytes(content)
        project.run()
        path.unlink()
        return project.run()

    measured = take_turns(
        {
            f"cold, {parts}": project.run_cold,
            "nothing to do": project.run,
            "one part added": added,
            "one part changed": altered,
            "one part removed": removed,
        },
        runs,
    )
    yield from section(f"{parts} of {records:,} log records", measured)
    cold, nothing, one_more, *_ = measured.values()
    yield f"- one part added / cold: {ratio(one_more, cold)}"
    turns = zip(one_more, nothing, cold, strict=True)
    above = [(a.wall - b.wall) / c.wall for a, b, c in turns]
    yield f"- the same, above a run with nothing to do: {spread(above)}"


def scaled(seed: Project, work: Path, scale: float, *options: str) -> Project:
    """A project with so many times the log records."""
    project = make_project(work / "_".join(["scale", str(scale), *options]))
    copy_reference(seed, project)
    make_sample(project, scale, *options)
    return project


def bench_large(seed: Project, work: Path, _runs: int) -> Iterator[str]:
    """A hundred million irregular log records in 1,000 partitions, once."""
    project = make_project(work / "large")
    overlapping_logs(scaled(seed, work, 10, "--irregular"), project, 100_000, 1_000)
    cold, again = project.run_cold(), project.run()
    measured = {"cold": [cold], "nothing to do": [again]}
    yield from section("100,000,000 irregular log records in 1,000 partitions", measured)
    with closing(sqlite3.connect(project.folder / "data_warehouse.db")) as connection:
        (count,) = connection.execute("SELECT count(*) FROM fact_logs").fetchone()
    yield f"- facts: {count:,}"
    shutil.rmtree(project.folder)


def bench_scale(seed: Project, work: Path, runs: int) -> Iterator[str]:
    """More log records."""
    # What does not depend on the log records is what a run with hardly any takes.
    few = make_project(work / "scale_0")
    copy_reference(seed, few)
    for log in LOGS:
        with (seed.data / f"{log}.csv").open("rb") as lines:
            (few.data / f"{log}.csv").write_bytes(b"".join(lines.readline() for _ in range(11)))
    projects = {"20 log records": few, "1 x the log records": seed}
    for scale in (3, 10):
        projects[f"{scale} x the log records"] = scaled(seed, work, scale)
    for scale in (1, 10):
        projects[f"{scale} x, irregular"] = scaled(seed, work, scale, "--irregular")
    measured = take_turns({name: project.run_cold for name, project in projects.items()}, runs)
    yield from section("More log records", measured)
    yield "Without what 20 records take, medians:"
    yield ""
    yield "| records | wall / record, µs | CPU / record, µs |"
    yield "|---|---|---|"
    for name, project in list(projects.items())[1:]:
        with closing(sqlite3.connect(project.folder / "data_warehouse.db")) as connection:
            (count,) = connection.execute("SELECT count(*) FROM fact_logs").fetchone()
        one, base = measured[name], measured["20 log records"]
        wall, cpu = (median(one, of) - median(base, of) for of in ("wall", "cpu"))
        yield f"| {count:,} | {wall / count * 1e6:.2f} | {cpu / count * 1e6:.2f} |"
        if project is not seed:
            shutil.rmtree(project.folder)


SECTIONS: dict[str, Callable[[Project, Path, int], Iterator[str]]] = {
    "peers": bench_peers,
    "reruns": bench_reruns,
    "parts": bench_parts,
    "many": functools.partial(bench_parts, records=PART_RECORDS // 10),
    "scale": bench_scale,
}
LARGE = {"large": bench_large}
"""Takes a quarter of an hour, and 20 GB of disk: only if it is asked for."""


def main() -> None:
    """Measure what is asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "sections", nargs="*", default=list(SECTIONS), help=", ".join(SECTIONS | LARGE)
    )
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each command")
    parser.add_argument("--work", type=Path, default=ROOT / ".bench", help="scratch folder")
    options = parser.parse_args()
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    seed = make_project(work / "seed")
    make_sample(seed, 1)
    again = make_project(work / "again")
    for path in seed.data.glob("*.csv"):
        if not (again.data / path.name).exists():
            shutil.copy(path, again.data)
    print(machine(), flush=True)
    for name in options.sections:
        print(flush=True)
        # Ten times the log records or partitions take minutes a run.
        runs = min(options.runs, 2) if name in ("many", "scale") else options.runs
        for line in (SECTIONS | LARGE)[name](seed, work, runs):
            print(line, flush=True)


if __name__ == "__main__":
    main()
