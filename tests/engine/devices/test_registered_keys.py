"""Tests of keys in tokens and key services: who may register and list them, and what the audit log records."""

from __future__ import annotations

import pytest

from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.audit import AuditAction
from sealyard.model.backend_keys import ListedKey, ProviderKeys
from sealyard.model.errors import (
    AlreadyExistsError,
    KeyProviderUnavailableError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from sealyard.model.keys import KeyInfo
from sealyard.model.requests import KeyRegistration
from tests.support.engine_harness import ADMIN, DEV, EngineHarness

pytestmark = pytest.mark.anyio

URI = "vault:transit/gateway-sign"


@pytest.fixture(autouse=True)
def _add_providers(harness: EngineHarness) -> None:
    error = KeyProviderUnavailableError("The token seal was removed.", "Insert it.").to_info()
    harness.shelf.provider_keys = (
        ProviderKeys(
            section="bao", scheme="vault", keys=(ListedKey(name="transit/gateway-sign", kind=KeyType.ED25519),)
        ),
        ProviderKeys(section="seal", scheme="pkcs11", error=error),
    )


async def register(harness: EngineHarness, subject: str, uri: str = URI) -> KeyInfo:
    request = KeyRegistration(uri=uri, kind=KeyType.ED25519, purpose=KeyPurpose.PACKAGE)
    return await harness.execute(subject, harness.engine.external_keys.register(subject, request))


async def test_registered_key_records_who_registered_it(harness: EngineHarness) -> None:
    key = await register(harness, ADMIN)
    assert (key.uri, key.created_by, key.current.origin) == (URI, ADMIN, "registered")
    assert harness.engine.keys.get(URI) == key
    (entry,) = [entry for entry in await harness.audit_entries(AuditAction.CREATED) if entry.resource == f"KEY:{URI}"]
    assert (entry.author, entry.message) == (ADMIN, "ED25519, registered, for package")
    with pytest.raises(AlreadyExistsError):
        await register(harness, ADMIN)


async def test_registering_and_listing_require_permission(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        await register(harness, DEV)
    with pytest.raises(PermissionDeniedError):
        await harness.execute(DEV, harness.engine.external_keys.list_keys(DEV))
    with pytest.raises(NotFoundError):
        harness.engine.keys.get(URI)


async def test_local_key_cannot_be_registered(harness: EngineHarness) -> None:
    with pytest.raises(UsageError, match="local key"):
        await register(harness, ADMIN, "local:gateway-signing")


async def test_refused_registration_leaves_no_key(harness: EngineHarness) -> None:
    with pytest.raises(NotFoundError):
        await register(harness, ADMIN, "vault:transit/unknown")
    with pytest.raises(NotFoundError):
        harness.engine.keys.get("vault:transit/unknown")


async def test_device_uses_a_registered_key(harness: EngineHarness) -> None:
    await register(harness, ADMIN)
    assert (await harness.create_device("tokens", signing_key=URI)).signing.uri == URI


async def test_listed_keys_and_errors_of_sections(harness: EngineHarness) -> None:
    sections = await harness.engine.external_keys.list_keys(ADMIN)
    assert [(section.section, len(section.keys), section.error is None) for section in sections] == [
        ("bao", 1, True),
        ("seal", 0, False),
    ]
    assert await harness.engine.external_keys.list_keys(ADMIN, "bao") == sections[:1]


async def test_probe_reports_the_error_of_each_section(harness: EngineHarness) -> None:
    states = await harness.engine.external_keys.probe_providers()
    assert [(state.section, state.error and state.error.message) for state in states] == [
        ("bao", None),
        ("seal", "The token seal was removed."),
    ]
