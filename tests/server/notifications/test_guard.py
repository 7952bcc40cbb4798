"""Tests of the restrictions of the process that sends notifications: addresses, files and processes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sealyard.server.notifications.sender import select_environment
from tests.support.limits import TIMEOUT


def run_guarded(code: str, *, allow_private: bool = False) -> str:
    """Run ``code`` in a guarded process; return ``ok``, or the text of the exception that it raises."""
    program = f"""
import os, socket, subprocess, sys
from sealyard.server.notifications.guard import NetworkGuard
NetworkGuard(allow_private={allow_private}).install()
try:
{textwrap.indent(textwrap.dedent(code), "    ")}
except Exception as error:
    print(error)
else:
    print("ok")
"""
    process = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=TIMEOUT, cwd="/", check=False
    )
    return process.stdout.strip() or process.stderr


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "0.0.0.0", "localhost"],
)
def test_connection_to_internal_address_is_refused(address: str) -> None:
    assert run_guarded(f"socket.socket().connect(({address!r}, 9))") == "Address not allowed."


def test_connection_to_ipv6_loopback_is_refused() -> None:
    code = 'socket.socket(socket.AF_INET6).connect(("::1", 9))'
    assert run_guarded(code) == "Address not allowed."


def test_connection_to_unix_socket_is_refused() -> None:
    code = 'socket.socket(socket.AF_UNIX).connect("/run/docker.sock")'
    assert run_guarded(code, allow_private=True) == "Address not allowed."


def test_changed_dns_answer_does_not_help() -> None:
    """The check uses the address of the connection, not an earlier answer for its name."""
    code = """
        public = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 9))]
        private = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9))]
        answers = iter([public, private])
        socket.getaddrinfo = lambda *arguments, **options: next(answers)
        socket.getaddrinfo("rebind.example", 9)
        socket.create_connection(("rebind.example", 9))
    """
    assert run_guarded(code) == "Address not allowed."


def test_private_address_is_allowed_by_the_setting() -> None:
    assert "refused" in run_guarded('socket.socket().connect(("127.0.0.1", 9))', allow_private=True).lower()


def test_files_of_the_user_are_not_readable(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("secret")
    assert run_guarded(f"open({str(path)!r})") == "File not allowed."
    assert run_guarded(f"os.open({str(tmp_path / 'new')!r}, os.O_CREAT | os.O_WRONLY)") == "File not allowed."
    assert not (tmp_path / "new").exists()


def test_link_to_file_of_the_user_is_not_readable(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    assert run_guarded(f"open('/usr/../{tmp_path}/secret')") == "File not allowed."


def test_memory_is_limited() -> None:
    code = """
        try:
            bytearray(1 << 30)
        except MemoryError:
            raise RuntimeError("Out of memory.")
    """
    assert run_guarded(code) == "Out of memory."


def test_processes_are_not_started() -> None:
    assert run_guarded('subprocess.run(["true"])') == "Processes cannot be started."
    assert run_guarded('os.system("true")') == "Processes cannot be started."


def test_environment_contains_no_secrets_and_no_proxies() -> None:
    environ = {
        "PATH": "/bin",
        "SEALYARD_PASSPHRASE": "secret",
        "SEALYARD_TOKEN": "secret",
        "HTTPS_PROXY": "http://proxy",
        "SSL_CERT_FILE": "/etc/ca.pem",
    }
    assert select_environment(environ) == {"PATH": "/bin", "REQUESTS_CA_BUNDLE": "/etc/ca.pem"}
