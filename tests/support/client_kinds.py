"""A workspace with people and a configuration, whose clients are embedded, or those of a real server on loopback."""

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

ADMIN, DEV, OWNER, AUDITOR = "USER:admin", "USER:dev", "USER:owner", "USER:auditor"
GATEWAY = "gateway"
PASSPHRASE = "only for this test"
CONTENT = os.urandom(300_001)


class ClientKind(StrEnum):
    EMBEDDED = "embedded"
    SERVER = "server"


CLIENT_KINDS = tuple(ClientKind)


async def create_test_workspace(folder: Path) -> None:
    """dev uses the gateway, owner and admin approve for it."""
    await create_workspace(
        WorkspacePaths(folder),
        name="factory",
        administrator=ADMIN,
        key_store=KeyStore.PASSPHRASE,
        passphrase=PASSPHRASE,
    )
    engine = await EngineHandle.open(folder, purpose="test", passphrase=PASSPHRASE, work=False)
    try:
        admin = engine.client("USER:admin")
        for each in (DEV, OWNER, AUDITOR):
            await admin.add_subject(each)
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
    """The system's time, and what was added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.added = timedelta()

    def now(self) -> datetime:
        return super().now() + self.added


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
        """The administrator, the developer and the owner."""
        return await self.client_for(ADMIN), await self.client_for(DEV), await self.client_for(OWNER)

    async def _connect(self, subject: str) -> Client:
        client = self.engine.client(subject)
        if not self.url:
            return client
        token = await self.engine.client(ADMIN).create_token(TokenRequest(name="test", subject=subject))
        return HttpClient(Connection(Endpoint(url=self.url, token=token.secret)), SystemClock())

    async def close(self) -> None:
        if self.url:
            for each in self._clients.values():
                await each.close()

    def create_file(self, name: str = "firmware.bin", content: bytes = CONTENT) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    async def package(self, **more: Any) -> Task:
        """A new one of the developer's, that waits."""
        dev = await self.client_for(DEV)
        file = await dev.upload(self.create_file())
        made = await dev.create_package(PackageRequest(config=GATEWAY, firmware=(file,), **more))
        return await dev.wait(made.id, within=30, or_waiting=True)


class ClientHarness:
    """A copy of the founded workspace, opened for one test."""

    def __init__(self, way: ClientKind, founded: Path, folder: Path) -> None:
        self.way = way
        self._folder = folder
        shutil.copytree(founded, folder / "workspace")

    def run(self, test: Callable[[ContractSubjects], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            async with asyncio.timeout(120), self.open() as people:
                await test(people)

        asyncio.run(run())

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ContractSubjects]:
        clock = OffsetClock()
        place = self._folder / "workspace"
        engine = await EngineHandle.open(place, purpose="test", passphrase=PASSPHRASE, clock=clock)
        people = ContractSubjects(engine, clock, self._folder)
        stop = await _served(people) if self.way is ClientKind.SERVER else _nothing
        try:
            yield people
        finally:
            await people.close()
            await engine.drain(0)
            await stop()
            await engine.close()


async def _served(people: ContractSubjects) -> Callable[[], Awaitable[None]]:
    from sealyard.server.app import build_app
    from sealyard.server.auth.authentication import Authenticator
    from sealyard.server.auth.rate_limit import TokenBucketLimiter
    from sealyard.server.auth.tenants import TenantRegistry
    from sealyard.server.http.listeners import bind, network_listener

    tenants = TenantRegistry({"factory": people.engine})
    app = build_app(tenants, Authenticator(tenants, TokenBucketLimiter(1_000_000), None, 1 << 30))
    listener = network_listener(app, certificate=None, proxies="")
    sock = bind("127.0.0.1", 0)
    people.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    running = asyncio.create_task(listener.serve([sock]))

    async def stop() -> None:
        listener.stop()
        await running

    return stop


async def _nothing() -> None:
    return
