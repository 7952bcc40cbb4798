"""Measure the application: its start relative to a bare Textual one, key presses at 100,000 tasks, its memory."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from sealyard.engine.engine import Engine
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
    create_bench_workspace,
    open_engine,
    random_file,
    temporary_dir,
)

SEALYARD = [str(Path(sys.executable).parent / "sealyard")]
TRIES = 7
KEYS = 400
KEY_INTERVAL = 0.02
PACKAGE_SIZE = 2 << 30

BARE = """
from textual.app import App
from textual.widgets import Static
class Bare(App):
    def compose(self):
        yield Static("BARE")
Bare().run()
"""


def rows() -> list[Row]:
    with temporary_dir() as root:
        small, large = root / "few", root / "many"
        for workspace in (small, large):
            asyncio.run(create_bench_workspace(workspace))
            _add_profiles(workspace)
        fill(large, MANY)
        bare = statistics.median(_measure_start([sys.executable, "-c", BARE], small, b"BARE") for _ in range(TRIES))
        start = statistics.median(_measure_start(SEALYARD, small, b"Dashboard") for _ in range(TRIES))
        start_at_many = statistics.median(_measure_start(SEALYARD, large, b"Dashboard") for _ in range(3))
        return [
            Row("start to dashboard, relative to a bare Textual application", start / bare, "at most 1.5"),
            Row(
                "start to dashboard at 100,000 tasks, relative to a bare Textual application",
                start_at_many / bare,
                "at most 1.5",
            ),
            *_measure_keys(large, root),
            *_measure_audit(small, large),
        ]


def _add_profiles(workspace: Path) -> None:
    for name, identity in (("developer", DEVELOPER), ("administrator", ADMINISTRATOR)):
        command = [
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
        subprocess.run(command, check=True, capture_output=True)


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


def _measure_start(command: list[str], workspace: Path, text: bytes) -> float:
    with Terminal(command, _environ(workspace)) as terminal:
        seconds = terminal.wait_for(text)
        terminal.quit()
    return seconds


def _measure_keys(workspace: Path, root: Path) -> list[Row]:
    """Measure key presses while large packages are being created."""
    asyncio.run(_create_approved_packages(workspace, random_file(root / "large.bin", PACKAGE_SIZE)))
    output = root / "keys.json"
    command = [sys.executable, "-m", "tests.benchmarks.timed_application", str(output)]
    with Terminal(command, _environ(workspace)) as terminal:
        terminal.wait_for(b"RUNNING")
        for number in range(KEYS):
            terminal.press((b"j", b"j", b"j", b"\x1b[6~", b"k")[number % 5])
            terminal.drain(KEY_INTERVAL)
        memory = _resident_memory(terminal.process.pid)
        terminal.quit()
    latencies: list[float] = sorted(json.loads(output.read_text()))
    assert len(latencies) >= KEYS // 2, f"only {len(latencies)} of {KEYS} keys moved the cursor"

    def percentile(fraction: float) -> float:
        return latencies[min(len(latencies) - 1, int(fraction * len(latencies)))]

    return [
        Row("key press to screen update at 100,000 tasks during a package, p50", percentile(0.5), "reported", "ms"),
        Row("key press to screen update at 100,000 tasks during a package, p95", percentile(0.95), "reported", "ms"),
        Row("key press to screen update at 100,000 tasks during a package, p99", percentile(0.99), "under 50", "ms"),
        Row("memory of the application with its engine at 100,000 tasks", memory, "reported", "MiB"),
    ]


async def _create_approved_packages(workspace: Path, file_path: Path) -> None:
    """Create and approve packages without workers, so that the application's own engine runs them."""
    async with open_engine(workspace, work=False) as engine:
        developer, owner = engine.client(DEVELOPER), engine.client(OWNER)
        firmware = await developer.upload(file_path)
        for _ in range(4):
            task = await developer.create_package(PackageRequest(config=DEVICE, firmware=(firmware,)))
            await owner.decide(task.id, Verdict.APPROVED)


def _resident_memory(pid: int) -> float:
    """Return the resident memory of the process, without its crypto workers, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def _measure_audit(small: Path, large: Path) -> list[Row]:
    """Measure from the key that opens the audit screen until the newest entry is shown."""
    asyncio.run(_add_entries(small, 20))
    asyncio.run(_add_entries(large, MANY))
    seconds = {each: statistics.median(_open_audit(each) for _ in range(3)) for each in (small, large)}
    return [
        Row("open the audit screen at 100,000 entries, relative to 100", seconds[large] / seconds[small], "reported"),
        Row("open the audit screen at 100,000 entries", 1000 * seconds[large], "reported", "ms"),
    ]


async def _add_entries(workspace: Path, count: int) -> None:
    async with open_engine(workspace, work=False) as engine:
        for first in range(0, count, 1000):
            await engine.run(_commit_entries(engine.engine, range(first, min(first + 1000, count)), count - 1))


async def _commit_entries(engine: Engine, numbers: range, newest: int) -> None:
    unit_of_work = engine.repository.begin()
    for number in numbers:
        message = f"entry-{'newest' if number == newest else number}"
        unit_of_work.audit(DEVELOPER, AuditAction.CREATED, f"TASK:{number:08x}", message, {"number": number})
    await unit_of_work.commit()


def _open_audit(workspace: Path) -> float:
    with Terminal(SEALYARD, _environ(workspace, "administrator")) as terminal:
        terminal.wait_for(b"ready")
        terminal.drain(1.0)
        started_at = time.perf_counter()
        terminal.press(b"4")
        terminal.wait_for(b"entry-newest")
        seconds = time.perf_counter() - started_at
        terminal.quit()
    return seconds
