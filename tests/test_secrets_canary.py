"""Test that the search for secrets fails a session that leaves one behind."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.secrets_canary import CANARY, PATTERN, find_files_with_secrets

SECRET = CANARY + b" passphrases"
CONTENTS = {
    "worker.log": b"opened with " + SECRET,
    "journal-1.log": b'{"x":"' + base64.b64encode(b"ab" + SECRET) + b'"}',
    "events.jsonl": SECRET.hex().encode(),
    "core.123": bytes(1000) + SECRET + bytes(1000),
}
TESTS = """
import logging

SECRET = "a canary" + " among passphrases"

def test_output():
    print(SECRET)

def test_log_message():
    logging.getLogger("x").warning(SECRET)

def test_file(tmp_path):
    (tmp_path / "worker.log").write_text(SECRET)

def test_no_leak(tmp_path):
    (tmp_path / "key.pem").write_text(SECRET)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the search of the session which runs these tests does not include."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize("name", CONTENTS)
def test_secret_is_found_in_file(folder: Path, name: str) -> None:
    path = folder / "workspace" / name
    path.parent.mkdir()
    path.write_bytes(b"no secret")
    assert not list(find_files_with_secrets(folder))
    path.write_bytes(CONTENTS[name])
    assert list(find_files_with_secrets(folder)) == [path]


@pytest.mark.parametrize("prefix", [b"", b"1", b"12", b"123"])
@pytest.mark.parametrize("suffix", [b"", b"4", b"45"])
def test_secret_is_found_in_base64(prefix: bytes, suffix: bytes) -> None:
    assert PATTERN.search(base64.b64encode(prefix + SECRET + suffix))
    assert PATTERN.search(base64.b64encode(prefix + CANARY[:-1] + suffix)) is None


def test_session_with_secrets_fails(folder: Path) -> None:
    result = run_session(folder, "-n", "2")
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout
    assert result.stdout.count("secret in the captured output") == 2
    assert "4 passed, 2 errors" in result.stdout
    assert result.stdout.count("SECRET in ") == 1


def test_file_with_secret_fails_session(folder: Path) -> None:
    result = run_session(folder, "-k", "file")
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout
    assert "1 passed" in result.stdout


def test_session_without_secret_passes(folder: Path) -> None:
    result = run_session(folder, "-k", "no_leak")
    assert result.returncode == 0, result.stdout


def run_session(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_leak.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.secrets_canary", "-p", "no:cacheprovider", "-rN"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [*command, "-p", "xdist", f"--rootdir={folder}", f"--basetemp={folder / 'temporary'}", *options, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
        env={**environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # their imports take most of the time
    )
