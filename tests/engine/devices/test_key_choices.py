"""Tests of the keys that a new device configuration can name: to register, to generate in a token, and to wrap with."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from sealyard.model.access import Action, ResourceType, resource_type_uri
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.backend_keys import ListedKey, ProviderKeys
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import (
    AlreadyExistsError,
    InvalidKeyError,
    KeyProviderUnavailableError,
    NotFoundError,
    PermissionDeniedError,
    SealyardError,
    UsageError,
)
from sealyard.model.key_commands import GenerateKey, RegisterKey
from sealyard.model.keys import KeyCapabilities
from sealyard.model.requests import (
    DeviceRequest,
    EncryptionKeyRequest,
    KeyContent,
    KeyGeneration,
    KeyRegistration,
    SigningKeyRequest,
)
from tests.support.engine_harness import ADMIN, DEV, OWNER, EngineHarness

pytestmark = pytest.mark.anyio

SIGNING_KEY = "vault:transit/gateway-sign"
ALIAS = "vault:transit/newest"
WRAPPING_KEY = "vault:transit/wrap"
CREATOR = "USER:creator"
CIPHER = EncryptionAlgorithm.AES256_CBC_PKCS7_PAD


@pytest.fixture(autouse=True)
def _add_providers(harness: EngineHarness) -> None:
    harness.shelf.provider_keys = (
        ProviderKeys(
            section="bao",
            scheme="vault",
            key_prefix="vault:transit/",
            keys=(
                ListedKey(name="transit/gateway-sign", kind=KeyType.ED25519, label="transit/newest"),
                ListedKey(name="transit/wrap", kind=KeyType.AES_256),
            ),
        ),
        ProviderKeys(
            section="seal",
            scheme="pkcs11",
            key_prefix="pkcs11:token=seal;object=",
            error=KeyProviderUnavailableError("The token seal was removed.", "Insert it.").to_info(),
        ),
        ProviderKeys(section="other", scheme="other"),
    )


def build_request(signing: dict[str, Any] | None = None, encryption: dict[str, Any] | None = None) -> DeviceRequest:
    return DeviceRequest(
        name="tokens",
        encryption_keys=(EncryptionKeyRequest(algorithm=CIPHER, **(encryption or {})),),
        signing_keys=(SigningKeyRequest(**{"algorithm": SigningAlgorithm.ED25519, **(signing or {})}),),
        use=(DEV,),
        approve=(OWNER,),
    )


async def create(harness: EngineHarness, request: DeviceRequest, subject: str = ADMIN) -> DeviceConfig:
    return await harness.execute(subject, harness.engine.devices.create(subject, request))


async def check_refused(
    harness: EngineHarness, request: DeviceRequest, error: type[SealyardError], match: str | None, subject: str = ADMIN
) -> None:
    """Check that the request fails before a key is generated or registered."""
    keys, commands = harness.engine.keys.list_keys(ADMIN), len(harness.bus.commands)
    with pytest.raises(error, match=match):
        await create(harness, request, subject)
    assert harness.engine.keys.list_keys(ADMIN) == keys
    assert not [
        command for command in harness.bus.commands[commands:] if isinstance(command, GenerateKey | RegisterKey)
    ]


async def allow_creating_devices(harness: EngineHarness) -> None:
    await harness.add_subject(CREATOR)
    await harness.add_rule(CREATOR, resource_type_uri(ResourceType.DEVICE_CONFIG), Action.CREATE)


@pytest.mark.parametrize("reference", [SIGNING_KEY, ALIAS])
async def test_configuration_registers_a_key_under_its_canonical_uri(harness: EngineHarness, reference: str) -> None:
    device = await create(harness, build_request(signing={"uri": reference}))
    assert device.signing.uri == SIGNING_KEY
    key = harness.engine.keys.get(SIGNING_KEY)
    assert (key.current.origin, key.created_by, key.purpose) == ("registered", ADMIN, KeyPurpose.BOTH)
    again = DeviceRequest(
        name="second",
        encryption_keys=(EncryptionKeyRequest(algorithm=CIPHER),),
        signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519, uri=ALIAS),),
        use=(DEV,),
        approve=(OWNER,),
    )
    assert (await create(harness, again)).signing.uri == SIGNING_KEY


async def test_alias_gives_no_access_to_a_registered_key(harness: EngineHarness) -> None:
    """A subject that may create configurations and keys, but not update keys, must not sign for another product."""
    await create(harness, build_request(signing={"uri": SIGNING_KEY}))
    await allow_creating_devices(harness)
    for action in (Action.CREATE, Action.VIEW):
        await harness.add_rule(CREATOR, resource_type_uri(ResourceType.KEY), action)
    request = DeviceRequest(
        name="second",
        encryption_keys=(EncryptionKeyRequest(algorithm=CIPHER),),
        signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519, uri=ALIAS),),
        use=(DEV,),
        approve=(OWNER,),
    )
    await check_refused(harness, request, PermissionDeniedError, "permission to use", CREATOR)


async def test_configuration_generates_a_key_in_a_provider(harness: EngineHarness) -> None:
    device = await create(harness, build_request(signing={"provider": "bao"}))
    assert device.signing.uri == "vault:transit/tokens-signing"
    assert harness.engine.keys.get(device.signing.uri).current.origin == "generated"


async def test_configuration_wraps_its_encryption_key(harness: EngineHarness) -> None:
    device = await create(harness, build_request(encryption={"wrapping_key": WRAPPING_KEY}))
    assert device.encryption.uri == "local:tokens-encryption"
    wrapped_by = harness.engine.keys.get(device.encryption.uri).current.wrapped_by
    assert wrapped_by is not UNSET
    assert (wrapped_by.uri, wrapped_by.version) == (WRAPPING_KEY, 1)
    assert harness.engine.keys.get(WRAPPING_KEY).current.origin == "registered"


@pytest.mark.parametrize(
    ("signing", "encryption", "error", "match"),
    [
        ({"uri": "vault:transit/unknown"}, {}, NotFoundError, "not found"),
        ({"uri": WRAPPING_KEY}, {}, InvalidKeyError, "requires a key of type ED25519"),
        ({"provider": "seal"}, {}, KeyProviderUnavailableError, "was removed"),
        ({"provider": "none"}, {}, NotFoundError, "Key provider 'none' not found"),
        ({"provider": "other"}, {}, UsageError, "cannot be named"),
        ({"provider": "bao", "uri": SIGNING_KEY}, {}, UsageError, "can be generated"),
        ({"uri": SIGNING_KEY}, {"uri": WRAPPING_KEY}, InvalidKeyError, "cannot encrypt firmware"),
        ({}, {"wrapping_key": SIGNING_KEY}, InvalidKeyError, "cannot wrap"),
        ({}, {"wrapping_key": "local:gateway-encryption"}, InvalidKeyError, "cannot wrap"),
        ({}, {"wrapping_key": WRAPPING_KEY, "uri": "local:gateway-encryption"}, UsageError, "can be wrapped"),
    ],
)
async def test_unsuitable_key_is_refused_before_any_key_is_made(
    harness: EngineHarness,
    signing: dict[str, Any],
    encryption: dict[str, Any],
    error: type[SealyardError],
    match: str,
) -> None:
    await check_refused(harness, build_request(signing, encryption), error, match)


async def test_algorithm_that_the_key_does_not_offer_is_refused(harness: EngineHarness) -> None:
    harness.shelf.capabilities["transit/gateway-sign"] = KeyCapabilities()
    await check_refused(harness, build_request(signing={"uri": SIGNING_KEY}), InvalidKeyError, "does not sign with")


@pytest.mark.parametrize("signing", [{"uri": SIGNING_KEY}, {"provider": "bao"}])
async def test_registering_and_generating_in_a_provider_require_permission(
    harness: EngineHarness, signing: dict[str, Any]
) -> None:
    await allow_creating_devices(harness)
    error = NotFoundError if "uri" in signing else PermissionDeniedError
    await check_refused(harness, build_request(signing=signing), error, None, CREATOR)


async def test_generate_and_import_with_a_wrapping_key(harness: EngineHarness) -> None:
    keys = harness.engine.keys
    content = KeyContent(uri="local:bought", content=bytes(32), kind=KeyType.AES_256, wrapping_key=WRAPPING_KEY)
    with pytest.raises(NotFoundError):
        await harness.execute(ADMIN, keys.import_key(ADMIN, content))
    registration = KeyRegistration(uri=WRAPPING_KEY)
    assert (await harness.execute(ADMIN, harness.engine.external_keys.register(ADMIN, registration))).kind is (
        KeyType.AES_256
    )
    imported = await harness.execute(ADMIN, keys.import_key(ADMIN, content))
    request = KeyGeneration(uri="local:made", kind=KeyType.AES_256, wrapping_key=WRAPPING_KEY)
    generated = await harness.execute(ADMIN, keys.generate(ADMIN, request))
    assert imported.current.wrapped_by == generated.current.wrapped_by != UNSET
    with pytest.raises(AlreadyExistsError):
        await harness.execute(ADMIN, keys.generate(ADMIN, request))
    signing_request = KeyGeneration(uri="local:x", kind=KeyType.ED25519, wrapping_key=WRAPPING_KEY)
    with pytest.raises(InvalidKeyError, match="cannot be wrapped"):
        await harness.execute(ADMIN, keys.generate(ADMIN, signing_request))
    with pytest.raises(PermissionDeniedError):
        await harness.execute(DEV, keys.generate(DEV, KeyGeneration(uri="local:y", kind=KeyType.AES_256)))


async def test_registration_of_another_type_is_refused(harness: EngineHarness) -> None:
    registration = KeyRegistration(uri=SIGNING_KEY, kind=KeyType.EC_P256)
    with pytest.raises(InvalidKeyError, match="is a key of type ED25519, not EC_P256"):
        await harness.execute(ADMIN, harness.engine.external_keys.register(ADMIN, registration))


async def test_listed_keys_show_which_are_registered(harness: EngineHarness) -> None:
    await harness.execute(ADMIN, harness.engine.external_keys.register(ADMIN, KeyRegistration(uri=SIGNING_KEY)))
    (section,) = await harness.engine.external_keys.list_keys(ADMIN, "bao")
    assert [(key.name, key.is_registered) for key in section.keys] == [
        ("transit/gateway-sign", True),
        ("transit/wrap", False),
    ]
