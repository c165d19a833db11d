"""The projects and peers that the benchmark measures."""

from __future__ import annotations

import csv
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.measure import Measured, measure

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
LOGS = ("LOG_RCD_B", "LOG_RCD_F")
DIMENSIONS = "dim_application_type dim_unit dim_application_instance dim_log_instance".split()
TABLES = (*DIMENSIONS, "fact_logs")
LEVELS = ("unit_id", "app_instance_id", "app_type_id")
PART_RECORDS = 18_440


@dataclass
class Project:
    """A folder in which the pipeline runs as it is shipped."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "take_home_data"

    def run(self) -> Measured:
        command = [str(BIN / "luigi"), "--module", "tasks", "AllReports", "--local-scheduler"]
        return measure(command, self.folder, self.folder / "luigi.log")

    def clear(self) -> None:
        """Remove all that was made."""
        for name in ("staging", "reports"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for path in self.folder.glob("data_warehouse.db*"):
            path.unlink()

    def run_cold(self) -> Measured:
        self.clear()
        return self.run()


def make_project(folder: Path) -> Project:
    """A project folder with the configuration as shipped; its source files stay if there."""
    (folder / "config").mkdir(parents=True, exist_ok=True)
    (folder / "take_home_data").mkdir(exist_ok=True)
    shutil.copy(ROOT / "luigi.cfg", folder)
    shutil.copy(ROOT / "config" / "logging.cfg", folder / "config")
    return Project(folder)


def make_sample(project: Project, scale: float, *options: str) -> None:
    """Make the source files that are missing."""
    scaled = ["--scale", str(scale), *options]
    command = [str(BIN / "luigi"), "--module", "tasks", "SampleData", *scaled]
    subprocess.run([*command, "--local-scheduler"], cwd=project.folder, check=True)


def copy_reference(source: Project, target: Project) -> None:
    """Give a project another one's source files but for the log records."""
    for path in source.data.glob("*.csv"):
        if path.stem not in LOGS and not (target.data / path.name).exists():
            shutil.copy(path, target.data)


def peer(name: str, data: Path, out: Path) -> Callable[[], Measured]:
    """Runs a peer's script from cold outputs."""

    def run() -> Measured:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        script = ROOT / "tests" / "benchmarks" / f"peer_{name}.py"
        command = [sys.executable, str(script), str(data), str(out)]
        return measure(command, out.parent, out.parent / f"{name}.log")

    return run


def compare(pipeline: Path, reports: Path, out: Path) -> None:
    """Raise unless a peer has the same rows, groups and summaries."""

    def counts(database: Path) -> dict[str, object]:
        with closing(sqlite3.connect(database)) as connection:
            asked = {table: f"SELECT count(*) FROM {table}" for table in TABLES}
            for level in LEVELS:
                counted = "log_kind, count(*), count(value) FROM fact_logs"
                asked[level] = f"SELECT {level}, {counted} GROUP BY 1, 2 ORDER BY 1, 2"
            return {name: connection.execute(sql).fetchall() for name, sql in asked.items()}

    ours, theirs = counts(pipeline), counts(out / "warehouse.db")
    for name in ours:
        if ours[name] != theirs[name]:
            raise AssertionError(f"{out.name}: {name} differs: {ours[name]} {theirs[name]}"[:300])
    for level in LEVELS:
        columns = (level, "log_count", "record_count", "digital_count", "float_count")
        files = (reports / f"summary_by_{level}.csv", out / f"summary_by_{level}.csv")
        mine, other = (list(_summary(path, columns)) for path in files)
        if mine != other:
            raise AssertionError(f"{out.name}: the summary by {level} differs")


def _summary(path: Path, columns: Sequence[str]) -> Iterator[list[int]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.DictReader(stream):
            yield [int(float(row[column] or 0)) for column in columns]


def touch_all(project: Project) -> None:
    """Give every source file another time."""
    for path in project.data.rglob("*.csv"):
        path.touch()


def change_app_type(project: Project, turn: int) -> None:
    """Change one row of APP_TYPE."""
    path = project.data / "APP_TYPE.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[1000] = f"{lines[1000].partition(',')[0]},Changed {turn}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def split_logs(source: Project, target: Project, records: int) -> tuple[Path, bytes]:
    """Put the log records into partitions of so many; one is kept back and returned.

    The last part of each kind has what is left, fewer than the others.
    """
    copy_reference(source, target)
    kept = (target.data, b"")
    for name in LOGS:
        (target.data / name).mkdir(exist_ok=True)
        header, *lines = (source.data / f"{name}.csv").read_bytes().splitlines(keepends=True)
        for at in range(0, len(lines), records):
            path = target.data / name / f"{at:09}.csv"
            kept = (path, header + b"".join(lines[at : at + records])) if at == 0 else kept
            path.write_bytes(header + b"".join(lines[at : at + records]))
    kept[0].unlink()
    return kept


def overlapping_logs(source: Project, target: Project, records: int, partitions: int) -> None:
    """Put log records into so many partitions, each of which begins a little later."""
    copy_reference(source, target)
    for name in LOGS:
        (target.data / name).mkdir(exist_ok=True)
        header, *lines = (source.data / f"{name}.csv").read_bytes().splitlines(keepends=True)
        step = (len(lines) - records) // partitions * len(LOGS)
        for number in range(partitions // len(LOGS)):
            content = header + b"".join(lines[number * step : number * step + records])
            (target.data / name / f"{number:04}.csv").write_bytes(content)


def make_dvc(project: Project, folder: Path) -> list[str]:
    """The same graph of files for DVC, run once; the command that then has nothing to do."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    dvc = [sys.executable, "-m", "dvc"]
    sources = sorted(path.stem for path in project.data.glob("*.csv"))
    for name in sources:
        shutil.copy(project.data / f"{name}.csv", folder)
    stages = {name: ([f"{name}.csv"], [f"{name}.parquet"]) for name in sources}
    staged = [f"{name}.parquet" for name in sources]
    stages["chains"] = (staged, ["chains.out"])
    stages["enriched"] = (["chains.out", "LOG_RCD_B.parquet", "LOG_RCD_F.parquet"], ["logs.out"])
    dimensions = [f"{table}.out" for table in DIMENSIONS]
    for table in dimensions:
        stages[table.partition(".")[0]] = (staged, [table])
    stages["fact_logs"] = (["logs.out", *dimensions], ["fact_logs.out"])
    stages["check"] = (["fact_logs.out"], ["check.out"])
    for report in (*LEVELS, "quality", "schema_change"):
        stages[report] = (["check.out"], [f"{report}.out"])
    lines = ["stages:"]
    for name, (deps, outs) in stages.items():
        command = f"python3 -c \"open('{outs[0]}', 'w').write('{name}')\""
        lines += [f"  {name}:", f"    cmd: {command}", f"    deps: {deps}", f"    outs: {outs}"]
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    subprocess.run([*dvc, "init", "--no-scm", "-q"], cwd=folder, check=True, env=environment)
    subprocess.run([*dvc, "repro", "-q"], cwd=folder, check=True, env=environment)
    return [*dvc, "repro", "-q"]
