"""Tests of device configurations and keys: versions, rotation, key reuse, import and export."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from sealyard.engine.state.tables import DEVICE_VERSIONS, DEVICES, KEYS, version_id
from sealyard.model.access import Action, device_resource
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.audit import AuditAction
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import (
    AlreadyExistsError,
    ConfirmationRequiredError,
    ConflictError,
    InvalidKeyError,
    NotFoundError,
    PermissionDeniedError,
    SealyardError,
    UsageError,
)
from sealyard.model.key_commands import ExportKey, GenerateKey
from sealyard.model.requests import DeviceUpdate, ExportedKey, KeyContent
from sealyard.model.tasks import Verdict
from tests.support.engine_harness import ADMIN, DEV, GATEWAY, OWNER, EngineHarness, device_request

pytestmark = pytest.mark.anyio

ENCRYPTION, SIGNING = "local:gateway-encryption", "local:gateway-signing"


async def rotate_key(harness: EngineHarness, uri: str) -> None:
    await harness.execute(ADMIN, harness.engine.devices.rotate_key(ADMIN, uri))


async def update_gateway(harness: EngineHarness, **changes: object) -> None:
    request = DeviceUpdate(config=GATEWAY, **changes)  # type: ignore[arg-type]
    await harness.execute(ADMIN, harness.engine.devices.update(ADMIN, request))


async def test_create_adds_keys_and_rules(harness: EngineHarness) -> None:
    device = harness.engine.devices.get(OWNER, GATEWAY)
    assert (device.version, device.encryption.uri, device.signing.uri) == (1, ENCRYPTION, SIGNING)
    assert (device.encryption.version, device.signing.version) == (1, 1)
    rules = harness.engine.access.access(ADMIN).rules
    assert {(each.subject, each.action) for each in rules if each.resource == device_resource(device.id)} == {
        (DEV, Action.USE),
        ("CLIENT:ci", Action.USE),
        (OWNER, Action.APPROVE),
        ("USER:second", Action.APPROVE),
    }


async def test_weak_algorithms_and_purposes_cause_warnings(harness: EngineHarness) -> None:
    device = await harness.create_device(
        "old",
        encryption=EncryptionAlgorithm.AES128_ECB_ZERO_BYTE_PAD,
        signing=SigningAlgorithm.ED25519,
        purpose=KeyPurpose.BOTH,
    )
    text = " ".join(device.warnings)
    assert "patterns" in text
    assert "tampering is detected only by the signature" in text
    assert "both packages and signing tasks" in text
    package_device = await harness.create_device("single", purpose=KeyPurpose.PACKAGE)
    assert "both packages and signing tasks" not in " ".join(package_device.warnings)


@pytest.mark.parametrize("name", ["", "Gateway", "a b", "../a", "-a", "a" * 49, "a\n", "\udcff"])
async def test_invalid_name_is_rejected(empty_harness: EngineHarness, name: str) -> None:
    with pytest.raises(UsageError):
        await empty_harness.create_device(name, use=(), approve=(ADMIN,))


async def test_duplicate_name_conflicts(harness: EngineHarness) -> None:
    key_count = len([each for each in harness.bus.commands if isinstance(each, GenerateKey)])
    with pytest.raises(ConflictError, match="already"):
        await harness.create_device()
    assert len([each for each in harness.bus.commands if isinstance(each, GenerateKey)]) == key_count


async def test_concurrent_creation_with_same_name_conflicts(harness: EngineHarness) -> None:
    harness.bus.gate = asyncio.Event()
    requests = asyncio.gather(harness.create_device("twin"), harness.create_device("twin"), return_exceptions=True)
    await harness.wait_until(lambda: {"local:twin-encryption", "local:twin-encryption-2"} <= set(harness.shelf.infos))
    harness.bus.gate.set()
    outcomes = await requests
    assert [type(each) for each in outcomes if isinstance(each, BaseException)] == [AlreadyExistsError]
    assert len([each for each in harness.engine.repository.list_all(DEVICES) if each.name == "twin"]) == 1


@pytest.mark.parametrize(
    "terms",
    [
        {"approvals_required": 0},
        {"approvals_required": 21},
        {"link_ttl_seconds": 0},
        {"retention_seconds": 0},
        {"link_ttl_seconds": 3650 * 86400 + 1},
        {"format": "zip"},
    ],
)
async def test_out_of_range_terms_are_rejected(harness: EngineHarness, terms: dict[str, object]) -> None:
    with pytest.raises(SealyardError):
        await harness.create_device("other", **terms)
    with pytest.raises(SealyardError):
        await update_gateway(harness, **terms)
    assert harness.engine.repository.device(GATEWAY).version == 1


async def test_unknown_approver_raises_not_found(harness: EngineHarness) -> None:
    with pytest.raises(NotFoundError, match="USER:nobody"):
        await harness.create_device("other", approve=("USER:nobody",))


async def test_update_keeps_previous_versions(harness: EngineHarness) -> None:
    first = harness.engine.devices.get(OWNER, GATEWAY)
    await update_gateway(harness, link_ttl_seconds=60)
    await update_gateway(harness, description="third")
    current = harness.engine.devices.get(OWNER, GATEWAY)
    assert (current.version, current.link_ttl_seconds, current.description) == (3, 60, "third")
    assert harness.engine.devices.get(OWNER, GATEWAY, 1) == first
    assert harness.engine.devices.get(OWNER, GATEWAY, 2).description == ""
    stored = harness.engine.repository.get(DEVICE_VERSIONS, version_id(first.id, 3))
    assert stored == msgspec.structs.replace(current, chains=msgspec.UNSET)
    with pytest.raises(NotFoundError, match="from 1 to 3"):
        harness.engine.devices.get(OWNER, GATEWAY, 4)
    assert (
        len([each for each in await harness.audit_entries(AuditAction.UPDATED) if "DEVICE_CONFIG" in each.resource])
        == 2
    )


async def test_rotation_updates_every_configuration_of_key(harness: EngineHarness) -> None:
    await harness.create_device("shared", signing_key=SIGNING)
    await harness.create_device("other")
    task = await harness.package()
    await rotate_key(harness, SIGNING)
    versions = {each.name: (each.version, each.signing.version) for each in harness.engine.repository.list_all(DEVICES)}
    assert versions == {GATEWAY: (2, 2), "shared": (2, 2), "other": (1, 1)}
    assert harness.engine.repository.device(GATEWAY).encryption.version == 1
    assert harness.task(task.id).signing_key.version == 1  # type: ignore[union-attr]
    key = harness.engine.repository.get(KEYS, SIGNING)
    assert key is not None
    assert [each.version for each in key.versions] == [1, 2]


async def test_concurrent_rotations_keep_every_version(harness: EngineHarness) -> None:
    harness.bus.gate = asyncio.Event()
    rotations = asyncio.gather(rotate_key(harness, SIGNING), rotate_key(harness, SIGNING))
    await harness.wait_until(lambda: harness.shelf.infos[SIGNING].current.version == 3)
    harness.bus.gate.set()
    await rotations
    harness.bus.gate = None
    key = harness.engine.repository.get(KEYS, SIGNING)
    assert key is not None
    assert [each.version for each in key.versions] == [1, 2, 3]
    assert harness.engine.repository.device(GATEWAY).signing.version == 3


async def test_rotation_requires_permission_and_known_key(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        await harness.execute(DEV, harness.engine.devices.rotate_key(DEV, SIGNING))
    with pytest.raises(NotFoundError):
        await rotate_key(harness, "local:nothing")
    with pytest.raises(UsageError):
        await rotate_key(harness, "nothing")


async def test_unsuitable_existing_key_is_rejected(harness: EngineHarness) -> None:
    with pytest.raises(InvalidKeyError):
        await harness.create_device("wrong", signing=SigningAlgorithm.RSA_3072, signing_key=SIGNING)
    with pytest.raises(InvalidKeyError):
        await harness.create_device(
            "wrong", encryption=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, encryption_key=ENCRYPTION
        )
    with pytest.raises(NotFoundError):
        await harness.create_device("wrong", signing_key="local:nothing")


# ---- reuse of existing keys

CREATOR = "USER:creator"
KEY_TYPE, DEVICE_TYPE = "RESOURCE_TYPE:KEY", "RESOURCE_TYPE:DEVICE_CONFIG"


@pytest.fixture
async def creator_harness(harness: EngineHarness) -> EngineHarness:
    """Return a workspace with a user who may only create configurations."""
    await harness.add_subject(CREATOR)
    await harness.add_rule(CREATOR, DEVICE_TYPE, Action.CREATE)
    return harness


async def import_key(harness: EngineHarness, subject: str, uri: str) -> None:
    request = KeyContent(uri=uri, content=b"key", kind=KeyType.ED25519)
    await harness.execute(subject, harness.engine.keys.import_key(subject, request))


async def create_config(harness: EngineHarness, name: str = "mine", **keys: Any) -> DeviceConfig:
    """Create a configuration as CREATOR, who is also its approver."""
    request = device_request(name, use=(DEV,), approve=(CREATOR,), **keys)
    return await harness.execute(CREATOR, harness.engine.devices.create(CREATOR, request))


async def test_reuse_of_key_requires_permission(creator_harness: EngineHarness) -> None:
    uris = set(creator_harness.shelf.infos)
    for keys in ({"signing_key": SIGNING}, {"encryption_key": ENCRYPTION}):
        with pytest.raises(PermissionDeniedError, match="not have permission to use local:gateway-"):
            await create_config(creator_harness, **keys)
    assert [each.author for each in await creator_harness.audit_entries(AuditAction.REFUSED)] == [CREATOR, CREATOR]
    assert set(creator_harness.shelf.infos) == uris, "a key was created for the rejected configuration"
    assert (await create_config(creator_harness)).signing.uri == "local:mine-signing"


async def test_hidden_key_looks_like_missing_key(creator_harness: EngineHarness) -> None:
    await import_key(creator_harness, ADMIN, "local:theirs")
    messages = set()
    for uri in ("local:theirs", "local:nothing"):
        with pytest.raises(NotFoundError) as exc_info:
            await create_config(creator_harness, signing_key=uri)
        messages.add(str(exc_info.value).replace(uri, "*"))
    assert len(messages) == 1
    assert [each.message for each in await creator_harness.audit_entries(AuditAction.REFUSED)] == [
        "Key local:theirs not found."
    ]


async def test_key_update_permission_allows_reuse(creator_harness: EngineHarness) -> None:
    await creator_harness.add_rule(CREATOR, KEY_TYPE, Action.UPDATE)
    assert (await create_config(creator_harness, signing_key=SIGNING)).signing.uri == SIGNING


async def test_update_permission_on_all_configurations_allows_reuse(creator_harness: EngineHarness) -> None:
    shared_device = await creator_harness.create_device("shared", signing_key=SIGNING)
    await creator_harness.add_rule(
        CREATOR, device_resource(creator_harness.engine.repository.device(GATEWAY).id), Action.UPDATE
    )
    with pytest.raises(PermissionDeniedError):
        await create_config(creator_harness, signing_key=SIGNING)
    assert (await create_config(creator_harness, "enc", encryption_key=ENCRYPTION)).encryption.uri == ENCRYPTION
    await creator_harness.add_rule(CREATOR, device_resource(shared_device.id), Action.UPDATE)
    assert (await create_config(creator_harness, signing_key=SIGNING)).signing.uri == SIGNING


async def test_importer_may_reuse_unused_key(creator_harness: EngineHarness) -> None:
    await creator_harness.add_rule(CREATOR, KEY_TYPE, Action.CREATE)
    await import_key(creator_harness, ADMIN, "local:theirs")
    await import_key(creator_harness, CREATOR, "local:own")
    with pytest.raises(PermissionDeniedError):
        await create_config(creator_harness, signing_key="local:theirs")
    assert (await create_config(creator_harness, signing_key="local:own")).signing.uri == "local:own"


async def test_update_without_key_permission_keeps_keys(creator_harness: EngineHarness) -> None:
    device = creator_harness.engine.repository.device(GATEWAY)
    await creator_harness.add_rule(CREATOR, device_resource(device.id), Action.UPDATE)
    request = DeviceUpdate(config=GATEWAY, link_ttl_seconds=60)
    updated_device = await creator_harness.execute(CREATOR, creator_harness.engine.devices.update(CREATOR, request))
    assert (updated_device.version, updated_device.key_uris) == (2, device.key_uris)


# ---- keys


async def test_imported_key_records_importer(harness: EngineHarness) -> None:
    request = KeyContent(uri="local:brought", content=b"secret words", kind=KeyType.ED25519, password="secret words")
    key = await harness.execute(ADMIN, harness.engine.keys.import_key(ADMIN, request))
    assert (key.created_by, key.current.origin) == (ADMIN, "imported")
    with pytest.raises(ConflictError):
        await harness.execute(ADMIN, harness.engine.keys.import_key(ADMIN, request))
    with pytest.raises(PermissionDeniedError):
        await harness.execute(DEV, harness.engine.keys.import_key(DEV, request))
    assert "secret words" not in repr(await harness.audit_entries())
    assert "secret words" not in repr(list(harness.engine.store.all("keys")))


async def test_existing_key_name_is_skipped(harness: EngineHarness) -> None:
    harness.shelf.respond(
        GenerateKey(uri="local:new-signing", kind=KeyType.ED25519, purpose=KeyPurpose.BOTH, subject="", created_by="")
    )
    assert (await harness.create_device("new")).signing.uri == "local:new-signing-2"


# ---- key export


async def export_key(harness: EngineHarness, by: str, *, confirmed: bool) -> ExportedKey:
    return await harness.execute(by, harness.engine.devices.export_key(by, GATEWAY, confirmed=confirmed))


async def test_export_requires_permission_and_confirmation(harness: EngineHarness) -> None:
    for by in (DEV, OWNER):
        with pytest.raises(PermissionDeniedError):
            await export_key(harness, by, confirmed=True)
    with pytest.raises(ConfirmationRequiredError):
        await export_key(harness, ADMIN, confirmed=False)
    assert not [request for request in harness.bus.commands if isinstance(request, ExportKey)]
    assert await harness.audit_entries(AuditAction.EXPORTED) == []
    key = await export_key(harness, ADMIN, confirmed=True)
    assert (key.uri, key.version, key.content) == (ENCRYPTION, 1, harness.shelf.symmetric[ENCRYPTION, 1])


async def test_export_audit_states_before_key_leaves(harness: EngineHarness) -> None:
    request = harness.bus.request
    audit_states: list[bool] = []

    async def record_audit_state(message: object) -> object:
        if isinstance(message, ExportKey):
            audit_states.append(bool(await harness.audit_entries(AuditAction.EXPORTED)))
        return await request(message)  # type: ignore[arg-type]

    harness.bus.request = record_audit_state  # type: ignore[assignment, method-assign]
    await export_key(harness, ADMIN, confirmed=True)
    assert audit_states == [True]
    entry = (await harness.audit_entries(AuditAction.EXPORTED))[0]
    assert (entry.author, entry.resource) == (ADMIN, device_resource(harness.engine.repository.device(GATEWAY).id))
    assert ENCRYPTION in entry.message
    assert harness.shelf.symmetric[ENCRYPTION, 1].hex() not in repr(entry)


# ---- reading


async def test_list_contains_only_visible_configurations(harness: EngineHarness) -> None:
    await harness.create_device("secret", use=(OWNER,), approve=("USER:second", ADMIN))
    assert [each.name for each in harness.engine.devices.list_configs(DEV)] == [GATEWAY]
    assert [each.name for each in harness.engine.devices.list_configs(ADMIN)] == [GATEWAY, "secret"]
    with pytest.raises(NotFoundError):
        harness.engine.devices.get(DEV, "secret")


async def test_certificates_match_current_keys(harness: EngineHarness) -> None:
    await rotate_key(harness, SIGNING)
    [certificate] = harness.engine.devices.certificates(DEV, GATEWAY)
    assert certificate.label == f"{SIGNING} v2"
    assert certificate.certificate == harness.shelf.infos[SIGNING].current.certificate


async def test_expiring_certificate_warns_until_rotation(harness: EngineHarness) -> None:
    expiry = harness.shelf.infos[SIGNING].current.certificate_expires_at
    assert expiry is not None
    now = harness.clock.now
    warnings = harness.engine.keys.warnings
    assert warnings(ADMIN, now()) == ()
    assert warnings(ADMIN, expiry - timedelta(days=30, microseconds=-1)) != ()
    harness.clock.move_to(expiry - timedelta(days=30))
    assert len(warnings(ADMIN, now())) == 1
    assert SIGNING in warnings(ADMIN, now())[0]
    await rotate_key(harness, SIGNING)
    assert warnings(ADMIN, now()) == ()


async def test_certificate_warning_requires_view_permission(harness: EngineHarness) -> None:
    lister, stranger = "USER:lister", "USER:stranger"
    for each in (lister, stranger):
        await harness.add_subject(each)
    await harness.add_rule(lister, "RESOURCE_TYPE:KEY", Action.VIEW)
    expiry = harness.shelf.infos[SIGNING].current.certificate_expires_at
    assert expiry is not None
    warning_counts = {
        each: len(harness.engine.keys.warnings(each, expiry)) for each in (ADMIN, DEV, OWNER, lister, stranger)
    }
    assert warning_counts == {ADMIN: 1, DEV: 1, OWNER: 1, lister: 1, stranger: 0}


# ---- invalid text


async def test_invalid_unicode_is_rejected_everywhere(harness: EngineHarness) -> None:
    text = "odd \udcff"
    task = await harness.package()
    engine = harness.engine
    for call in (
        lambda: harness.decide(task, OWNER, Verdict.REJECTED, text),
        lambda: harness.execute(DEV, engine.decisions.withdraw(DEV, task.id, text)),
        lambda: harness.execute(ADMIN, engine.access.add_subject(ADMIN, "USER:new", text)),
        lambda: harness.create_device("new", description=text),
        lambda: update_gateway(harness, description=text),
    ):
        with pytest.raises(SealyardError):
            await call()
    assert (await harness.approve(task)).approvals[0].by == OWNER
    entries = await harness.audit_entries()
    assert [each.seq for each in entries] == list(range(len(entries)))
