"""The tenants of a server: workspaces with nothing in common, each with an engine of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.access.tokens import invalid_token
from sealyard.model.errors import UsageError


class TenantRegistry:
    """Named by the header ``X-SE-TENANT``; where there is one only, it need not be named."""

    def __init__(self, hosts: Mapping[str, EngineHandle]) -> None:
        self._hosts = dict(hosts)

    def __iter__(self) -> Iterator[tuple[str, EngineHandle]]:
        return iter(self._hosts.items())

    def find(self, name: str | None) -> tuple[str, EngineHandle]:
        """Raises :class:`UsageError` where none is named, :class:`AuthenticationError` where there is no such one.

        Whether a tenant is there is nobody's business who has no token of it.
        """
        if name is None and len(self._hosts) == 1:
            return next(iter(self._hosts.items()))
        if name is None:
            raise UsageError("It is not said which tenant is meant.", "Name it in the header X-SE-TENANT.")
        host = self._hosts.get(name)
        if host is None:
            raise invalid_token()
        return name, host

    def of_workspace(self, workspace_id: str) -> EngineHandle | None:
        return next((each for each in self._hosts.values() if each.engine.metadata.id == workspace_id), None)
