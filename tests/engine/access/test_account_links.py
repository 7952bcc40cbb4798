"""An account of the issuer is let go of by an administrator only, and nobody is two people because of it."""

from __future__ import annotations

import pytest

from sealyard.model.access import Action
from sealyard.model.audit import AuditAction
from sealyard.model.credentials import IssuerAccount, TokenRequest
from sealyard.model.errors import AuthenticationError, ConflictError, NotFoundError, PermissionDeniedError, UsageError
from tests.support.engine_harness import ADMIN, DEV, OWNER, SECOND, EngineHarness

pytestmark = pytest.mark.anyio

OLD, NEW = (
    IssuerAccount(issuer="https://issuer.example", sub="a1"),
    IssuerAccount(issuer="https://issuer.example", sub="a2"),
)
RENAMED = "USER:d.berg"


async def arrive(harness: EngineHarness, subject: str, account: IssuerAccount = OLD) -> None:
    await harness.engine.role_sync.sign_in(subject, (), account)


async def unbind(harness: EngineHarness, bound: str = DEV, by: str = ADMIN) -> None:
    await harness.execute(by, harness.engine.account_links.unlink(by, bound))


async def test_once_it_is_let_go_of_the_account_has_its_new_name(harness: EngineHarness) -> None:
    await harness.add_subject(RENAMED)
    await arrive(harness, DEV)
    await unbind(harness)
    await arrive(harness, RENAMED)
    with pytest.raises(PermissionDeniedError):
        await arrive(harness, DEV)


async def test_once_it_is_let_go_of_the_name_has_its_new_account(harness: EngineHarness) -> None:
    await arrive(harness, DEV)
    await unbind(harness)
    await harness.reopen()
    await arrive(harness, DEV, NEW)
    with pytest.raises(AuthenticationError):
        await arrive(harness, DEV)


async def test_an_account_that_was_let_go_of_is_not_remembered_by_its_old_name(harness: EngineHarness) -> None:
    await harness.add_subject(RENAMED)
    for _ in range(3):
        await arrive(harness, DEV)
    await unbind(harness)
    await arrive(harness, RENAMED)
    with pytest.raises(PermissionDeniedError):
        await arrive(harness, DEV)


async def test_the_tokens_of_the_name_end_with_it_and_no_others(harness: EngineHarness) -> None:
    await arrive(harness, DEV)
    issued = {
        each: await harness.execute(ADMIN, harness.engine.tokens.create(ADMIN, TokenRequest(name="test", subject=each)))
        for each in (DEV, OWNER)
    }
    await unbind(harness)
    with pytest.raises(AuthenticationError):
        harness.engine.tokens.authenticate(issued[DEV].secret)
    assert harness.engine.tokens.authenticate(issued[OWNER].secret) == issued[OWNER].token
    ended = (await harness.audit_entries(about=f"TOKEN:{issued[DEV].token.id}"))[-1]
    assert (ended.author, ended.change) == (ADMIN, AuditAction.DELETED)


async def test_a_name_is_kept_as_long_as_its_own_request_waits(harness: EngineHarness) -> None:
    await arrive(harness, DEV)
    waiting = await harness.package(DEV)
    with pytest.raises(ConflictError, match=waiting.id):
        await unbind(harness)
    with pytest.raises(PermissionDeniedError):
        await arrive(harness, RENAMED)
    await harness.cancel(waiting, OWNER)
    await unbind(harness)


async def test_a_name_is_kept_as_long_as_its_approval_is_one_of_several(harness: EngineHarness) -> None:
    await harness.create_device("two", approvals_required=2, approve=(OWNER, SECOND, ADMIN))
    await arrive(harness, OWNER)
    waiting = await harness.approve(await harness.package(config="two"), OWNER)
    with pytest.raises(ConflictError, match=waiting.id):
        await unbind(harness, OWNER)
    await harness.approve(waiting, SECOND)
    await unbind(harness, OWNER)


async def test_what_others_wait_for_keeps_nobody(harness: EngineHarness) -> None:
    await arrive(harness, OWNER)
    await harness.package(DEV)
    await unbind(harness, OWNER)


async def test_it_wants_the_right_to_add_subjects_and_is_audited(harness: EngineHarness) -> None:
    await arrive(harness, DEV)
    with pytest.raises(PermissionDeniedError):
        await unbind(harness, DEV, OWNER)
    await unbind(harness)
    entry = (await harness.audit_entries(about=f"SUBJECT:{DEV}"))[-1]
    assert (entry.author, entry.change) == (ADMIN, AuditAction.DELETED)
    assert entry.message == f"{DEV} unlinked from a1 of https://issuer.example"


async def test_nobody_lets_go_of_their_own_account(harness: EngineHarness) -> None:
    await harness.add_rule(DEV, "RESOURCE_TYPE:SUBJECT", Action.CREATE)
    await arrive(harness, DEV)
    with pytest.raises(PermissionDeniedError, match="your own account"):
        await unbind(harness, DEV, DEV)


async def test_where_nothing_is_bound_nothing_is_let_go_of(harness: EngineHarness) -> None:
    with pytest.raises(NotFoundError):
        await unbind(harness)
    with pytest.raises(UsageError):
        await unbind(harness, "USER:a b")
