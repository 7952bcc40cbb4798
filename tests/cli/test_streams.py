"""Test commands whose standard streams are closed, or cannot be written."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from sealyard.client.sharing.socket import is_listening
from tests.support.cli_runner import CliResult, CliWorkspace, command, wait_until
from tests.support.extent import choose_cases
from tests.support.limits import TIMEOUT
from tests.support.root import ALLOW_ROOT

CLOSED = {"stdin": "<&-", "stdout": ">&-", "stderr": "2>&-", "all streams": "<&- >&- 2>&-"}
FULL_STDOUT_CASES: list[tuple[tuple[str, ...], str]] = [((), ""), ((), "1"), (("--json",), "1"), (("--json",), "")]
"""Options of a command, and the value of PYTHONUNBUFFERED."""

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def start_redirected(redirection: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a command with a redirection in the syntax of the shell."""
    script = f'exec "$@" {redirection}'
    return subprocess.Popen(
        ["sh", "-c", script, "sh", *command(*arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_redirected(redirection: str, *arguments: object) -> CliResult:
    with start_redirected(redirection, *arguments) as process:
        out, err = process.communicate(timeout=TIMEOUT)
    return CliResult(process.returncode, out, err)


@pytest.mark.parametrize("closed", CLOSED)
def test_command_succeeds_with_closed_stream(
    workspace: CliWorkspace, firmware: Path, tmp_path: Path, closed: str
) -> None:
    name = f"closed {tmp_path.name}"
    arguments = ("package", "--device", "gateway", "--firmware", firmware, "--name", name, "--json")
    result = run_redirected(CLOSED[closed], *workspace.as_user("developer", *arguments))
    assert (result.code, result.err) == (0, "")
    (task,) = workspace.value("developer", "tasks", "--search", name)
    if closed in ("stdin", "stderr"):
        assert json.loads(result.out)["id"] == task["id"]


def test_closed_stdin_asks_for_no_secret(workspace: CliWorkspace) -> None:
    result = run_redirected("<&-", *workspace.as_user("developer", "login", "http://127.0.0.1:1"))
    assert result.code == 2
    assert "Invalid token" in result.err


def test_unreadable_stdin_is_reported(workspace: CliWorkspace, tmp_path: Path) -> None:
    result = run_redirected(f"0>{tmp_path / 'out'}", *workspace.as_user("developer", "login", "http://127.0.0.1:1"))
    assert result.code == 1
    assert "Cannot read the token from standard input" in result.err


@pytest.mark.parametrize(
    "arguments", [("run",), ("serve", *ALLOW_ROOT, "--listen", "127.0.0.1:0", "--address-file", "ADDRESS")]
)
def test_service_runs_with_closed_streams(workspace: CliWorkspace, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    address = tmp_path / "address"
    given = (str(address) if argument == "ADDRESS" else argument for argument in arguments)
    with start_redirected("<&- >&- 2>&-", *workspace.as_user("admin", *given)) as process:
        try:
            wait_until(lambda: address.exists() if "serve" in arguments else (workspace.folder / "socket").exists())
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    assert process.returncode == 0


@FULL
def test_service_runs_with_full_stdout(workspace: CliWorkspace) -> None:
    with start_redirected(">/dev/full", *workspace.as_user("admin", "run")) as process:
        try:
            wait_until(lambda: is_listening(workspace.folder))
            assert workspace.run("admin", "subject", "add", "anna").code == 0
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    assert process.returncode == 1
    assert "Cannot write to standard output" in err


@FULL
@pytest.mark.parametrize(("options", "unbuffered"), choose_cases(FULL_STDOUT_CASES, share=2))
def test_full_stdout_is_reported(
    shared_workspace: CliWorkspace,
    firmware: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    unbuffered: str,
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    name = f"full {tmp_path.name}"
    arguments = ("package", "--device", "gateway", "--firmware", firmware, "--name", name, *options)
    result = run_redirected(">/dev/full", *shared_workspace.as_user("developer", *arguments))
    assert result.code == 1
    assert result.err.startswith("sealyard: Cannot write to standard output (No space left on device).")
    assert "may have taken effect" in result.err
    assert len(result.err.splitlines()) == 2
    assert len(shared_workspace.value("developer", "tasks", "--search", name)) == 1


@FULL
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_stdout_keeps_exit_code_of_error(
    workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    result = run_redirected(">/dev/full", *workspace.as_user("developer", "show", "missing", "--json"))
    assert result.code == 4
    assert result.err.startswith("sealyard: ")
    assert "Traceback" not in result.err


@FULL
@pytest.mark.parametrize("arguments", [("tasks",), ("audit", "export", "--format", "jsonl")])
def test_full_stdout_fails_every_kind_of_output(workspace: CliWorkspace, arguments: tuple[str, ...]) -> None:
    result = run_redirected(">/dev/full", *workspace.as_user("auditor", *arguments))
    assert result.code == 1
    assert "Cannot write to standard output" in result.err


@FULL
def test_full_stderr_does_not_change_result(workspace: CliWorkspace) -> None:
    success = run_redirected("2>/dev/full", *workspace.as_user("developer", "tasks", "--json", "--limit", "1"))
    assert (success.code, len(success.value)) == (0, 1)
    failure = run_redirected("2>/dev/full", *workspace.as_user("developer", "show", "missing"))
    assert failure.code == 4
