"""The engine of one workspace, for whoever serves it to others: on the local socket, or as a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from pathlib import Path
from typing import TypeVar

from sealyard.client.embedded import EMBEDDED_TRUST_NOTE, EmbeddedClient
from sealyard.concurrency.loop_thread import LoopThread
from sealyard.engine.engine import Engine
from sealyard.model.credentials import AccessToken, IssuerAccount, PresentedToken
from sealyard.model.errors import InvalidInputError
from sealyard.model.requests import UploadStatus
from sealyard.model.tasks import InputFile, Task

T = TypeVar("T")


class EngineHandle:
    """Not a client: rights are judged for a subject, and here nobody has said yet who asks."""

    def __init__(self, engine: Engine, thread: LoopThread) -> None:
        self.engine = engine
        self._thread = thread

    @property
    def folder(self) -> Path:
        return self.engine.paths.root

    def client(
        self, subject: str, four_eyes: str = EMBEDDED_TRUST_NOTE, shown: PresentedToken | None = None
    ) -> EmbeddedClient:
        """The engine as this subject meets it. Not to be closed: the engine is the host's."""
        return EmbeddedClient(self.engine, self._thread, subject, four_eyes, shown)

    async def run(self, work: Awaitable[T]) -> T:
        """Does ``work`` on the engine's loop."""
        return await self._thread.call(_awaited(work))

    async def authenticate_token(self, secret: str) -> AccessToken:
        """Whose token this is. Raises :class:`AuthenticationError`."""

        async def found() -> AccessToken:
            return self.engine.tokens.authenticate(secret)

        return await self.run(found())

    # ---- uploads: see :class:`sealyard.engine.inputs.uploads.UploadService` for what each raises

    async def create_upload(
        self, subject: str, upload_id: str | None, name: str, size: int | None, expected_sha256: str | None = None
    ) -> UploadStatus:
        beginning = self.engine.uploads.create(subject, upload_id, name, size, expected_sha256)
        return await self.run(self.engine.execute(subject, "INPUT", beginning))

    async def upload(self, subject: str, upload_id: str) -> UploadStatus:
        async def state() -> UploadStatus:
            return self.engine.uploads.get(subject, upload_id)

        return await self.run(state())

    async def write_upload(
        self, subject: str, upload_id: str, offset: int, chunks: AsyncIterator[bytes]
    ) -> UploadStatus:
        """On the caller's loop: only a file that is refused, for it is audited, crosses to the engine's."""
        try:
            return await self.engine.uploads.write(subject, upload_id, offset, chunks)
        except InvalidInputError as error:
            await self.audit_rejected_input(subject, error)
            raise

    async def audit_rejected_input(self, subject: str, error: InvalidInputError) -> None:
        """Writes into the audit log that a file was not taken."""
        await self.run(self.engine.auditing.record_refusal(subject, "INPUT", error))

    async def delete_upload(self, subject: str, upload_id: str) -> None:
        await self.run(self.engine.uploads.delete(subject, upload_id))

    async def resolve_uploads(self, subject: str, upload_ids: tuple[str, ...]) -> tuple[InputFile, ...]:
        """What complete uploads of the subject are named by in a task."""

        async def found() -> tuple[InputFile, ...]:
            return self.engine.uploads.resolve(subject, upload_ids)

        return await self.run(found())

    async def claim_uploads(self, subject: str, upload_ids: tuple[str, ...]) -> None:
        """A task has them now."""
        await self.run(self.engine.uploads.claim(subject, upload_ids))

    # ---- people

    async def sign_in(self, subject: str, roles: tuple[str, ...], account: IssuerAccount) -> None:
        """Somebody whom an issuer vouches for, with the roles that it says."""
        await self.run(self.engine.roles.sign_in(subject, roles, account))

    async def drain_workers(self, seconds: float) -> int:
        """Workers are given no more tasks, and what runs may end for so long; what is left running after it."""
        return await self.run(self.engine.scheduler.drain(seconds))

    async def drain(self, seconds: float) -> int:
        """Tells listeners of no more events and workers of no more tasks; what is left running after so long."""

        async def rest() -> int:
            self.engine.events.close()
            return await self.engine.scheduler.drain(seconds)

        return await self.run(rest())

    # ---- results by their link: no subject asks

    async def resolve_link(self, link: str) -> Task:
        async def found() -> Task:
            return self.engine.delivery.resolve_link(link)

        return await self.run(found())

    def download_link(self, link: str, offset: int) -> AsyncGenerator[bytes, None]:
        async def items() -> AsyncIterator[bytes]:
            async for each in self.engine.delivery.download_by_link(link, offset):
                yield each

        return self._thread.iterate(items())

    async def record_link_transfer(self, link: str, offset: int) -> None:
        await self.run(self.engine.delivery.record_link_transfer(link, offset))


async def _awaited(work: Awaitable[T]) -> T:
    return await work
