"""Device configurations and keys: versions that never change, rotation, and keys that leave."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from sealyard.engine.state.tables import DEVICE_VERSIONS, DEVICES, KEYS, version_id
from sealyard.model.access import Action, device_resource
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.audit import AuditAction
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import (
    ConfirmationRequiredError,
    ConflictError,
    InvalidKeyError,
    NotFoundError,
    PermissionDeniedError,
    SealyardError,
    UsageError,
)
from sealyard.model.requests import DeviceRequest, DeviceUpdate, KeyImport
from sealyard.model.tasks import Verdict
from sealyard.model.worker_messages import ExportKey, GenerateKey
from tests.support.engine_harness import ADMIN, DEV, GATEWAY, OWNER, EngineHarness

pytestmark = pytest.mark.anyio

ENCRYPTION, SIGNING = "local:gateway-encryption", "local:gateway-signing"


async def rotate(harness: EngineHarness, uri: str) -> None:
    await harness.execute(ADMIN, harness.engine.devices.rotate_key(ADMIN, uri))


async def update(harness: EngineHarness, **changes: object) -> None:
    request = DeviceUpdate(config=GATEWAY, **changes)  # type: ignore[arg-type]
    await harness.execute(ADMIN, harness.engine.devices.update(ADMIN, request))


async def test_a_configuration_comes_with_its_keys_and_rules(harness: EngineHarness) -> None:
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


async def test_caveats_of_algorithms_and_purposes_are_shown(harness: EngineHarness) -> None:
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
    single = await harness.create_device("single", purpose=KeyPurpose.PACKAGE)
    assert "alike" not in " ".join(single.warnings)


@pytest.mark.parametrize("name", ["", "Gateway", "a b", "../a", "-a", "a" * 49, "a\n", "\udcff"])
async def test_a_name_that_is_none_is_refused(empty_harness: EngineHarness, name: str) -> None:
    with pytest.raises(UsageError):
        await empty_harness.create_device(name, use=(), approve=(ADMIN,))


async def test_a_name_is_taken_once(harness: EngineHarness) -> None:
    made = len([each for each in harness.bus.asked if isinstance(each, GenerateKey)])
    with pytest.raises(ConflictError, match="already"):
        await harness.create_device()
    assert len([each for each in harness.bus.asked if isinstance(each, GenerateKey)]) == made


async def test_a_name_asked_for_twice_at_once_is_given_once(harness: EngineHarness) -> None:
    harness.bus.gate = asyncio.Event()
    asking = asyncio.gather(harness.create_device("twin"), harness.create_device("twin"), return_exceptions=True)
    await harness.wait_until(lambda: {"local:twin-encryption", "local:twin-encryption-2"} <= set(harness.shelf.infos))
    harness.bus.gate.set()
    both = await asking
    assert [type(each) for each in both if isinstance(each, BaseException)] == [ConflictError]
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
async def test_terms_have_bounds(harness: EngineHarness, terms: dict[str, object]) -> None:
    with pytest.raises(SealyardError):
        await harness.create_device("other", **terms)
    with pytest.raises(SealyardError):
        await update(harness, **terms)
    assert harness.engine.repository.device(GATEWAY).version == 1


async def test_unknown_people_are_refused(harness: EngineHarness) -> None:
    with pytest.raises(NotFoundError, match="USER:nobody"):
        await harness.create_device("other", approve=("USER:nobody",))


async def test_versions_are_counted_and_never_change(harness: EngineHarness) -> None:
    first = harness.engine.devices.get(OWNER, GATEWAY)
    await update(harness, link_ttl_seconds=60)
    await update(harness, description="third")
    newest = harness.engine.devices.get(OWNER, GATEWAY)
    assert (newest.version, newest.link_ttl_seconds, newest.description) == (3, 60, "third")
    assert harness.engine.devices.get(OWNER, GATEWAY, 1) == first
    assert harness.engine.devices.get(OWNER, GATEWAY, 2).description == ""
    assert harness.engine.repository.get(DEVICE_VERSIONS, version_id(first.id, 3)) == newest
    with pytest.raises(NotFoundError, match="from 1 to 3"):
        harness.engine.devices.get(OWNER, GATEWAY, 4)
    assert (
        len([each for each in await harness.audit_entries(AuditAction.UPDATED) if "DEVICE_CONFIG" in each.resource])
        == 2
    )


async def test_rotation_gives_each_configuration_of_the_key_a_new_version(harness: EngineHarness) -> None:
    await harness.create_device("shared", signing_key=SIGNING)
    await harness.create_device("other")
    task = await harness.package()
    await rotate(harness, SIGNING)
    versions = {each.name: (each.version, each.signing.version) for each in harness.engine.repository.list_all(DEVICES)}
    assert versions == {GATEWAY: (2, 2), "shared": (2, 2), "other": (1, 1)}
    assert harness.engine.repository.device(GATEWAY).encryption.version == 1
    assert harness.task(task.id).signing_key.version == 1  # type: ignore[union-attr]
    key = harness.engine.repository.get(KEYS, SIGNING)
    assert key is not None
    assert [each.version for each in key.versions] == [1, 2]


async def test_a_key_rotated_twice_at_once_keeps_every_version(harness: EngineHarness) -> None:
    harness.bus.gate = asyncio.Event()
    both = asyncio.gather(rotate(harness, SIGNING), rotate(harness, SIGNING))
    await harness.wait_until(lambda: harness.shelf.infos[SIGNING].current.version == 3)
    harness.bus.gate.set()
    await both
    harness.bus.gate = None
    key = harness.engine.repository.get(KEYS, SIGNING)
    assert key is not None
    assert [each.version for each in key.versions] == [1, 2, 3]
    assert harness.engine.repository.device(GATEWAY).signing.version == 3


async def test_rotating_wants_the_right(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        await harness.execute(DEV, harness.engine.devices.rotate_key(DEV, SIGNING))
    with pytest.raises(NotFoundError):
        await rotate(harness, "local:nothing")
    with pytest.raises(UsageError):
        await rotate(harness, "nothing")


async def test_a_named_key_must_fit(harness: EngineHarness) -> None:
    with pytest.raises(InvalidKeyError):
        await harness.create_device("wrong", signing=SigningAlgorithm.RSA_3072, signing_key=SIGNING)
    with pytest.raises(InvalidKeyError):
        await harness.create_device(
            "wrong", encryption=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, encryption_key=ENCRYPTION
        )
    with pytest.raises(NotFoundError):
        await harness.create_device("wrong", signing_key="local:nothing")


# ---- naming a key that is there

MAKER = "USER:maker"
KEY_TYPE, DEVICE_TYPE = "RESOURCE_TYPE:KEY", "RESOURCE_TYPE:DEVICE_CONFIG"


@pytest.fixture
async def maker(harness: EngineHarness) -> EngineHarness:
    """With somebody who may make configurations and nothing else."""
    await harness.add_subject(MAKER)
    await harness.add_rule(MAKER, DEVICE_TYPE, Action.CREATE)
    return harness


async def bring(harness: EngineHarness, subject: str, uri: str) -> None:
    request = KeyImport(uri=uri, path="/tmp/key.pem", kind=KeyType.ED25519)
    await harness.execute(subject, harness.engine.keys.import_key(subject, request))


async def make(harness: EngineHarness, name: str = "mine", **keys: str) -> DeviceConfig:
    """A configuration of the maker's own, with a quorum of its choice."""
    request = DeviceRequest(
        name=name,
        encryption=EncryptionAlgorithm.AES128_CTR_NO_PAD,
        signing=SigningAlgorithm.ED25519,
        use=(DEV,),
        approve=(MAKER,),
        **keys,  # type: ignore[arg-type]
    )
    return await harness.execute(MAKER, harness.engine.devices.create(MAKER, request))


async def test_who_makes_configurations_does_not_come_by_the_keys_of_others(maker: EngineHarness) -> None:
    before = set(maker.shelf.infos)
    for keys in ({"signing_key": SIGNING}, {"encryption_key": ENCRYPTION}):
        with pytest.raises(PermissionDeniedError, match="not have permission to use local:gateway-"):
            await make(maker, **keys)
    assert [each.author for each in await maker.audit_entries(AuditAction.REFUSED)] == [MAKER, MAKER]
    assert set(maker.shelf.infos) == before, "no key is made for a configuration that is refused"
    assert (await make(maker)).signing.uri == "local:mine-signing"


async def test_a_key_that_one_may_not_know_of_is_not_there(maker: EngineHarness) -> None:
    await bring(maker, ADMIN, "local:theirs")
    words = set()
    for uri in ("local:theirs", "local:nothing"):
        with pytest.raises(NotFoundError) as refused:
            await make(maker, signing_key=uri)
        words.add(str(refused.value).replace(uri, "*"))
    assert len(words) == 1
    assert [each.message for each in await maker.audit_entries(AuditAction.REFUSED)] == ["Key local:theirs not found."]


async def test_who_updates_keys_may_name_each_of_them(maker: EngineHarness) -> None:
    await maker.add_rule(MAKER, KEY_TYPE, Action.UPDATE)
    assert (await make(maker, signing_key=SIGNING)).signing.uri == SIGNING


async def test_who_updates_every_configuration_of_a_key_may_name_it(maker: EngineHarness) -> None:
    shared = await maker.create_device("shared", signing_key=SIGNING)
    await maker.add_rule(MAKER, device_resource(maker.engine.repository.device(GATEWAY).id), Action.UPDATE)
    with pytest.raises(PermissionDeniedError):
        await make(maker, signing_key=SIGNING)
    assert (await make(maker, "enc", encryption_key=ENCRYPTION)).encryption.uri == ENCRYPTION
    await maker.add_rule(MAKER, device_resource(shared.id), Action.UPDATE)
    assert (await make(maker, signing_key=SIGNING)).signing.uri == SIGNING


async def test_a_key_that_no_configuration_uses_is_named_by_who_brought_it(maker: EngineHarness) -> None:
    await maker.add_rule(MAKER, KEY_TYPE, Action.CREATE)
    await bring(maker, ADMIN, "local:theirs")
    await bring(maker, MAKER, "local:own")
    with pytest.raises(PermissionDeniedError):
        await make(maker, signing_key="local:theirs")
    assert (await make(maker, signing_key="local:own")).signing.uri == "local:own"


async def test_a_configuration_keeps_its_keys_whoever_updates_it(maker: EngineHarness) -> None:
    device = maker.engine.repository.device(GATEWAY)
    await maker.add_rule(MAKER, device_resource(device.id), Action.UPDATE)
    request = DeviceUpdate(config=GATEWAY, link_ttl_seconds=60)
    fresh = await maker.execute(MAKER, maker.engine.devices.update(MAKER, request))
    assert (fresh.version, fresh.key_uris) == (2, device.key_uris)


# ---- keys


async def test_an_imported_key_is_recorded_with_who_brought_it(harness: EngineHarness) -> None:
    request = KeyImport(uri="local:brought", path="/tmp/key.pem", kind=KeyType.ED25519, password="secret words")
    key = await harness.execute(ADMIN, harness.engine.keys.import_key(ADMIN, request))
    assert (key.created_by, key.current.origin) == (ADMIN, "imported")
    with pytest.raises(ConflictError):
        await harness.execute(ADMIN, harness.engine.keys.import_key(ADMIN, request))
    with pytest.raises(PermissionDeniedError):
        await harness.execute(DEV, harness.engine.keys.import_key(DEV, request))
    assert "secret words" not in repr(await harness.audit_entries())
    assert "secret words" not in repr(list(harness.engine.store.all("keys")))


async def test_a_key_left_by_something_unfinished_is_passed_over(harness: EngineHarness) -> None:
    harness.shelf.respond(
        GenerateKey(uri="local:new-signing", kind=KeyType.ED25519, purpose=KeyPurpose.BOTH, subject="", created_by="")
    )
    assert (await harness.create_device("new")).signing.uri == "local:new-signing-2"


# ---- keys that leave


async def export(harness: EngineHarness, by: str, path: Path, *, confirmed: bool) -> None:
    await harness.execute(by, harness.engine.devices.export_key(by, GATEWAY, path, confirmed=confirmed))


async def test_export_wants_the_right_and_a_confirmation(harness: EngineHarness, tmp_path: Path) -> None:
    path = tmp_path / "key"
    for by in (DEV, OWNER):
        with pytest.raises(PermissionDeniedError):
            await export(harness, by, path, confirmed=True)
    with pytest.raises(ConfirmationRequiredError):
        await export(harness, ADMIN, path, confirmed=False)
    assert not path.exists()
    assert await harness.audit_entries(AuditAction.EXPORTED) == []
    await export(harness, ADMIN, path, confirmed=True)
    assert path.read_bytes() == harness.shelf.symmetric[ENCRYPTION, 1]


async def test_an_export_is_audited_before_the_key_leaves(harness: EngineHarness, tmp_path: Path) -> None:
    ask = harness.bus.request
    seen: list[bool] = []

    async def looking(question: object) -> object:
        if isinstance(question, ExportKey):
            changes = [each["change"] for each in harness.engine.store.pending_audit()]
            seen.append("EXPORTED" in changes)
        return await ask(question)  # type: ignore[arg-type]

    harness.bus.request = looking  # type: ignore[assignment, method-assign]
    await export(harness, ADMIN, tmp_path / "key", confirmed=True)
    assert seen == [True]
    entry = (await harness.audit_entries(AuditAction.EXPORTED))[0]
    assert (entry.author, entry.resource) == (ADMIN, device_resource(harness.engine.repository.device(GATEWAY).id))
    assert ENCRYPTION in entry.message
    assert harness.shelf.symmetric[ENCRYPTION, 1].hex() not in repr(entry)


# ---- looking


async def test_one_sees_the_configurations_one_has_to_do_with(harness: EngineHarness) -> None:
    await harness.create_device("secret", use=(OWNER,), approve=("USER:second", ADMIN))
    assert [each.name for each in harness.engine.devices.list_configs(DEV)] == [GATEWAY]
    assert [each.name for each in harness.engine.devices.list_configs(ADMIN)] == [GATEWAY, "secret"]
    with pytest.raises(NotFoundError):
        harness.engine.devices.get(DEV, "secret")


async def test_certificates_are_those_of_the_keys_in_use(harness: EngineHarness) -> None:
    await rotate(harness, SIGNING)
    [(name, pem)] = harness.engine.devices.certificates(DEV, GATEWAY)
    assert name == f"{SIGNING} v2"
    assert pem == harness.shelf.infos[SIGNING].current.certificate


async def test_a_certificate_that_ends_soon_is_told_of_until_its_key_is_rotated(harness: EngineHarness) -> None:
    ends = harness.shelf.infos[SIGNING].current.certificate_expires_at
    assert ends is not None
    now = harness.clock.now
    warnings = harness.engine.keys.warnings
    assert warnings(ADMIN, now()) == ()
    assert warnings(ADMIN, ends - timedelta(days=30, microseconds=-1)) != ()
    harness.clock.move_to(ends - timedelta(days=30))
    assert len(warnings(ADMIN, now())) == 1
    assert SIGNING in warnings(ADMIN, now())[0]
    await rotate(harness, SIGNING)
    assert warnings(ADMIN, now()) == ()


async def test_that_a_certificate_ends_is_told_to_those_who_may_know_its_key(harness: EngineHarness) -> None:
    lister, stranger = "USER:lister", "USER:stranger"
    for each in (lister, stranger):
        await harness.add_subject(each)
    await harness.add_rule(lister, "RESOURCE_TYPE:KEY", Action.VIEW)
    ends = harness.shelf.infos[SIGNING].current.certificate_expires_at
    assert ends is not None
    told = {each: len(harness.engine.keys.warnings(each, ends)) for each in (ADMIN, DEV, OWNER, lister, stranger)}
    assert told == {ADMIN: 1, DEV: 1, OWNER: 1, lister: 1, stranger: 0}


# ---- odd text


async def test_text_that_is_no_unicode_is_refused_wherever_it_is_said(harness: EngineHarness) -> None:
    odd = "odd \udcff"
    task = await harness.package()
    engine = harness.engine
    for act in (
        lambda: harness.decide(task, OWNER, Verdict.REJECTED, odd),
        lambda: harness.execute(DEV, engine.decisions.withdraw(DEV, task.id, odd)),
        lambda: harness.execute(ADMIN, engine.access.add_subject(ADMIN, "USER:new", odd)),
        lambda: harness.create_device("new", description=odd),
        lambda: update(harness, description=odd),
    ):
        with pytest.raises(SealyardError):
            await act()
    assert (await harness.approve(task)).approvals[0].by == OWNER
    entries = await harness.audit_entries()
    assert [each.seq for each in entries] == list(range(len(entries)))
