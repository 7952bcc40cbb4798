"""The tenants of a server: separate workspaces, each with its own engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.access.tokens import invalid_token
from sealyard.model.errors import TakingOverError, UsageError


class TenantRegistry:
    """The engines of all tenants, by tenant name. Any thread may use it."""

    def __init__(self, engine_handles: Mapping[str, EngineHandle | None]) -> None:
        """``engine_handles``: the engine of each tenant; None if another server has its workspace open."""
        self._engine_handles = dict(engine_handles)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._engine_handles)

    def __iter__(self) -> Iterator[tuple[str, EngineHandle]]:
        """Iterate over the tenants whose workspaces this server has open."""
        return iter([(name, handle) for name, handle in self._engine_handles.items() if handle is not None])

    def set_engine(self, name: str, engine_handle: EngineHandle | None) -> None:
        """Replace the engine of a tenant; None if another server opens the workspace."""
        self._engine_handles[name] = engine_handle

    def find(self, name: str | None) -> tuple[str, EngineHandle]:
        """Return the name and engine of a tenant. ``name`` can be None if there is only one tenant.

        Raises :class:`UsageError` if the name is required, :class:`AuthenticationError` if the tenant is unknown (the
        same error as for an invalid token, so that tenants cannot be enumerated), and :class:`TakingOverError` if this
        server does not have the workspace open.
        """
        if name is None and len(self._engine_handles) == 1:
            name = next(iter(self._engine_handles))
        if name is None:
            raise UsageError("No tenant selected.", "Name the tenant in the header X-SE-TENANT.")
        if name not in self._engine_handles:
            raise invalid_token()
        engine_handle = self._engine_handles[name]
        if engine_handle is None:
            raise _not_open_error()
        return name, engine_handle

    def for_link(self, workspace_id: str) -> EngineHandle:
        """Return the engine of a workspace, or any engine if there is no such workspace.

        Every engine rejects links of other workspaces in the same way, so that workspaces cannot be enumerated. Raises
        :class:`TakingOverError` if this server has no workspace open.
        """
        engine_handles = [engine_handle for _, engine_handle in self]
        if not engine_handles:
            raise _not_open_error()
        return next(
            (engine_handle for engine_handle in engine_handles if engine_handle.engine.metadata.id == workspace_id),
            engine_handles[0],
        )


def _not_open_error() -> TakingOverError:
    return TakingOverError("Another server is taking over the workspace.", "Repeat the request.")
