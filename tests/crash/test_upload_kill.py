"""Test that an upload resumes from its durable bytes after the engine was killed."""

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
from tests.support.key_holders import unlock
from tests.support.processes import killed_at_exit

PASSPHRASE = "a canary among passphrases"
SIZE = 64 << 20


def start_receiver(workspace: Path, max_bytes: int) -> subprocess.Popen[str]:
    """Start a process that uploads the file and pauses after ``max_bytes`` bytes."""
    arguments = [str(workspace), PASSPHRASE, str(SIZE), str(max_bytes)]
    command = [sys.executable, "-m", "tests.crash.upload_process", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def read_value(process: subprocess.Popen[str], line_name: str) -> str:
    """Read lines up to the next one with this name; return its value."""
    assert process.stdout is not None
    for line in process.stdout:
        key, _, value = line.strip().partition(" ")
        if key == line_name:
            return value
    raise AssertionError(f"the process exited without printing {line_name!r}")


def read_remaining_lines(process: subprocess.Popen[str]) -> list[str]:
    """Return the remaining lines of a killed process, without the last one, which may be incomplete."""
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    process.wait()
    return lines[:-1]


@pytest.mark.crash
def test_killed_engine_resumes_durable_upload(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    asyncio.run(
        create_workspace(
            WorkspacePaths(workspace),
            name="crash",
            administrator=ADMIN,
            key_store=KeyStore.PASSPHRASE,
            key_holder=unlock(PASSPHRASE),
        )
    )
    sent_bytes = 0
    for distance in (3 * SYNC, SYNC // 2, 4 * SYNC):
        with killed_at_exit(start_receiver(workspace, distance + SYNC)) as process:
            offset = int(read_value(process, "offset"))
            # One sync may still be running while as many bytes again arrive.
            assert sent_bytes - 2 * SYNC - 3 * BATCH_BYTES <= offset <= sent_bytes
            while (sent_bytes := int(read_value(process, "sent"))) < offset + distance:
                continue
            process.send_signal(signal.SIGKILL)
            # Up to two more blocks may have been sent than were reported.
            sent_bytes = (
                max([sent_bytes, *(int(line.split()[1]) for line in read_remaining_lines(process))]) + 2 * BLOCK
            )

    with killed_at_exit(start_receiver(workspace, 2 * SIZE)) as process:
        digest = read_value(process, "sha256")
        assert process.wait(60) == 0
    expected = hashlib.sha256(content(0, SIZE)).hexdigest()
    assert digest == expected
    (stored,) = [each for each in WorkspacePaths(workspace).artifacts.joinpath("inputs").rglob("*") if each.is_file()]
    assert stored.name == hashlib.sha256(stored.read_bytes()).hexdigest() == expected
