"""Tests of the provider processes of the key holder: their start, their end, and what workers receive meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealyard.keyholder import provider_supervisor
from sealyard.keyholder.provider_process import ProviderProcess
from sealyard.keyholder.provider_supervisor import ProviderSupervisor
from sealyard.keyholder.providers import ProviderGroup
from sealyard.keys.worker_settings import ProviderSection, SecretSource
from sealyard.model.algorithms import KeyType, SigningAlgorithm
from sealyard.model.errors import KeyProviderError, KeyProviderUnavailableError
from sealyard.model.provider_settings import ProcessSettings, ProviderSettings
from sealyard.model.workspace import WorkspacePaths
from sealyard.worker.provider_client import ProviderClient
from tests.support.limits import TIMEOUT
from tests.support.processes import suspend
from tests.support.provider_process import BACKEND_PYTHONPATH, PIN

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
    monkeypatch.setenv("PYTHONPATH", BACKEND_PYTHONPATH)
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


async def test_idle_worker_starts_no_process(providers: Providers) -> None:
    providers.connect()
    providers.end_worker(0)
    client = providers.connect()
    assert providers.supervisor.pid is None
    await client.probe()


async def test_killed_process_is_restarted(providers: Providers, capsys: pytest.CaptureFixture[str]) -> None:
    client = providers.connect()
    await client.generate("signs", KeyType.ED25519)
    pid = await kill(providers, client, signal.SIGKILL)
    await probe_when_available(client)
    assert providers.supervisor.pid != pid
    assert len(await client.sign("signs", "1", SigningAlgorithm.ED25519, b"message", None)) == 64
    await providers.connect().probe()
    assert "has ended" in capsys.readouterr().err


async def kill(providers: Providers, client: ProviderClient, number: signal.Signals) -> int:
    """Send a signal to the process, and wait until its worker knows that it does not work."""
    pid = providers.supervisor.pid
    assert pid is not None
    os.kill(pid, number)
    with pytest.raises(KeyProviderUnavailableError, match="key provider seal"):
        await probe_until_error(client)
    return pid


async def probe_until_error(client: ProviderClient) -> None:
    while True:
        await client.probe()


async def probe_when_available(client: ProviderClient) -> None:
    """Probe until the next process answers."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                return await client.probe()
            except KeyProviderUnavailableError:
                await asyncio.sleep(0)


async def test_hanging_process_is_replaced(
    providers: Providers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = providers.connect()
    await client.probe()
    with monkeypatch.context() as patch:
        patch.setattr(provider_supervisor, "PING_INTERVAL", 0.05)
        patch.setattr(provider_supervisor, "PING_TIMEOUT", 0.5)
        pid = await kill(providers, client, signal.SIGSTOP)
    await probe_when_available(client)
    assert providers.supervisor.pid != pid
    assert "does not answer" in capsys.readouterr().err


async def test_endless_request_replaces_process(providers: Providers, monkeypatch: pytest.MonkeyPatch) -> None:
    client = providers.connect()
    await client.probe()
    with monkeypatch.context() as patch:
        patch.setattr(provider_supervisor, "PING_INTERVAL", 0.05)
        patch.setattr(provider_supervisor, "MAX_REQUEST_SECONDS", 0.1)
        with pytest.raises(KeyProviderUnavailableError, match="has not finished a request in time"):
            await client.describe("endless")
    await probe_when_available(client)


async def test_wrong_pin_is_tried_once(
    start: Callable[[ProviderSection], Providers],
    section: ProviderSection,
    keys_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (keys_folder / "pin").write_text("another PIN")
    providers = start(section)
    client = providers.connect()
    for _ in range(3):
        with pytest.raises(KeyProviderError, match="PIN of seal is wrong") as caught:
            await client.probe()
        assert not isinstance(caught.value, KeyProviderUnavailableError)
    with pytest.raises(KeyProviderError, match="PIN of seal is wrong"):
        await providers.connect().list_keys()
    assert (keys_folder / "logins").read_text() == "login\n"
    assert capsys.readouterr().err == "The PIN of seal is wrong.\n"
    assert PIN not in providers.log.read_text()


async def test_changed_pin_is_tried_once(providers: Providers, keys_folder: Path) -> None:
    client = providers.connect()
    await client.probe()
    (keys_folder / "pin").write_text("another PIN")
    assert providers.supervisor.pid
    os.kill(providers.supervisor.pid, signal.SIGKILL)
    with pytest.raises(KeyProviderError, match="PIN of seal is wrong"):
        await probe_when_available(client)
    assert (keys_folder / "logins").read_text() == "login\n" * 2


async def test_crash_with_first_pin_prevents_restart(
    start: Callable[[ProviderSection], Providers], section: ProviderSection, keys_folder: Path
) -> None:
    """The module may have ended because of the PIN."""
    (keys_folder / "crash").touch()
    client = start(section).connect()
    with pytest.raises(KeyProviderError, match="ended while it was starting") as caught:
        await client.probe()
    assert not isinstance(caught.value, KeyProviderUnavailableError)
    assert "restart Sealyard" in caught.value.hint


async def test_crash_without_secrets_restarts_process(
    start: Callable[[ProviderSection], Providers], section: ProviderSection, keys_folder: Path
) -> None:
    (keys_folder / "pin").unlink()
    (keys_folder / "crash").touch()
    client = start(msgspec.structs.replace(section, secret_sources={})).connect()
    with pytest.raises(KeyProviderUnavailableError, match="ended while it was starting"):
        await client.probe()
    (keys_folder / "crash").unlink()
    await probe_when_available(client)


async def test_unavailable_token_is_tried_again(
    start: Callable[[ProviderSection], Providers], section: ProviderSection, keys_folder: Path
) -> None:
    (keys_folder / "unavailable").touch()
    client = start(section).connect()
    with pytest.raises(KeyProviderUnavailableError, match=r"token in .* is unavailable"):
        await client.probe()
    (keys_folder / "unavailable").unlink()
    await probe_when_available(client)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"provider": "unknown"}, "Unknown key scheme .unknown."),
        ({"options": {}}, "folder"),
        ({"options": {"folder": "/f", "pin": PIN}}, "has no option pin"),
    ],
)
async def test_refused_settings_reach_the_worker(
    start: Callable[[ProviderSection], Providers], section: ProviderSection, changes: dict[str, Any], message: str
) -> None:
    settings = msgspec.structs.replace(section.settings, **changes)
    providers = start(msgspec.structs.replace(section, settings=settings))
    with pytest.raises(KeyProviderError, match=message) as caught:
        await providers.connect().probe()
    assert caught.value.hint
    assert PIN not in providers.log.read_text()


async def test_unreadable_secret_reaches_the_worker(
    start: Callable[[ProviderSection], Providers], section: ProviderSection, tmp_path: Path
) -> None:
    (tmp_path / "pin").unlink()
    with pytest.raises(KeyProviderError, match="secret pin of the key provider seal: cannot read"):
        await start(section).connect().probe()


async def test_key_holder_failure_reaches_worker(
    start: Callable[[ProviderSection], Providers], section: ProviderSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(PIN)

    monkeypatch.setattr(ProviderProcess, "start", fail)
    with pytest.raises(KeyProviderError, match=r"failed to run the key provider seal \(RuntimeError\)") as caught:
        await start(section).connect().probe()
    assert not isinstance(caught.value, KeyProviderUnavailableError)


async def test_closing_ends_a_stopped_process(providers: Providers) -> None:
    client = providers.connect()
    await client.probe()
    pid = providers.supervisor.pid
    assert pid is not None
    suspend(pid)
    providers.supervisor.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_invalid_settings_leave_no_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_WORKER_SETTINGS", raising=False)
    paths = WorkspacePaths(tmp_path)
    group = ProviderGroup.load(paths, "")
    assert (group.routes, group.error) == ((), None)
    paths.worker_settings.write_text("[keys")
    group = ProviderGroup.load(paths, "")
    assert group.error is not None
    assert "not valid TOML" in group.error.message
    paths.worker_settings.write_text('[keys.a]\nprovider = "files"\n[keys.b]\nprovider = "other"\n')
    group = ProviderGroup.load(paths, "")
    assert [(route.section, route.scheme) for route in group.routes] == [("a", "files"), ("b", "other")]
    group.close()
