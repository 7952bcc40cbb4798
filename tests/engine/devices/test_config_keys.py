"""Test device configurations with several keys: names, versions, certificates and access lists."""

from __future__ import annotations

import msgspec
import pytest

from sealyard.engine.state.tables import DEVICES, KEYS
from sealyard.model.access import Action, device_resource
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, SigningAlgorithm
from sealyard.model.audit import AuditAction
from sealyard.model.device_configs import DeviceConfig, KeyRole
from sealyard.model.errors import InvalidKeyError, NotFoundError, PermissionDeniedError, UsageError
from sealyard.model.key_commands import ExportKey, GenerateKey, ProbeEncryptionKey, ProbeSigningKey
from sealyard.model.keys import KeyCapabilities
from sealyard.model.requests import EncryptionKeyRequest, SigningKeyRequest
from tests.support.engine_harness import ADMIN, DEV, GATEWAY, OWNER, EngineHarness, device_request

pytestmark = pytest.mark.anyio

ENCRYPTION, SIGNING = "local:gateway-encryption", "local:gateway-signing"
CONTENT = EncryptionKeyRequest(
    algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, name="content", description="new devices"
)
LEGACY = EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES128_ECB_ZERO_BYTE_PAD, name="legacy")
SHARED = EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES128_CTR_NO_PAD, uri=ENCRYPTION)
RELEASE = SigningKeyRequest(algorithm=SigningAlgorithm.ED25519, name="release")
SPARE = SigningKeyRequest(algorithm=SigningAlgorithm.SHA256_ECDSA, name="spare", description="for emergencies")


async def create_door(harness: EngineHarness) -> DeviceConfig:
    return await harness.create_device(
        "door", encryption_keys=(CONTENT, LEGACY, SHARED), signing_keys=(RELEASE, SPARE), purpose=KeyPurpose.PACKAGE
    )


async def rotate_key(harness: EngineHarness, uri: str) -> None:
    await harness.execute(ADMIN, harness.engine.devices.rotate_key(ADMIN, uri))


async def test_all_keys_are_stored_in_order(harness: EngineHarness) -> None:
    device = await create_door(harness)
    assert device == harness.engine.devices.get(DEV, "door")
    assert msgspec.structs.replace(device, chains=msgspec.UNSET) == harness.engine.repository.device(device.id, 1)
    assert [(key.name, key.description, key.algorithm, key.uri) for key in device.keys] == [
        ("content", "new devices", CONTENT.algorithm, "local:door-encryption"),
        ("legacy", "", LEGACY.algorithm, "local:door-encryption-2"),
        ("", "", SHARED.algorithm, ENCRYPTION),
        ("release", "", RELEASE.algorithm, "local:door-signing"),
        ("spare", "for emergencies", SPARE.algorithm, "local:door-signing-2"),
    ]
    assert {uri for uri, version in harness.shelf.symmetric} >= {"local:door-encryption", "local:door-encryption-2"}


async def test_warnings_cover_all_keys_once(harness: EngineHarness) -> None:
    warnings = (await create_door(harness)).warnings
    assert len([warning for warning in warnings if "patterns" in warning]) == 1
    assert len([warning for warning in warnings if "not authenticated" in warning]) == 1


async def test_package_warns_about_its_own_keys_only(harness: EngineHarness) -> None:
    await create_door(harness)
    task = await harness.package(config="door")
    assert any("not authenticated" in warning for warning in task.warnings)
    assert not any("patterns" in warning for warning in task.warnings)


@pytest.mark.parametrize(
    ("index", "uri"), [(0, "local:door-encryption"), (1, "local:door-encryption-2"), (2, ENCRYPTION)]
)
async def test_rotation_updates_key_at_its_position(harness: EngineHarness, index: int, uri: str) -> None:
    device = await create_door(harness)
    await rotate_key(harness, uri)
    rotated_device = harness.engine.repository.device(device.id)
    rotated_key = msgspec.structs.replace(device.encryption_keys[index], version=2)
    expected_keys = list(device.encryption_keys)
    expected_keys[index] = rotated_key
    assert rotated_device.version == 2
    assert rotated_device.encryption_keys == tuple(expected_keys)
    assert rotated_device.signing_keys == device.signing_keys


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"encryption_keys": ()}, "Missing key"),
        ({"signing_keys": ()}, "Missing key"),
        ({"encryption_keys": (CONTENT,) * 21}, "at most 20"),
        ({"signing_keys": (msgspec.structs.replace(SPARE, name="n" * 201),)}, "at most 200"),
    ],
)
async def test_invalid_key_list_is_rejected(harness: EngineHarness, keys: dict[str, object], message: str) -> None:
    generated_count = len([request for request in harness.bus.commands if isinstance(request, GenerateKey)])
    with pytest.raises(UsageError, match=message):
        await harness.create_device("door", **keys)
    assert len([request for request in harness.bus.commands if isinstance(request, GenerateKey)]) == generated_count


async def test_unsuitable_second_key_is_rejected(harness: EngineHarness) -> None:
    unsuitable = msgspec.structs.replace(SPARE, uri=SIGNING)
    with pytest.raises(InvalidKeyError):
        await harness.create_device("door", signing_keys=(RELEASE, unsuitable))
    assert [device.name for device in harness.engine.repository.list_all(DEVICES)] == [GATEWAY]


async def test_reuse_of_second_key_requires_permission(harness: EngineHarness) -> None:
    await harness.add_rule(DEV, "RESOURCE_TYPE:DEVICE_CONFIG", Action.CREATE)
    signing_keys = (RELEASE, msgspec.structs.replace(RELEASE, uri=SIGNING))
    request = device_request("door", signing_keys=signing_keys, use=(DEV,), approve=(OWNER,))
    with pytest.raises(PermissionDeniedError, match=SIGNING):
        await harness.execute(DEV, harness.engine.devices.create(DEV, request))


async def test_stored_configuration_without_key_names_is_readable(harness: EngineHarness) -> None:
    device = harness.engine.repository.device(GATEWAY)
    document = msgspec.to_builtins(device)
    for key in (*document["encryptionKeys"], *document["signingKeys"]):
        del key["name"]
    assert msgspec.convert(document, DeviceConfig) == device


async def test_health_check_probes_every_key(harness: EngineHarness) -> None:
    await create_door(harness)
    await harness.engine.health.health()
    probed_uris = {
        request.key.uri for request in harness.bus.commands if isinstance(request, ProbeEncryptionKey | ProbeSigningKey)
    }
    assert probed_uris == {
        *(ENCRYPTION, SIGNING, "local:door-encryption", "local:door-encryption-2"),
        *("local:door-signing", "local:door-signing-2"),
    }


# ---- encryption tasks


@pytest.mark.parametrize(
    ("name", "index"), [(None, 0), ("content", 0), ("legacy", 1), (ENCRYPTION, 2), ("local:door-encryption-2", 1)]
)
async def test_encryption_task_uses_named_key(harness: EngineHarness, name: str | None, index: int) -> None:
    device = await create_door(harness)
    options = {} if name is None else {"encryption_key": name}
    task = await harness.encryption(config="door", content_type="firmware", **options)
    key = device.encryption_keys[index]
    assert task.encryption_key == key
    assert any("patterns" in warning for warning in task.warnings) == (index == 1)
    [entry] = [
        entry for entry in await harness.audit_entries(AuditAction.CREATED) if entry.resource == f"TASK:{task.id}"
    ]
    assert entry.new_value is not None
    assert entry.new_value["contentType"] == "firmware"
    assert entry.new_value["encryptionKey"] == {
        "algorithm": key.algorithm,
        "uri": key.uri,
        "version": 1,
        "name": key.name,
    }
    assert entry.new_value["signingKey"] is None


async def test_unknown_encryption_key_is_rejected(harness: EngineHarness) -> None:
    await create_door(harness)
    with pytest.raises(UsageError, match="no encryption key 'other'") as exc_info:
        await harness.encryption(config="door", encryption_key="other")
    assert exc_info.value.hint == f"Use one of: content, legacy, {ENCRYPTION}."


async def test_ambiguous_encryption_key_is_rejected(harness: EngineHarness) -> None:
    await harness.create_device("door", encryption_keys=(CONTENT, msgspec.structs.replace(LEGACY, name="content")))
    with pytest.raises(UsageError, match="more than one encryption key 'content'"):
        await harness.encryption(config="door", encryption_key="content")
    assert (
        await harness.encryption(config="door", encryption_key="local:door-encryption-2")
    ).encryption_key is not None


async def test_named_key_is_exported(harness: EngineHarness) -> None:
    await create_door(harness)
    export = harness.engine.devices.export_key(ADMIN, "door", encryption_key="legacy", confirmed=True)
    await harness.execute(ADMIN, export)
    assert [request.uri for request in harness.bus.commands if isinstance(request, ExportKey)] == [
        "local:door-encryption-2"
    ]


# ---- certificates


async def test_certificates_describe_their_keys(harness: EngineHarness) -> None:
    await create_door(harness)
    certificates = harness.engine.devices.certificates(DEV, "door")
    assert [(each.kind, each.name, each.uri, each.version, each.algorithm) for each in certificates] == [
        (KeyRole.SIGNING, "release", "local:door-signing", 1, "ED25519"),
        (KeyRole.SIGNING, "spare", "local:door-signing-2", 1, "SHA256_ECDSA"),
    ]


async def test_certificates_of_earlier_version_remain_available(harness: EngineHarness) -> None:
    (first_certificate,) = harness.engine.devices.certificates(DEV, GATEWAY)
    await rotate_key(harness, SIGNING)
    (second_certificate,) = harness.engine.devices.certificates(DEV, GATEWAY)
    assert second_certificate.certificate != first_certificate.certificate
    assert harness.engine.devices.certificates(DEV, GATEWAY, 1) == (first_certificate,)
    assert harness.engine.devices.certificates(DEV, GATEWAY, 2) == (second_certificate,)
    with pytest.raises(NotFoundError):
        harness.engine.devices.certificates(DEV, GATEWAY, 3)


# ---- access lists


async def test_access_list_contains_rules_of_configuration_and_type(harness: EngineHarness) -> None:
    device = await harness.create_device("door", view=("USER:second",), use=(DEV, "CLIENT:ci"), approve=(OWNER, ADMIN))
    await harness.add_rule("USER:second", "RESOURCE_TYPE:DEVICE_CONFIG", Action.USE)
    assert harness.engine.devices.access_lists(DEV, (device.id,)) == {
        device.id: {
            Action.VIEW: ("USER:second",),
            Action.USE: (DEV, "CLIENT:ci", "USER:second"),
            Action.APPROVE: (OWNER, ADMIN),
        }
    }


async def test_access_list_requires_view_permission(harness: EngineHarness) -> None:
    device = await harness.create_device("door", use=(OWNER,), approve=("USER:second", ADMIN))
    gateway = harness.engine.repository.device(GATEWAY)
    assert set(harness.engine.devices.access_lists(DEV, (device.id, gateway.id))) == {gateway.id}


async def test_view_permission_allows_viewing_only(harness: EngineHarness) -> None:
    await harness.add_subject("USER:viewer")
    device = await harness.create_device("door", view=("USER:viewer",))
    assert harness.engine.devices.get("USER:viewer", "door") == device
    rules = harness.engine.access.access(ADMIN).rules
    assert [rule.action for rule in rules if rule.subject == "USER:viewer"] == [Action.VIEW]
    assert {rule.resource for rule in rules if rule.subject == "USER:viewer"} == {device_resource(device.id)}
    with pytest.raises(PermissionDeniedError):
        await harness.package("USER:viewer", config="door")


async def test_unsupported_algorithm_of_provider_is_rejected(harness: EngineHarness) -> None:
    uri = (await harness.create_device("door", signing_keys=(SPARE,))).signing.uri
    repository = harness.engine.repository
    key = repository.get(KEYS, uri)
    assert key is not None
    capabilities = KeyCapabilities(algorithms=(SigningAlgorithm.SHA256_ECDSA,))
    unit_of_work = repository.begin()
    unit_of_work.put(KEYS, uri, msgspec.structs.replace(key, capabilities=capabilities))
    await unit_of_work.commit()
    request = SigningKeyRequest(algorithm=SigningAlgorithm.ECC_NIST_P256, uri=uri)
    with pytest.raises(InvalidKeyError, match="does not sign with ECC_NIST_P256") as caught:
        await harness.create_device("gate", signing_keys=(request,))
    assert caught.value.hint == "Use one of: SHA256_ECDSA."
    await harness.create_device("gate", signing_keys=(msgspec.structs.replace(SPARE, uri=uri),))
