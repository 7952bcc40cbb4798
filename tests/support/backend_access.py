"""Open key backends, and examine the errors of their operations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from sealyard.keys.backend import KeyBackend, KeyBackendFactory
from sealyard.model.errors import KeyProviderError, SealyardError
from sealyard.model.provider_settings import ProviderSettings, Secrets
from tests.support.limits import TIMEOUT

Backend = TypeVar("Backend", bound=KeyBackend)

_MIN_SECRET_LENGTH = 6
"""Shorter secrets are words that also occur elsewhere."""


@asynccontextmanager
async def open_backend(
    open_: Callable[[ProviderSettings, Secrets], Awaitable[Backend]], settings: ProviderSettings, secrets: Secrets
) -> AsyncIterator[Backend]:
    """Open a backend with ``open_``, the class method of its class, and close it at the end of the block."""
    backend = await open_(settings, secrets)
    try:
        yield backend
    finally:
        await backend.close()


def catch_opening_error(factory: KeyBackendFactory, settings: ProviderSettings, secrets: Secrets) -> KeyProviderError:
    """Return the error of opening a backend, which has a hint and never contains a secret."""
    with pytest.raises(KeyProviderError) as caught:
        asyncio.run(factory.open(settings, secrets))
    check_error(caught.value, secrets)
    return caught.value


def check_error(error: SealyardError, secrets: Secrets) -> None:
    """Check that the error has a hint, and that neither it nor its causes contain a secret."""
    texts = [str(error), repr(error), error.hint, *map(repr, (error.__cause__, error.__context__))]
    assert error.hint
    for secret in secrets.values.values():
        if len(secret) >= _MIN_SECRET_LENGTH:
            assert not [text for text in texts if secret.decode(errors="replace") in text]


async def catch_error(operation: Awaitable[object]) -> SealyardError:
    with pytest.raises(SealyardError) as caught:
        await operation
    return caught.value


async def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline
