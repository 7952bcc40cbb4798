"""The tenants of a server: separate workspaces, each with its own engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.access.tokens import invalid_token
from sealyard.model.errors import UsageError


class TenantRegistry:
    """The engines of all tenants, by tenant name."""

    def __init__(self, engine_handles: Mapping[str, EngineHandle]) -> None:
        self._engine_handles = dict(engine_handles)

    def __iter__(self) -> Iterator[tuple[str, EngineHandle]]:
        return iter(self._engine_handles.items())

    def find(self, name: str | None) -> tuple[str, EngineHandle]:
        """Return the name and engine of a tenant. ``name`` can be None if there is only one tenant.

        Raises :class:`UsageError` if the name is required, and :class:`AuthenticationError` if the tenant is unknown:
        the same error as for an invalid token, so that tenants cannot be enumerated.
        """
        if name is None and len(self._engine_handles) == 1:
            return next(iter(self._engine_handles.items()))
        if name is None:
            raise UsageError("No tenant selected.", "Name the tenant in the header X-SE-TENANT.")
        engine_handle = self._engine_handles.get(name)
        if engine_handle is None:
            raise invalid_token()
        return name, engine_handle

    def for_link(self, workspace_id: str) -> EngineHandle:
        """Return the engine of a workspace, or any engine if there is no such workspace.

        Every engine rejects links of other workspaces in the same way, so that workspaces cannot be enumerated.
        """
        engine_handles = list(self._engine_handles.values())
        return next(
            (engine_handle for engine_handle in engine_handles if engine_handle.engine.metadata.id == workspace_id),
            engine_handles[0],
        )
