"""Test prompts and progress at a terminal, and that there are none on a pipe."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import termios
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from sealyard.cli.output import UNVERIFIED_NOTE
from sealyard.model.algorithms import KeyType
from tests.support.cli_runner import PASSPHRASE, CliWorkspace, command, run_process, wait_until
from tests.support.key_files import private_key, write_pkcs12
from tests.support.limits import TIMEOUT
from tests.support.processes import killed_at_exit


class TerminalResult(NamedTuple):
    code: int
    out: str
    screen: str


def run_at_terminal(*arguments: object, answers: tuple[str, ...] = ()) -> TerminalResult:
    """Run with a terminal as standard input and error. Each of ``answers`` is typed at one prompt, after ": "."""
    terminal, child_terminal = pty.openpty()
    process = subprocess.Popen(
        command(*arguments), stdin=child_terminal, stdout=subprocess.PIPE, stderr=child_terminal, start_new_session=True
    )
    os.close(child_terminal)
    screen, pending, limit = b"", list(answers), time.monotonic() + TIMEOUT
    with killed_at_exit(process):
        while time.monotonic() < limit:
            if not select.select([terminal], [], [], 0.1)[0]:
                continue
            try:
                screen += os.read(terminal, 65536)
            except OSError:  # The process has closed the terminal.
                break
            if pending and screen.endswith(b": "):
                os.write(terminal, pending.pop(0).encode() + b"\n")
        out = process.communicate(timeout=TIMEOUT)[0]
    os.close(terminal)
    return TerminalResult(process.returncode, out.decode(), screen.decode())


def test_passphrase_prompt_is_not_echoed(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    result = run_at_terminal(*workspace.as_user("admin", "subject", "add", "anna"), answers=(PASSPHRASE,))
    assert (result.code, result.out) == (0, "Added USER:anna. Grant permissions with `sealyard acl add`.\n")
    assert "Passphrase" in result.screen
    assert PASSPHRASE not in result.screen


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
def test_signal_at_prompt_restores_terminal(
    workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch, signal_number: signal.Signals
) -> None:
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    terminal, child_terminal = pty.openpty()
    settings = termios.tcgetattr(child_terminal)
    process = subprocess.Popen(
        command(*workspace.as_user("admin", "subject", "add", "anna")),
        stdin=child_terminal,
        stdout=subprocess.DEVNULL,
        stderr=child_terminal,
        start_new_session=True,
    )
    with killed_at_exit(process):
        wait_until(lambda: not termios.tcgetattr(child_terminal)[3] & termios.ECHO)
        process.send_signal(signal_number)
        code = process.wait(TIMEOUT)
    assert code == (130 if signal_number is signal.SIGINT else -signal_number)
    assert termios.tcgetattr(child_terminal) == settings
    os.close(child_terminal)
    os.close(terminal)


@pytest.mark.parametrize("name", ["bundle.p12", "store"])
def test_password_of_pkcs12_file_is_asked_for(workspace: CliWorkspace, tmp_path: Path, name: str) -> None:
    path = write_pkcs12(tmp_path / name, private_key(KeyType.EC_P256), "swordfish")
    arguments = workspace.as_user("admin", "key", "import", "local:bought", "--file", path, "--kind", "EC_P256")
    result = run_at_terminal(*arguments, answers=("swordfish",))
    assert result.code == 0, result
    assert f"Password of {name}: " in result.screen
    assert "swordfish" not in result.screen


def test_empty_passphrase_is_rejected(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    assert run_at_terminal(*workspace.as_user("admin", "subject", "add", "anna"), answers=("",)).code == 7


def test_new_passphrase_is_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    init = ("init", "--workspace", tmp_path / "new", "--key-store", "passphrase")
    assert run_at_terminal(*init, answers=("one", "other")).code == 2
    assert not (tmp_path / "new").exists()
    assert run_at_terminal(*init, answers=("same", "same")).code == 0
    monkeypatch.setenv("SEALYARD_PASSPHRASE", "same")
    assert run_process("subject", "add", "anna").code == 0


def test_read_command_prompts_for_nothing(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    assert run_at_terminal(*workspace.as_user("developer", "tasks")).screen == f"{UNVERIFIED_NOTE}\r\n"


def test_progress_is_shown_only_at_terminal(
    workspace: CliWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(20_000_000))
    arguments = workspace.as_user("developer", "encrypt", "--device", "gateway", large)
    result = run_at_terminal(*arguments)
    assert result.code == 0
    assert "large.bin: 19.1 MiB of 19.1 MiB" in result.screen
    assert "MiB/s" in result.screen
    assert result.screen.endswith("\r\x1b[K"), "the progress line is cleared at the end"
    assert run_process(*arguments).err == ""
    monkeypatch.setenv("TERM", "dumb")
    assert run_at_terminal(*arguments).screen == ""


def test_audit_verify_shows_progress(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    result = run_at_terminal(*workspace.as_user("auditor", "audit", "verify"))
    assert result.code == 0
    assert " entries" in result.screen
    assert "verified" in result.screen
