"""Who asks for something: a subject of a tenant, known before any call is handled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from litestar.di import NamedDependency

from sealyard.client.embedded import EmbeddedClient
from sealyard.client.engine_handle import EngineHandle
from sealyard.model.errors import PermissionDeniedError


@dataclass(frozen=True)
class Caller:
    """``client`` is the tenant's engine as the subject meets it. ``largest_body``: of an upload, in bytes.

    ``check`` raises :class:`AuthenticationError` once the caller is no longer who it was: its token ended.

    ``machine``: the token is a machine client's, whoever it names. ``local``: at the workspace's own socket.
    """

    tenant: str
    host: EngineHandle
    subject: str
    client: EmbeddedClient
    max_body_bytes: int
    revalidate: Callable[[], Awaitable[None]]
    is_machine: bool = False
    is_local: bool = False

    def require_human(self) -> None:
        """What a machine client must not do: make itself what a person is known by. Raises
        :class:`PermissionDeniedError`.
        """
        if self.is_machine:
            raise PermissionDeniedError(
                "A machine client makes no credentials.", "Do it as a person, with a token of one."
            )


CallerDependency = NamedDependency[Caller]
"""How a handler is told: its parameter ``caller``."""
