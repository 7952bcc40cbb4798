"""Running the `sealyard` command in tests: in this process, or in one of its own."""

from __future__ import annotations

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

from sealyard.cli.main import main

LIMIT = 30.0
"""Seconds after which something that should have happened has not."""


PASSPHRASE = "correct horse"
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
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(each) for each in arguments])
    return CliResult(code, out.getvalue(), err.getvalue())


def value_of(*arguments: object) -> Any:
    """The one JSON value of a command that succeeds."""
    ran = sealyard(*arguments, "--json")
    assert ran.code == 0, ran
    return ran.value


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "sealyard.cli.main", *(str(each) for each in arguments)]


def run_process(*arguments: object, **more: Any) -> CliResult:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=LIMIT, check=False, **more)
    return CliResult(done.returncode, done.stdout, done.stderr)


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


def wait_until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < limit, "it never came to be"
        time.sleep(0.05)


class CliWorkspace:
    """A workspace with people, the configuration `gateway`, a package that is done and one that waits."""

    def __init__(self, folder: Path, *, done: str, waiting: str) -> None:
        self.folder = folder
        self.done = done
        self.waiting = waiting

    def as_user(self, profile: str, *arguments: object) -> tuple[object, ...]:
        """The arguments for one of :data:`PEOPLE`."""
        return ("--workspace", self.folder, "--profile", profile, *arguments)

    def run(self, profile: str, *arguments: object) -> CliResult:
        return sealyard(*self.as_user(profile, *arguments))

    def value(self, profile: str, *arguments: object) -> Any:
        return value_of(*self.as_user(profile, *arguments))

    def package(self, firmware: Path, *more: object) -> Any:
        return self.value("developer", "package", "--device", "gateway", "--firmware", firmware, *more)

    def files(self) -> set[str]:
        """What is stored of files handed in and made."""
        return {str(each) for each in (self.folder / "artifacts").rglob("*") if each.is_file()}


def environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_DOWNLOAD_DIR": str(home / "Downloads"),
        "SEALYARD_PASSPHRASE": PASSPHRASE,
        "PATH": os.environ["PATH"],
    }
