"""The authenticated caller of a request: a subject of a tenant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from litestar.di import NamedDependency

from sealyard.client.embedded import EmbeddedClient
from sealyard.client.engine_handle import EngineHandle
from sealyard.model.errors import PermissionDeniedError


@dataclass(frozen=True)
class Caller:
    """An authenticated subject and its access to the tenant's engine.

    ``client`` acts on the engine as the subject. ``max_body_bytes``: size limit of an upload. ``revalidate`` raises
    :class:`AuthenticationError` once the token is no longer valid; long-running responses call it. ``is_machine``:
    the token is that of a machine client, whatever subject it names. ``is_local``: connected through the workspace's
    socket.
    """

    tenant: str
    handle: EngineHandle
    subject: str
    client: EmbeddedClient
    max_body_bytes: int
    revalidate: Callable[[], Awaitable[None]]
    is_machine: bool = False
    is_local: bool = False

    def require_human(self) -> None:
        """Raise :class:`PermissionDeniedError` for a machine client.

        A machine client must not create credentials, which authenticate people.
        """
        if self.is_machine:
            raise PermissionDeniedError("Machine clients cannot create credentials.", "Use the token of a person.")


CallerDependency = NamedDependency[Caller]
"""Type of the parameter ``caller`` of a route handler."""
