"""``p11-kit server``: SoftHSM in a process of its own, which can be killed like a device that is unplugged."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.limits import TIMEOUT
from tests.support.programs import require, skip_missing
from tests.support.softhsm import TOKEN, SoftHsm, set_environment

_CLIENT_NAME = "pkcs11/p11-kit-client.so"
_ADDRESS_VARIABLE = "P11_KIT_SERVER_ADDRESS"


def require_client() -> str:
    """Return the module that connects to the server. Skips or fails the test if it is missing."""
    module = next(Path("/usr/lib").glob(f"*/{_CLIENT_NAME}"), None)
    return str(module) if module is not None else skip_missing(f"{_CLIENT_NAME} is not installed")


class TokenServer:
    """Serves the tokens of ``hsm`` at ``socket``. The module for clients is ``module``."""

    def __init__(self, hsm: SoftHsm, socket: Path) -> None:
        self.module = require_client()
        self._hsm = hsm
        self.socket = socket
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {_ADDRESS_VARIABLE: f"unix:path={self.socket}"}

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        command = [require("p11-kit"), "server", "--foreground", "--name", str(self.socket)]
        command += ["--provider", self._hsm.module, f"pkcs11:token={TOKEN}"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, **self._hsm.environment},
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith(_ADDRESS_VARIABLE.encode())

    def kill(self) -> None:
        """Kill the server and its processes for the connections."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate(timeout=TIMEOUT)
            self._process = None


@pytest.fixture(scope="session")
def server_socket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The address of all servers: its module reads the address only once in each process."""
    return tmp_path_factory.mktemp("p11-kit") / "socket"


@pytest.fixture
def token_server(own_softhsm: SoftHsm, server_socket: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenServer]:
    server = TokenServer(own_softhsm, server_socket)
    set_environment(monkeypatch, server.environment)
    server.start()
    yield server
    server.kill()
