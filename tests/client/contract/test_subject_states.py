"""Test disabling, enabling and removing subjects with both clients: in this process and over HTTP."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sealyard.client.protocol import Client
from sealyard.model.access import Action, SubjectState
from sealyard.model.algorithms import KeyType
from sealyard.model.audit import AuditFilter
from sealyard.model.credentials import TokenRequest
from sealyard.model.errors import (
    AuthenticationError,
    ConfirmationRequiredError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from sealyard.model.notifications import NotificationSettingsRequest, NotificationTargetRequest
from sealyard.model.policy import Policy
from sealyard.model.requests import (
    DeviceRequest,
    DeviceUpdate,
    EncryptionRequest,
    KeyGeneration,
    KeyImport,
    KeyRegistration,
    PackageRequest,
    SigningRequest,
    TaskFilter,
)
from sealyard.model.tasks import InputFile, TaskStatus, Verdict
from sealyard.model.webhooks import WebhookRequest
from tests.support.client_kinds import ADMIN, DEV, GATEWAY, OWNER, ClientHarness, ContractSubjects

REFUSAL_CODES = ("unauthenticated", "not-allowed")

UNCHECKED_METHODS = frozenset({"close", "cursor", "events"})
"""Methods that disclose and change nothing; the test reads the events separately."""

STREAMS = frozenset({"download", "export_audit"})


def build_arguments(file: InputFile, key_path: Path) -> Mapping[str, tuple[Any, ...]]:
    """Return valid arguments of the methods of a client, except of those that need only texts."""
    package = PackageRequest(config=GATEWAY, firmware=(file,))
    encryption = EncryptionRequest(config=GATEWAY, file=file)
    signing = SigningRequest(config=GATEWAY, message=b"message")
    return {
        "upload": (key_path,),
        "discard_uploads": ((file,),),
        "create_package": (package,),
        "create_encryption": (encryption,),
        "create_signing": (signing,),
        "check_package": (package,),
        "check_encryption": (encryption,),
        "check_signing": (signing,),
        "import_certificate": ("local:x", key_path),
        "tasks": (TaskFilter(),),
        "decide": ("task", Verdict.APPROVED),
        "withdraw": ("task", "reason"),
        "create_device": (DeviceRequest(name="door", encryption_keys=(), signing_keys=()),),
        "update_device": (DeviceUpdate(config=GATEWAY, description="x"),),
        "export_device_key": (GATEWAY, key_path.with_name("exported")),
        "import_key": (KeyImport(uri="local:x", path=str(key_path), kind=KeyType.AES_128),),
        "register_key": (KeyRegistration(uri="vault:transit/x"),),
        "generate_key": (KeyGeneration(uri="local:made", kind=KeyType.AES_128),),
        "set_subject_state": (OWNER, SubjectState.DISABLED, "reason"),
        "add_member": ("GROUP:x", DEV),
        "remove_member": ("GROUP:x", DEV),
        "add_rule": (DEV, "RESOURCE_TYPE:ACL", Action.CREATE),
        "set_policy": (Policy(),),
        "audit": (AuditFilter(),),
        "prove_audit_entry": (0,),
        "prove_audit_consistency": (1,),
        "export_audit": ("jsonl",),
        "create_token": (TokenRequest(name="x"),),
        "add_notification_target": (NotificationTargetRequest(address="dev@example.org"),),
        "set_notification_settings": (NotificationSettingsRequest(),),
        "add_webhook": (WebhookRequest(url="https://192.0.2.7/hook"),),
    }


async def call(client: Client, name: str, arguments: tuple[Any, ...] | None) -> None:
    """Call a method. ``arguments``: None for a text for each required parameter."""
    if arguments is None:
        parameters = inspect.signature(getattr(Client, name)).parameters.values()
        required = [each for each in parameters if each.default is inspect.Parameter.empty and each.name != "self"]
        arguments = ("unknown",) * len(required)
    result = getattr(client, name)(*arguments)
    if name in STREAMS:
        _ = [item async for item in result]
    else:
        await result


async def listen_until_refused(client: Client, cursor: int) -> str:
    """Read events after ``cursor`` until the stream is refused, and return the code of the error."""
    try:
        async for _ in client.events(cursor):
            pass
    except (AuthenticationError, PermissionDeniedError) as error:
        return error.code
    return ""


def test_subject_leaves_and_returns(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, owner = await subjects.all_clients()
        await admin.add_subject("USER:anna", "Anna Approver")
        await admin.add_subject("GROUP:owners")
        await admin.add_member("GROUP:owners", "USER:anna")
        await admin.add_rule("GROUP:owners", f"DEVICE_CONFIG:{GATEWAY}", Action.APPROVE)
        task = await subjects.package()
        stream = asyncio.create_task(listen_until_refused(dev, await dev.cursor()))
        disabled = await admin.set_subject_state(DEV, SubjectState.DISABLED, "on leave")
        assert (disabled.state, disabled.state_reason, disabled.state_changed_by) == (
            SubjectState.DISABLED,
            "on leave",
            ADMIN,
        )
        assert await stream in REFUSAL_CODES
        for call in (dev.counts, lambda: dev.task(task.id), lambda: dev.withdraw(task.id, "mistake")):
            with pytest.raises((AuthenticationError, PermissionDeniedError)):
                await call()
        assert (await owner.subject_names())[DEV] == "dev (disabled)"
        assert (await owner.review(task.id)).task.warnings[0].startswith("USER:dev no longer has permission")
        await admin.set_subject_state(DEV, SubjectState.ACTIVE, "back")
        assert (await dev.task(task.id)).id == task.id
        with pytest.raises(ConfirmationRequiredError, match="deletes 1 group membership"):
            await admin.set_subject_state("USER:anna", SubjectState.REMOVED, "left")
        await admin.set_subject_state("USER:anna", SubjectState.REMOVED, "left", confirmed=True)
        access = await admin.access()
        assert [(each.id, each.display_name) for each in access.removed] == [("USER:anna", "Anna Approver")]
        assert access.memberships == ()
        assert access.names["USER:anna"] == "Anna Approver (removed)"
        with pytest.raises(ConflictError, match="was removed"):
            await admin.add_subject("USER:anna")
        for subject, error in ((ADMIN, PermissionDeniedError), ("USER:unknown", NotFoundError)):
            with pytest.raises(error):
                await admin.set_subject_state(subject, SubjectState.DISABLED, "left")
        with pytest.raises(UsageError, match="reason is required"):
            await admin.set_subject_state(OWNER, SubjectState.DISABLED)
        with pytest.raises(PermissionDeniedError):
            await dev.set_subject_state(OWNER, SubjectState.DISABLED, "revenge")

    harness.run(test)


def test_given_approval_is_revoked_with_the_approver(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, _, owner = await subjects.all_clients()
        await admin.add_subject("USER:third")
        await admin.add_rule("USER:third", f"DEVICE_CONFIG:{GATEWAY}", Action.APPROVE)
        await admin.update_device(DeviceUpdate(config=GATEWAY, approvals_required=2))
        task = await subjects.package()
        await owner.decide(task.id, Verdict.APPROVED)
        with pytest.raises(ConfirmationRequiredError, match="1 approval of waiting tasks would no longer count"):
            await admin.set_subject_state(OWNER, SubjectState.DISABLED, "left")
        await admin.set_subject_state(OWNER, SubjectState.DISABLED, "left", confirmed=True)
        revoked = (await admin.task(task.id)).revoked_approvals
        assert [(each.decision, each.reason) for each in revoked] == [
            (0, "The approver no longer has permission to approve.")
        ]
        assert (await admin.decide(task.id, Verdict.APPROVED)).status is TaskStatus.WAITING
        await admin.set_subject_state(OWNER, SubjectState.ACTIVE)
        assert (await owner.decide(task.id, Verdict.APPROVED)).status is not TaskStatus.WAITING

    harness.run(test)


def test_disabled_subject_is_allowed_nothing(harness: ClientHarness, tmp_path: Path) -> None:
    key_path = tmp_path / "key"
    key_path.write_bytes(b"x")

    async def test(subjects: ContractSubjects) -> None:
        admin, dev, _ = await subjects.all_clients()
        file = await dev.upload(subjects.create_file())
        cursor = await dev.cursor()
        await admin.set_subject_state(DEV, SubjectState.DISABLED, "left")
        arguments = build_arguments(file, key_path)
        for name in sorted({name for name in dir(Client) if not name.startswith("_")} - UNCHECKED_METHODS):
            with pytest.raises((AuthenticationError, PermissionDeniedError)):
                await call(dev, name, arguments.get(name))
        assert await listen_until_refused(dev, cursor) in REFUSAL_CODES

    harness.run(test)
