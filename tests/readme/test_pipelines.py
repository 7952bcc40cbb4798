"""Validate the CI examples against the published schemas, and run their commands with a real server."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from sealyard.cli.parser import build_parser
from tests.cli.conftest import home, workspace, workspace_template
from tests.support.cli_runner import CliWorkspace
from tests.support.limits import TIMEOUT
from tests.support.programs import require_module
from tests.support.served_workspace import ServedWorkspace

__all__ = ["home", "workspace", "workspace_template"]  # fixtures

DOCUMENT = (Path(__file__).parents[2] / "core" / "sealyard" / "cli" / "pipelines.md").read_text()
SYSTEMS = ("github-workflows", "gitlab-ci")
NOT_RUN = ("make ", "pip ", "pipx ")
"""Commands that build the firmware or install Sealyard."""


def _find_example(system: str) -> str:
    (example,) = re.findall(rf"<!-- ci: {system} -->\n```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(example)


def _load_scripts(system: str) -> tuple[str, str]:
    """Return the commands of the job that requests the package, and of the job that waits for it."""
    example: Any = yaml.safe_load(_find_example(system))
    jobs = example.get("jobs", example)
    return _load_script(jobs["request"]), _load_script(jobs["container"])


def _load_script(job: Any) -> str:
    commands = [step["run"] for step in job["steps"] if "run" in step] if "steps" in job else job["script"]
    return "\n".join(command for command in commands if not command.startswith(NOT_RUN))


@pytest.mark.interop
@pytest.mark.parametrize("system", SYSTEMS)
def test_example_conforms_to_published_schema(system: str, tmp_path: Path) -> None:
    require_module("check_jsonschema")
    path = tmp_path / "example.yml"
    path.write_text(_find_example(system))
    transform = ["--data-transform", system] if system == "gitlab-ci" else []
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{system}", *transform, str(path)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert process.returncode == 0, process.stdout


def test_setup_commands_are_valid() -> None:
    (block,) = re.findall(r"<!-- ci setup -->\n```text\n(.*?)```", DOCUMENT, re.DOTALL)
    for line in block.splitlines():
        build_parser().parse_args(shlex.split(line)[1:])


@pytest.fixture
def server(workspace: CliWorkspace) -> Iterator[ServedWorkspace]:
    running = ServedWorkspace(workspace.folder)
    try:
        running.start()
        yield running
    finally:
        running.close()


@pytest.mark.parametrize("system", SYSTEMS)
def test_commands_request_and_download_package(
    system: str, server: ServedWorkspace, workspace: CliWorkspace, home: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    (project / "build").mkdir(parents=True)
    (project / "certificates").mkdir()
    for name in ("boot.bin", "app.bin", "release.json"):
        (project / "build" / name).write_text(f'{{"file": "{name}"}}')
    certificates = _sealyard(server, project, "USER:owner", "device", "certificates", "gateway")
    (project / "certificates" / "gateway.pem").write_text(certificates)
    environment = {
        "GITHUB_OUTPUT": str(project / "task.env"),
        "GITHUB_REF_NAME": "v1.4.2",
        "GITHUB_RUN_ID": "4711",
        "CI_COMMIT_TAG": "v1.4.2",
        "CI_PIPELINE_ID": "4711",
        **_environment(server, "USER:developer"),
    }
    request_script, container_script = _load_scripts(system)
    # Repeated, as a CI system repeats a job: this must not create a second task.
    outputs = {_run_job(request_script, project, environment) for _ in range(2)}
    (task,) = {line.partition("=")[2] for line in (project / "task.env").read_text().splitlines()}
    assert len(outputs) == 1
    job = _start_job(container_script, project, {**environment, "TASK": task})
    _sealyard(server, project, "USER:owner", "approve", task)
    output, _ = job.communicate(timeout=TIMEOUT)
    assert job.returncode == 0, output
    assert len(list((project / "dist").glob("*.se-1"))) == 1


def _environment(server: ServedWorkspace, subject: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "SEALYARD_SERVER": server.url, "SEALYARD_TOKEN": server.token(subject)}


def _start_job(script: str, project: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=project,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _run_job(script: str, project: Path, environment: dict[str, str]) -> str:
    job = _start_job(script, project, environment)
    output, _ = job.communicate(timeout=TIMEOUT)
    assert job.returncode == 0, output
    return output


def _sealyard(server: ServedWorkspace, project: Path, subject: str, *arguments: str) -> str:
    process = subprocess.run(
        ["sealyard", *arguments],
        cwd=project,
        env=_environment(server, subject),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    return process.stdout
