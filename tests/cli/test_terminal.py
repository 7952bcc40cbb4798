"""At a terminal a person is asked and sees progress; on a pipe neither happens."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.cli_runner import LIMIT, PASSPHRASE, CliWorkspace, command, run_process
from tests.support.processes import killed_at_exit


class Seen(NamedTuple):
    code: int
    out: str
    screen: str


def at_terminal(*arguments: object, typed: tuple[str, ...] = ()) -> Seen:
    """Standard input and error are a terminal; each of ``typed`` answers one prompt, a text that ends in ": "."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(*arguments), stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    screen, answers, limit = b"", list(typed), time.monotonic() + LIMIT
    with killed_at_exit(process):
        while time.monotonic() < limit:
            if not select.select([ours], [], [], 0.1)[0]:
                continue
            try:
                screen += os.read(ours, 65536)
            except OSError:  # the last one at the terminal has left
                break
            if answers and screen.endswith(b": "):
                os.write(ours, answers.pop(0).encode() + b"\n")
        out = process.communicate(timeout=LIMIT)[0]
    os.close(ours)
    return Seen(process.returncode, out.decode(), screen.decode())


def test_the_passphrase_is_asked_for_and_not_shown(house: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    seen = at_terminal(*house.as_user("admin", "subject", "add", "anna"), typed=(PASSPHRASE,))
    assert (seen.code, seen.out) == (0, "Added USER:anna. Grant permissions with `sealyard acl add`.\n")
    assert "Passphrase" in seen.screen
    assert PASSPHRASE not in seen.screen


def test_an_empty_answer_is_no_passphrase(house: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    assert at_terminal(*house.as_user("admin", "subject", "add", "anna"), typed=("",)).code == 7


def test_a_new_passphrase_is_asked_for_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    init = ("init", "--workspace", tmp_path / "new", "--key-store", "passphrase")
    assert at_terminal(*init, typed=("one", "other")).code == 2
    assert not (tmp_path / "new").exists()
    assert at_terminal(*init, typed=("same", "same")).code == 0
    monkeypatch.setenv("SEALYARD_PASSPHRASE", "same")
    assert run_process("subject", "add", "anna").code == 0


def test_looking_asks_nothing(house: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    assert at_terminal(*house.as_user("developer", "tasks")).screen == ""


def test_long_work_shows_progress_on_a_terminal_and_nothing_on_a_pipe(house: CliWorkspace, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(20_000_000))
    encrypting = house.as_user("developer", "encrypt", "--device", "gateway", large)
    seen = at_terminal(*encrypting)
    assert seen.code == 0
    assert "large.bin: 19.1 MiB of 19.1 MiB" in seen.screen
    assert "MiB/s" in seen.screen
    assert seen.screen.endswith("\r\x1b[K"), "the line is gone when the work is done"
    assert run_process(*encrypting).err == ""


def test_the_check_of_the_audit_log_shows_how_far_it_is(house: CliWorkspace) -> None:
    seen = at_terminal(*house.as_user("auditor", "audit", "verify"))
    assert seen.code == 0
    assert " entries" in seen.screen
    assert "verified" in seen.screen
