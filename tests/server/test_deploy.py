"""Tests of the systemd unit and the container file. Workers must be able to confine themselves under both."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from ctypes.util import find_library
from pathlib import Path

import pytest

from sealyard.cli.parser import build_parser
from sealyard.model.worker_messages import JobFinished, WorkerReady
from tests.support.programs import require, skip_missing
from tests.support.worker_fixtures import workspace, workspace_template
from tests.support.worker_harness import WorkerProcess, WorkerWorkspace

__all__ = ["workspace", "workspace_template"]

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "core" / "sealyard" / "server" / "deploy"
UNIT, WORKER_UNIT = DEPLOY / "sealyard.service", DEPLOY / "sealyard-worker.service"
UNITS = pytest.mark.parametrize("unit", [UNIT, WORKER_UNIT], ids=["server", "worker"])
CONTAINERFILE = DEPLOY / "Containerfile"
README = (ROOT / "README.md").read_text()
SERVER_README = (ROOT / "core" / "sealyard" / "server" / "README.md").read_text()
MAX_EXPOSURE = 1.9
INSTALLED = "/opt/sealyard/.venv/bin/sealyard"
BUILD_TOOLS = {"pip", "venv", "gcc", "build-essential", "python3-venv", "python3-dev", "git"}

FILTER_SCRIPT = """
import ctypes, ctypes.util, sys
library = ctypes.CDLL(ctypes.util.find_library("seccomp"))
library.seccomp_init.restype = ctypes.c_void_p
context = ctypes.c_void_p(library.seccomp_init(0x00050001))  # EPERM
for name in {names!r}:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number >= 0:
        assert library.seccomp_rule_add(context, 0x7FFF0000, number, 0) == 0
assert library.seccomp_load(context) == 0
libc = ctypes.CDLL(None)
libc.prctl(65, *map(ctypes.c_ulong, (1, 0, 0, 0)))  # MemoryDenyWriteExecute, in Linux 6.3 or later
from sealyard.worker.__main__ import main
sys.exit(main())
"""


def read_settings(name: str, unit: Path = UNIT) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


# ---- systemd


@UNITS
def test_unit_is_valid(unit: Path, tmp_path: Path) -> None:
    analyze = require("systemd-analyze")
    text = unit.read_text()
    assert text.count(INSTALLED) == 1
    installed_unit = tmp_path / unit.name
    installed_unit.write_text(text.replace(INSTALLED, str(Path(sys.executable).with_name("sealyard"))))
    result = subprocess.run([analyze, "verify", installed_unit], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@UNITS
def test_exposure_of_unit_is_documented(unit: Path) -> None:
    analyze = require("systemd-analyze")
    command = [analyze, "security", "--offline=yes", "--no-pager", f"--threshold={MAX_EXPOSURE * 10:.0f}", str(unit)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    [exposure] = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
    assert float(exposure) <= MAX_EXPOSURE, result.stdout
    assert result.returncode == 0
    assert f"exposure of the unit {MAX_EXPOSURE} " in SERVER_README


@UNITS
def test_unit_permits_only_namespaces_of_worker(unit: Path) -> None:
    assert read_settings("RestrictNamespaces", unit) == ["user net ipc uts"]


def test_units_permit_the_same_system_calls() -> None:
    assert read_settings("SystemCallFilter", UNIT) == read_settings("SystemCallFilter", WORKER_UNIT)


@pytest.mark.parametrize(
    ("unit", "command", "credentials"),
    [(UNIT, ["serve"], ["sealyard-passphrase"]), (WORKER_UNIT, ["worker", "run"], ["sealyard-passphrase", "pgpass"])],
    ids=["server", "worker"],
)
def test_unit_runs_command_without_privileges(unit: Path, command: list[str], credentials: list[str]) -> None:
    [line] = read_settings("ExecStart", unit)
    assert shlex.split(line)[1:][: len(command)] == command
    assert "--allow-root" not in line
    assert read_settings("User", unit) == ["sealyard"]
    assert read_settings("CapabilityBoundingSet", unit) == [""]
    assert [each.partition(":")[0] for each in read_settings("LoadCredential", unit)] == credentials


def test_worker_confines_itself_under_filter_of_unit(workspace: WorkerWorkspace) -> None:
    require("systemd-analyze")
    if find_library("seccomp") is None:
        skip_missing("libseccomp is not installed")
    script = FILTER_SCRIPT.format(names=sorted(permitted_calls()))
    worker = WorkerProcess(workspace, ("-c", script))
    try:
        worker.open_key_store(workspace)
        assert worker.messages_of(WorkerReady)[0].refused == ()
        assert isinstance(worker.wait_for_end(workspace.package(b"firmware")), JobFinished)
    finally:
        worker.close()


def permitted_calls() -> set[str]:
    """Return the system calls that the unit permits."""
    calls: set[str] = set()
    for setting in read_settings("SystemCallFilter"):
        names = set(expand_groups(setting.removeprefix("~").split()))
        calls = calls - names if setting.startswith("~") else calls | names
    return calls


def expand_groups(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name.startswith("@"):
            command = ["systemd-analyze", "syscall-filter", "--no-pager", name]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            lines = (line.strip() for line in output.splitlines()[1:])
            yield from expand_groups(line for line in lines if line and not line.startswith("#"))
        else:
            yield name


# ---- container


def read_instructions() -> list[tuple[str, str]]:
    """Return the instructions of the container file and their arguments."""
    text = re.sub(r"\\\n\s*", "", CONTAINERFILE.read_text())
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def last_stage() -> list[tuple[str, str]]:
    instructions = read_instructions()
    start = max(index for index, (name, _) in enumerate(instructions) if name == "FROM")
    return instructions[start:]


def test_copied_files_exist() -> None:
    for name, arguments in read_instructions():
        *sources, _ = arguments.split()
        if name == "COPY" and not sources[0].startswith("--from="):
            assert all((ROOT / source).exists() for source in sources), arguments


def test_last_stage_copies_only_what_was_built() -> None:
    [(_, arguments)] = [each for each in last_stage() if each[0] == "COPY"]
    assert arguments == "--from=build /opt/sealyard/.venv /opt/sealyard/.venv"
    build = read_instructions()[: -len(last_stage())]
    assert ("WORKDIR", "/opt/sealyard") in build


def test_image_is_installed_as_in_readme() -> None:
    commands = [arguments for name, arguments in read_instructions() if name == "RUN"]
    [install] = [command for command in commands if "venv .venv" in command]
    assert f"{install} && .venv/bin/sealyard demo --headless" in README


def test_last_stage_has_no_build_tools() -> None:
    packages = " ".join(arguments for name, arguments in last_stage() if name == "RUN").split()
    assert not BUILD_TOOLS & set(packages)
    assert ("RUN", ".venv/bin/pip uninstall -q -y setuptools pip") in read_instructions()


def test_image_runs_server_as_ordinary_user() -> None:
    stage = last_stage()
    assert dict(stage)["USER"].split(":")[0] not in {"", "0", "root"}
    assert stage.index(("USER", "10001")) < [name for name, _ in stage].index("CMD")
    assert dict(stage)["CMD"].startswith('["serve"')
    assert "--allow-root" not in CONTAINERFILE.read_text()


def test_command_line_accepts_deployed_commands() -> None:
    [unit_command] = read_settings("ExecStart")
    image_command = json.loads(dict(last_stage())["ENTRYPOINT"]) + json.loads(dict(last_stage())["CMD"])
    for _, *arguments in (shlex.split(unit_command), image_command):
        parsed = build_parser().parse_args(arguments)
        assert (parsed.config, parsed.allow_root) == (Path("/etc/sealyard/server.toml"), False)
