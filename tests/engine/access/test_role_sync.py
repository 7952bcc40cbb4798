"""Tests of sign-in with an account of an OIDC issuer: group memberships follow the roles of the account."""

from __future__ import annotations

import asyncio

import pytest

from sealyard.engine.access.role_sync import REPEAT_AFTER
from sealyard.engine.access.tokens import invalid_token
from sealyard.model.access import OIDC_AUTHOR, Action, Membership, Subject
from sealyard.model.audit import AuditAction, AuditEntry
from sealyard.model.credentials import IssuerAccount
from sealyard.model.errors import AuthenticationError, NotFoundError, PermissionDeniedError, StorageError, UsageError
from sealyard.model.hints import Hint, HintCode
from tests.support.engine_harness import ADMIN, DEV, OWNER, SECOND, EngineHarness
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio

ISSUER = "https://issuer.example"
ANNA, ROBOT = "USER:anna", "CLIENT:robot"
DEVS, OWNERS = "GROUP:devs", "GROUP:owners"


@pytest.fixture
async def group_harness(harness: EngineHarness) -> EngineHarness:
    """Return a workspace with the groups devs and owners, which may use and approve for every configuration."""
    for each in (DEVS, OWNERS):
        await harness.add_subject(each)
    await harness.add_rule(DEVS, "RESOURCE_TYPE:DEVICE_CONFIG", Action.USE)
    await harness.add_rule(OWNERS, "RESOURCE_TYPE:DEVICE_CONFIG", Action.APPROVE)
    return harness


async def sign_in(harness: EngineHarness, subject: str, *roles: str, sub: str = "", issuer: str = ISSUER) -> None:
    account = IssuerAccount(issuer=issuer, sub=sub or f"account of {subject}")
    await harness.engine.role_sync.sign_in(subject, roles, account)


async def refusals(harness: EngineHarness) -> list[AuditEntry]:
    return await harness.audit_entries(AuditAction.REFUSED)


def subjects(harness: EngineHarness) -> dict[str, Subject]:
    return {each.id: each for each in harness.engine.access.access(ADMIN).subjects}


def memberships(harness: EngineHarness, member: str) -> list[Membership]:
    return [each for each in harness.engine.access.access(ADMIN).memberships if each.member == member]


def groups(harness: EngineHarness, member: str) -> list[str]:
    return [each.group for each in memberships(harness, member)]


@pytest.mark.parametrize("subject", [ANNA, ROBOT])
async def test_new_account_gets_permissions_of_roles(group_harness: EngineHarness, subject: str) -> None:
    await sign_in(group_harness, subject, "devs", "something else")
    assert subjects(group_harness)[subject].created_by == OIDC_AUTHOR
    assert [(each.group, each.created_by) for each in memberships(group_harness, subject)] == [(DEVS, OIDC_AUTHOR)]
    await group_harness.package(subject)


@pytest.mark.parametrize("roles", [(), ("nothing",), ("Devs",), (" devs",), ("GROUP:devs",), ("devs/../owners",)])
async def test_new_account_without_known_role_is_rejected(group_harness: EngineHarness, roles: tuple[str, ...]) -> None:
    with pytest.raises(AuthenticationError) as exc_info:
        await sign_in(group_harness, ANNA, *roles)
    assert str(exc_info.value) == str(invalid_token())
    assert ANNA not in subjects(group_harness)
    entry = (await refusals(group_harness))[-1]
    assert (entry.author, entry.resource) == (ANNA, f"SUBJECT:{ANNA}")
    assert "none of its roles" in entry.message
    assert f"Ask an administrator to add {ANNA}" in entry.message


async def test_repeated_rejection_is_audited_once(group_harness: EngineHarness) -> None:
    for name in (ANNA, ANNA, "USER:anna2"):
        with pytest.raises(AuthenticationError):
            await sign_in(group_harness, name, sub="one and the same")
    assert [each.author for each in await refusals(group_harness)] == [ANNA]
    group_harness.clock.advance(seconds=REPEAT_AFTER.total_seconds())
    with pytest.raises(AuthenticationError):
        await sign_in(group_harness, ANNA, sub="one and the same")
    assert len(await refusals(group_harness)) == 2


async def test_memberships_follow_roles(group_harness: EngineHarness) -> None:
    for roles in (("devs",), ("devs", "owners"), ("owners",), (), ("devs",)):
        await sign_in(group_harness, ANNA, *roles)
        assert groups(group_harness, ANNA) == [f"GROUP:{each}" for each in sorted(roles)]


async def test_removed_role_revokes_permission(group_harness: EngineHarness) -> None:
    await sign_in(group_harness, ANNA, "devs")
    await group_harness.package(ANNA)
    await sign_in(group_harness, ANNA)
    with pytest.raises(NotFoundError):
        await group_harness.package(ANNA)


async def test_manual_membership_is_kept(group_harness: EngineHarness) -> None:
    await group_harness.add_member(OWNERS, DEV)
    await sign_in(group_harness, DEV, "devs")
    await sign_in(group_harness, DEV)
    assert [(each.group, each.created_by) for each in memberships(group_harness, DEV)] == [(OWNERS, ADMIN)]


async def test_role_does_not_duplicate_manual_membership(group_harness: EngineHarness) -> None:
    await group_harness.add_member(DEVS, DEV)
    await sign_in(group_harness, DEV, "devs")
    assert [each.created_by for each in memberships(group_harness, DEV)] == [ADMIN]


async def test_existing_subject_may_sign_in_without_roles(harness: EngineHarness) -> None:
    await sign_in(harness, DEV)
    await harness.package(DEV)


@pytest.mark.file_store
async def test_repeated_sign_in_writes_nothing(group_harness: EngineHarness) -> None:
    await sign_in(group_harness, ANNA, "devs")
    entries, cursor = len(await group_harness.audit_entries()), group_harness.engine.events.cursor
    before = group_harness.paths.store.joinpath("journal-1.log").stat().st_size
    for _ in range(3):
        await sign_in(group_harness, ANNA, "devs")
    assert (len(await group_harness.audit_entries()), group_harness.engine.events.cursor) == (entries, cursor)
    assert group_harness.paths.store.joinpath("journal-1.log").stat().st_size == before


async def test_sign_in_reflects_manual_group_changes(group_harness: EngineHarness) -> None:
    await sign_in(group_harness, ANNA, "devs", "late")
    await sign_in(group_harness, ANNA, "devs", "late")
    await group_harness.add_subject("GROUP:late")
    removal = group_harness.engine.access.remove_member(ADMIN, DEVS, ANNA, confirmed=True)
    await group_harness.execute(ADMIN, removal)
    await sign_in(group_harness, ANNA, "devs", "late")
    assert groups(group_harness, ANNA) == [DEVS, "GROUP:late"]


async def test_concurrent_sign_ins_add_subject_once(group_harness: EngineHarness) -> None:
    await asyncio.gather(*(sign_in(group_harness, ANNA, "devs", "owners") for _ in range(10)))
    assert groups(group_harness, ANNA) == [DEVS, OWNERS]
    entries = [each for each in await group_harness.audit_entries(AuditAction.CREATED) if each.author == OIDC_AUTHOR]
    assert len(entries) == 4


async def test_role_changes_are_audited_and_published(group_harness: EngineHarness) -> None:
    cursor = group_harness.engine.events.cursor
    await sign_in(group_harness, ANNA, "devs")
    await sign_in(group_harness, ANNA)
    messages = [(each.author, each.change, each.message) for each in (await group_harness.audit_entries())[-4:]]
    assert messages == [
        (OIDC_AUTHOR, AuditAction.CREATED, "USER:anna added"),
        (OIDC_AUTHOR, AuditAction.CREATED, "USER:anna linked to account of USER:anna of https://issuer.example"),
        (OIDC_AUTHOR, AuditAction.CREATED, "USER:anna added to GROUP:devs"),
        (OIDC_AUTHOR, AuditAction.DELETED, "USER:anna removed from GROUP:devs"),
    ]
    assert group_harness.engine.events.cursor == cursor + 3


@pytest.mark.parametrize(("first", "second"), [(ANNA, "USER:Anna"), (ANNA, "USER:a.berg"), (ANNA, DEV), (ROBOT, ANNA)])
async def test_account_with_changed_name_is_rejected(group_harness: EngineHarness, first: str, second: str) -> None:
    await sign_in(group_harness, first, "owners", sub="a1")
    with pytest.raises(PermissionDeniedError, match=f"account of {first} now has the name {second}") as exc_info:
        await sign_in(group_harness, second, "owners", sub="a1")
    assert exc_info.value.structured_hint == Hint.of(HintCode.UNLINK_ACCOUNT, subject=first)
    assert groups(group_harness, second) == []
    entry = (await refusals(group_harness))[-1]
    assert (entry.author, entry.resource, entry.message) == (first, f"SUBJECT:{first}", str(exc_info.value))
    await sign_in(group_harness, first, "owners", sub="a1")


@pytest.mark.parametrize("subject", [ANNA, ROBOT])
@pytest.mark.parametrize("other", [{"sub": "A1"}, {"sub": "a2"}, {"issuer": "https://elsewhere.example", "sub": "a1"}])
async def test_name_of_other_account_is_rejected(
    group_harness: EngineHarness, subject: str, other: dict[str, str]
) -> None:
    await sign_in(group_harness, subject, "devs", sub="a1")
    with pytest.raises(AuthenticationError) as exc_info:
        await sign_in(group_harness, subject, "owners", **other)
    assert str(exc_info.value) == str(invalid_token())
    assert groups(group_harness, subject) == [DEVS]
    entry = (await refusals(group_harness))[-1]
    assert (entry.author, entry.resource) == (OIDC_AUTHOR, f"SUBJECT:{subject}")
    assert f"{other['sub']} of " in entry.message
    assert f"unlink the account of {subject}" in entry.message


async def test_each_rejected_name_is_audited_once(group_harness: EngineHarness) -> None:
    await sign_in(group_harness, ANNA, "devs", sub="a1")
    for name in ("USER:one", "USER:one", "USER:two"):
        with pytest.raises(PermissionDeniedError):
            await sign_in(group_harness, name, "devs", sub="a1")
    assert len(await refusals(group_harness)) == 2


async def test_manual_subject_is_linked_to_first_account(group_harness: EngineHarness) -> None:
    await sign_in(group_harness, DEV, sub="d1")
    await group_harness.reopen()
    with pytest.raises(AuthenticationError):
        await sign_in(group_harness, DEV, sub="d2")
    with pytest.raises(PermissionDeniedError):
        await sign_in(group_harness, "USER:dev2", "devs", sub="d1")
    await sign_in(group_harness, DEV, sub="d1")


async def test_concurrent_accounts_with_same_name_link_one(group_harness: EngineHarness) -> None:
    sign_ins = (sign_in(group_harness, ANNA, "devs", sub=each) for each in ("a1", "a2", "a3"))
    outcomes = await asyncio.gather(*sign_ins, return_exceptions=True)
    assert [type(each) for each in outcomes] == [type(None), AuthenticationError, AuthenticationError]


async def test_concurrent_names_of_account_link_one(group_harness: EngineHarness) -> None:
    sign_ins = (sign_in(group_harness, each, "devs", sub="a1") for each in (ANNA, "USER:Anna"))
    outcomes = await asyncio.gather(*sign_ins, return_exceptions=True)
    assert [type(each) for each in outcomes] == [type(None), PermissionDeniedError]
    assert "USER:Anna" not in subjects(group_harness)


async def test_second_name_cannot_approve_own_task(group_harness: EngineHarness) -> None:
    await sign_in(group_harness, ANNA, "devs", sub="a1")
    waiting_task = await group_harness.package(ANNA)
    with pytest.raises(PermissionDeniedError):
        await sign_in(group_harness, "USER:Anna", "owners", sub="a1")
    with pytest.raises(PermissionDeniedError):
        await group_harness.approve(waiting_task, "USER:Anna")


async def test_failed_commit_links_no_account(group_harness: EngineHarness, disk: FailingDisk) -> None:
    disk.fail()
    with pytest.raises(StorageError):
        await sign_in(group_harness, ANNA, "devs", sub="a1")
    await sign_in(group_harness, ANNA, "devs", sub="a2")


async def test_memberships_survive_restart(group_harness: EngineHarness) -> None:
    await sign_in(group_harness, ANNA, "devs")
    crash_copy = await group_harness.copy_as_if_killed()
    await crash_copy.open()
    assert groups(crash_copy, ANNA) == [DEVS]
    await crash_copy.close()


async def test_failed_commit_adds_no_subject(group_harness: EngineHarness, disk: FailingDisk) -> None:
    disk.fail()
    with pytest.raises(StorageError):
        await sign_in(group_harness, ANNA, "devs")
    assert ANNA not in subjects(group_harness)
    await sign_in(group_harness, ANNA, "devs")
    assert groups(group_harness, ANNA) == [DEVS]


async def test_removed_role_marks_tasks_without_quorum(group_harness: EngineHarness) -> None:
    await sign_in(group_harness, ANNA, "owners")
    await group_harness.create_device("solo", approve=(ANNA,))
    for each in (OWNER, SECOND):
        await group_harness.remove_rule(each, Action.APPROVE)
    await group_harness.remove_rule(ANNA, Action.APPROVE)
    waiting_task = await group_harness.package(config="solo")
    assert not group_harness.task(waiting_task.id).warning
    await sign_in(group_harness, ANNA)
    assert "no longer has enough approvers" in group_harness.task(waiting_task.id).warning
    await sign_in(group_harness, "USER:berta", "owners")
    assert not group_harness.task(waiting_task.id).warning


@pytest.mark.parametrize("subject", ["GROUP:devs", "USER:a b", "USER:", "SYSTEM:engine", "USER:a:b", ""])
async def test_invalid_subject_is_rejected(group_harness: EngineHarness, subject: str) -> None:
    with pytest.raises(UsageError):
        await sign_in(group_harness, subject, "devs")
