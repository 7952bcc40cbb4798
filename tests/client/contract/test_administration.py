"""Test administration with both clients: in this process and over HTTP."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_csr

from sealyard.audit.segment_files import read_notes
from sealyard.model.access import Action, Role, roles_for
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.credentials import IssuerAccount, TokenRequest
from sealyard.model.device_configs import KeyRole
from sealyard.model.errors import (
    ConfirmationRequiredError,
    ConflictError,
    InvalidInputError,
    InvalidKeyError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from sealyard.model.policy import Policy
from sealyard.model.requests import (
    DeviceRequest,
    DeviceUpdate,
    EncryptionKeyRequest,
    KeyImport,
    PackageRequest,
    SigningKeyRequest,
    SigningRequest,
)
from sealyard.model.tasks import TaskStatus, Verdict
from sealyard.model.webhooks import WebhookEvent, WebhookRequest
from tests.support.authority import Authority, encode_chain
from tests.support.client_kinds import ADMIN, AUDITOR, DEV, GATEWAY, OWNER, ClientHarness, ClientKind, ContractSubjects
from tests.support.key_files import certificate_for, private_key, write_pem
from tests.support.limits import TIMEOUT
from tests.support.proof_verifier import open_checkpoint, verify_consistency_proof, verify_inclusion_proof

DOOR = DeviceRequest(
    name="door",
    encryption_keys=(
        EncryptionKeyRequest(
            algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, name="content", description="new devices"
        ),
        EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES128_CTR_NO_PAD, name="legacy"),
    ),
    signing_keys=(
        SigningKeyRequest(algorithm=SigningAlgorithm.ED25519, name="release"),
        SigningKeyRequest(algorithm=SigningAlgorithm.ED25519, name="shared", uri="local:gateway-signing"),
    ),
    use=(DEV,),
    approve=(OWNER, ADMIN),
)


def test_workspace_info_names_subject_and_roles(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        infos = [await each.workspace() for each in await subjects.all_clients()]
        assert [each.subject for each in infos] == [ADMIN, DEV, OWNER]
        assert {each.name for each in infos} == {"factory"}
        assert [roles_for(each.rights) for each in infos] == [
            (Role.PRODUCT_OWNER, Role.ADMINISTRATOR),
            (Role.DEVELOPER,),
            (Role.PRODUCT_OWNER,),
        ]

    shared_harness.run(test)


def test_device_is_created_updated_and_read(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, _ = await subjects.all_clients()
        request = DeviceRequest(
            name="door",
            encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES128_CTR_NO_PAD),),
            signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ECC_NIST_P256),),
            use=("dev",),
            approve=(OWNER,),
            description="a door",
            link_ttl_seconds=60,
            retention_seconds=120,
            purpose=KeyPurpose.PACKAGE,
        )
        created = await admin.create_device(request)
        assert (created.version, created.description, created.link_ttl_seconds, created.retention_seconds) == (
            1,
            "a door",
            60,
            120,
        )
        assert created.encryption.uri == "local:door-encryption"
        with pytest.raises(ConflictError):
            await admin.create_device(request)
        updated = await admin.update_device(DeviceUpdate(config="door", description="", approvals_required=1))
        assert (updated.version, updated.description, updated.link_ttl_seconds) == (2, "", 60)
        assert await dev.device("door") == updated
        assert await dev.device(created.id, 1) == created
        assert {each.name for each in await dev.devices()} == {GATEWAY, "door"}
        (certificate,) = await dev.device_certificates("door")
        assert certificate.label == "local:door-signing v1"
        assert "BEGIN CERTIFICATE" in certificate.certificate
        with pytest.raises(NotFoundError):
            await dev.device("window")
        with pytest.raises(PermissionDeniedError):
            await dev.create_device(request)
        with pytest.raises(UsageError):
            await admin.create_device(msgspec.structs.replace(request, name="other", approvals_required=0))

    harness.run(test)


def test_device_keeps_all_keys_with_their_names(harness: ClientHarness, tmp_path: Path) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, _ = await subjects.all_clients()
        created = await admin.create_device(DOOR)
        assert await dev.device("door") == created
        assert [(key.name, key.description, key.algorithm, key.uri) for key in created.keys] == [
            ("content", "new devices", EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, "local:door-encryption"),
            ("legacy", "", EncryptionAlgorithm.AES128_CTR_NO_PAD, "local:door-encryption-2"),
            ("release", "", SigningAlgorithm.ED25519, "local:door-signing"),
            ("shared", "", SigningAlgorithm.ED25519, "local:gateway-signing"),
        ]
        await admin.rotate_key("local:door-encryption-2")
        assert [key.version for key in (await dev.device("door")).encryption_keys] == [1, 2]
        assert (await dev.device("door", 1)) == created
        keys = [tmp_path / "first", tmp_path / "second"]
        await admin.export_device_key("door", keys[0], confirmed=True)
        await admin.export_device_key("door", keys[1], encryption_key="legacy", confirmed=True)
        assert [len(path.read_bytes()) for path in keys] == [32, 16]
        with pytest.raises(UsageError, match="no encryption key"):
            await admin.export_device_key("door", tmp_path / "third", encryption_key="other", confirmed=True)

    harness.run(test)


def test_certificates_of_all_versions_are_returned(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, _ = await subjects.all_clients()
        await admin.create_device(DOOR)
        await admin.rotate_key("local:door-signing")
        first_certificates = await dev.device_certificates("door", 1)
        certificates = await dev.device_certificates("door")
        assert [(each.kind, each.name, each.label, each.algorithm) for each in certificates] == [
            (KeyRole.SIGNING, "release", "local:door-signing v2", "ED25519"),
            (KeyRole.SIGNING, "shared", "local:gateway-signing v1", "ED25519"),
        ]
        assert first_certificates[0].label == "local:door-signing v1"
        assert first_certificates[0].certificate != certificates[0].certificate
        assert first_certificates[1] == certificates[1]
        with pytest.raises(NotFoundError):
            await dev.device_certificates("door", 3)

    harness.run(test)


def test_viewer_may_view_but_not_use_device(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, _ = await subjects.all_clients()
        created = await admin.create_device(msgspec.structs.replace(DOOR, view=(DEV,), use=()))
        assert await dev.device("door") == created
        with pytest.raises(PermissionDeniedError):
            await dev.create_signing(SigningRequest(config="door", message=b"message"))

    harness.run(test)


def test_keys_are_imported_rotated_and_exported(harness: ClientHarness, tmp_path: Path) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, _ = await subjects.all_clients()
        raw, exported = tmp_path / "raw", tmp_path / "exported"
        raw.write_bytes(bytes(range(32)))
        key = await admin.import_key(KeyImport(uri="local:bought", path=str(raw), kind=KeyType.AES_256))
        assert (key.kind, key.current.origin, key.created_by) == (KeyType.AES_256, "imported", ADMIN)
        assert key in await admin.keys()
        await admin.create_device(
            DeviceRequest(
                name="bought",
                encryption_keys=(
                    EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_ECB_ZERO_BYTE_PAD, uri="local:bought"),
                ),
                signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519),),
                use=(DEV,),
                approve=(OWNER,),
            )
        )
        with pytest.raises(ConfirmationRequiredError):
            await admin.export_device_key("bought", exported)
        with pytest.raises(PermissionDeniedError):
            await dev.export_device_key("bought", exported, confirmed=True)
        assert not exported.exists()
        assert await admin.export_device_key("bought", exported, confirmed=True) == exported
        assert exported.read_bytes() == bytes(range(32))
        assert exported.stat().st_mode & 0o777 == 0o600
        with pytest.raises(InvalidInputError, match="Cannot create"):
            await admin.export_device_key("bought", exported, confirmed=True)
        assert (await admin.rotate_key("local:gateway-signing")).current.version == 2
        assert (await dev.device(GATEWAY)).version == 2
        with pytest.raises(InvalidKeyError):
            await admin.import_key(KeyImport(uri="local:other", path=str(raw), kind=KeyType.ED25519))
        with pytest.raises(InvalidInputError, match="Cannot read the file"):
            await admin.import_key(KeyImport(uri="local:o", path=str(tmp_path / "no"), kind=KeyType.ED25519))

    harness.run(test)


def test_certificate_is_renewed_for_new_tasks(harness: ClientHarness, tmp_path: Path) -> None:
    key = private_key(KeyType.ED25519)
    path = write_pem(tmp_path / "key", key)
    renewed = tmp_path / "renewed"
    certificate = certificate_for(key, days=400, start=datetime.now(UTC)).public_bytes(Encoding.PEM)
    renewed.write_bytes(certificate + path.read_bytes())

    async def test(subjects: ContractSubjects) -> None:
        admin, dev, owner = await subjects.all_clients()
        old = (await admin.import_key(KeyImport(uri="local:bought", path=str(path), kind=KeyType.ED25519))).current
        await admin.create_device(
            DeviceRequest(
                name="bought",
                encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),),
                signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519, uri="local:bought"),),
                use=(DEV,),
                approve=(OWNER,),
            )
        )
        request = SigningRequest(config="bought", message=b"message")
        earlier_task = await dev.create_signing(request)
        csr = load_pem_x509_csr((await admin.create_certificate_request("local:bought")).encode())
        assert (csr.is_signature_valid, csr.public_key()) == (True, key.public_key())

        info = await admin.import_certificate("local:bought", renewed)
        assert info.versions[0] == old
        assert (info.current.origin, info.current.certificate) == ("renewed", certificate.decode())
        assert [each.certificate for each in await dev.device_certificates("bought")] == [certificate.decode()]
        assert [each.certificate for each in await dev.device_certificates("bought", 1)] == [old.certificate]
        later_task = await dev.create_signing(request)
        for task, expected in ((earlier_task, old.certificate), (later_task, certificate.decode())):
            await owner.decide(task.id, Verdict.APPROVED)
            done = await dev.wait(task.id, within=TIMEOUT)
            assert done.status is TaskStatus.DONE
            assert await dev.certificate(task.id) == expected

        for client in (dev, owner):
            with pytest.raises(PermissionDeniedError):
                await client.import_certificate("local:bought", renewed)
            with pytest.raises(PermissionDeniedError):
                await client.create_certificate_request("local:bought")
        with pytest.raises(ConflictError, match="already has this certificate"):
            await admin.import_certificate("local:bought", renewed)
        with pytest.raises(InvalidKeyError, match="a different key"):
            await admin.import_certificate("local:gateway-signing", renewed)
        with pytest.raises(InvalidInputError, match="Cannot read the file"):
            await admin.import_certificate("local:bought", tmp_path / "no")
        with pytest.raises(InvalidKeyError, match="symmetric"):
            await admin.create_certificate_request("local:bought-encryption")

    harness.run(test)


def test_chain_is_shown_with_the_configuration(harness: ClientHarness, tmp_path: Path) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, _ = await subjects.all_clients()
        uri = (await dev.device(GATEWAY)).signing.uri
        request = load_pem_x509_csr((await admin.create_certificate_request(uri)).encode())
        now = datetime.now(UTC)
        root = Authority("root", start=now)
        issuer = Authority("issuer", root, start=now)
        leaf = issuer.issue(request.public_key(), start=now)
        path = tmp_path / "chain"
        path.write_bytes(encode_chain(root.certificate, leaf))
        with pytest.raises(InvalidKeyError, match="The chain has a gap"):
            await admin.import_certificate(uri, path)
        path.write_bytes(encode_chain(root.certificate, leaf, issuer.certificate))
        version = (await admin.import_certificate(uri, path)).current
        assert [each.subject for each in version.issuer_certificates] == ["CN=issuer"]
        device = await dev.device(GATEWAY)
        chain = device.find_chain(device.signing)
        assert chain is not None
        assert [(each.subject, each.issuer) for each in chain.certificates] == [
            ("CN=signer", "CN=issuer"),
            ("CN=issuer", "CN=root"),
        ]
        assert [each.find_chain(each.signing) for each in await dev.devices()] == [chain]
        (certificate,) = await dev.device_certificates(GATEWAY)
        assert certificate.pem.encode() == encode_chain(leaf, issuer.certificate)

    harness.run(test)


def test_expiring_certificate_of_imported_key_is_shown_to_approvers(harness: ClientHarness, tmp_path: Path) -> None:
    key = private_key(KeyType.ED25519)
    certificate = certificate_for(key, days=9, start=datetime.now(UTC) - timedelta(days=1))
    path = write_pem(tmp_path / "key", key)
    path.write_bytes(path.read_bytes() + certificate.public_bytes(Encoding.PEM))
    warning = (
        "The certificate of local:bought version 1 expires on"
        f" {certificate.not_valid_after_utc:%Y-%m-%d} UTC. Import a renewed certificate."
    )

    async def test(subjects: ContractSubjects) -> None:
        admin, dev, owner = await subjects.all_clients()
        imported = await admin.import_key(KeyImport(uri="local:bought", path=str(path), kind=KeyType.ED25519))
        assert imported.current.certificate == certificate.public_bytes(Encoding.PEM).decode()
        request = DeviceRequest(
            name="bought",
            encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),),
            signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519, uri="local:bought"),),
            use=(DEV,),
            approve=(OWNER,),
        )
        assert warning in (await admin.create_device(request)).warnings
        assert warning in (await dev.device("bought")).warnings
        assert warning in (await admin.workspace()).warnings
        firmware = await dev.upload(subjects.create_file())
        task = await dev.create_package(PackageRequest(config="bought", firmware=(firmware,)))
        assert task.warnings[0] == warning
        assert (await owner.review(task.id)).task.warnings[0] == warning
        assert (await owner.decide(task.id, Verdict.APPROVED)).warnings[0] == warning

    harness.run(test)


def test_subjects_rules_and_policy_are_editable(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, _ = await subjects.all_clients()
        added = await admin.add_subject("GROUP:owners", "Owners of products")
        assert (added.id, added.display_name) == ("GROUP:owners", "Owners of products")
        member = await admin.add_member("GROUP:owners", OWNER)
        access = await admin.access()
        assert added in access.subjects
        assert member in access.memberships
        await admin.remove_member("GROUP:owners", OWNER)
        rule = await admin.add_rule("GROUP:owners", "RESOURCE_TYPE:KEY", Action.VIEW)
        assert rule in (await admin.access()).rules
        await admin.remove_rule(rule.id)
        assert rule not in (await admin.access()).rules
        approve_rules = [each for each in (await admin.access()).rules if each.action is Action.APPROVE]
        first, second = [each for each in approve_rules if each.subject in (ADMIN, OWNER)][:2]
        await admin.remove_rule(first.id)
        with pytest.raises(ConfirmationRequiredError):
            await admin.remove_rule(second.id)
        await admin.remove_rule(second.id, confirmed=True)
        permanent = next(each for each in (await admin.access()).rules if each.permanent)
        with pytest.raises(PermissionDeniedError):
            await admin.remove_rule(permanent.id, confirmed=True)
        with pytest.raises(PermissionDeniedError):
            await dev.access()
        policy = Policy(requires_approval=(), approval_timeout=60)
        assert await admin.set_policy(policy) == policy
        assert await dev.policy() == policy

    harness.run(test)


def test_every_subject_reads_display_names(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, _ = await subjects.all_clients()
        before = await dev.subject_names()
        await admin.add_subject("USER:anna", "Anna Approver")
        await admin.add_subject("GROUP:unnamed")
        names = await dev.subject_names()
        assert names == {**before, "USER:anna": "Anna Approver"}
        assert await admin.subject_names() == names
        with pytest.raises(PermissionDeniedError):
            await dev.access()

    harness.run(test)


def test_audit_entry_contains_old_and_new_values(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin = await subjects.client_for(ADMIN)
        await admin.set_policy(Policy(approval_timeout=3600))
        await admin.set_policy(Policy(approval_timeout=7200))
        entry = (await admin.audit(AuditFilter(resource_type="POLICY"), limit=1)).entries[0]
        assert [(change.path, change.old, change.new) for change in entry.changed_fields] == [
            ("approvalTimeout", 3600, 7200)
        ]
        creation = (await admin.audit(AuditFilter(change=AuditAction.CREATED), limit=1)).entries[0]
        assert creation.changed_fields == ()

    shared_harness.run(test)


def test_audit_log_is_paged_and_exported(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin = await subjects.client_for(ADMIN)
        auditor = await subjects.client_for(AUDITOR)
        for number in range(5):
            await admin.add_subject(f"USER:extra-{number}")
        first = await auditor.audit(AuditFilter(), limit=3)
        assert first.next is not None
        second = await auditor.audit(AuditFilter(), below=first.next, limit=3)
        sequence = [each.seq for each in (*first.entries, *second.entries)]
        assert sequence == list(range(sequence[0], sequence[0] - 6, -1))
        filters = AuditFilter(resource_type="SUBJECT", author=ADMIN, change=AuditAction.CREATED, text="extra-3")
        assert [each.resource for each in (await auditor.audit(filters)).entries] == ["SUBJECT:USER:extra-3"]
        since = first.entries[0].timestamp
        assert (await auditor.audit(AuditFilter(since=since))).entries[0] == first.entries[0]
        assert (await auditor.audit(AuditFilter(), below=0)).entries == ()
        reports: list[tuple[int, int]] = []
        report = await auditor.verify_audit(progress=lambda done, total: reports.append((done, total)))
        assert report.size > sequence[0]
        assert report.external_checkpoint_size is None
        *_, note = read_notes(subjects.folder / "workspace" / "audit")
        assert (await auditor.verify_audit(checkpoint=note)).external_checkpoint_size == int(note.splitlines()[1])
        assert reports[-1][0] == reports[-1][1]
        text = "".join([each async for each in auditor.export_audit("jsonl")])
        assert [json.loads(line)["seq"] for line in text.splitlines()][: sequence[0]] == list(range(sequence[0]))
        assert "".join([each async for each in auditor.export_audit("csv")]).startswith('"seq"')
        selected = "".join([each async for each in auditor.export_audit("jsonl", filters)])
        assert [json.loads(line)["resource"] for line in selected.splitlines()] == ["SUBJECT:USER:extra-3"]
        with pytest.raises(UsageError):
            _ = [each async for each in auditor.export_audit("pdf")]
        with pytest.raises(PermissionDeniedError):
            await (await subjects.client_for(DEV)).verify_audit()

    harness.run(test)


def test_audit_proofs_convince_an_independent_verifier(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        auditor = await subjects.client_for(AUDITOR)
        key = (await auditor.audit_key()).encode()
        seq = (await auditor.verify_audit()).checkpointed_size - 1
        (entry,) = (await auditor.audit(AuditFilter(), below=seq + 1, limit=1)).entries
        stored_entry = verify_inclusion_proof(await auditor.prove_audit_entry(seq), key)
        assert json.loads(stored_entry) == msgspec.to_builtins(entry)
        *_, old_note, _ = read_notes(subjects.folder / "workspace" / "audit")
        old_size, _ = open_checkpoint(old_note, key)
        verify_consistency_proof(await auditor.prove_audit_consistency(old_size), old_note, key)
        verify_consistency_proof(await auditor.prove_audit_consistency(old_size, old_size), old_note, key)
        for refused_call in (
            auditor.prove_audit_entry(1_000_000),
            auditor.prove_audit_consistency(1, 1_000_000),
        ):
            with pytest.raises(NotFoundError):
                await refused_call
        for size in (0, 1_000_000):
            with pytest.raises(UsageError):
                await auditor.prove_audit_consistency(size)
        dev = await subjects.client_for(DEV)
        for denied_call in (dev.prove_audit_entry(0), dev.prove_audit_consistency(1), dev.audit_key()):
            with pytest.raises(PermissionDeniedError):
                await denied_call

    shared_harness.run(test)


def test_unlink_removes_issuer_account(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, _ = await subjects.all_clients()
        account = IssuerAccount(issuer="https://issuer.example", sub="a1")
        await subjects.engine.sign_in(OWNER, (), account)
        with pytest.raises(PermissionDeniedError):
            await dev.unlink_subject(OWNER)
        await admin.unlink_subject(OWNER)
        with pytest.raises(NotFoundError):
            await admin.unlink_subject(OWNER)
        await subjects.engine.sign_in(AUDITOR, (), account)

    shared_harness.run(test)


def test_tokens_are_created_listed_and_revoked(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, _ = await subjects.all_clients()
        issued = await dev.create_token(TokenRequest(name="laptop", seconds=3600))
        assert issued.token.subject == DEV
        assert issued.secret.startswith("sy_")
        assert issued.token in await dev.tokens()
        await admin.revoke_token(issued.token.id)
        revoked = next(each for each in await dev.tokens() if each.id == issued.token.id)
        assert revoked.revoked_at is not None
        with pytest.raises(PermissionDeniedError):
            await dev.create_token(TokenRequest(name="another's", subject=OWNER))

    shared_harness.run(test)


def test_authenticator_is_enrolled_and_reset(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, _, owner = await subjects.all_clients()
        assert not (await owner.one_time_password()).enrolled
        enrollment = await owner.enroll_otp()
        assert enrollment.uri.startswith("otpauth://totp/")
        await owner.confirm_one_time_password(_current_code(enrollment.secret, subjects))
        assert (await owner.one_time_password()).enrolled
        await admin.reset_one_time_password(OWNER)
        assert not (await owner.one_time_password()).enrolled

    harness.run(test)


def _current_code(secret: str, subjects: ContractSubjects) -> str:
    """Return the current code as in RFC 6238, with 30 seconds, 6 digits and SHA-1."""
    padded = secret + "=" * (-len(secret) % 8)
    counter = int(subjects.clock.now().timestamp()) // 30
    mac = hmac.digest(base64.b32decode(padded), struct.pack(">Q", counter), "sha1")
    start = mac[-1] & 15
    return f"{(struct.unpack('>I', mac[start : start + 4])[0] & 0x7FFFFFFF) % 1_000_000:06d}"


def test_webhooks_are_added_and_removed(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, _ = await subjects.all_clients()
        request = WebhookRequest(url="https://192.0.2.7/hook", events=(WebhookEvent.TASK_DONE,))
        created = await admin.add_webhook(request)
        assert created.secret.startswith("whsec_")
        assert [(each.id, each.url, each.events) for each in await admin.webhooks()] == [
            (created.webhook.id, request.url, request.events)
        ]
        assert await admin.dead_letters(created.webhook.id) == ()
        with pytest.raises(NotFoundError):
            await admin.redeliver("no-such-letter")
        with pytest.raises(PermissionDeniedError):
            await dev.add_webhook(request)
        await admin.remove_webhook(created.webhook.id)
        assert await admin.webhooks() == ()

    shared_harness.run(test)


def test_client_works_from_any_event_loop(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        dev = await subjects.client_for(DEV)

        def run_in_new_loop() -> str:
            async def load_subject() -> str:
                return (await dev.workspace()).subject

            return asyncio.run(load_subject())

        assert await asyncio.to_thread(run_in_new_loop) == DEV
        assert (await dev.workspace()).subject == DEV

    shared_harness.run(test)


def test_trust_note_depends_on_client_kind(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        note = (await (await subjects.client_for(DEV)).workspace()).trust_note
        assert note.startswith("on a server" if shared_harness.way is ClientKind.SERVER else "embedded")

    shared_harness.run(test)


def test_identities_are_all_users_only_on_this_machine(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        _, dev, _ = await subjects.all_clients()
        is_local = shared_harness.way is ClientKind.EMBEDDED
        assert await dev.identities() == ((ADMIN, AUDITOR, DEV, OWNER) if is_local else (DEV,))

    shared_harness.run(test)
