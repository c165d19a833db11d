"""The examples for operators: run here as far as possible, else checked by a program that knows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from tests.conftest import MINIATURE, ROOT, Project

OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
WORKFLOW = (ROOT / "examples" / "github-actions.yml").read_text(encoding="utf-8")
DOCKERFILE = ROOT / "examples" / "Dockerfile"
PLACE = "/srv/controller-logs"


@pytest.fixture
def placed(ran: Project) -> Project:
    """A project with an environment in its folder, as the examples have it."""
    (ran.folder / ".venv").symlink_to(sys.prefix)
    return ran


def example(mark: str, project: Project) -> str:
    """The block of the documentation with a text in it, in the project's folder."""
    blocks = re.findall(r"```\w*\n(.*?)```", OPERATIONS, flags=re.DOTALL)
    (found,) = (block for block in blocks if mark in block)
    return str(found).replace(PLACE, str(project.folder))


def test_the_line_for_cron_runs_unless_a_run_is_under_way(placed: Project) -> None:
    *_, command = example("flock", placed).split(maxsplit=5)
    with FileLock(placed.folder / ".lock"):
        assert placed.run("sh", "-c", command).status == 1
        assert len(placed.log_files()) == 1
    assert placed.run("sh", "-c", command).status == 0
    assert len(placed.log_files()) == 2


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_units_for_systemd_are_valid_and_run(placed: Project) -> None:
    units = {"service": example("[Service]", placed), "timer": example("[Timer]", placed)}
    for kind, text in units.items():
        (placed.folder / f"controller-logs.{kind}").write_text(text)
    names = [f"controller-logs.{kind}" for kind in units]
    checked = placed.run("systemd-analyze", "verify", *names)
    assert (checked.status, checked.out, checked.err) == (0, "", "")
    (command,) = re.findall("^ExecStart=(.*)$", units["service"], re.MULTILINE)
    assert placed.run(*command.split()).status == 0


def test_the_steps_of_the_workflow_run(placed: Project) -> None:
    setup, *steps = re.findall(r"^ +(?:- )?run: (.+)$", WORKFLOW, re.MULTILINE)
    assert (setup, len(steps)) == ("make setup", 2)
    for step in steps:
        result = placed.run("bash", "-c", step, env={"GITHUB_STEP_SUMMARY": "summary.md"})
        assert result.status == 0, result.log
    assert (placed.folder / "summary.md").read_text().count(" succeeded ") == 2


@pytest.mark.soak
def test_the_image_has_what_a_run_needs(tmp_path: Path) -> None:
    text = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    image, data = Project(tmp_path / "image"), tmp_path / "data"
    shutil.copytree(MINIATURE, data / "take_home_data")
    for arguments in re.findall("^COPY (.*)$", text, re.MULTILINE):
        *sources, target = arguments.split()
        for source in map(ROOT.joinpath, sources):
            if source.is_dir():
                without = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, image.folder / target, ignore=without)
            else:
                image.folder.mkdir(exist_ok=True)
                shutil.copy(source, image.folder / target)
    for install in re.findall("^RUN (.* -e .)$", text, re.MULTILINE):
        assert image.run(*install.split(), "--dry-run").status == 0
    (settings,) = re.findall("^ENV (.*)$", text, re.MULTILINE)
    env = dict(one.split("=", 1) for one in settings.replace("/data", str(data), 5).split())
    lines = dict(re.findall("^(ENTRYPOINT|CMD) (.*)$", text, re.MULTILINE))
    command = [*json.loads(lines["ENTRYPOINT"]), *json.loads(lines["CMD"])]
    env["PYTHONPATH"] = str(image.folder)
    where = image.run("python", "-c", "import config, tasks; print(config, tasks)", env=env)
    assert where.out.count(f"'{image.folder}/") == 2
    result = image.run(*command, env=env)
    assert result.status == 0, result.log
    made = {path.name for path in data.iterdir()}
    assert made == {"take_home_data", "staging", "reports", "logs", "data_warehouse.db"}


def test_the_dockerfile_has_no_known_fault() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("hadolint has no package for this machine")
    done = subprocess.run([program, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
