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


async def arrive(house: EngineHarness, subject: str, account: IssuerAccount = OLD) -> None:
    await house.engine.role_sync.sign_in(subject, (), account)


async def unbind(house: EngineHarness, bound: str = DEV, by: str = ADMIN) -> None:
    await house.execute(by, house.engine.account_links.unlink(by, bound))


async def test_once_it_is_let_go_of_the_account_has_its_new_name(house: EngineHarness) -> None:
    await house.add_subject(RENAMED)
    await arrive(house, DEV)
    await unbind(house)
    await arrive(house, RENAMED)
    with pytest.raises(PermissionDeniedError):
        await arrive(house, DEV)


async def test_once_it_is_let_go_of_the_name_has_its_new_account(house: EngineHarness) -> None:
    await arrive(house, DEV)
    await unbind(house)
    await house.reopen()
    await arrive(house, DEV, NEW)
    with pytest.raises(AuthenticationError):
        await arrive(house, DEV)


async def test_an_account_that_was_let_go_of_is_not_remembered_by_its_old_name(house: EngineHarness) -> None:
    await house.add_subject(RENAMED)
    for _ in range(3):
        await arrive(house, DEV)
    await unbind(house)
    await arrive(house, RENAMED)
    with pytest.raises(PermissionDeniedError):
        await arrive(house, DEV)


async def test_the_tokens_of_the_name_end_with_it_and_no_others(house: EngineHarness) -> None:
    await arrive(house, DEV)
    issued = {
        each: await house.execute(ADMIN, house.engine.tokens.create(ADMIN, TokenRequest(name="test", subject=each)))
        for each in (DEV, OWNER)
    }
    await unbind(house)
    with pytest.raises(AuthenticationError):
        house.engine.tokens.authenticate(issued[DEV].secret)
    assert house.engine.tokens.authenticate(issued[OWNER].secret) == issued[OWNER].token
    ended = (await house.audit_entries(about=f"TOKEN:{issued[DEV].token.id}"))[-1]
    assert (ended.author, ended.change) == (ADMIN, AuditAction.DELETED)


async def test_a_name_is_kept_as_long_as_its_own_request_waits(house: EngineHarness) -> None:
    await arrive(house, DEV)
    waiting = await house.package(DEV)
    with pytest.raises(ConflictError, match=waiting.id):
        await unbind(house)
    with pytest.raises(PermissionDeniedError):
        await arrive(house, RENAMED)
    await house.cancel(waiting, OWNER)
    await unbind(house)


async def test_a_name_is_kept_as_long_as_its_approval_is_one_of_several(house: EngineHarness) -> None:
    await house.create_device("two", approvals_required=2, approve=(OWNER, SECOND, ADMIN))
    await arrive(house, OWNER)
    waiting = await house.approve(await house.package(config="two"), OWNER)
    with pytest.raises(ConflictError, match=waiting.id):
        await unbind(house, OWNER)
    await house.approve(waiting, SECOND)
    await unbind(house, OWNER)


async def test_what_others_wait_for_keeps_nobody(house: EngineHarness) -> None:
    await arrive(house, OWNER)
    await house.package(DEV)
    await unbind(house, OWNER)


async def test_it_wants_the_right_to_add_subjects_and_is_audited(house: EngineHarness) -> None:
    await arrive(house, DEV)
    with pytest.raises(PermissionDeniedError):
        await unbind(house, DEV, OWNER)
    await unbind(house)
    entry = (await house.audit_entries(about=f"SUBJECT:{DEV}"))[-1]
    assert (entry.author, entry.change) == (ADMIN, AuditAction.DELETED)
    assert entry.message == f"{DEV} unlinked from a1 of https://issuer.example"


async def test_nobody_lets_go_of_their_own_account(house: EngineHarness) -> None:
    await house.add_rule(DEV, "RESOURCE_TYPE:SUBJECT", Action.CREATE)
    await arrive(house, DEV)
    with pytest.raises(PermissionDeniedError, match="your own account"):
        await unbind(house, DEV, DEV)


async def test_where_nothing_is_bound_nothing_is_let_go_of(house: EngineHarness) -> None:
    with pytest.raises(NotFoundError):
        await unbind(house)
    with pytest.raises(UsageError):
        await unbind(house, "USER:a b")
