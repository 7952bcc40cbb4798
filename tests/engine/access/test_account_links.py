"""Tests of unlinking a subject from its account of an OIDC issuer."""

from __future__ import annotations

import pytest

from sealyard.model.access import Action
from sealyard.model.audit import AuditAction
from sealyard.model.credentials import IssuerAccount, TokenRequest
from sealyard.model.errors import AuthenticationError, ConflictError, NotFoundError, PermissionDeniedError, UsageError
from tests.support.engine_harness import ADMIN, DEV, OWNER, SECOND, EngineHarness

pytestmark = pytest.mark.anyio

OLD_ACCOUNT, NEW_ACCOUNT = (
    IssuerAccount(issuer="https://issuer.example", sub="a1"),
    IssuerAccount(issuer="https://issuer.example", sub="a2"),
)
NEW_NAME = "USER:d.berg"


async def sign_in(harness: EngineHarness, subject: str, account: IssuerAccount = OLD_ACCOUNT) -> None:
    await harness.engine.role_sync.sign_in(subject, (), account)


async def unlink(harness: EngineHarness, subject: str = DEV, by: str = ADMIN) -> None:
    await harness.execute(by, harness.engine.account_links.unlink(by, subject))


async def test_unlinked_account_may_use_new_name(harness: EngineHarness) -> None:
    await harness.add_subject(NEW_NAME)
    await sign_in(harness, DEV)
    await unlink(harness)
    await sign_in(harness, NEW_NAME)
    with pytest.raises(PermissionDeniedError):
        await sign_in(harness, DEV)


async def test_unlinked_subject_accepts_new_account(harness: EngineHarness) -> None:
    await sign_in(harness, DEV)
    await unlink(harness)
    await harness.reopen()
    await sign_in(harness, DEV, NEW_ACCOUNT)
    with pytest.raises(AuthenticationError):
        await sign_in(harness, DEV)


async def test_unlinked_account_is_not_cached(harness: EngineHarness) -> None:
    await harness.add_subject(NEW_NAME)
    for _ in range(3):
        await sign_in(harness, DEV)
    await unlink(harness)
    await sign_in(harness, NEW_NAME)
    with pytest.raises(PermissionDeniedError):
        await sign_in(harness, DEV)


async def test_unlink_revokes_tokens_of_subject(harness: EngineHarness) -> None:
    await sign_in(harness, DEV)
    issued = {
        each: await harness.execute(ADMIN, harness.engine.tokens.create(ADMIN, TokenRequest(name="test", subject=each)))
        for each in (DEV, OWNER)
    }
    await unlink(harness)
    with pytest.raises(AuthenticationError):
        harness.engine.tokens.authenticate(issued[DEV].secret)
    assert harness.engine.tokens.authenticate(issued[OWNER].secret) == issued[OWNER].token
    entry = (await harness.audit_entries(about=f"TOKEN:{issued[DEV].token.id}"))[-1]
    assert (entry.author, entry.change) == (ADMIN, AuditAction.DELETED)


async def test_unlink_with_waiting_task_conflicts(harness: EngineHarness) -> None:
    await sign_in(harness, DEV)
    waiting_task = await harness.package(DEV)
    with pytest.raises(ConflictError, match=waiting_task.id):
        await unlink(harness)
    with pytest.raises(PermissionDeniedError):
        await sign_in(harness, NEW_NAME)
    await harness.cancel(waiting_task, OWNER)
    await unlink(harness)


async def test_unlink_with_partial_approval_conflicts(harness: EngineHarness) -> None:
    await harness.create_device("two", approvals_required=2, approve=(OWNER, SECOND, ADMIN))
    await sign_in(harness, OWNER)
    waiting_task = await harness.approve(await harness.package(config="two"), OWNER)
    with pytest.raises(ConflictError, match=waiting_task.id):
        await unlink(harness, OWNER)
    await harness.approve(waiting_task, SECOND)
    await unlink(harness, OWNER)


async def test_waiting_task_of_other_allows_unlink(harness: EngineHarness) -> None:
    await sign_in(harness, OWNER)
    await harness.package(DEV)
    await unlink(harness, OWNER)


async def test_unlink_requires_permission_and_is_audited(harness: EngineHarness) -> None:
    await sign_in(harness, DEV)
    with pytest.raises(PermissionDeniedError):
        await unlink(harness, DEV, OWNER)
    await unlink(harness)
    entry = (await harness.audit_entries(about=f"SUBJECT:{DEV}"))[-1]
    assert (entry.author, entry.change) == (ADMIN, AuditAction.DELETED)
    assert entry.message == f"{DEV} unlinked from a1 of https://issuer.example"


async def test_unlink_of_own_account_is_rejected(harness: EngineHarness) -> None:
    await harness.add_rule(DEV, "RESOURCE_TYPE:SUBJECT", Action.CREATE)
    await sign_in(harness, DEV)
    with pytest.raises(PermissionDeniedError, match="your own account"):
        await unlink(harness, DEV, DEV)


async def test_unlink_without_link_raises_not_found(harness: EngineHarness) -> None:
    with pytest.raises(NotFoundError):
        await unlink(harness)
    with pytest.raises(UsageError):
        await unlink(harness, "USER:a b")
