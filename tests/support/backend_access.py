"""Open key backends, and examine the errors of their operations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sealyard.keys.backend import KeyBackend, KeyBackendFactory
from sealyard.model.errors import KeyProviderError, SealyardError
from sealyard.model.provider_settings import ProviderSettings, Secrets
from tests.support.limits import TIMEOUT

_MIN_SECRET_LENGTH = 6
"""Shorter secrets are words that also occur elsewhere."""


@asynccontextmanager
async def opened_backend(
    factory: KeyBackendFactory, settings: ProviderSettings, secrets: Secrets
) -> AsyncIterator[KeyBackend]:
    backend = await factory.open(settings, secrets)
    try:
        yield backend
    finally:
        await backend.close()


def opening_error(factory: KeyBackendFactory, settings: ProviderSettings, secrets: Secrets) -> KeyProviderError:
    """Return the error of opening a backend, which names its section and never contains a secret."""
    with pytest.raises(KeyProviderError) as caught:
        asyncio.run(factory.open(settings, secrets))
    error = caught.value
    assert error.hint
    assert settings.name in error.message
    for secret in secrets.values.values():
        assert len(secret) < _MIN_SECRET_LENGTH or secret.decode(errors="replace") not in str(error)
    return error


async def error_of(operation: Awaitable[object]) -> SealyardError:
    with pytest.raises(SealyardError) as caught:
        await operation
    return caught.value


async def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline
