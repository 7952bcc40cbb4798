"""Test several `sealyard` processes on one workspace: locking, waiting, failover and signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sealyard.cli.output import UNVERIFIED_NOTE
from sealyard.client.engine_handle import EngineHandle
from sealyard.client.sharing.socket import is_listening
from sealyard.fs.workspace_lock import WorkspaceLock
from tests.support.cli_runner import CliWorkspace, run_process, start_process, wait_until
from tests.support.limits import TIMEOUT
from tests.support.root import ALLOW_ROOT


def test_package_wait_releases_lock(workspace: CliWorkspace, firmware: Path, tmp_path: Path) -> None:
    name = f"package {tmp_path.name}"
    out = tmp_path / "down"
    with start_process(
        *workspace.as_user("developer", "package", "--device", "gateway", "--firmware", firmware, "--name", name),
        *("--wait", "--timeout", TIMEOUT, "--out", out, "--json"),
    ) as process:
        wait_until(lambda: len(workspace.value("owner", "tasks", "--search", name, "--awaiting-approval")) == 1)
        task = workspace.value("owner", "tasks", "--search", name)[0]["id"]
        wait_until(lambda: workspace.run("owner", "approve", task).code == 0)
        stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, stderr
    value = json.loads(stdout)
    assert (value["id"], value["status"]) == (task, "DONE")
    assert [each.stat().st_size for each in out.iterdir()] == [value["result"]["size"]]
    page = workspace.value("auditor", "audit", "list", "--resource", f"TASK:{task}", "--change", "DOWNLOADED")
    assert page["entries"]


def test_wait_timeout_reports_task(workspace: CliWorkspace, firmware: Path) -> None:
    arguments = ("package", "--device", "gateway", "--firmware", firmware, "--wait", "--timeout", "0.2")
    result = workspace.run("developer", *arguments, "--json")
    assert result.code == 5
    assert (result.value["status"], result.value["error"]["code"]) == ("WAITING", "still-waiting")
    assert workspace.value("owner", "show", result.value["id"])["status"] == "WAITING"


def test_interrupted_wait_keeps_task(workspace: CliWorkspace, firmware: Path) -> None:
    arguments = ("package", "--device", "gateway", "--firmware", firmware, "--name", "interrupted", "--wait")
    with start_process(*workspace.as_user("developer", *arguments)) as process:
        assert process.stderr is not None
        assert "sealyard show" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert workspace.value("developer", "tasks", "--search", "interrupted")[0]["status"] == "WAITING"
    assert workspace.run("admin", "subject", "add", "next").code == 0


READ_COMMANDS = (
    ("developer", "tasks"),
    ("developer", "device", "list"),
    ("admin", "key", "list"),
    ("admin", "acl", "list"),
    ("admin", "subject", "list"),
    ("admin", "policy", "show"),
    ("auditor", "audit", "list"),
    ("auditor", "audit", "verify"),
)


def test_commands_work_beside_lock_holder(workspace: CliWorkspace, firmware: Path) -> None:
    with start_process(*workspace.as_user("admin", "run", "--json")) as holder:
        wait_until(lambda: is_listening(workspace.folder))
        assert run_process(*workspace.as_user("developer", "tasks")).code == 0
        for profile, *arguments in READ_COMMANDS:
            assert workspace.run(profile, *arguments).code == 0, arguments
        assert workspace.run("admin", "subject", "add", "anna").code == 0
        task = workspace.package(firmware, "--name", "beside")["id"]
        assert workspace.value("owner", "approve", task)["status"] == "DONE"
        assert holder.poll() is None
        holder.send_signal(signal.SIGTERM)
        stdout, stderr = holder.communicate(timeout=TIMEOUT)
    assert (holder.returncode, stderr) == (0, "")
    assert json.loads(stdout) == {"ended": {"DONE": 1}}
    assert workspace.value("developer", "show", task)["status"] == "DONE"


def test_locked_workspace_allows_only_reads(workspace: CliWorkspace) -> None:
    with WorkspaceLock.acquire(workspace.folder / "lock", "a long import"):
        for profile, *arguments in READ_COMMANDS:
            assert workspace.run(profile, *arguments).code == 0, arguments
        for command in (("subject", "add", "anna"), ("run",), ("serve", *ALLOW_ROOT, "--listen", "127.0.0.1:0")):
            result = workspace.run("admin", *command)
            assert result.code == 6
            assert f"process {os.getpid()} " in result.err
            assert "a long import" in result.err
    assert workspace.run("admin", "subject", "add", "anna").code == 0


def test_second_run_takes_over_after_crash(workspace: CliWorkspace, firmware: Path) -> None:
    with start_process(*workspace.as_user("admin", "run")) as holder:
        wait_until(lambda: is_listening(workspace.folder))
        with start_process(*workspace.as_user("admin", "run")) as standby:
            _require_takeover(workspace, firmware, holder, standby)


def _require_takeover(
    workspace: CliWorkspace, firmware: Path, holder: subprocess.Popen[str], standby: subprocess.Popen[str]
) -> None:
    assert standby.stdout is not None
    assert standby.stdout.readline().startswith("Running tasks in")
    task = workspace.package(firmware)["id"]
    holder.kill()
    wait_until(lambda: _is_lock_holder(workspace, standby) and is_listening(workspace.folder))
    assert workspace.value("owner", "approve", task)["status"] == "DONE"
    while f"{task}  DONE" not in (line := standby.stdout.readline()):
        assert line, "the process ended without reporting the task"
    standby.send_signal(signal.SIGTERM)
    _, stderr = standby.communicate(timeout=TIMEOUT)
    assert standby.returncode == 0
    assert f"locked by process {holder.pid} " in stderr
    assert "this process now owns it" in stderr


def _is_lock_holder(workspace: CliWorkspace, process: subprocess.Popen[str]) -> bool:
    holder = WorkspaceLock.holder(workspace.folder / "lock")
    return holder is not None and holder.pid == process.pid


def test_run_processes_scheduled_tasks(workspace: CliWorkspace) -> None:
    workspace.value("owner", "approve", workspace.waiting, "--no-wait")
    with start_process(*workspace.as_user("admin", "run")) as process:
        wait_until(lambda: workspace.value("developer", "show", workspace.waiting)["status"] == "DONE")
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert stdout.splitlines()[-1].startswith("Stopped.")


@pytest.mark.parametrize("arguments", [("run",), ("watch", ".", "--device", "gateway")])
def test_long_commands_use_the_settings(
    workspace: CliWorkspace, home: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    path = home / "config" / "sealyard" / "settings.toml"
    path.parent.mkdir(parents=True)
    path.write_text('socket_group = "no-such-group"\nkey_check_minutes = 5\n')
    intervals: list[float] = []
    open_engine = EngineHandle.open

    async def record_and_open(folder: Path, *, key_check_interval: float, **options: Any) -> EngineHandle:
        intervals.append(key_check_interval)
        return await open_engine(folder, key_check_interval=key_check_interval, **options)

    monkeypatch.setattr(EngineHandle, "open", record_and_open)
    result = workspace.run("developer", *arguments)
    assert (result.code, intervals) == (2, [300.0])
    assert "Unknown group no-such-group" in result.err


def test_run_with_invalid_settings_warns(workspace: CliWorkspace, home: Path) -> None:
    path = home / "config" / "sealyard" / "settings.toml"
    path.parent.mkdir(parents=True)
    path.write_text("key_check_minutes = 0\n")
    with start_process(*workspace.as_user("admin", "run")) as process:
        wait_until(lambda: is_listening(workspace.folder))
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert "key_check_minutes" in stderr
    assert "The default settings are used." in stderr


def test_watch_submits_dropped_file(workspace: CliWorkspace, firmware: Path, tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    (drop / "dropped.bin").write_bytes(firmware.read_bytes())
    with start_process(*workspace.as_user("developer", "watch", drop, "--device", "gateway", "--submit")) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("dropped.bin: created task "))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    (task,) = workspace.value("developer", "tasks", "--search", "dropped.bin")
    assert (task["id"], task["status"]) == (line.split()[3].rstrip(","), "WAITING")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports files open for writing")
def test_watch_waits_for_open_file(workspace: CliWorkspace, tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    watch = workspace.as_user(
        "developer", "watch", drop, "--device", "gateway", "--submit", "--settle", "0.1", "--polling"
    )
    with (drop / "stalled.bin").open("wb") as file:
        file.write(b"half")
        file.flush()
        with start_process(*watch) as process:
            assert process.stdout is not None
            line = next(line for line in process.stdout if line.startswith("stalled.bin: "))
            assert "has stalled.bin open for writing" in line
            file.write(b" and whole")
            file.close()
            assert next(process.stdout).startswith("stalled.bin: created task ")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=TIMEOUT)
    (task,) = workspace.value("developer", "tasks", "--search", "stalled.bin")
    assert [file["size"] for file in task["inputs"]] == [14]


def test_watch_missing_folder_is_reported(workspace: CliWorkspace, tmp_path: Path) -> None:
    result = workspace.run("developer", "watch", tmp_path / "nowhere", "--device", "gateway")
    assert result.code == 1
    assert "nowhere" in result.err


def test_closed_stdout_exits_with_141(workspace: CliWorkspace) -> None:
    with start_process(*workspace.as_user("auditor", "audit", "list", "--json")) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, stderr = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, stderr) == (141, f"{UNVERIFIED_NOTE}\n")
