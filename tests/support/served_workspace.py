"""A workspace on a real server on loopback, which runs in a thread of this process."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sealyard.client.engine_handle import EngineHandle
from sealyard.concurrency.loop_thread import LoopThread
from sealyard.model.credentials import IssuerAccount, TokenRequest
from sealyard.server.auth.authentication import Authenticator
from sealyard.server.auth.rate_limit import TokenBucketLimiter
from sealyard.server.auth.tenants import TenantRegistry
from sealyard.server.http.listeners import UvicornListener, bind, network_listener
from tests.support.cli_runner import PASSPHRASE
from tests.support.key_holders import unlock
from tests.support.ports import ReservedPort
from tests.support.server_app import create_app

ADMIN = "USER:admin"


class ServedWorkspace:
    """A server that can be stopped and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = LoopThread("served-workspace")
        self._port = ReservedPort()
        self._engine: EngineHandle | None = None
        self._listener: UvicornListener | None = None
        self._serve_task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port.number}"

    def start(self) -> None:
        asyncio.run(self._thread.call(self._start()))

    def stop(self) -> None:
        asyncio.run(self._thread.call(self._stop()))

    def close(self) -> None:
        if self._engine is not None:
            self.stop()
        self._thread.stop()
        self._port.close()

    def token(self, subject: str) -> str:
        assert self._engine is not None
        request = TokenRequest(name="test", subject=subject)
        issued = asyncio.run(self._thread.call(self._engine.client(ADMIN).create_token(request)))
        return issued.secret

    def sign_in(self, subject: str, sub: str) -> None:
        """Sign in a subject with an account of an issuer."""
        assert self._engine is not None
        account = IssuerAccount(issuer="https://issuer.example", sub=sub)
        asyncio.run(self._thread.call(self._engine.sign_in(subject, (), account)))

    async def _start(self) -> None:
        self._engine = await EngineHandle.open(self._folder, purpose="test", key_holder=unlock(PASSPHRASE))
        tenants = TenantRegistry({"factory": self._engine})
        app = create_app(tenants, Authenticator(tenants, TokenBucketLimiter(1_000_000), None, 1 << 30))
        self._listener = network_listener(app, certificate=None, proxies="")
        sock = bind("127.0.0.1", self._port.number)
        self._serve_task = asyncio.create_task(self._listener.serve([sock]))

    async def _stop(self) -> None:
        assert self._engine is not None
        assert self._listener is not None
        assert self._serve_task is not None
        await self._engine.drain(0)
        self._listener.stop()
        await self._serve_task
        await self._engine.close()
        self._engine = None
