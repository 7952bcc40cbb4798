"""Harness for tests of the server: a real server on loopback, with subjects, tokens and a configuration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.create_workspace import create_workspace
from sealyard.model.access import Action
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.clock import Clock
from sealyard.model.credentials import TokenRequest
from sealyard.model.requests import DeviceRequest, EncryptionKeyRequest, SigningKeyRequest
from sealyard.model.workspace import KeyStore, WorkspacePaths
from sealyard.server.auth.authentication import Authenticator, VerifyToken
from sealyard.server.auth.rate_limit import TokenBucketLimiter
from sealyard.server.auth.tenants import TenantRegistry
from sealyard.server.http.listeners import bind, network_listener
from sealyard.server.settings import S3Settings
from tests.support.key_holders import unlock
from tests.support.limits import TIMEOUT
from tests.support.server_app import create_app

PASSPHRASE = "a canary among passphrases"
ADMIN, DEV, OWNER, SECOND, AUDITOR, CI = (
    "USER:admin",
    "USER:dev",
    "USER:owner",
    "USER:second",
    "USER:auditor",
    "CLIENT:ci",
)
PEOPLE = (DEV, OWNER, SECOND, AUDITOR, CI)
STRANGER = "USER:stranger"
GATEWAY = "gateway"
MAX_UPLOAD_BYTES = 256 * 1024 * 1024


async def create_test_workspace(folder: Path, name: str = "yard", database: str | None = None) -> None:
    """Create a workspace with subjects, and a configuration that dev and ci use and that owner and second approve.

    ``database``: connection string of the database for its store; by default, the store is in the folder.
    """
    await create_workspace(
        WorkspacePaths(folder),
        name=name,
        administrator=ADMIN,
        key_store=KeyStore.PASSPHRASE,
        key_holder=unlock(PASSPHRASE),
        database=database,
    )
    engine = await EngineHandle.open(folder, purpose="test", key_holder=unlock(PASSPHRASE), work=False)
    try:
        await populate_test_workspace(engine)
    finally:
        await engine.close()


async def populate_test_workspace(engine: EngineHandle) -> None:
    """Add subjects, and a configuration that dev and ci use and that owner and second approve."""
    admin = engine.client(ADMIN)
    for subject in (*PEOPLE, STRANGER):
        await admin.add_subject(subject)
    await admin.add_rule(AUDITOR, "RESOURCE_TYPE:AUDIT_LOG", Action.VIEW)
    await admin.create_device(
        DeviceRequest(
            name=GATEWAY,
            encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),),
            signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519),),
            use=(DEV, CI),
            approve=(OWNER, SECOND),
        )
    )


class ServerHarness:
    """A running server. ``base`` is its URL; :meth:`http_client` creates a client with the token of a subject."""

    def __init__(self, engines: dict[str, EngineHandle]) -> None:
        self.engines = engines
        self.tenants = TenantRegistry(engines)
        self.base = ""
        self.identity: Authenticator
        self._clients: list[httpx.AsyncClient] = []

    @property
    def engine(self) -> EngineHandle:
        """The engine of the first tenant."""
        return next(iter(self.engines.values()))

    async def token(self, subject: str, tenant: str | None = None, *, machine: bool = False) -> str:
        engine = self.engines[tenant] if tenant else self.engine
        request = TokenRequest(name="test", subject=subject, is_machine=machine)
        return (await engine.client(ADMIN).create_token(request)).secret

    async def http_client(self, subject: str, tenant: str | None = None, *, machine: bool = False) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {await self.token(subject, tenant, machine=machine)}"}
        return self.anonymous_client(headers if tenant is None else {**headers, "X-SE-TENANT": tenant})

    def anonymous_client(self, headers: dict[str, str] | None = None) -> httpx.AsyncClient:
        # Without TLS, loading the root certificates is most of the cost of a client.
        client = httpx.AsyncClient(base_url=self.base, headers=headers, timeout=TIMEOUT, verify=False)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


@asynccontextmanager
async def run_server(
    folders: dict[str, Path],
    *,
    clock: Clock | None = None,
    requests_per_minute: float = 1_000_000,
    verify: VerifyToken | None = None,
    largest_upload: int = MAX_UPLOAD_BYTES,
    proxies: str = "",
    s3: S3Settings | None = None,
) -> AsyncIterator[ServerHarness]:
    engines = {
        name: await EngineHandle.open(folder, purpose="test", key_holder=unlock(PASSPHRASE), clock=clock)
        for name, folder in folders.items()
    }
    harness = ServerHarness(engines)
    harness.identity = Authenticator(harness.tenants, TokenBucketLimiter(requests_per_minute), verify, largest_upload)
    listener = network_listener(create_app(harness.tenants, harness.identity, s3), certificate=None, proxies=proxies)
    sock = bind("127.0.0.1", 0)
    harness.base = f"http://127.0.0.1:{sock.getsockname()[1]}"
    serve_task = asyncio.create_task(listener.serve([sock]))
    try:
        yield harness
    finally:
        await harness.close()
        for engine in engines.values():
            await engine.drain(0)
        listener.stop()
        await serve_task
        for engine in engines.values():
            await engine.close()


async def wait_until(condition: Callable[[], Awaitable[Any]], what: str) -> Any:
    """Wait until ``condition`` returns a true value, and return the value."""
    async with asyncio.timeout(TIMEOUT):
        while not (value := await condition()):
            await asyncio.sleep(0.02)
        return value
    raise AssertionError(what)


async def open_workspace(folder: Path) -> EngineHandle:
    return await EngineHandle.open(folder, purpose="test", key_holder=unlock(PASSPHRASE))
