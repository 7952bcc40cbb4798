"""A client that records calls, and delays or fails them on request; all other behaviour is that of a real client."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, cast

from sealyard.client.delivery import record_delivery
from sealyard.client.protocol import Client
from sealyard.model.errors import SealyardError

# fmt: off
QUERIES = frozenset({
    "access", "audit", "audit_key", "certificate", "close", "counts", "cursor", "dead_letters", "device",
    "device_certificates", "devices", "download", "events", "export_audit", "failed_notifications", "identities",
    "keys", "notification_settings", "notification_targets", "one_time_password", "own_device_rules", "own_subjects",
    "policy", "prove_audit_consistency", "prove_audit_entry", "review", "subject_names", "task", "tasks", "tokens",
    "verify_audit", "wait", "webhooks", "workspace",
})
# fmt: on
"""Methods that change nothing; all other calls are recorded."""

STREAMS = frozenset({"download", "events", "export_audit"})
"""Methods that return an asynchronous iterator."""

Call = tuple[str, tuple[Any, ...]]


class Faults:
    """What happens to the calls of the clients that share this object; each mapping is by method name."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        """The calls that change something: the method, and its positional and then its keyword arguments."""
        self.counts: Counter[str] = Counter()
        """How often each method was called, whether it changes something or not."""
        self.fail: dict[str, SealyardError] = {}
        """Raise this error instead of calling the method."""
        self.hold: dict[str, asyncio.Event] = {}
        """Wait for this event before calling the method."""
        self.lost_answers: dict[str, SealyardError] = {}
        """Raise this error, once, after the method has returned: it was performed, but its answer was lost."""
        self.lost_requests: dict[str, SealyardError] = {}
        """Raise this error, once, instead of calling the method: the request was sent, but did not arrive."""
        self.hold_answers: dict[str, asyncio.Event] = {}
        """Wait for this event after the method has returned: it was performed, but its answer is on its way."""
        self.lost: SealyardError | None = None
        """The error of every call while the connection is lost."""
        self.suspended: asyncio.Event | None = None
        """Every call waits for this event, as the client of a server does while it tries to reconnect."""

    def calls_of(self, method: str) -> list[tuple[Any, ...]]:
        """Return the arguments of each recorded call of the method."""
        return [arguments for name, arguments in self.calls if name == method]

    async def before_call(self, method: str, arguments: tuple[Any, ...]) -> None:
        """Record the call, wait if it is held, and raise the error that it is to fail with."""
        self.counts[method] += 1
        if method not in QUERIES:
            self.calls.append((method, arguments))
        if method in self.hold:
            await self.hold[method].wait()
        if self.suspended is not None:
            await self.suspended.wait()
        if self.lost is not None:
            raise self.lost
        if method in self.fail:
            raise self.fail[method]


class _FaultInjectingClient:
    """Forwards all method calls to a client, subject to ``faults``."""

    def __init__(self, client: Client, faults: Faults) -> None:
        self._client = client
        self._faults = faults

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            forward = self._iterate if name in STREAMS else self._call
            return forward(name, method, *args, **kwargs)

        return call

    async def _call(self, name: str, method: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any) -> Any:
        await self._faults.before_call(name, (*args, *kwargs.values()))
        if (error := self._faults.lost_requests.pop(name, None)) is not None:
            record_delivery()
            raise error
        answer = await method(*args, **kwargs)
        if name in self._faults.hold_answers:
            await self._faults.hold_answers[name].wait()
        if name in self._faults.lost_answers:
            raise self._faults.lost_answers.pop(name)
        return answer

    async def _iterate(
        self, name: str, method: Callable[..., AsyncGenerator[Any, None]], *args: Any, **kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        await self._faults.before_call(name, args)
        async with aclosing(method(*args, **kwargs)) as items:
            async for item in items:
                yield item


def inject_faults(client: Client, faults: Faults) -> Client:
    """Return a client that forwards to ``client``, subject to ``faults``."""
    return cast(Client, _FaultInjectingClient(client, faults))
