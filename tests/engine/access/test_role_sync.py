"""Who arrives by an issuer's word is in the groups of its roles, exactly, and what people set by hand stays."""

from __future__ import annotations

import asyncio

import pytest

from sealyard.engine.access.role_sync import OIDC_AUTHOR, REPEAT_AFTER
from sealyard.engine.access.tokens import invalid_token
from sealyard.model.access import Action, Membership, Subject
from sealyard.model.audit import AuditAction, AuditEntry
from sealyard.model.credentials import IssuerAccount
from sealyard.model.errors import AuthenticationError, NotFoundError, PermissionDeniedError, StorageError, UsageError
from tests.support.engine_harness import ADMIN, DEV, OWNER, SECOND, EngineHarness
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio

HERE = "https://issuer.example"
ANNA, ROBOT = "USER:anna", "CLIENT:robot"
DEVS, OWNERS = "GROUP:devs", "GROUP:owners"


@pytest.fixture
async def grouped(harness: EngineHarness) -> EngineHarness:
    """With two groups: devs may use every device configuration, owners may approve for every one."""
    for each in (DEVS, OWNERS):
        await harness.add_subject(each)
    await harness.add_rule(DEVS, "RESOURCE_TYPE:DEVICE_CONFIG", Action.USE)
    await harness.add_rule(OWNERS, "RESOURCE_TYPE:DEVICE_CONFIG", Action.APPROVE)
    return harness


async def arrive(harness: EngineHarness, subject: str, *roles: str, sub: str = "", issuer: str = HERE) -> None:
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
async def test_someone_new_is_added_and_has_the_rights_of_its_roles(grouped: EngineHarness, subject: str) -> None:
    await arrive(grouped, subject, "devs", "something else")
    assert subjects(grouped)[subject].created_by == OIDC_AUTHOR
    assert [(each.group, each.created_by) for each in memberships(grouped, subject)] == [(DEVS, OIDC_AUTHOR)]
    await grouped.package(subject)


@pytest.mark.parametrize("roles", [(), ("nothing",), ("Devs",), (" devs",), ("GROUP:devs",), ("devs/../owners",)])
async def test_someone_new_without_a_group_here_stays_outside(grouped: EngineHarness, roles: tuple[str, ...]) -> None:
    with pytest.raises(AuthenticationError) as refused:
        await arrive(grouped, ANNA, *roles)
    assert str(refused.value) == str(invalid_token())
    assert ANNA not in subjects(grouped)
    entry = (await refusals(grouped))[-1]
    assert (entry.author, entry.resource) == (ANNA, f"SUBJECT:{ANNA}")
    assert "none of its roles" in entry.message
    assert f"sealyard subject add {ANNA}" in entry.message


async def test_whoever_stays_outside_does_not_fill_the_log(grouped: EngineHarness) -> None:
    for name in (ANNA, ANNA, "USER:anna2"):
        with pytest.raises(AuthenticationError):
            await arrive(grouped, name, sub="one and the same")
    assert [each.author for each in await refusals(grouped)] == [ANNA]
    grouped.clock.advance(seconds=REPEAT_AFTER.total_seconds())
    with pytest.raises(AuthenticationError):
        await arrive(grouped, ANNA, sub="one and the same")
    assert len(await refusals(grouped)) == 2


async def test_memberships_follow_the_roles(grouped: EngineHarness) -> None:
    for roles in (("devs",), ("devs", "owners"), ("owners",), (), ("devs",)):
        await arrive(grouped, ANNA, *roles)
        assert groups(grouped, ANNA) == [f"GROUP:{each}" for each in sorted(roles)]


async def test_a_role_that_is_gone_takes_its_right_at_once(grouped: EngineHarness) -> None:
    await arrive(grouped, ANNA, "devs")
    await grouped.package(ANNA)
    await arrive(grouped, ANNA)
    with pytest.raises(NotFoundError):
        await grouped.package(ANNA)


async def test_what_people_set_by_hand_stays(grouped: EngineHarness) -> None:
    await grouped.add_member(OWNERS, DEV)
    await arrive(grouped, DEV, "devs")
    await arrive(grouped, DEV)
    assert [(each.group, each.created_by) for each in memberships(grouped, DEV)] == [(OWNERS, ADMIN)]


async def test_a_role_adds_nothing_to_a_membership_set_by_hand(grouped: EngineHarness) -> None:
    await grouped.add_member(DEVS, DEV)
    await arrive(grouped, DEV, "devs")
    assert [each.created_by for each in memberships(grouped, DEV)] == [ADMIN]


async def test_someone_known_may_come_without_roles(harness: EngineHarness) -> None:
    await arrive(harness, DEV)
    await harness.package(DEV)


async def test_nothing_is_written_where_nothing_changes(grouped: EngineHarness) -> None:
    await arrive(grouped, ANNA, "devs")
    entries, cursor = len(await grouped.audit_entries()), grouped.engine.events.cursor
    before = grouped.paths.store.joinpath("journal-1.log").stat().st_size
    for _ in range(3):
        await arrive(grouped, ANNA, "devs")
    assert (len(await grouped.audit_entries()), grouped.engine.events.cursor) == (entries, cursor)
    assert grouped.paths.store.joinpath("journal-1.log").stat().st_size == before


async def test_a_change_by_hand_between_two_arrivals_is_seen(grouped: EngineHarness) -> None:
    await arrive(grouped, ANNA, "devs", "late")
    await arrive(grouped, ANNA, "devs", "late")
    await grouped.add_subject("GROUP:late")
    removing = grouped.engine.access.remove_member(ADMIN, DEVS, ANNA, confirmed=True)
    await grouped.execute(ADMIN, removing)
    await arrive(grouped, ANNA, "devs", "late")
    assert groups(grouped, ANNA) == [DEVS, "GROUP:late"]


async def test_who_arrives_twice_at_once_is_added_once(grouped: EngineHarness) -> None:
    await asyncio.gather(*(arrive(grouped, ANNA, "devs", "owners") for _ in range(10)))
    assert groups(grouped, ANNA) == [DEVS, OWNERS]
    entries = [each for each in await grouped.audit_entries(AuditAction.CREATED) if each.author == OIDC_AUTHOR]
    assert len(entries) == 4


async def test_what_roles_bring_about_is_audited_and_told(grouped: EngineHarness) -> None:
    cursor = grouped.engine.events.cursor
    await arrive(grouped, ANNA, "devs")
    await arrive(grouped, ANNA)
    messages = [(each.author, each.change, each.message) for each in (await grouped.audit_entries())[-4:]]
    assert messages == [
        (OIDC_AUTHOR, AuditAction.CREATED, "USER:anna added"),
        (OIDC_AUTHOR, AuditAction.CREATED, "USER:anna linked to account of USER:anna of https://issuer.example"),
        (OIDC_AUTHOR, AuditAction.CREATED, "USER:anna added to GROUP:devs"),
        (OIDC_AUTHOR, AuditAction.DELETED, "USER:anna removed from GROUP:devs"),
    ]
    assert grouped.engine.events.cursor == cursor + 3


@pytest.mark.parametrize(("first", "then"), [(ANNA, "USER:Anna"), (ANNA, "USER:a.berg"), (ANNA, DEV), (ROBOT, ANNA)])
async def test_an_account_comes_under_one_name_only(grouped: EngineHarness, first: str, then: str) -> None:
    await arrive(grouped, first, "owners", sub="a1")
    with pytest.raises(PermissionDeniedError, match=f"account of {first} now has the name {then}") as refused:
        await arrive(grouped, then, "owners", sub="a1")
    assert f"sealyard subject unlink {first}" in refused.value.hint
    assert groups(grouped, then) == []
    entry = (await refusals(grouped))[-1]
    assert (entry.author, entry.resource, entry.message) == (first, f"SUBJECT:{first}", str(refused.value))
    await arrive(grouped, first, "owners", sub="a1")


@pytest.mark.parametrize("who", [ANNA, ROBOT])
@pytest.mark.parametrize("other", [{"sub": "A1"}, {"sub": "a2"}, {"issuer": "https://elsewhere.example", "sub": "a1"}])
async def test_a_name_is_one_accounts_only(grouped: EngineHarness, who: str, other: dict[str, str]) -> None:
    await arrive(grouped, who, "devs", sub="a1")
    with pytest.raises(AuthenticationError) as refused:
        await arrive(grouped, who, "owners", **other)
    assert str(refused.value) == str(invalid_token())
    assert groups(grouped, who) == [DEVS]
    entry = (await refusals(grouped))[-1]
    assert (entry.author, entry.resource) == (OIDC_AUTHOR, f"SUBJECT:{who}")
    assert f"{other['sub']} of " in entry.message
    assert f"sealyard subject unlink {who}" in entry.message


async def test_an_account_that_tries_names_is_audited_for_each_of_them_once(grouped: EngineHarness) -> None:
    await arrive(grouped, ANNA, "devs", sub="a1")
    for name in ("USER:one", "USER:one", "USER:two"):
        with pytest.raises(PermissionDeniedError):
            await arrive(grouped, name, "devs", sub="a1")
    assert len(await refusals(grouped)) == 2


async def test_a_name_that_was_made_by_hand_belongs_to_who_comes_by_it_first(grouped: EngineHarness) -> None:
    await arrive(grouped, DEV, sub="d1")
    await grouped.reopen()
    with pytest.raises(AuthenticationError):
        await arrive(grouped, DEV, sub="d2")
    with pytest.raises(PermissionDeniedError):
        await arrive(grouped, "USER:dev2", "devs", sub="d1")
    await arrive(grouped, DEV, sub="d1")


async def test_of_two_accounts_that_come_at_once_by_a_new_name_one_gets_it(grouped: EngineHarness) -> None:
    arriving = (arrive(grouped, ANNA, "devs", sub=each) for each in ("a1", "a2", "a3"))
    came = await asyncio.gather(*arriving, return_exceptions=True)
    assert [type(each) for each in came] == [type(None), AuthenticationError, AuthenticationError]


async def test_of_two_names_that_an_account_comes_by_at_once_it_gets_one(grouped: EngineHarness) -> None:
    arriving = (arrive(grouped, each, "devs", sub="a1") for each in (ANNA, "USER:Anna"))
    came = await asyncio.gather(*arriving, return_exceptions=True)
    assert [type(each) for each in came] == [type(None), PermissionDeniedError]
    assert "USER:Anna" not in subjects(grouped)


async def test_nobody_approves_their_own_request_under_a_second_name(grouped: EngineHarness) -> None:
    await arrive(grouped, ANNA, "devs", sub="a1")
    waiting = await grouped.package(ANNA)
    with pytest.raises(PermissionDeniedError):
        await arrive(grouped, "USER:Anna", "owners", sub="a1")
    with pytest.raises(PermissionDeniedError):
        await grouped.approve(waiting, "USER:Anna")


async def test_a_binding_that_the_disk_refuses_binds_nothing(grouped: EngineHarness, disk: FailingDisk) -> None:
    disk.fail()
    with pytest.raises(StorageError):
        await arrive(grouped, ANNA, "devs", sub="a1")
    await arrive(grouped, ANNA, "devs", sub="a2")


async def test_it_outlives_the_engine(grouped: EngineHarness) -> None:
    await arrive(grouped, ANNA, "devs")
    later = await grouped.copy_as_if_killed()
    await later.open()
    assert groups(later, ANNA) == [DEVS]
    await later.close()


async def test_a_disk_that_refuses_leaves_all_as_it_was(grouped: EngineHarness, disk: FailingDisk) -> None:
    disk.fail()
    with pytest.raises(StorageError):
        await arrive(grouped, ANNA, "devs")
    assert ANNA not in subjects(grouped)
    await arrive(grouped, ANNA, "devs")
    assert groups(grouped, ANNA) == [DEVS]


async def test_a_lost_role_may_break_a_quorum_and_marks_the_tasks_that_wait(grouped: EngineHarness) -> None:
    await arrive(grouped, ANNA, "owners")
    await grouped.create_device("solo", approve=(ANNA,))
    for each in (OWNER, SECOND):
        await grouped.remove_rule(each, Action.APPROVE)
    await grouped.remove_rule(ANNA, Action.APPROVE)
    waiting = await grouped.package(config="solo")
    assert not grouped.task(waiting.id).warning
    await arrive(grouped, ANNA)
    assert "no longer has enough approvers" in grouped.task(waiting.id).warning
    await arrive(grouped, "USER:berta", "owners")
    assert not grouped.task(waiting.id).warning


@pytest.mark.parametrize("subject", ["GROUP:devs", "USER:a b", "USER:", "SYSTEM:engine", "USER:a:b", ""])
async def test_only_people_and_machine_clients_arrive(grouped: EngineHarness, subject: str) -> None:
    with pytest.raises(UsageError):
        await arrive(grouped, subject, "devs")
