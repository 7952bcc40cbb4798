"""What the application feels like: its start against a bare Textual one, keys at 100,000 tasks, its memory."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from sealyard.audit.log import AuditLog
from sealyard.model.audit import AuditAction
from sealyard.model.requests import PackageRequest
from sealyard.model.tasks import Verdict
from tests.benchmarks.growth import MANY, fill
from tests.benchmarks.rows import Row
from tests.benchmarks.terminal import Terminal
from tests.benchmarks.workspaces import (
    ADMINISTRATOR,
    DEVELOPER,
    DEVICE,
    OWNER,
    PASSPHRASE,
    folder,
    found,
    opened,
    random_file,
)

SEALYARD = [str(Path(sys.executable).parent / "sealyard")]
TRIES = 7
KEYS = 400
BETWEEN_KEYS = 0.02
PACKAGE = 2 << 30

BARE = """
from textual.app import App
from textual.widgets import Static
class Bare(App):
    def compose(self):
        yield Static("BARE")
Bare().run()
"""


def rows() -> list[Row]:
    with folder() as root:
        few, many = root / "few", root / "many"
        for workspace in (few, many):
            asyncio.run(found(workspace))
            _name_people(workspace)
        fill(many, MANY)
        bare = statistics.median(_start([sys.executable, "-c", BARE], few, b"BARE") for _ in range(TRIES))
        started = statistics.median(_start(SEALYARD, few, b"Dashboard") for _ in range(TRIES))
        filled = statistics.median(_start(SEALYARD, many, b"Dashboard") for _ in range(3))
        return [
            Row("dashboard seen, against a bare Textual application", started / bare, "at most 1.5"),
            Row("dashboard seen at 100,000 tasks, against a bare Textual application", filled / bare, "at most 1.5"),
            *_keys(many, root),
            *_audit(few, many),
        ]


def _name_people(workspace: Path) -> None:
    for name, identity in (("developer", DEVELOPER), ("administrator", ADMINISTRATOR)):
        adding = [
            *SEALYARD,
            "--workspace",
            str(workspace),
            "profile",
            "add",
            name,
            "--identity",
            identity,
            "--shared",
        ]
        subprocess.run(adding, check=True, capture_output=True)


def _environ(workspace: Path, profile: str = "developer") -> dict[str, str]:
    home = workspace.parent / "home"
    home.mkdir(exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "LANG": "C.UTF-8",
        "SEALYARD_WORKSPACE": str(workspace),
        "SEALYARD_PROFILE": profile,
        "SEALYARD_PASSPHRASE": PASSPHRASE,
        "SEALYARD_DOWNLOAD_DIR": str(home / "downloads"),
    }


def _start(command: list[str], workspace: Path, words: bytes) -> float:
    with Terminal(command, _environ(workspace)) as terminal:
        seconds = terminal.until(words)
        terminal.end()
    return seconds


def _keys(workspace: Path, root: Path) -> list[Row]:
    """Keys from the first to the last byte, while a large package is being made beside it."""
    asyncio.run(_waiting_package(workspace, random_file(root / "large.bin", PACKAGE)))
    out = root / "keys.json"
    command = [sys.executable, "-m", "tests.benchmarks.timed_application", str(out)]
    with Terminal(command, _environ(workspace)) as terminal:
        terminal.until(b"RUNNING")
        for number in range(KEYS):
            terminal.press((b"j", b"j", b"j", b"\x1b[6~", b"k")[number % 5])
            terminal.rest(BETWEEN_KEYS)
        memory = _resident(terminal.process.pid)
        terminal.end()
    found: list[float] = sorted(json.loads(out.read_text()))
    assert len(found) >= KEYS // 2, f"only {len(found)} of {KEYS} keys were seen to move the cursor"

    def share(part: float) -> float:
        return found[min(len(found) - 1, int(part * len(found)))]

    return [
        Row("key to paint at 100,000 tasks while a package runs, p50", share(0.5), "reported", "ms"),
        Row("key to paint at 100,000 tasks while a package runs, p95", share(0.95), "reported", "ms"),
        Row("key to paint at 100,000 tasks while a package runs, p99", share(0.99), "under 50", "ms"),
        Row("memory of the application with its engine at 100,000 tasks", memory, "reported", "MiB"),
    ]


async def _waiting_package(workspace: Path, large: Path) -> None:
    """Approved, and left for the application's own engine to work on."""
    async with opened(workspace, work=False) as engine:
        developer, owner = engine.client(DEVELOPER), engine.client(OWNER)
        firmware = await developer.upload(large)
        for _ in range(4):
            task = await developer.create_package(PackageRequest(config=DEVICE, firmware=(firmware,)))
            await owner.decide(task.id, Verdict.APPROVED)


def _resident(pid: int) -> float:
    """MiB of the process itself, without its crypto workers."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def _audit(few: Path, many: Path) -> list[Row]:
    """From the key that opens the audit place until its newest entry is seen."""
    asyncio.run(_add_entries(few, 20))
    asyncio.run(_add_entries(many, MANY))
    seconds = {each: statistics.median(_open_audit(each) for _ in range(3)) for each in (few, many)}
    return [
        Row("opening the audit place at 100,000 entries against 100", seconds[many] / seconds[few], "reported"),
        Row("opening the audit place at 100,000 entries", 1000 * seconds[many], "reported", "ms"),
    ]


async def _add_entries(workspace: Path, count: int) -> None:
    log = AuditLog.open(workspace / "audit")
    for first in range(0, count, 1000):
        entries = [
            log.prepare(
                timestamp=datetime.now(UTC),
                author=DEVELOPER,
                change=AuditAction.CREATED,
                resource=f"TASK:{number:08x}",
                message=f"entry-{'newest' if number == count - 1 else number}",
                new_value={"number": number},
            )
            for number in range(first, min(first + 1000, count))
        ]
        log.append(entries)


def _open_audit(workspace: Path) -> float:
    with Terminal(SEALYARD, _environ(workspace, "administrator")) as terminal:
        terminal.until(b"ready")
        terminal.rest(1.0)
        begun = time.perf_counter()
        terminal.press(b"4")
        terminal.until(b"entry-newest")
        seconds = time.perf_counter() - begun
        terminal.end()
    return seconds
