"""Tests of the provider processes of the key holder: their start, their end, and what workers receive meanwhile."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from sealyard.keyholder import provider_supervisor
from sealyard.keyholder.provider_supervisor import ProviderSupervisor
from sealyard.keyholder.providers import ProviderGroup
from sealyard.keys.worker_settings import ProviderSection, SecretSource
from sealyard.model.algorithms import KeyType, SigningAlgorithm
from sealyard.model.errors import KeyProviderError, KeyProviderUnavailableError
from sealyard.model.provider_settings import ProcessSettings, ProviderSettings
from sealyard.model.workspace import WorkspacePaths
from sealyard.worker.provider_client import ProviderClient
from tests.support.limits import wait_until
from tests.support.provider_process import BACKEND_FOLDER, PIN

pytestmark = pytest.mark.anyio


class Providers:
    """Connects clients to the supervisor of one section."""

    def __init__(self, section: ProviderSection, folder: Path) -> None:
        self.log = folder / "worker.log"
        self.supervisor = ProviderSupervisor(section, folder / "workspace", self.log)
        self._ends: list[tuple[socket.socket, socket.socket]] = []

    def connect(self) -> ProviderClient:
        worker_end, provider_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ends.append((worker_end, provider_end))
        self.supervisor.connect(provider_end)
        client = ProviderClient(worker_end.fileno(), "seal")
        client.start()
        return client

    def end_worker(self, number: int) -> None:
        worker_end, provider_end = self._ends[number]
        worker_end.shutdown(socket.SHUT_RDWR)
        self.supervisor.disconnect(provider_end)

    def close(self) -> None:
        self.supervisor.close()
        for worker_end, provider_end in self._ends:
            worker_end.close()
            provider_end.close()


@pytest.fixture
def keys_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "token"
    folder.mkdir()
    (folder / "pin").write_text(PIN)
    return folder


@pytest.fixture
def section(tmp_path: Path, keys_folder: Path) -> ProviderSection:
    pin_file = tmp_path / "pin"
    pin_file.write_text(PIN)
    pin_file.chmod(0o600)
    return ProviderSection(
        settings=ProviderSettings(name="seal", provider="files", options={"folder": str(keys_folder)}),
        process=ProcessSettings(paths=(str(keys_folder),), network=False),
        secret_sources={"pin": SecretSource(file=str(pin_file))},
    )


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[ProviderSection], Providers]]:
    monkeypatch.setenv("PYTHONPATH", str(BACKEND_FOLDER))
    started: list[Providers] = []

    def start(section: ProviderSection) -> Providers:
        started.append(Providers(section, tmp_path))
        return started[-1]

    yield start
    for providers in started:
        providers.close()


@pytest.fixture
def providers(start: Callable[[ProviderSection], Providers], section: ProviderSection) -> Providers:
    return start(section)


async def test_process_starts_with_the_first_request(providers: Providers) -> None:
    client = providers.connect()
    assert providers.supervisor.pid is None
    await client.probe()
    assert providers.supervisor.pid


async def test_workers_share_a_process(providers: Providers) -> None:
    first, second = providers.connect(), providers.connect()
    await first.generate("signs", KeyType.ED25519)
    pid = providers.supervisor.pid
    assert [key.name for key in await second.list_keys()] == ["signs"]
    providers.end_worker(0)
    third = providers.connect()
    assert len(await third.sign("signs", "1", SigningAlgorithm.ED25519, b"message", None)) == 64
    assert providers.supervisor.pid == pid


async def test_worker_that_ends_without_a_request_starts_no_process(providers: Providers) -> None:
    providers.connect()
    providers.end_worker(0)
    client = providers.connect()
    assert providers.supervisor.pid is None
    await client.probe()


async def test_killed_process_is_restarted(providers: Providers) -> None:
    client = providers.connect()
    await client.generate("signs", KeyType.ED25519)
    pid = await kill(providers, client, signal.SIGKILL)
    await wait_until(lambda: providers.supervisor.pid not in (None, pid))
    await probe_when_available(client)
    assert len(await client.sign("signs", "1", SigningAlgorithm.ED25519, b"message", None)) == 64
    await providers.connect().probe()
    assert "has ended" in providers.log.read_text()


async def kill(providers: Providers, client: ProviderClient, number: signal.Signals) -> int:
    """Send a signal to the process, and wait until its worker knows that it does not work."""
    pid = providers.supervisor.pid
    assert pid is not None
    os.kill(pid, number)
    with pytest.raises(KeyProviderUnavailableError, match="key provider seal"):
        while True:
            await client.probe()
    return pid


async def probe_when_available(client: ProviderClient) -> None:
    async def is_available() -> bool:
        try:
            await client.probe()
        except KeyProviderUnavailableError:
            return False
        return True

    while not await is_available():
        pass
