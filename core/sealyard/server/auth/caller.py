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

    ``client``: engine client that acts as the subject. ``max_body_bytes``: maximum size of an upload. ``revalidate``:
    function that raises :class:`AuthenticationError` once the token is no longer valid; long-running responses call it.
    ``is_machine``: whether the token was issued to a machine client, even if its subject is a person. ``is_local``:
    whether the request came through the Unix socket of the workspace. ``can_act_as_others``: whether the
    caller can act as any user of the workspace.
    """

    tenant: str
    engine_handle: EngineHandle
    subject: str
    client: EmbeddedClient
    max_body_bytes: int
    revalidate: Callable[[], Awaitable[None]]
    is_machine: bool = False
    is_local: bool = False
    can_act_as_others: bool = False

    def require_human(self) -> None:
        """Raise :class:`PermissionDeniedError` if the caller is a machine client.

        Routes that create or change credentials call this: new credentials could let a machine client act as a person.
        """
        if self.is_machine:
            raise PermissionDeniedError("Machine clients cannot create credentials.", "Use the token of a person.")


CallerDependency = NamedDependency[Caller]
"""Type of the ``caller`` parameter of route handlers."""
