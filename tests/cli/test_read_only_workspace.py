"""Test commands on a workspace that cannot be written: on a read-only disk, or in a folder without write permission."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.cli_runner import CliResult, CliWorkspace, command
from tests.support.limits import TIMEOUT

Run = Callable[..., CliResult]
"""Runs a command as one of the workspace's people."""

_UNSHARE = ("unshare", "--mount") if os.getuid() == 0 else ("unshare", "--map-root-user", "--mount")
_MOUNT_READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


@pytest.fixture(params=["mount", "permissions"])
def run(request: pytest.FixtureRequest, workspace: CliWorkspace) -> Iterator[Run]:
    if request.param == "mount":
        _require_mount(workspace.folder)
        yield partial(_run_as, workspace, _mount_command(workspace.folder))
        return
    if os.getuid() == 0:
        pytest.skip("root may write to every folder")
    _remove_write_permission(workspace.folder)
    yield partial(_run_as, workspace, ())
    _restore_write_permission(workspace.folder)


def test_result_is_downloaded_with_warning(run: Run, workspace: CliWorkspace, tmp_path: Path) -> None:
    result = run("developer", "download", workspace.done, "--out", tmp_path / "out")
    assert result.code == 0, result
    assert "its audit log does not record this download" in result.out
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_waiting_downloads_result(run: Run, workspace: CliWorkspace, tmp_path: Path) -> None:
    result = run("developer", "wait", workspace.done, "--out", tmp_path / "out")
    assert result.code == 0, result
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize(("profile", "arguments"), [("developer", ("tasks",)), ("auditor", ("audit", "verify"))])
def test_reading_commands_succeed(run: Run, profile: str, arguments: tuple[str, ...]) -> None:
    result = run(profile, *arguments)
    assert result.code == 0, result


def test_change_is_rejected_without_prompt(run: Run, workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    result = run("owner", "approve", workspace.waiting)
    assert result.code == 1
    assert "The workspace cannot be changed" in result.err


def _mount_command(folder: Path) -> tuple[str, ...]:
    """Return the start of a command that runs a program for which ``folder`` is on a read-only disk."""
    return (*_UNSHARE, "sh", "-c", _MOUNT_READ_ONLY, str(folder))


def _require_mount(folder: Path) -> None:
    try:
        result = _run((*_mount_command(folder), "true"))
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if result.code != 0:
        pytest.skip(f"cannot mount: {result.err.strip()}")


def _run_as(workspace: CliWorkspace, prefix: tuple[str, ...], profile: str, *arguments: object) -> CliResult:
    return _run((*prefix, *command(*workspace.as_user(profile, *arguments))))


def _run(call: tuple[str, ...]) -> CliResult:
    completed = subprocess.run(
        call, capture_output=True, text=True, timeout=TIMEOUT, check=False, stdin=subprocess.DEVNULL
    )
    return CliResult(completed.returncode, completed.stdout, completed.stderr)


def _remove_write_permission(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        path.chmod(path.stat().st_mode & ~0o222)


def _restore_write_permission(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
