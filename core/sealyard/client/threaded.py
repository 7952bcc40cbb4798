"""A client on a thread of its own: what it does there keeps nobody waiting who asks from another loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

from sealyard.client.protocol import Client
from sealyard.client.thread import LoopThread


def proxy_to_thread(client: Client, thread: LoopThread) -> Client:
    """The same client, for callers on any loop; progress is told on ``thread``."""
    return cast(Client, _ThreadProxy(client, thread))


class _ThreadProxy:
    """Every method of a client either answers once or brings one thing after the other."""

    def __init__(self, client: Client, thread: LoopThread) -> None:
        self._client = client
        self._thread = thread

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            begun = method(*arguments, **named)  # nothing runs yet
            if isinstance(begun, AsyncIterator):
                return self._thread.iterate(begun)
            return self._thread.call(begun)

        return call
