"""Tests of the import of renewed certificates: versions of keys and configurations, audit, and refusals."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_csr

from sealyard.crypto.certificates import describe_certificate
from sealyard.engine.state.tables import DEVICES, KEYS
from sealyard.model.access import Action
from sealyard.model.audit import AuditAction
from sealyard.model.errors import ConflictError, InvalidKeyError, NotFoundError, PermissionDeniedError, UsageError
from sealyard.model.key_commands import ImportCertificate
from sealyard.model.keys import KeyInfo
from sealyard.model.requests import CertificateContent
from tests.support.authority import Authority, encode_chain
from tests.support.clock import START
from tests.support.engine_harness import ADMIN, DEV, GATEWAY, OWNER, EngineHarness
from tests.support.key_files import certificate_for

pytestmark = pytest.mark.anyio

ENCRYPTION, SIGNING = "local:gateway-encryption", "local:gateway-signing"
KEY_TYPE = "RESOURCE_TYPE:KEY"


@pytest.fixture
def certificate(harness: EngineHarness, tmp_path: Path) -> Path:
    """Return a file with a renewed certificate of the signing key."""
    path = tmp_path / "renewed.pem"
    renewed = certificate_for(harness.shelf.private[SIGNING, 1], name="renewed", start=START, days=700)
    path.write_bytes(renewed.public_bytes(Encoding.PEM))
    return path


async def import_certificate(harness: EngineHarness, path: Path, *, by: str = ADMIN, uri: str = SIGNING) -> KeyInfo:
    request = CertificateContent(uri=uri, content=path.read_bytes())
    return await harness.execute(by, harness.engine.devices.import_certificate(by, request))


def read_key(harness: EngineHarness) -> KeyInfo:
    key = harness.engine.repository.get(KEYS, SIGNING)
    assert key is not None
    return key


async def test_renewed_certificate_makes_version_of_key_and_configurations(
    harness: EngineHarness, certificate: Path
) -> None:
    await harness.create_device("shared", signing_key=SIGNING)
    await harness.create_device("other")
    old = read_key(harness).current
    key = await import_certificate(harness, certificate)
    assert key == read_key(harness)
    assert key.versions[0] == old
    assert (key.current.version, key.current.origin, key.current.fingerprint) == (2, "renewed", old.fingerprint)
    assert key.current.certificate == certificate.read_text()
    versions = {each.name: (each.version, each.signing.version) for each in harness.engine.repository.list_all(DEVICES)}
    assert versions == {GATEWAY: (2, 2), "shared": (2, 2), "other": (1, 1)}


async def test_configuration_returns_certificate_of_its_version(harness: EngineHarness, certificate: Path) -> None:
    old = read_key(harness).current.certificate
    await import_certificate(harness, certificate)
    devices = harness.engine.devices
    assert [each.certificate for each in devices.certificates(DEV, GATEWAY)] == [certificate.read_text()]
    assert [each.certificate for each in devices.certificates(DEV, GATEWAY, 1)] == [old]


async def test_task_keeps_certificate_that_was_approved(harness: EngineHarness, certificate: Path) -> None:
    old = read_key(harness).current.certificate
    earlier_task = await harness.package()
    await import_certificate(harness, certificate)
    later_task = await harness.package()
    for task, expected in ((earlier_task, old), (later_task, certificate.read_text())):
        await harness.approve(task)
        worker = await harness.wait_for_worker(task)
        assert worker.job.certificate == expected
        assert harness.engine.delivery.certificate(DEV, task.id) == expected


async def test_renewal_is_audited_with_both_certificates(harness: EngineHarness, certificate: Path) -> None:
    old = read_key(harness).current.certificate
    await import_certificate(harness, certificate)
    (entry,) = await harness.audit_entries(AuditAction.UPDATED, f"KEY:{SIGNING}")
    assert (entry.author, entry.message) == (ADMIN, "certificate renewed in version 2")
    assert entry.new_value is not None
    new = {f"certificate.{name}": value for name, value in entry.new_value["certificate"].items()}
    previous = {**new, **{change.path: change.old for change in entry.changed_fields}}
    for recorded, pem in ((new, certificate.read_text()), (previous, old or "")):
        details = describe_certificate(pem)
        assert recorded["certificate.fingerprint"] == details.fingerprint
        assert recorded["certificate.issuer"] == details.issuer
        assert recorded["certificate.serialNumber"] == details.serial_number
        assert recorded["certificate.validFrom"] == f"{details.valid_from:%Y-%m-%dT%H:%M:%SZ}"
        assert recorded["certificate.expiresAt"] == f"{details.expires_at:%Y-%m-%dT%H:%M:%SZ}"
    assert new["certificate.issuer"] == "CN=renewed"


async def test_renewal_ends_the_warning(harness: EngineHarness, certificate: Path) -> None:
    await harness.advance_clock(days=364)
    assert any(SIGNING in warning for warning in harness.engine.devices.get(DEV, GATEWAY).warnings)
    await import_certificate(harness, certificate)
    assert not any(SIGNING in warning for warning in harness.engine.devices.get(DEV, GATEWAY).warnings)


@pytest.mark.parametrize(("start", "words"), [(-10, "expired on"), (5, "is not valid before")])
async def test_invalid_certificate_is_refused(harness: EngineHarness, tmp_path: Path, start: int, words: str) -> None:
    key = harness.shelf.private[SIGNING, 1]
    invalid = certificate_for(key, start=START + timedelta(days=start), days=9)
    (tmp_path / "invalid").write_bytes(invalid.public_bytes(Encoding.DER))
    with pytest.raises(InvalidKeyError, match=words):
        await import_certificate(harness, tmp_path / "invalid")
    assert read_key(harness).current.version == 1


async def test_chain_is_recorded_audited_and_returned(harness: EngineHarness, tmp_path: Path) -> None:
    root = Authority("root", start=START, days=1000)
    issuer = Authority("issuer", root, start=START, days=500)
    leaf = issuer.issue(harness.shelf.private[SIGNING, 1].public_key(), start=START, days=400)
    path = tmp_path / "chain"
    path.write_bytes(encode_chain(root.certificate, issuer.certificate, leaf))
    version = (await import_certificate(harness, path)).current
    assert version.certificate_chain == (encode_chain(leaf).decode(), encode_chain(issuer.certificate).decode())
    (recorded,) = version.issuer_certificates
    assert (recorded.subject, recorded.issuer) == ("CN=issuer", "CN=root")
    assert recorded.expires_at == START.replace(microsecond=0) + timedelta(days=500)
    (entry,) = await harness.audit_entries(AuditAction.UPDATED, f"KEY:{SIGNING}")
    assert entry.new_value is not None
    assert [each["subject"] for each in entry.new_value["issuers"]] == ["CN=issuer"]
    with pytest.raises(ConflictError, match="already has this certificate"):
        await import_certificate(harness, path)
    path.write_bytes(encode_chain(leaf))
    assert (await import_certificate(harness, path)).current.certificate_chain == version.certificate_chain[:1]


async def test_issuer_that_expires_is_named_in_warnings(harness: EngineHarness, tmp_path: Path) -> None:
    issuer = Authority("issuer", Authority("root", start=START), start=START, days=100)
    leaf = issuer.issue(harness.shelf.private[SIGNING, 1].public_key(), start=START, days=400)
    (tmp_path / "chain").write_bytes(encode_chain(leaf, issuer.certificate))
    await import_certificate(harness, tmp_path / "chain")
    task = await harness.package()
    assert not any("issuer" in warning for warning in task.warnings)
    await harness.advance_clock(days=80)
    label = f"The issuer certificate CN=issuer of {SIGNING} version 2"
    warning = f"{label} expires on {START + timedelta(days=100):%Y-%m-%d} UTC. Import a renewed chain."
    assert warning in harness.engine.devices.get(DEV, GATEWAY).warnings
    assert warning in harness.engine.queries.get(DEV, task.id).warnings
    assert warning in (await harness.engine.reviews.review(OWNER, task.id)).task.warnings
    assert warning in harness.engine.keys.warnings(ADMIN, harness.clock.now())


async def test_certificate_of_another_key_is_refused(harness: EngineHarness, tmp_path: Path) -> None:
    foreign = certificate_for(Ed25519PrivateKey.generate())
    (tmp_path / "foreign").write_bytes(foreign.public_bytes(Encoding.PEM))
    key = read_key(harness)
    with pytest.raises(InvalidKeyError, match="a different key"):
        await import_certificate(harness, tmp_path / "foreign")
    assert read_key(harness) == key
    assert harness.engine.repository.device(GATEWAY).version == 1
    assert len(await harness.audit_entries(AuditAction.FAILED)) == 1


async def test_renewal_requires_permission_and_signing_key(harness: EngineHarness, certificate: Path) -> None:
    for subject in (DEV, OWNER):
        with pytest.raises(PermissionDeniedError):
            await import_certificate(harness, certificate, by=subject)
    with pytest.raises(NotFoundError):
        await import_certificate(harness, certificate, uri="local:nothing")
    with pytest.raises(UsageError):
        await import_certificate(harness, certificate, uri="nothing")
    with pytest.raises(InvalidKeyError, match="symmetric"):
        await import_certificate(harness, certificate, uri=ENCRYPTION)
    await harness.add_rule(DEV, KEY_TYPE, Action.UPDATE)
    assert (await import_certificate(harness, certificate, by=DEV)).current.version == 2


async def test_same_certificate_is_a_conflict(harness: EngineHarness, certificate: Path) -> None:
    await import_certificate(harness, certificate)
    with pytest.raises(ConflictError, match="already has this certificate"):
        await import_certificate(harness, certificate)
    assert harness.engine.repository.device(GATEWAY).version == 2


async def test_earlier_certificate_can_be_imported_again(harness: EngineHarness, certificate: Path) -> None:
    earlier = certificate.with_name("earlier")
    earlier.write_text(read_key(harness).current.certificate or "")
    await import_certificate(harness, certificate)
    key = await import_certificate(harness, earlier)
    assert (key.current.version, key.current.certificate) == (3, earlier.read_text())


async def test_import_is_repeated_after_crash_between_worker_and_engine(
    harness: EngineHarness, certificate: Path
) -> None:
    harness.shelf.respond(ImportCertificate(uri=SIGNING, version=1, content=certificate.read_bytes()))
    assert read_key(harness).current.version == 1
    key = await import_certificate(harness, certificate)
    assert [version.version for version in key.versions] == [1, 2]
    assert harness.engine.repository.device(GATEWAY).signing.version == 2


async def test_rotation_during_import_is_a_conflict(harness: EngineHarness, certificate: Path) -> None:
    harness.bus.gate = asyncio.Event()
    rotation = asyncio.ensure_future(harness.execute(ADMIN, harness.engine.devices.rotate_key(ADMIN, SIGNING)))
    await harness.wait_until(lambda: harness.shelf.infos[SIGNING].current.version == 2)
    renewal = asyncio.ensure_future(import_certificate(harness, certificate))
    await harness.wait_until(lambda: harness.shelf.infos[SIGNING].current.version == 3)
    harness.bus.gate.set()
    await rotation
    harness.bus.gate = None
    with pytest.raises(ConflictError, match="changed in the meantime"):
        await renewal
    assert (read_key(harness).current.version, read_key(harness).current.origin) == (2, "generated")
    with pytest.raises(InvalidKeyError, match="a different key"):
        await import_certificate(harness, certificate)


# ---- certificate requests


async def test_certificate_request_is_for_current_version_and_audited(harness: EngineHarness) -> None:
    text = await harness.execute(ADMIN, harness.engine.keys.create_certificate_request(ADMIN, SIGNING))
    request = load_pem_x509_csr(text.encode())
    assert request.is_signature_valid
    assert request.public_key() == harness.shelf.private[SIGNING, 1].public_key()
    (entry,) = await harness.audit_entries(AuditAction.EXPORTED)
    assert (entry.resource, entry.message) == (f"KEY:{SIGNING}", "certificate request for version 1 created")


async def test_certificate_request_requires_permission(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        await harness.execute(DEV, harness.engine.keys.create_certificate_request(DEV, SIGNING))
    with pytest.raises(NotFoundError):
        await harness.execute(ADMIN, harness.engine.keys.create_certificate_request(ADMIN, "local:nothing"))
