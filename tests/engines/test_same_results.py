"""Both engines give the same outputs: on cases of files that are wrong, and on made-up ones.

The run on the cluster is in the process of the test, as a session of Spark takes seconds to start.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luigi.configuration import LuigiConfigParser
from luigi.task_register import Register

from tasks.core.errors import PipelineError
from tasks.engines.choose import engine
from tasks.freshness.task import walk
from tasks.graph import AllReports
from tests.conftest import ROOT, Project, make_project, read_settings_again, unwrapped
from tests.engines.test_spark import environment
from tests.runs import add_partition
from tests.spark_cluster import SparkCluster, configuration

CASES = ROOT.parent / "shared" / "cases"


@pytest.fixture(scope="module")
def on_cluster(cluster: SparkCluster) -> Iterator[dict[str, str]]:
    """The environment of runs whose engine is the cluster."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment(cluster).items():
            if not name.startswith("PIPELINE_"):
                patched.setenv(name, value)
        engine.cache_clear()
        yield environment(cluster)
        engine.cache_clear()


def run_on_cluster(project: Project, env: dict[str, str]) -> dict[str, str]:
    """Run in this process what is not complete and can run; task -> why it failed."""
    project.configure(configuration())
    with pytest.MonkeyPatch.context() as patched, contextlib.chdir(project.folder):
        for name, value in env.items():
            patched.setenv(name, value)
        LuigiConfigParser._instance = None  # Read from the folder.
        read_settings_again()
        Register.clear_instance_cache()  # What a task requires depends on the settings.
        failed: dict[str, str] = {}
        for task in walk(AllReports()):
            if any(one.label in failed for one in task.required):
                failed[task.label] = ""
                continue
            try:
                if not task.complete():
                    task.run()
            except PipelineError as error:
                failed[task.label] = str(error)
    LuigiConfigParser._instance = None
    Register.clear_instance_cache()
    return failed


def assert_same(here: Project, there: Project, env: dict[str, str]) -> None:
    more = {name: env[name] for name in env if name.startswith("PIPELINE_")}
    alone = {n: v for n, v in more.items() if n not in ("PIPELINE_ENGINE", "PIPELINE_SPARK_MASTER")}
    done = here.luigi("AllReports", env=alone)
    failed = run_on_cluster(there, env)
    assert (done.status == 0) == (not failed), (done.err, failed)
    for why in failed.values():
        assert unwrapped(why.partition("\n")[0]) in unwrapped(done.err)
    one, other = here.outputs(), there.outputs()
    assert {name for name in {*one, *other} if one.get(name) != other.get(name)} == set()


@pytest.mark.soak
@pytest.mark.skipif(not CASES.is_dir(), reason="the input cases are not here")
@pytest.mark.parametrize(
    "case", sorted(path.name for path in CASES.glob("c*") if not (path / "steps.sh").exists())
)
def test_on_input_cases(on_cluster: dict[str, str], tmp_path: Path, case: str) -> None:
    here, there = make_project(tmp_path / "here"), make_project(tmp_path / "there")
    for project in (here, there):
        for path in (CASES / case).iterdir():
            if path.is_dir():
                shutil.copytree(path, project.data / path.name)
            elif path.suffix in (".csv", ".gz"):
                shutil.copy(path, project.data)
        with contextlib.suppress(FileNotFoundError):
            project.configure((CASES / case / "luigi.cfg.part").read_text(encoding="utf-8"))
    assert_same(here, there, on_cluster)


_TIMES = st.datetimes().map(lambda time: f"{time:%Y-%m-%d %H:%M:%S}") | st.sampled_from(
    ["", "2024-03-31 02:30:00", "2024-06-01T12:00:00Z", "yesterday"]
)
_VALUES = st.floats().map(repr) | st.sampled_from(["", "on", "off", "POINT FAIL", "1,5", "0x10"])
_STATUSES = st.text(st.characters(codec="utf-8", exclude_characters='\r\n",\0'), max_size=9)
_ROWS = st.tuples(
    st.integers(0, 99).map(str), st.integers(-1, 12).map(str), _TIMES, _VALUES, _STATUSES
).map(",".join) | st.sampled_from(["", "1,2", "a,b,c,d,e", '"quoted, text",1,,,OK'])
_FILES = st.lists(st.lists(_ROWS, max_size=30), min_size=1, max_size=3)


@pytest.mark.soak
@settings(max_examples=15)
@given(digital=_FILES, floating=_FILES)
def test_on_made_up_files(
    on_cluster: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    digital: list[list[str]],
    floating: list[list[str]],
) -> None:
    folder = tmp_path_factory.mktemp("made_up")
    here, there = make_project(folder / "here"), make_project(folder / "there")
    for project in (here, there):
        for source, files in (("LOG_RCD_B", digital), ("LOG_RCD_F", floating)):
            for number, rows in enumerate(files):
                header = "log_rcd_id,point_log_inst_id,log_time,log_value,status"
                add_partition(project, f"{number}.csv", "\n".join([header, *rows, ""]), source)
    assert_same(here, there, {**on_cluster, "PIPELINE_MAX_REJECTED": "1"})
