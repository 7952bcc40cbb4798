"""Hints keep their code and arguments on the way to a client."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from sealyard.model.access import Action
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.credentials import TokenRequest
from sealyard.model.errors import SealyardError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.requests import DeviceRequest, EncryptionKeyRequest, SigningKeyRequest
from sealyard.model.tasks import Verdict
from tests.support.client_kinds import DEV, GATEWAY, ClientHarness, ContractSubjects
from tests.support.limits import TIMEOUT

Request = Callable[[ContractSubjects], Coroutine[Any, Any, object]]
NEW = "USER:new"


async def show_unknown_task(subjects: ContractSubjects) -> None:
    await (await subjects.client_for(DEV)).task("unknown")


async def show_unknown_device(subjects: ContractSubjects) -> None:
    await (await subjects.client_for(DEV)).device("unknown")


async def remove_unknown_rule(subjects: ContractSubjects) -> None:
    admin, _, _ = await subjects.all_clients()
    await admin.remove_rule("unknown")


async def allow_self_approval(subjects: ContractSubjects) -> None:
    admin, _, _ = await subjects.all_clients()
    policy = await admin.policy()
    await admin.set_policy(msgspec.structs.replace(policy, allow_self_approval=True))


async def add_rule_without_permission(subjects: ContractSubjects) -> None:
    await (await subjects.client_for(DEV)).add_rule(DEV, "RESOURCE_TYPE:KEY", Action.VIEW)


async def create_token_for_unknown_subject(subjects: ContractSubjects) -> None:
    admin, _, _ = await subjects.all_clients()
    await admin.create_token(TokenRequest(name="ci", subject=NEW))


async def create_device_for_unknown_subject(subjects: ContractSubjects) -> None:
    admin, _, _ = await subjects.all_clients()
    request = DeviceRequest(
        name="door",
        encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),),
        signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519),),
        use=(NEW,),
    )
    await admin.create_device(request)


async def revoke_unknown_token(subjects: ContractSubjects) -> None:
    admin, _, _ = await subjects.all_clients()
    await admin.revoke_token("unknown")


async def remove_unknown_target(subjects: ContractSubjects) -> None:
    dev = await subjects.client_for(DEV)
    await dev.remove_notification_target("unknown")


async def retry_unknown_notification(subjects: ContractSubjects) -> None:
    dev = await subjects.client_for(DEV)
    await dev.retry_notification("unknown")


async def remove_unknown_webhook(subjects: ContractSubjects) -> None:
    admin, _, _ = await subjects.all_clients()
    await admin.remove_webhook("unknown")


async def export_key_without_confirmation(subjects: ContractSubjects) -> None:
    admin, _, _ = await subjects.all_clients()
    await admin.export_device_key(GATEWAY, subjects.folder / "key.pem", confirmed=False)


@pytest.mark.parametrize(
    ("request_something", "hint"),
    [
        (show_unknown_task, Hint.of(HintCode.LIST_TASKS)),
        (show_unknown_device, Hint.of(HintCode.LIST_DEVICES)),
        (remove_unknown_rule, Hint.of(HintCode.LIST_RULES)),
        (allow_self_approval, Hint.of(HintCode.START_DEMO)),
        (add_rule_without_permission, Hint.of(HintCode.ASK_FOR_PERMISSION)),
        (create_token_for_unknown_subject, Hint.of(HintCode.ADD_SUBJECT, subject=NEW)),
        (create_device_for_unknown_subject, Hint.of(HintCode.ADD_SUBJECT, subject=NEW)),
        (revoke_unknown_token, Hint.of(HintCode.LIST_TOKENS)),
        (remove_unknown_webhook, Hint.of(HintCode.LIST_WEBHOOKS)),
        (remove_unknown_target, Hint.of(HintCode.LIST_NOTIFICATIONS)),
        (retry_unknown_notification, Hint.of(HintCode.LIST_FAILED_NOTIFICATIONS)),
        (export_key_without_confirmation, Hint.of(HintCode.CONFIRM)),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_hint_reaches_the_client_with_its_code(
    shared_harness: ClientHarness, request_something: Request, hint: Hint
) -> None:
    async def test(subjects: ContractSubjects) -> None:
        with pytest.raises(SealyardError) as caught:
            await request_something(subjects)
        assert caught.value.structured_hint == hint

    shared_harness.run(test)


def test_decision_and_renewal_hints_name_the_task(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        task = await subjects.package()
        _, dev, owner = await subjects.all_clients()
        with pytest.raises(SealyardError) as caught:
            await dev.wait(task.id, within=0.05)
        assert caught.value.structured_hint == Hint.of(HintCode.SHOW_TASK, task_id=task.id)
        with pytest.raises(SealyardError) as caught:
            await dev.withdraw(task.id, " ")
        assert caught.value.structured_hint == Hint.of(HintCode.GIVE_REASON)
        await owner.decide(task.id, Verdict.APPROVED)
        done = await dev.wait(task.id, within=TIMEOUT)
        assert done.result is not None
        assert done.result.expires_at is not None
        subjects.clock.added = done.result.expires_at - subjects.clock.now()
        with pytest.raises(SealyardError) as caught:
            _ = [part async for part in dev.download(task.id)]
        assert caught.value.structured_hint == Hint.of(HintCode.RENEW_LINK, task_id=task.id)

    harness.run(test)
