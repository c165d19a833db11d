"""Sample data: its traits; and the pipeline on it against the seed's own arithmetic in pandas."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tasks.sample_data import HEADERS, ROWS, write_sample
from tests.conftest import ROOT, Project, with_sample
from tests.once import made_once

REAL = ROOT.parent / "shared" / "take_home_data"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Project:
    if not REAL.is_dir():
        pytest.skip("the real files are missing")
    return made_once(tmp_path_factory, "real", lambda folder: with_sample(folder, REAL))


def read(project: Project, name: str, key: str | None = None) -> pd.DataFrame:
    """A source file as pandas reads it, without its invalid rows."""
    frame = pd.read_csv(project.data / f"{name}.csv", dtype=str, keep_default_na=False)
    for column in frame.columns:
        if column.endswith("_id"):
            frame[column] = pd.to_numeric(frame[column], errors="coerce")
    if "log_time" in frame:
        frame["log_time"] = pd.to_datetime(frame["log_time"], errors="coerce")
    frame = frame.dropna()
    return frame.drop_duplicates(key) if key else frame


def chain(project: Project) -> pd.DataFrame:
    """The seed's merges: log instances with all that they refer to, by inner joins."""
    logs = read(project, "LOG_INSTANCE", "point_log_inst_id")
    points = read(project, "POINT", "point_id")[["point_id", "app_instance_id"]]
    instances = read(project, "APP_INSTANCE", "app_instance_id")
    refs = read(project, "APP_TYPE_REF", "app_type_ref_id")
    types = read(project, "APP_TYPE", "app_type_id")
    return (
        logs.merge(points, on="point_id")
        .merge(instances, on="app_instance_id")
        .merge(refs, on="app_type_ref_id")
        .merge(types, on="app_type_id")
    )


def known(project: Project, level: str, count: str) -> dict[int, int]:
    """What a summary counts, without the unknown member."""
    summary = pd.read_csv(project.reports / f"summary_by_{level}.csv", index_col=level)
    found = summary[count].drop(-1)
    return {int(str(key)): int(number) for key, number in found.items() if number}


def sizes(frame: pd.DataFrame, level: str) -> dict[int, int]:
    return {int(str(key)): int(number) for key, number in frame.groupby(level).size().items()}


LEVELS = [
    "unit_id",
    *(pytest.param(one, marks=pytest.mark.soak) for one in ("app_instance_id", "app_type_id")),
]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("which", ["sample", "real"])
def test_log_count_is_what_the_seeds_merges_count(
    request: pytest.FixtureRequest, which: str, level: str
) -> None:
    project: Project = request.getfixturevalue(which)
    expected = sizes(chain(project), level)
    found = known(project, level, "log_count")
    if level == "app_instance_id":
        # A log instance has its application instance even if a later lookup fails.
        assert {key: found[key] for key in expected} == expected
        orphans = set(found) - set(expected)
        refs = set(read(project, "APP_TYPE_REF")["app_type_ref_id"])
        of = read(project, "APP_INSTANCE", "app_instance_id").set_index("app_instance_id")
        assert all(of.loc[key, "app_type_ref_id"] not in refs for key in orphans)
    else:
        assert found == expected
    assert len(expected) > 5


@pytest.mark.parametrize("level", LEVELS)
def test_record_count_is_what_merges_of_the_log_records_count(sample: Project, level: str) -> None:
    logs = pd.concat([read(sample, "LOG_RCD_B"), read(sample, "LOG_RCD_F")])
    merged = logs.merge(chain(sample), on="point_log_inst_id")
    expected = sizes(merged, level)
    found = known(sample, level, "record_count")
    assert {key: found[key] for key in expected} == expected


def test_every_row_of_the_sample_is_loaded_or_quarantined(sample: Project) -> None:
    rows = round(ROWS["LOG_RCD_B"] * 0.02) + round(ROWS["LOG_RCD_F"] * 0.02)
    quarantined = 0
    for name in ("LOG_RCD_B", "LOG_RCD_F"):
        path = sample.staging / "quarantine" / f"{name}.csv"
        quarantined += len(pd.read_csv(path)) if path.exists() else 0
    assert sample.query("SELECT count(*) FROM fact_logs") == [(rows - quarantined,)]
    assert quarantined > 0


def test_the_sample_has_the_traits_of_the_real_files(sample: Project) -> None:
    types = pd.read_csv(sample.data / "APP_TYPE.csv", dtype=str, keep_default_na=False)
    assert (types["name"] == "").any()
    assert types["name"].str.startswith(" ").any()
    refs = pd.read_csv(sample.data / "APP_TYPE_REF.csv")
    assert refs["app_type_ref_id"].min() == 0
    words = sample.query("SELECT DISTINCT value_text FROM fact_logs WHERE value IS NULL")
    assert ("NO DATA",) in words
    unknown = sample.query("SELECT count(*) FROM fact_logs WHERE unit_id = -1")
    assert unknown[0][0] > 0


def test_full_scale_has_the_row_and_column_counts_of_the_assignment() -> None:
    assert {name: (rows, HEADERS[name].count(",") + 1) for name, rows in ROWS.items()} == {
        "APP_TYPE": (19_040, 2),
        "APP_TYPE_REF": (919, 3),
        "LOG_INSTANCE": (935, 4),
        "APP_INSTANCE": (1_000_000, 3),
        "POINT": (1_000_000, 15),
        "LOG_RCD_B": (843_971, 5),
        "LOG_RCD_F": (1_000_000, 5),
    }


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.csv"))
    }


def test_the_same_seed_gives_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    for folder, seed in (("one", 1), ("again", 1), ("other", 2)):
        rows = write_sample(tmp_path / folder, ROWS, scale=0.002, seed=seed)
        assert {path.name: count for path, count in rows.items()} == {
            f"{name}.csv": max(1, round(count * 0.002)) for name, count in ROWS.items()
        }
        for path, count in rows.items():
            assert len(path.read_text().splitlines()) == count + 1
    assert digests(tmp_path / "one") == digests(tmp_path / "again")
    assert digests(tmp_path / "one") != digests(tmp_path / "other")


def test_irregular_log_records_hardly_repeat(tmp_path: Path) -> None:
    write_sample(tmp_path, ROWS, scale=0.01, irregular=True)
    records = pd.read_csv(tmp_path / "LOG_RCD_F.csv").sample(1000, random_state=1)
    assert records["log_value"].nunique() >= 999
    assert pd.to_datetime(records["log_time"], format="ISO8601", errors="coerce").nunique() >= 998
    in_order = pd.read_csv(tmp_path / "LOG_RCD_F.csv")["point_log_inst_id"]
    assert in_order.diff().value_counts(normalize=True).max() < 0.5


def test_sample_data_never_overwrites_a_file_and_refers_to_its_keys(project: Project) -> None:
    for name in ("POINT", "LOG_RCD_B", "LOG_RCD_F"):
        (project.data / f"{name}.csv").unlink()
    (project.data / "LOG_RCD_B.CSV.gz").write_bytes(b"mine")
    before = digests(project.data)
    project.passes("SampleData", "--scale", "0.001")
    after = digests(project.data)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"POINT.csv", "LOG_RCD_F.csv"}
    logs = set(pd.read_csv(project.data / "LOG_RCD_F.csv")["point_log_inst_id"])
    assert logs & set(range(1, 9))
    assert project.passes("SampleData", "--scale", "0.001").ran == []


def test_only_the_named_files_are_made(tmp_path: Path) -> None:
    for path in (ROOT / "tests" / "miniature").glob("APP*.csv"):
        shutil.copy(path, tmp_path)
    made = write_sample(tmp_path, ["POINT", "LOG_INSTANCE"], scale=0.01)
    assert {path.name for path in made} == {"POINT.csv", "LOG_INSTANCE.csv"}
    instances = pd.read_csv(tmp_path / "POINT.csv")["app_instance_id"].value_counts()
    assert set(instances.index[:6]) == {100, 101, 102, 103, 104, 105}
