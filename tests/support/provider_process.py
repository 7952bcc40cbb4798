"""A provider process and its connections, as the key holder starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

from sealyard.jobs.environment import select_environment
from sealyard.keys.material import generate_key, to_bytes
from sealyard.model.algorithms import KeyType
from sealyard.model.provider_messages import ConnectWorker, FromProvider, OpenProvider
from sealyard.model.provider_settings import ProcessSettings, ProviderSettings, Secrets

PIN = "canary-1234"
BACKEND_FOLDER = Path(__file__).with_name("key_backends")
"""A distribution with the key backends of the schemes ``files`` and ``attacks``."""

BACKEND_PYTHONPATH = os.pathsep.join(map(str, (BACKEND_FOLDER, BACKEND_FOLDER.parents[2])))
"""Adds the backend, and the modules of the tests that it needs, to a process."""

EXIT_TIMEOUT = 30.0

_decoder: msgspec.json.Decoder[FromProvider] = msgspec.json.Decoder(FromProvider)


def file_backend_settings(folder: Path) -> OpenProvider:
    """Return the settings of a backend that keeps its keys in ``folder``, which is created, and has a PIN."""
    folder.mkdir(exist_ok=True)
    (folder / "pin").write_text(PIN)
    return OpenProvider(
        settings=ProviderSettings(name="test", provider="files", options={"folder": str(folder)}),
        secrets=Secrets(values={"pin": PIN.encode()}),
        process=ProcessSettings(paths=(str(folder),)),
    )


def store_file_key(folder: Path, name: str, kind: KeyType) -> None:
    """Create a key of the file backend, as another program would."""
    key = {"kind": kind, "versions": [to_bytes(generate_key(kind))]}
    (folder / f"{name}.json").write_bytes(msgspec.json.encode(key))


class ProviderProcess:
    def __init__(self) -> None:
        self.control, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with child_end:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sealyard.provider", str(child_end.fileno())],
                env={**select_environment(os.environ), "PYTHONPATH": BACKEND_PYTHONPATH},
                pass_fds=[child_end.fileno()],
            )

    def open(self, request: OpenProvider) -> FromProvider:
        self.control.send(msgspec.json.encode(request))
        return _decoder.decode(self.control.recv(64 * 1024))

    def connect(self, provider_end: socket.socket) -> None:
        """Give the process its end of the connection of a worker."""
        socket.send_fds(self.control, [msgspec.json.encode(ConnectWorker())], [provider_end.fileno()])

    def close(self) -> int:
        """Close the control socket, and return the exit code."""
        self.control.close()
        return self.wait()

    def wait(self) -> int:
        try:
            return self.process.wait(EXIT_TIMEOUT)
        finally:
            self.process.kill()
            self.process.wait()


def set_up_file_provider(workspace: Path, folder: Path) -> None:
    """Set up the section ``seal`` in a workspace: keys in ``folder``, a signing key ``signs`` and an AES key ``wraps``.

    ``PYTHONPATH`` has to be :data:`BACKEND_PYTHONPATH` in the process that opens the workspace.
    """
    folder.mkdir()
    store_file_key(folder, "signs", KeyType.ED25519)
    store_file_key(folder, "wraps", KeyType.AES_256)
    section = f'[keys.seal]\nprovider = "files"\nfolder = "{folder}"\npaths = ["{folder}"]\n'
    (workspace / "worker.toml").write_text(section)
