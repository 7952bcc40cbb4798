"""The engine of one workspace, for whoever serves it to others: on the local socket, or as a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from pathlib import Path
from typing import TypeVar

from sealyard.client.embedded import EMBEDDED_TRUST_NOTE, EmbeddedClient
from sealyard.client.thread import LoopThread
from sealyard.engine.engine import Engine
from sealyard.model.credentials import AccessToken, IssuerAccount, PresentedToken
from sealyard.model.errors import InvalidInputError
from sealyard.model.tasks import InputFile, Task
from sealyard.model.uploads import UploadStatus

T = TypeVar("T")


class EngineHandle:
    """Not a client: rights are judged for a subject, and here nobody has said yet who asks."""

    def __init__(self, engine: Engine, thread: LoopThread) -> None:
        self.engine = engine
        self._thread = thread

    @property
    def folder(self) -> Path:
        return self.engine.places.root

    def client(
        self, subject: str, four_eyes: str = EMBEDDED_TRUST_NOTE, shown: PresentedToken | None = None
    ) -> EmbeddedClient:
        """The engine as this subject meets it. Not to be closed: the engine is the host's."""
        return EmbeddedClient(self.engine, self._thread, subject, four_eyes, shown)

    async def call(self, work: Awaitable[T]) -> T:
        """Does ``work`` on the engine's loop."""
        return await self._thread.call(_awaited(work))

    async def bearer(self, secret: str) -> AccessToken:
        """Whose token this is. Raises :class:`AuthenticationError`."""

        async def found() -> AccessToken:
            return self.engine.tokens.bearer(secret)

        return await self.call(found())

    # ---- uploads: see :class:`sealyard.engine.uploads.UploadService` for what each raises

    async def begin_upload(
        self, subject: str, upload_id: str | None, name: str, size: int | None, expected_sha256: str | None = None
    ) -> UploadStatus:
        beginning = self.engine.uploads.begin(subject, upload_id, name, size, expected_sha256)
        return await self.call(self.engine.perform(subject, "INPUT", beginning))

    async def upload(self, subject: str, upload_id: str) -> UploadStatus:
        async def state() -> UploadStatus:
            return self.engine.uploads.state(subject, upload_id)

        return await self.call(state())

    async def receive(self, subject: str, upload_id: str, offset: int, chunks: AsyncIterator[bytes]) -> UploadStatus:
        """On the caller's loop: only a file that is refused, for it is audited, crosses to the engine's."""
        try:
            return await self.engine.uploads.receive(subject, upload_id, offset, chunks)
        except InvalidInputError as error:
            await self.refuse_input(subject, error)
            raise

    async def refuse_input(self, subject: str, error: InvalidInputError) -> None:
        """Writes into the audit log that a file was not taken."""
        await self.call(self.engine.auditing.record_refusal(subject, "INPUT", error))

    async def drop_upload(self, subject: str, upload_id: str) -> None:
        await self.call(self.engine.uploads.drop(subject, upload_id))

    async def inputs_of(self, subject: str, upload_ids: tuple[str, ...]) -> tuple[InputFile, ...]:
        """What complete uploads of the subject are named by in a task."""

        async def found() -> tuple[InputFile, ...]:
            return self.engine.uploads.inputs_of(subject, upload_ids)

        return await self.call(found())

    async def claim(self, subject: str, upload_ids: tuple[str, ...]) -> None:
        """A task has them now."""
        await self.call(self.engine.uploads.claim(subject, upload_ids))

    # ---- people

    async def arrive(self, subject: str, roles: tuple[str, ...], account: IssuerAccount) -> None:
        """Somebody whom an issuer vouches for, with the roles that it says."""
        await self.call(self.engine.roles.arrive(subject, roles, account))

    async def finish(self, seconds: float) -> int:
        """Workers are given no more tasks, and what runs may end for so long; what is left running after it."""
        return await self.call(self.engine.scheduler.rest(seconds))

    async def rest(self, seconds: float) -> int:
        """Tells listeners of no more events and workers of no more tasks; what is left running after so long."""

        async def rest() -> int:
            self.engine.events.close()
            return await self.engine.scheduler.rest(seconds)

        return await self.call(rest())

    # ---- results by their link: no subject asks

    async def behind_link(self, link: str) -> Task:
        async def found() -> Task:
            return self.engine.delivery.behind_link(link)

        return await self.call(found())

    def download_link(self, link: str, offset: int) -> AsyncGenerator[bytes, None]:
        async def items() -> AsyncIterator[bytes]:
            async for each in self.engine.delivery.download_link(link, offset):
                yield each

        return self._thread.iterate(items())

    async def sent_by_link(self, link: str, offset: int) -> None:
        await self.call(self.engine.delivery.sent_by_link(link, offset))


async def _awaited(work: Awaitable[T]) -> T:
    return await work
