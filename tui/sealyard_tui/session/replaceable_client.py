"""A client that can be replaced by another one while callers hold it."""

from __future__ import annotations

from typing import Any, cast

from sealyard.client.protocol import Client


class ReplaceableClient:
    """Forwards each call to the current client. Calls in progress end with the client that they began with."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def as_client(self) -> Client:
        return cast("Client", self)

    def replace(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)
