"""Tests of disabling, enabling and removing subjects: what ends, what stays, and who is protected."""

from __future__ import annotations

import asyncio

import pytest

from sealyard.engine.access.role_sync import RoleSync
from sealyard.engine.state.tables import ACCESS_TOKENS, ONE_TIME_PASSWORDS
from sealyard.model.access import Action, Subject, SubjectState
from sealyard.model.audit import AuditAction
from sealyard.model.credentials import IssuedToken, IssuerAccount, TokenRequest
from sealyard.model.errors import (
    AuthenticationError,
    ConfirmationRequiredError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from sealyard.model.hints import HintCode
from sealyard.model.requests import AccessControlList
from sealyard.model.tasks import Task, TaskStatus, Verdict
from tests.support.engine_harness import ADMIN, CLIENT, DEV, GATEWAY, OWNER, SECOND, EngineHarness
from tests.support.otp import enroll

pytestmark = pytest.mark.anyio

ACTIVE, DISABLED, REMOVED = SubjectState.ACTIVE, SubjectState.DISABLED, SubjectState.REMOVED
OTHER = "USER:other"
GROUP = "GROUP:owners"
ACCOUNT = IssuerAccount(issuer="https://issuer.example", sub="a1")


async def change(
    harness: EngineHarness, subject: str, state: SubjectState, *, by: str = ADMIN, confirmed: bool = True
) -> Subject:
    use_case = harness.engine.subject_states.change(by, subject, state, "left the company", confirmed=confirmed)
    return await harness.execute(by, use_case)


async def add_administrator(harness: EngineHarness, subject: str = OTHER) -> None:
    await harness.add_subject(subject)
    for resource_type in ("ACL", "SUBJECT"):
        await harness.add_rule(subject, f"RESOURCE_TYPE:{resource_type}", Action.CREATE)


async def create_token(harness: EngineHarness, subject: str) -> IssuedToken:
    request = TokenRequest(name="laptop", subject=subject)
    return await harness.execute(ADMIN, harness.engine.tokens.create(ADMIN, request))


async def waiting_for_two(harness: EngineHarness) -> Task:
    """Return a waiting task that needs two approvals and has the one of owner."""
    await harness.create_device("double", approvals_required=2, approve=(OWNER, SECOND, OTHER))
    task = await harness.package(config="double")
    return await harness.approve(task, OWNER)


def access(harness: EngineHarness) -> AccessControlList:
    return harness.engine.access.access(ADMIN)


# ---- a subject that is not active is refused


@pytest.mark.parametrize("state", [DISABLED, REMOVED])
async def test_inactive_subject_is_refused(harness: EngineHarness, state: SubjectState) -> None:
    task = await harness.package()
    await change(harness, DEV, state)
    for refused_call in (harness.package(), harness.cancel(task)):
        with pytest.raises(PermissionDeniedError, match=r"disabled|removed") as exc_info:
            await refused_call
        assert exc_info.value.structured_hint.code == HintCode.ASK_TO_ENABLE
    assert harness.engine.permissions.permissions_of(DEV) == frozenset()
    entries = await harness.audit_entries(AuditAction.REFUSED)
    assert [each.author for each in entries] == [DEV, DEV]


@pytest.mark.parametrize("state", [DISABLED, REMOVED])
async def test_tokens_of_inactive_subject_are_refused(harness: EngineHarness, state: SubjectState) -> None:
    token = await create_token(harness, CLIENT)
    assert harness.engine.tokens.authenticate(token.secret).subject == CLIENT
    await change(harness, CLIENT, state)
    with pytest.raises(AuthenticationError):
        harness.engine.tokens.authenticate(token.secret)
    await change(harness, CLIENT, ACTIVE)
    if state is DISABLED:
        assert harness.engine.tokens.authenticate(token.secret).subject == CLIENT
        return
    assert harness.engine.repository.get(ACCESS_TOKENS, token.token.id) is None
    with pytest.raises(AuthenticationError):
        harness.engine.tokens.authenticate(token.secret)


@pytest.mark.parametrize("state", [DISABLED, REMOVED])
async def test_sign_in_of_inactive_subject_is_refused(harness: EngineHarness, state: SubjectState) -> None:
    await harness.add_subject("GROUP:devs")
    role_sync: RoleSync = harness.engine.role_sync
    await role_sync.sign_in(DEV, ("devs",), ACCOUNT)
    await change(harness, DEV, state)
    for _ in range(2):
        with pytest.raises(AuthenticationError, match="Invalid access token"):
            await role_sync.sign_in(DEV, ("devs",), ACCOUNT)
    with pytest.raises(PermissionDeniedError, match="now has the name"):
        await role_sync.sign_in("USER:renamed", ("devs",), ACCOUNT)
    messages = [entry.message for entry in await harness.audit_entries(AuditAction.REFUSED)]
    assert [DEV in message for message in messages] == [True, True]
    await change(harness, DEV, ACTIVE)
    await role_sync.sign_in(DEV, ("devs",), ACCOUNT)


@pytest.mark.parametrize("state", [DISABLED, REMOVED])
async def test_download_ends_when_subject_becomes_inactive(harness: EngineHarness, state: SubjectState) -> None:
    task = await harness.done_package(b"x" * (20 << 20))
    chunks = harness.engine.stream(DEV, "TEST", harness.engine.delivery.download(DEV, task.id, 0))
    assert await anext(chunks)
    await change(harness, DEV, state)
    with pytest.raises(PermissionDeniedError):
        [_ async for _ in chunks]


@pytest.mark.parametrize("state", [DISABLED, REMOVED])
async def test_inactive_group_grants_nothing(harness: EngineHarness, state: SubjectState) -> None:
    for subject in (GROUP, "GROUP:all", "USER:new"):
        await harness.add_subject(subject)
    await harness.add_member(GROUP, "USER:new")
    await harness.add_member("GROUP:all", GROUP)
    rules = [await harness.add_rule("GROUP:all", f"DEVICE_CONFIG:{GATEWAY}", Action.USE)]
    rules.append(await harness.add_rule(GROUP, f"DEVICE_CONFIG:{GATEWAY}", Action.EXPORT))
    await harness.package("USER:new")
    await change(harness, GROUP, state)
    assert harness.engine.permissions.permissions_of("USER:new") == frozenset()
    await change(harness, GROUP, ACTIVE)
    remaining = access(harness)
    if state is DISABLED:
        await harness.package("USER:new")
        return
    assert harness.engine.permissions.permissions_of("USER:new") == frozenset()
    assert not any(GROUP in (membership.group, membership.member) for membership in remaining.memberships)
    assert [rule.id for rule in rules if rule in remaining.rules] == [rules[0].id]


# ---- removal


async def test_removal_deletes_rules_and_credentials_and_keeps_the_record(harness: EngineHarness) -> None:
    await harness.add_subject(GROUP)
    await harness.add_member(GROUP, DEV)
    await create_token(harness, DEV)
    await enroll(harness, DEV)
    with pytest.raises(ConfirmationRequiredError) as exc_info:
        await change(harness, DEV, REMOVED, confirmed=False)
    assert exc_info.value.message == (
        "This removes USER:dev, and deletes 1 rule, 1 group membership, 1 access token and"
        " 1 one-time password enrollment."
    )
    removed = await change(harness, DEV, REMOVED)
    assert (removed.state, removed.state_reason, removed.state_changed_by) == (REMOVED, "left the company", ADMIN)
    documents = access(harness)
    assert removed in documents.removed
    assert DEV not in {subject.id for subject in documents.subjects}
    assert not any(rule.subject == DEV for rule in documents.rules)
    assert not documents.memberships
    assert not harness.engine.tokens.tokens_of(DEV)
    assert harness.engine.repository.get(ONE_TIME_PASSWORDS, DEV) is None
    assert harness.engine.access.subject_names()[DEV] == "dev (removed)"
    entry = (await harness.audit_entries(AuditAction.DELETED, f"SUBJECT:{DEV}"))[0]
    assert (entry.author, entry.message) == (ADMIN, "USER:dev removed: left the company")


async def test_enabling_removed_subject_is_explicit_and_restores_nothing(harness: EngineHarness) -> None:
    await change(harness, DEV, REMOVED)
    with pytest.raises(ConflictError, match="was removed") as exc_info:
        await harness.add_subject(DEV)
    assert exc_info.value.structured_hint.code == HintCode.ENABLE_SUBJECT
    with pytest.raises(NotFoundError, match="was removed"):
        await harness.add_rule(DEV, f"DEVICE_CONFIG:{GATEWAY}", Action.USE)
    enabled = await change(harness, DEV, ACTIVE)
    assert enabled.state is ACTIVE
    assert harness.engine.permissions.permissions_of(DEV) == frozenset()
    entry = (await harness.audit_entries(AuditAction.UPDATED, f"SUBJECT:{DEV}"))[-1]
    assert (entry.author, entry.message) == (ADMIN, "USER:dev enabled: left the company")


async def test_disabled_subject_keeps_rules_and_gets_no_new_ones(harness: EngineHarness) -> None:
    rules = access(harness).rules
    await change(harness, DEV, DISABLED, confirmed=False)
    assert access(harness).rules == rules
    for call in (
        lambda: harness.add_rule(DEV, "RESOURCE_TYPE:KEY", Action.VIEW),
        lambda: harness.create_device("other", use=(DEV,)),
        lambda: create_token(harness, DEV),
        lambda: harness.add_subject(DEV),
    ):
        with pytest.raises(ConflictError, match="is disabled"):
            await call()
    await change(harness, DEV, ACTIVE, confirmed=False)
    await harness.package()


async def test_tasks_of_removed_requester_stay_with_a_warning(harness: EngineHarness) -> None:
    task = await harness.package()
    done = await harness.done_package()
    with pytest.raises(ConfirmationRequiredError, match=r"1 requested task would be cancelled instead of executed\."):
        await change(harness, DEV, REMOVED, confirmed=False)
    await change(harness, DEV, REMOVED)
    review = await harness.engine.reviews.review(OWNER, task.id)
    assert review.task.created_by == DEV
    assert review.task.warnings[0] == (
        "USER:dev no longer has permission to use gateway. The task will be cancelled instead of executed."
    )
    assert harness.engine.queries.get(OWNER, done.id).warnings == done.warnings
    await harness.approve(task)
    cancelled = await harness.wait_for_status(task, TaskStatus.CANCELLED)
    assert cancelled.reason == "USER:dev no longer has permission to use gateway."


# ---- given approvals


@pytest.mark.parametrize("state", [DISABLED, REMOVED])
async def test_approval_of_leaver_no_longer_counts(harness: EngineHarness, state: SubjectState) -> None:
    await harness.add_subject(OTHER)
    task = await waiting_for_two(harness)
    with pytest.raises(ConfirmationRequiredError, match="1 approval of waiting tasks would no longer count"):
        await change(harness, OWNER, state, confirmed=False)
    await change(harness, OWNER, state)
    revoked = harness.task(task.id).revocation_of(0)
    assert revoked is not None
    assert revoked.reason == "The approver no longer has permission to approve."
    assert (await harness.approve(task, SECOND)).status is TaskStatus.WAITING
    assert (await harness.approve(task, OTHER)).status is TaskStatus.SCHEDULED
    messages = [entry.message for entry in await harness.audit_entries(AuditAction.UPDATED, f"TASK:{task.id}")]
    assert messages == ["approval by USER:owner no longer counts: no permission to approve"]
    await harness.wait_for_worker(task)


async def test_enabled_approver_approves_again(harness: EngineHarness) -> None:
    await harness.add_subject(OTHER)
    task = await waiting_for_two(harness)
    await change(harness, OWNER, DISABLED)
    await change(harness, OWNER, ACTIVE)
    assert harness.task(task.id).revocation_of(0) is not None
    assert (await harness.approve(task, OWNER)).status is TaskStatus.WAITING
    with pytest.raises(ConflictError, match="already decided"):
        await harness.approve(task, OWNER)
    assert (await harness.approve(task, SECOND)).status is TaskStatus.SCHEDULED


async def test_approval_no_longer_counts_without_the_rule(harness: EngineHarness) -> None:
    await harness.add_subject(OTHER)
    task = await waiting_for_two(harness)
    await harness.remove_rule(OWNER, Action.APPROVE, confirmed=True)
    assert harness.task(task.id).revocation_of(0) is not None
    assert (await harness.approve(task, SECOND)).status is TaskStatus.WAITING


@pytest.mark.parametrize("state", [DISABLED, REMOVED])
async def test_scheduled_task_of_leaving_approver_is_cancelled(harness: EngineHarness, state: SubjectState) -> None:
    await harness.reopen(work=False)
    task = await harness.approved_package()
    assert task.status is TaskStatus.SCHEDULED
    await change(harness, OWNER, state)
    await harness.reopen()
    cancelled = await harness.wait_for_status(task, TaskStatus.CANCELLED)
    assert cancelled.reason == "Too few of the approvers still have permission to approve."


async def test_broken_quorum_requires_confirmation_and_marks_tasks(harness: EngineHarness) -> None:
    task = await harness.package()
    await change(harness, SECOND, DISABLED, confirmed=False)
    with pytest.raises(ConfirmationRequiredError, match=r"too few approvers for gateway\."):
        await change(harness, OWNER, DISABLED, confirmed=False)
    assert not harness.task(task.id).warning
    await change(harness, OWNER, DISABLED)
    assert harness.task(task.id).warning
    await change(harness, SECOND, ACTIVE, confirmed=False)
    assert not harness.task(task.id).warning


# ---- who is protected


@pytest.mark.parametrize("state", [DISABLED, REMOVED])
async def test_last_administrator_cannot_leave(harness: EngineHarness, state: SubjectState) -> None:
    await harness.add_subject(OTHER)
    await harness.add_rule(OTHER, "RESOURCE_TYPE:SUBJECT", Action.CREATE)
    with pytest.raises(ConflictError, match="without an administrator") as exc_info:
        await change(harness, ADMIN, state, by=OTHER)
    assert exc_info.value.structured_hint.code == HintCode.ADD_ADMINISTRATOR
    rule = await harness.add_rule(OTHER, "RESOURCE_TYPE:ACL", Action.CREATE)
    await change(harness, ADMIN, state, by=OTHER)
    await harness.add_rule_as(OTHER, OTHER, "RESOURCE_TYPE:ACL", Action.DELETE)
    with pytest.raises(ConflictError, match="without an administrator"):
        await harness.execute(OTHER, harness.engine.access.remove_rule(OTHER, rule.id, confirmed=True))


async def test_administrator_by_role_of_issuer_does_not_count(harness: EngineHarness) -> None:
    await harness.add_subject("GROUP:admins")
    for resource_type in ("ACL", "SUBJECT"):
        await harness.add_rule("GROUP:admins", f"RESOURCE_TYPE:{resource_type}", Action.CREATE)
    await harness.engine.role_sync.sign_in(OTHER, ("admins",), ACCOUNT)
    with pytest.raises(ConflictError, match="without an administrator"):
        await change(harness, ADMIN, DISABLED, by=OTHER)


@pytest.mark.parametrize("state", SubjectState)
async def test_own_state_cannot_be_changed(harness: EngineHarness, state: SubjectState) -> None:
    await add_administrator(harness)
    with pytest.raises(PermissionDeniedError, match="yourself"):
        await change(harness, ADMIN, state)


async def test_change_requires_permission_reason_and_new_state(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        await change(harness, SECOND, DISABLED, by=OWNER)
    for state in (DISABLED, REMOVED):
        with pytest.raises(UsageError, match="reason is required"):
            await harness.execute(ADMIN, harness.engine.subject_states.change(ADMIN, DEV, state, " ", confirmed=True))
    with pytest.raises(ConflictError, match="already enabled"):
        await change(harness, DEV, ACTIVE)
    await change(harness, DEV, DISABLED)
    with pytest.raises(ConflictError, match="already disabled"):
        await change(harness, DEV, DISABLED)
    await change(harness, DEV, REMOVED)
    for state in (DISABLED, REMOVED):
        with pytest.raises(NotFoundError):
            await change(harness, DEV, state)
    for state in SubjectState:
        with pytest.raises(NotFoundError):
            await change(harness, "USER:unknown", state)


async def test_states_survive_a_restart(harness: EngineHarness) -> None:
    await change(harness, DEV, DISABLED)
    await change(harness, CLIENT, REMOVED)
    await harness.reopen()
    for subject in (DEV, CLIENT):
        with pytest.raises(PermissionDeniedError):
            await harness.package(subject)


async def test_concurrent_approval_and_removal_never_release_the_task(harness: EngineHarness) -> None:
    await harness.add_subject(OTHER)
    task = await waiting_for_two(harness)
    results = await asyncio.gather(
        change(harness, OWNER, REMOVED),
        harness.decide(task, SECOND, Verdict.APPROVED),
        return_exceptions=True,
    )
    assert not isinstance(results[0], BaseException)
    await harness.wait_until_durable()
    assert harness.task(task.id).status is TaskStatus.WAITING
