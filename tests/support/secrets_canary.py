"""A pytest plugin that searches what a session leaves behind for the passphrases and keys that its tests use.

They contain :data:`CANARY`. Searched are the output and the log messages that pytest captures, and the files that
Sealyard and crashes write in temporary folders: logs, stores with their events, audit logs, states, and core dumps.
Works with pytest-xdist: each worker searches its own folders.
"""

from __future__ import annotations

import base64
import fnmatch
import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

CANARY = b"a canary among"

FILE_PATTERNS = ("*.log", "*.jsonl", "*.json", "*.txt", "*.tmp", "*.out", "*.err", "core", "core.*", "torn-*")
"""Names of the files that are searched. Not searched are key files and credentials, which tests write themselves."""

MAX_FILE_BYTES = 64 << 20
_FINDINGS: pytest.StashKey[list[str]] = pytest.StashKey()
_OUTPUT_NAME = "secretsCanary"


def build_pattern(secret: bytes) -> re.Pattern[bytes]:
    """Return a pattern that finds ``secret`` as it is, in hexadecimal, and within any text in Base64."""
    encodings = [re.escape(secret), secret.hex().encode(), secret.hex().upper().encode()]
    for offset in range(3):
        # Drop the characters at both ends, which depend on the neighbouring bytes.
        encoded = base64.b64encode(bytes(offset) + secret)
        encodings.append(re.escape(encoded[-(-offset * 4 // 3) : len(secret + bytes(offset)) * 4 // 3]))
    return re.compile(b"|".join(encodings))


PATTERN = build_pattern(CANARY)


def find_files_with_secrets(folder: Path) -> Iterator[Path]:
    """Yield the searched files in ``folder`` that contain a secret."""
    for directory, _, names in os.walk(folder):
        for name in names:
            path = Path(directory, name)
            if _is_searched(path) and PATTERN.search(path.read_bytes()):
                yield path


def _is_searched(path: Path) -> bool:
    if not any(fnmatch.fnmatch(path.name, pattern) for pattern in FILE_PATTERNS):
        return False
    return path.is_file() and not path.is_symlink() and path.stat().st_size <= MAX_FILE_BYTES


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test whose captured output contains a secret, after its teardown."""
    report = yield
    if call.when != "teardown":
        return report
    leaks = [name for name, text in report.sections if PATTERN.search(text.encode("utf-8", "replace"))]
    if report.passed and leaks:
        report.outcome = "failed"
        report.longrepr = f"secret in the captured output: {', '.join(leaks)}"
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    findings = config.stash.setdefault(_FINDINGS, [])
    factory: pytest.TempPathFactory = config._tmp_path_factory  # type: ignore[attr-defined]
    findings += [str(path) for path in find_files_with_secrets(factory.getbasetemp())]
    worker_output: dict[str, Any] | None = getattr(config, "workeroutput", None)
    if worker_output is not None:
        worker_output[_OUTPUT_NAME] = findings
    elif findings and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect the findings of a worker of pytest-xdist, which has ended."""
    output: dict[str, Any] = getattr(node, "workeroutput", {})
    node.config.stash.setdefault(_FINDINGS, []).extend(output.get(_OUTPUT_NAME, []))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    findings = config.stash.setdefault(_FINDINGS, [])
    for path in sorted(set(findings)):
        terminalreporter.write_line(f"SECRET in {path}", red=True)
