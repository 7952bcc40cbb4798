"""Run the `sealyard` command in this process or in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from sealyard.cli.main import main
from sealyard.client.engine_handle import EngineHandle
from sealyard.client.sharing.local_server import LocalServer, load_local_server
from sealyard.concurrency.loop_thread import LoopThread
from tests.support.key_holders import unlock
from tests.support.limits import TIMEOUT

PASSPHRASE = "a canary among passphrases"
PEOPLE = ("admin", "developer", "owner", "auditor")
FIRMWARE = bytes(range(256)) * 400 + b"end"


class CliResult(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        return json.loads(self.out)


def sealyard(*arguments: object) -> CliResult:
    out, err = io.StringIO(), io.StringIO()
    # A command may change its environment, which would end with its process.
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), patch.dict(os.environ):
        code = main([str(each) for each in arguments])
    return CliResult(code, out.getvalue(), err.getvalue())


def value_of(*arguments: object) -> Any:
    """Run a command that must succeed with `--json`, and return its value."""
    result = sealyard(*arguments, "--json")
    assert result.code == 0, result
    return result.value


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "sealyard.cli.main", *(str(each) for each in arguments)]


def run_process(*arguments: object, **options: Any) -> CliResult:
    completed = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=TIMEOUT, check=False, **options
    )
    return CliResult(completed.returncode, completed.stdout, completed.stderr)


@contextlib.contextmanager
def start_process(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(condition: Callable[[], bool], interval: float = 0.05) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(interval)


class CliWorkspace:
    """A workspace with subjects, the configuration `gateway`, a DONE package and a WAITING one."""

    def __init__(self, folder: Path, *, done: str, waiting: str) -> None:
        self.folder = folder
        self.done = done
        self.waiting = waiting

    def as_user(self, profile: str, *arguments: object) -> tuple[object, ...]:
        """Return the arguments to run a command as one of :data:`PEOPLE`."""
        return ("--workspace", self.folder, "--profile", profile, *arguments)

    def run(self, profile: str, *arguments: object) -> CliResult:
        return sealyard(*self.as_user(profile, *arguments))

    def value(self, profile: str, *arguments: object) -> Any:
        return value_of(*self.as_user(profile, *arguments))

    def package(self, firmware: Path, *options: object) -> Any:
        return self.value("developer", "package", "--device", "gateway", "--firmware", firmware, *options)

    def files(self) -> set[str]:
        """Return the paths of all stored inputs and results."""
        return {str(each) for each in (self.folder / "artifacts").rglob("*") if each.is_file()}


@contextlib.contextmanager
def run_engine(folder: Path, *, work: bool = True) -> Iterator[EngineHandle]:
    """Keep the engine of the workspace open. Commands attach to it, which is faster than if each opens its own.

    ``work``: whether the engine gives tasks to workers.
    """
    thread = LoopThread("running-workspace")
    engine, server = asyncio.run(thread.call(_start_engine(folder, work)))
    try:
        yield engine
    finally:
        asyncio.run(thread.call(_stop_engine(engine, server)))
        thread.stop()


async def _start_engine(folder: Path, work: bool) -> tuple[EngineHandle, LocalServer]:
    engine = await EngineHandle.open(folder, purpose="run", key_holder=unlock(PASSPHRASE), work=work)
    server = load_local_server(engine, "", allow_private_webhooks=False)
    await server.start()
    return engine, server


async def _stop_engine(engine: EngineHandle, server: LocalServer) -> None:
    await engine.drain(0)
    await server.stop()
    await engine.close()


def environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_DOWNLOAD_DIR": str(home / "Downloads"),
        "SEALYARD_PASSPHRASE": PASSPHRASE,
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
    }
