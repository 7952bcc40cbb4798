"""kill -9 in the middle of receiving: the next engine goes on with all that was durable, and the file is right."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sealyard.engine.create_workspace import create_workspace
from sealyard.engine.inputs.stream_writer import BATCH_BYTES
from sealyard.model.workspace import KeyStore, WorkspacePaths
from tests.crash.upload_process import ADMIN, BLOCK, SYNC, content
from tests.support.processes import killed_at_exit

PASSPHRASE = "only for this test"
SIZE = 64 << 20


def receiver(workspace: Path, most: int) -> subprocess.Popen[str]:
    """``most``: how many bytes it hands in; there it waits."""
    arguments = [str(workspace), PASSPHRASE, str(SIZE), str(most)]
    script = Path(__file__).with_name("upload_process.py")
    return subprocess.Popen([sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str], what: str) -> str:
    """The value of the next line of this kind."""
    assert process.stdout is not None
    for line in process.stdout:
        word, _, value = line.strip().partition(" ")
        if word == what:
            return value
    raise AssertionError(f"the process ended without saying {what!r}")


def rest(process: subprocess.Popen[str]) -> list[str]:
    """What a killed process had still said; the last line may be cut short by the kill."""
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    process.wait()
    return lines[:-1]


@pytest.mark.crash
def test_a_killed_engine_goes_on_with_an_upload_from_what_was_durable(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    asyncio.run(
        create_workspace(
            WorkspacePaths(workspace),
            name="crash",
            administrator=ADMIN,
            key_store=KeyStore.PASSPHRASE,
            passphrase=PASSPHRASE,
        )
    )
    sent = 0
    for further in (3 * SYNC, SYNC // 2, 4 * SYNC):
        with killed_at_exit(receiver(workspace, further + SYNC)) as process:
            at = int(said(process, "at"))
            # One sync may still be under way while as many bytes again come in.
            assert sent - 2 * SYNC - 3 * BATCH_BYTES <= at <= sent
            while (sent := int(said(process, "sent"))) < at + further:
                continue
            process.send_signal(signal.SIGKILL)
            # Two blocks more may have been handed in than it had time to say.
            sent = max([sent, *(int(line.split()[1]) for line in rest(process))]) + 2 * BLOCK

    with killed_at_exit(receiver(workspace, 2 * SIZE)) as process:
        whole = said(process, "whole")
        assert process.wait(60) == 0
    expected = hashlib.sha256(content(0, SIZE)).hexdigest()
    assert whole == expected
    (stored,) = [each for each in WorkspacePaths(workspace).artifacts.joinpath("inputs").rglob("*") if each.is_file()]
    assert stored.name == hashlib.sha256(stored.read_bytes()).hexdigest() == expected
