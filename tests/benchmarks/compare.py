"""What this checkout and another one leave behind: `python -m tests.benchmarks.compare OTHER`.

Both run the same source files from nothing, each with its own `.venv` and `luigi.cfg`. Compared are
the warehouse, Parquet files, CSV files of reports and quarantine, and the figures of JSON, Markdown
and HTML reports. Times of the runs, durations and sizes on disk are left out. What only one layout
has (bookkeeping, intermediate files, tasks) is listed and is no difference. The exit status is 1 if
there is a difference. `--time` measures instead of comparing; it needs psutil, which
`.venv-bench` of `make bench` has.
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from tests.benchmarks.differences import DATABASE, Found, compare

HERE = Path(__file__).parent.parent.parent


# --- source files: each function makes `take_home_data/` in a folder, and perhaps `more.cfg` ---


def miniature(folder: Path) -> None:
    shutil.copytree(HERE / "tests" / "miniature", folder / "take_home_data")


def hostile(folder: Path) -> None:
    """Hostile texts, and rows that are broken in every way."""
    from tests.conftest import make_project
    from tests.hostile import SETTINGS_OF_BROKEN_ROWS, add_broken_rows, make_hostile

    make_hostile(make_project(folder, None))
    add_broken_rows(folder / "take_home_data")
    lines = ("[source defaults]", "max_rejected = 0.5", *SETTINGS_OF_BROKEN_ROWS, "")
    (folder / "more.cfg").write_text("\n".join(lines), encoding="utf-8")


def sample(folder: Path) -> None:
    (folder / "take_home_data").mkdir(parents=True, exist_ok=True)
    configure(HERE, folder)
    luigi(HERE, folder, "SampleData", "--scale", "1", "--seed", "1")


def real(folder: Path) -> None:
    """The files that were given, with sample data for the others."""
    given = HERE.parent / "shared" / "take_home_data"
    if given.is_dir():
        shutil.copytree(given, folder / "take_home_data")
        sample(folder)


def partitions(folder: Path) -> None:
    """The sample with 50 files of each kind of log records; one more is kept back."""
    sample(folder)
    for log in ("LOG_RCD_B", "LOG_RCD_F"):
        path = folder / "take_home_data" / f"{log}.csv"
        header, *rows = path.read_bytes().splitlines(keepends=True)
        path.unlink()
        (folder / "take_home_data" / log).mkdir()
        size = len(rows) // 51 + 1
        for number in range(51):
            part = header + b"".join(rows[number * size : (number + 1) * size])
            name = f"take_home_data/{log}/part_{number:02}.csv" if number < 50 else f"{log}_50.csv"
            (folder / name).write_bytes(part)


def change_app_type(folder: Path) -> None:
    path = folder / "take_home_data" / "APP_TYPE.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1000] = lines[1000].partition(b",")[0] + b",Changed\n"
    path.write_bytes(b"".join(lines))


def add_partition(folder: Path) -> None:
    target = folder / "take_home_data" / "LOG_RCD_F" / "part_50.csv"
    shutil.copy(folder / "LOG_RCD_F_50.csv", target)


def exchange_partition(folder: Path) -> None:
    (folder / "take_home_data" / "LOG_RCD_B" / "part_10.csv").unlink()
    add_partition(folder)


DATA = {one.__name__: one for one in (miniature, hostile, sample, real, partitions)}
CHANGES = {
    "sample": [("one row of APP_TYPE changed", change_app_type)],
    "partitions": [("one partition removed and another one added", exchange_partition)],
}


# --- running ---------------------------------------------------------------------------------


def configure(checkout: Path, folder: Path) -> None:
    """Give a project folder the configuration of a checkout, and the lines of `more.cfg`."""
    text = (checkout / "luigi.cfg").read_text(encoding="utf-8")
    more = folder / "more.cfg"
    text += "\n" + more.read_text(encoding="utf-8") if more.exists() else ""
    (folder / "luigi.cfg").write_text(text, encoding="utf-8")
    shutil.rmtree(folder / "config", ignore_errors=True)
    for path in (checkout / "config").glob("*.cfg"):
        (folder / "config").mkdir(exist_ok=True)
        shutil.copy(path, folder / "config")


def command(checkout: Path, *task: str) -> list[str]:
    return [f"{checkout}/.venv/bin/luigi", "--module", "tasks", *task, "--local-scheduler"]


def luigi(checkout: Path, folder: Path, *task: str) -> None:
    """Run a task of a checkout in a project folder.

    Raises:
        RuntimeError: It did not exit with 0.
    """
    words = command(checkout, *task)
    done = subprocess.run(words, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise RuntimeError(f"{checkout} exited with {done.returncode}:\n{done.stderr[-2000:]}")


def make_projects(name: str, work: Path, checkouts: dict[str, Path]) -> dict[str, Path]:
    """A project folder for each checkout, with the same source files; none if there are none."""
    DATA[name](work / "seed")
    folders = {side: work / side for side in checkouts if (work / "seed").exists()}
    for side, folder in folders.items():
        shutil.copytree(work / "seed", folder, ignore=shutil.ignore_patterns("logs", "staging"))
        configure(checkouts[side], folder)
    return folders


def check(name: str, work: Path, checkouts: dict[str, Path]) -> bool:
    """Run and compare a data set; print the first findings, write all, tell whether it is equal."""
    folders = make_projects(name, work, checkouts)
    if not folders:
        print(f"{name}: skipped, its files are not there", flush=True)
        return True
    equal = True
    for told, change in [("", None), *CHANGES.get(name, ())]:
        title = f"{name}, {told}" if told else name
        try:
            for side, folder in folders.items():
                if change:
                    change(folder)
                luigi(checkouts[side], folder, "AllReports")
            found = compare(*folders.values())
        except RuntimeError as error:
            found = Found(different=[str(error)])
        print(f"{title}: {found.verdict()}", *found.lines(5), sep="\n", flush=True)
        with (work / "found.txt").open("a", encoding="utf-8") as stream:
            print(f"{title}: {found.verdict()}", *found.lines(10**6), sep="\n", file=stream)
        equal = equal and not found.different
    return equal


def measure_both(work: Path, checkouts: dict[str, Path], runs: int) -> None:
    """Measure both in turn; print medians, and the ratio of this checkout to the other."""
    from tests.benchmarks.measure import measure

    folders = make_projects("partitions", work, checkouts)
    took: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for turn in range(runs):
        for side in list(folders)[:: -1 if turn % 2 else 1]:
            folder = folders[side]
            for made in ("take_home_data", "staging", "reports"):
                shutil.rmtree(folder / made, ignore_errors=True)
            for path in folder.glob(f"{DATABASE}*"):
                path.unlink()
            shutil.copytree(work / "seed" / "take_home_data", folder / "take_home_data")
            run = functools.partial(measure, command(checkouts[side], "AllReports"), folder)
            cold = run()
            took["cold, s"][side].append(cold.wall)
            took["cold, CPU s"][side].append(cold.cpu)
            took["cold, peak MiB"][side].append(cold.peak)
            took["nothing to do, s"][side].append(run().wall)
            add_partition(folder)
            took["one partition added to 100, s"][side].append(run().wall)
    print(f"{f'median of {runs}':32}{'here':>10}{'other':>10}{'ratio':>8}")
    for what, sides in took.items():
        here, other = (statistics.median(sides[side]) for side in ("here", "other"))
        print(f"{what:32}{here:10.2f}{other:10.2f}{here / other:8.2f}")


def main() -> None:
    """Compare, or measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="another checkout, set up by `make setup`")
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="an empty one to work in")
    parser.add_argument("--time", action="store_true", help="measure instead of comparing")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    for name in list(os.environ):
        if name.startswith("PIPELINE_") or name in ("LUIGI_CONFIG_PATH", "PYTHONPATH"):
            del os.environ[name]
    checkouts = {"here": HERE, "other": options.other.absolute()}
    equal = True
    for name in ["time"] if options.time else options.data:
        with tempfile.TemporaryDirectory() as scratch:
            work = (options.keep / name if options.keep else Path(scratch)).absolute()
            work.mkdir(parents=True, exist_ok=True)
            if options.time:
                measure_both(work, checkouts, options.runs)
            else:
                equal = check(name, work, checkouts) and equal
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
