"""A workspace with subjects and a configuration, with embedded clients or clients of a real server on loopback."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from sealyard.client.engine_handle import EngineHandle
from sealyard.client.http.client import HttpClient
from sealyard.client.http.transport import Connection, Endpoint
from sealyard.client.protocol import Client
from sealyard.concurrency.clock import SystemClock
from sealyard.engine.create_workspace import create_workspace
from sealyard.model.access import Action
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.credentials import TokenRequest
from sealyard.model.requests import DeviceRequest, EncryptionKeyRequest, PackageRequest, SigningKeyRequest
from sealyard.model.tasks import Task
from sealyard.model.workspace import KeyStore, WorkspacePaths
from tests.support.key_holders import unlock
from tests.support.limits import TIMEOUT

ADMIN, DEV, OWNER, AUDITOR = "USER:admin", "USER:dev", "USER:owner", "USER:auditor"
GATEWAY = "gateway"
PASSPHRASE = "a canary among passphrases"
CONTENT = os.urandom(300_001)


class ClientKind(StrEnum):
    EMBEDDED = "embedded"
    SERVER = "server"


CLIENT_KINDS = tuple(ClientKind)


async def create_test_workspace(folder: Path) -> None:
    """Create a workspace in which dev uses the gateway, and owner and admin approve."""
    await create_workspace(
        WorkspacePaths(folder),
        name="factory",
        administrator=ADMIN,
        key_store=KeyStore.PASSPHRASE,
        key_holder=unlock(PASSPHRASE),
    )
    engine = await EngineHandle.open(folder, purpose="test", key_holder=unlock(PASSPHRASE), work=False)
    try:
        admin = engine.client("USER:admin")
        for subject in (DEV, OWNER, AUDITOR):
            await admin.add_subject(subject)
        await admin.add_rule(AUDITOR, "RESOURCE_TYPE:AUDIT_LOG", Action.VIEW)
        await admin.create_device(
            DeviceRequest(
                name=GATEWAY,
                encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),),
                signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519),),
                use=(DEV,),
                approve=(OWNER, ADMIN),
            )
        )
    finally:
        await engine.close()


class OffsetClock(SystemClock):
    """The system clock with an offset, ``added``. The system time can also jump ``ahead`` of the monotonic time."""

    def __init__(self) -> None:
        super().__init__()
        self.added = timedelta()
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.added + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.added.total_seconds()


class ContractSubjects:
    """The clients of an open workspace."""

    def __init__(self, engine: EngineHandle, clock: OffsetClock, folder: Path) -> None:
        self.engine = engine
        self.clock = clock
        self.folder = folder
        self.url = ""
        self._clients: dict[str, Client] = {}

    async def client_for(self, subject: str) -> Client:
        if subject not in self._clients:
            self._clients[subject] = await self._connect(subject)
        return self._clients[subject]

    async def all_clients(self) -> tuple[Client, Client, Client]:
        """Return the clients of the administrator, the developer and the owner."""
        return await self.client_for(ADMIN), await self.client_for(DEV), await self.client_for(OWNER)

    async def _connect(self, subject: str) -> Client:
        client = self.engine.client(subject)
        if not self.url:
            return client
        token = await self.engine.client(ADMIN).create_token(TokenRequest(name="test", subject=subject))
        return HttpClient(Connection(Endpoint(url=self.url, token=token.secret)), SystemClock())

    async def close(self) -> None:
        if self.url:
            for client in self._clients.values():
                await client.close()

    def create_file(self, name: str = "firmware.bin", content: bytes = CONTENT) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    async def package(self, **fields: Any) -> Task:
        """Create a package of the developer and return it in status WAITING."""
        dev = await self.client_for(DEV)
        file = await dev.upload(self.create_file())
        task = await dev.create_package(PackageRequest(config=GATEWAY, firmware=(file,), **fields))
        return await dev.wait(task.id, within=TIMEOUT, or_waiting=True)


class ClientHarness:
    """A copy of a prepared workspace, opened for one test."""

    def __init__(self, kind: ClientKind, template: Path, folder: Path) -> None:
        self.way = kind
        self._folder = folder
        shutil.copytree(template, folder / "workspace")

    def run(self, test: Callable[[ContractSubjects], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            async with asyncio.timeout(120), self.open() as subjects:
                await test(subjects)

        asyncio.run(run())

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ContractSubjects]:
        clock = OffsetClock()
        path = self._folder / "workspace"
        engine = await EngineHandle.open(path, purpose="test", key_holder=unlock(PASSPHRASE), clock=clock)
        subjects = ContractSubjects(engine, clock, self._folder)
        stop = await _start_server(subjects) if self.way is ClientKind.SERVER else _do_nothing
        try:
            yield subjects
        finally:
            await subjects.close()
            await engine.drain(0)
            await stop()
            await engine.close()


class SharedHarness(ClientHarness):
    """A copy of a prepared workspace that stays open for the tests of a module, which leave nothing others rely on."""

    def __init__(self, kind: ClientKind, template: Path, folder: Path) -> None:
        super().__init__(kind, template, folder)
        self._runner = asyncio.Runner()
        self._opening = self.open()
        self._subjects = self._runner.run(self._opening.__aenter__())

    def run(self, test: Callable[[ContractSubjects], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            async with asyncio.timeout(120):
                await test(self._subjects)

        self._runner.run(run())

    def close(self) -> None:
        with self._runner:
            self._runner.run(self._opening.__aexit__(None, None, None))


async def _start_server(subjects: ContractSubjects) -> Callable[[], Awaitable[None]]:
    from sealyard.server.auth.authentication import Authenticator
    from sealyard.server.auth.rate_limit import TokenBucketLimiter
    from sealyard.server.auth.tenants import TenantRegistry
    from sealyard.server.http.listeners import bind, network_listener
    from tests.support.server_app import create_app

    tenants = TenantRegistry({"factory": subjects.engine})
    app = create_app(tenants, Authenticator(tenants, TokenBucketLimiter(1_000_000), None, 1 << 30))
    listener = network_listener(app, certificate=None, proxies="")
    sock = bind("127.0.0.1", 0)
    subjects.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    serve_task = asyncio.create_task(listener.serve([sock]))

    async def stop() -> None:
        listener.stop()
        await serve_task

    return stop


async def _do_nothing() -> None:
    return
