"""Who may do what: the table of rights, through groups, and no wherever it cannot be told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.engine.state.permissions import EffectivePermissions
from sealyard.engine.state.tables import RULES
from sealyard.model.access import (
    ACTIONS_BY_RESOURCE_TYPE,
    AclRule,
    Action,
    Membership,
    ResourceType,
    SubjectKind,
    device_resource,
    resource_type_uri,
)
from sealyard.model.audit import AuditAction
from sealyard.model.errors import ConflictError, NotFoundError, PermissionDeniedError, UsageError
from sealyard.model.requests import TaskFilter
from sealyard.model.tasks import Verdict
from sealyard.storage.documents import WriteBatch
from tests.support.engine_harness import ADMIN, CLIENT, DEV, GATEWAY, OWNER, SECOND, EngineHarness

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 23, tzinfo=UTC)
A, G, H = "USER:a", "GROUP:g", "GROUP:h"


def rule(subject: str, resource: str, action: Action) -> AclRule:
    return AclRule(id="r", subject=subject, resource=resource, action=action, created_by=A, created_at=NOW)


def inside(member: str, group: str) -> Membership:
    return Membership(id="m", member=member, group=group, created_by=A, created_at=NOW)


RESOURCES = [device_resource("c1"), *map(resource_type_uri, ResourceType)]


@pytest.mark.parametrize(("resource", "action"), [(each, action) for each in RESOURCES for action in Action], ids=str)
def test_a_rule_gives_its_action_and_the_view_and_nothing_else(resource: str, action: Action) -> None:
    access = EffectivePermissions([A], [], [rule(A, resource, action)])
    given = {(where, what) for where, what in product(RESOURCES, Action) if access.is_allowed(A, what, where)}
    expected = {(resource, action), (resource, Action.VIEW)}
    if resource == resource_type_uri(ResourceType.DEVICE_CONFIG):
        expected |= {(device_resource("c1"), action), (device_resource("c1"), Action.VIEW)}
    assert given == expected


def test_a_rule_on_one_device_says_nothing_of_another_or_of_the_type() -> None:
    access = EffectivePermissions([A], [], [rule(A, device_resource("c1"), Action.USE)])
    assert not access.is_allowed(A, Action.USE, device_resource("c2"))
    assert not access.is_allowed(A, Action.USE, resource_type_uri(ResourceType.DEVICE_CONFIG))


def test_rights_come_through_nested_groups() -> None:
    chain = [inside(A, "GROUP:0"), *(inside(f"GROUP:{n}", f"GROUP:{n + 1}") for n in range(20))]
    access = EffectivePermissions([A, "USER:b"], chain, [rule("GROUP:20", device_resource("c1"), Action.APPROVE)])
    assert access.is_allowed(A, Action.APPROVE, device_resource("c1"))
    assert access.approvers("c1") == {A}
    assert not access.is_allowed("USER:b", Action.APPROVE, device_resource("c1"))


def test_a_group_gives_to_its_members_and_takes_nothing_from_them() -> None:
    access = EffectivePermissions([A, G], [inside(A, G)], [rule(A, device_resource("c1"), Action.USE)])
    assert not access.is_allowed(G, Action.USE, device_resource("c1"))


def test_who_is_not_a_subject_has_no_rights_even_where_a_rule_names_it() -> None:
    access = EffectivePermissions([], [], [rule(A, device_resource("c1"), Action.USE)])
    assert not access.contains(A)
    assert not access.is_allowed(A, Action.VIEW, device_resource("c1"))


@given(st.lists(st.tuples(st.sampled_from([A, G, H, "GROUP:i"]), st.sampled_from([G, H, "GROUP:i"]))))
def test_even_groups_inside_each_other_are_walked_to_an_end(pairs: list[tuple[str, str]]) -> None:
    access = EffectivePermissions([A], [inside(*pair) for pair in pairs], [rule(H, device_resource("c1"), Action.USE)])
    reached = {A}
    for _ in pairs:
        reached |= {group for member, group in pairs if member in reached}
    assert access.principals_of(A) == reached
    assert access.is_allowed(A, Action.USE, device_resource("c1")) is (H in reached)


def test_holders_are_of_the_kinds_asked_for() -> None:
    who = [A, "CLIENT:ci", G]
    rules = [rule(each, device_resource("c1"), action) for each in who for action in (Action.USE, Action.APPROVE)]
    access = EffectivePermissions(who, [], rules)
    assert access.approvers("c1") == {A}
    assert access.requesters("c1") == {A, "CLIENT:ci"}
    assert access.subjects_allowed(Action.USE, device_resource("c1"), [SubjectKind.GROUP]) == {G}


# ---- in the engine


async def test_the_table_of_roles_and_acts_holds(harness: EngineHarness) -> None:
    waiting = await harness.package()
    file = await harness.upload(b"other")

    async def allowed(subject: str, act: str) -> bool:
        engine = harness.engine
        acts: dict[str, Callable[[], Awaitable[object]]] = {
            "package": lambda: harness.package(subject, firmware=(file,)),
            "decide": lambda: engine.decisions.decide(subject, waiting.id, Verdict.REJECTED, "no", "wrong digest"),
            "subject": lambda: engine.access.add_subject(subject, "USER:dev", ""),
            "member": lambda: engine.access.add_member(subject, "GROUP:none", DEV),
            "rule": lambda: engine.access.add_rule(subject, "USER:none", "RESOURCE_TYPE:ACL", Action.VIEW),
            "drop rule": lambda: engine.access.remove_rule(subject, "none", confirmed=True),
            "policy": lambda: engine.access.set_policy(subject, engine.access.policy()),
            "rotate": lambda: engine.devices.rotate_key(subject, "local:none"),
            "export": lambda: engine.devices.export_key(subject, GATEWAY, harness.paths.root / "k", confirmed=False),
            "audit": lambda: engine.audit.verify(subject, None, None),
        }
        try:
            await harness.execute(subject, acts[act]())
        except PermissionDeniedError:
            return False
        except Exception:  # whatever else is wrong with it, it was not the right that was lacking
            return True
        return True

    everything = {"subject", "member", "rule", "drop rule", "policy", "rotate", "export", "audit"}
    may = {ADMIN: everything, DEV: {"package"}, CLIENT: {"package"}, OWNER: {"decide"}, SECOND: {"decide"}}
    for subject, acts in may.items():
        for act in sorted(everything | {"package", "decide"}):
            if act == "decide" and subject in (DEV, CLIENT, ADMIN):
                # What they may not see does not exist for them, or is theirs.
                assert not await allowed(subject, act) or subject == ADMIN, (subject, act)
                continue
            assert await allowed(subject, act) is (act in acts), (subject, act)


async def test_an_unknown_subject_is_refused_whatever_it_asks(harness: EngineHarness) -> None:
    for asking in (harness.engine.execute, harness.engine.query):
        with pytest.raises(PermissionDeniedError, match="is unknown"):
            await asking("USER:stranger", "TASK", harness.engine.creation.create_package("USER:stranger", None))  # type: ignore[arg-type]
    refused = [each for each in await harness.audit_entries(AuditAction.REFUSED) if each.author == "USER:stranger"]
    assert len(refused) == 2


async def test_a_group_cannot_act_itself(harness: EngineHarness) -> None:
    await harness.add_subject("GROUP:devs")
    await harness.add_rule("GROUP:devs", "RESOURCE_TYPE:DEVICE_CONFIG", Action.USE)
    with pytest.raises(PermissionDeniedError):
        await harness.package("GROUP:devs")


async def test_a_refusal_leaves_an_audit_entry(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        await harness.package(OWNER)
    entry = (await harness.audit_entries(AuditAction.REFUSED))[-1]
    assert (entry.author, entry.code, entry.resource) == (OWNER, "not-allowed", "TEST")
    assert "USE" in entry.message


async def test_a_failure_leaves_an_audit_entry(harness: EngineHarness) -> None:
    with pytest.raises(NotFoundError):
        await harness.package(config="nothing")
    entry = (await harness.audit_entries(AuditAction.FAILED))[-1]
    assert (entry.author, entry.code) == (DEV, "not-found")


async def test_looking_without_the_right_is_audited_and_a_miss_is_not(harness: EngineHarness) -> None:
    async def look() -> object:
        return harness.engine.access.access(DEV)

    before = len(await harness.audit_entries())
    with pytest.raises(PermissionDeniedError):
        await harness.engine.query(DEV, "ACL", look())
    assert (await harness.audit_entries())[before:][0].change is AuditAction.REFUSED

    async def miss() -> object:
        return harness.engine.queries.get(DEV, "nothing")

    with pytest.raises(NotFoundError):
        await harness.engine.query(DEV, "TASK", miss())
    assert len(await harness.audit_entries()) == before + 1


@pytest.mark.parametrize("odd", ["\udcff", "\x1b[31m", "\u202e", "a" * 5000])
async def test_a_refusal_of_odd_text_is_still_a_refusal_and_audited(harness: EngineHarness, odd: str) -> None:
    with pytest.raises(PermissionDeniedError):
        await harness.engine.execute(
            f"USER:{odd}",
            f"DEVICE_CONFIG:{odd}",
            harness.engine.creation.create_package(DEV, None),  # type: ignore[arg-type]
        )
    entry = (await harness.audit_entries(AuditAction.REFUSED))[-1]
    assert entry.author.isprintable()
    assert entry.resource.isprintable()


async def test_where_rights_cannot_be_read_the_answer_is_no(harness: EngineHarness) -> None:
    task = await harness.package()
    harness.engine.store.submit(WriteBatch(puts=((RULES.name, "broken", {"not": "a rule"}),))).result()
    harness.engine.repository.invalidate()
    assert not harness.engine.permissions.is_allowed(ADMIN, Action.VIEW, resource_type_uri(ResourceType.ACL))
    for act in (harness.package, harness.set_policy, lambda: harness.approve(task), lambda: harness.cancel(task)):
        with pytest.raises(PermissionDeniedError):
            await act()


async def test_what_one_may_not_see_does_not_exist(harness: EngineHarness) -> None:
    task = await harness.package()
    await harness.add_subject("USER:stranger")
    with pytest.raises(NotFoundError):
        harness.engine.queries.get("USER:stranger", task.id)
    with pytest.raises(NotFoundError):
        harness.engine.queries.get("USER:stranger", task.id[:4])
    page = await harness.engine.queries.list_tasks("USER:stranger", TaskFilter(), None, 100)
    assert page.tasks == ()
    assert page.total in (None, 0)


async def test_a_task_is_found_by_the_beginning_of_its_id(harness: EngineHarness) -> None:
    task = await harness.package()
    assert harness.engine.queries.get(DEV, task.id[:5]).id == task.id
    with pytest.raises(NotFoundError):
        harness.engine.queries.get(DEV, task.id[:2])


# ---- groups and rules


async def test_groups_cannot_be_inside_each_other(empty_harness: EngineHarness) -> None:
    for each in ("GROUP:a", "GROUP:b", "GROUP:c", "USER:x"):
        await empty_harness.add_subject(each)
    await empty_harness.add_member("GROUP:b", "GROUP:a")
    await empty_harness.add_member("GROUP:c", "GROUP:b")
    for group, member in (("GROUP:a", "GROUP:c"), ("GROUP:a", "GROUP:b"), ("GROUP:a", "GROUP:a")):
        with pytest.raises(ConflictError):
            await empty_harness.add_member(group, member)
    with pytest.raises(UsageError):
        await empty_harness.add_member("USER:x", "GROUP:a")
    with pytest.raises(ConflictError):
        await empty_harness.add_member("GROUP:b", "GROUP:a")
    with pytest.raises(NotFoundError):
        await empty_harness.add_member("GROUP:b", "USER:unknown")


async def test_leaving_a_group_takes_its_rights_at_once(harness: EngineHarness) -> None:
    await harness.add_subject("GROUP:devs")
    await harness.add_subject("USER:new")
    await harness.add_rule("GROUP:devs", "RESOURCE_TYPE:DEVICE_CONFIG", Action.USE)
    await harness.add_member("GROUP:devs", "USER:new")
    await harness.package("USER:new")
    administration = harness.engine.access
    await harness.execute(ADMIN, administration.remove_member(ADMIN, "GROUP:devs", "new", confirmed=False))
    with pytest.raises(NotFoundError):
        await harness.package("USER:new")


async def test_the_initial_administrators_rules_stay(harness: EngineHarness) -> None:
    administration = harness.engine.access
    permanent = [each for each in administration.access(ADMIN).rules if each.permanent]
    assert {each.subject for each in permanent} == {ADMIN}
    assert permanent
    for each in permanent:
        with pytest.raises(PermissionDeniedError):
            await harness.execute(ADMIN, administration.remove_rule(ADMIN, each.id, confirmed=True))
    assert [each for each in administration.access(ADMIN).rules if each.permanent] == permanent


async def test_the_administrator_alone_neither_uses_nor_approves(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        await harness.package(ADMIN)
    task = await harness.package()
    with pytest.raises(PermissionDeniedError):
        await harness.approve(task, ADMIN)


async def test_a_rule_without_a_meaning_is_refused(empty_harness: EngineHarness) -> None:
    for kind, action in product(ResourceType, Action):
        if action not in ACTIONS_BY_RESOURCE_TYPE[kind]:
            with pytest.raises(UsageError, match="cannot be granted"):
                await empty_harness.add_rule(ADMIN, resource_type_uri(kind), action)


async def test_rules_are_about_what_there_is(harness: EngineHarness) -> None:
    with pytest.raises(NotFoundError):
        await harness.add_rule("USER:unknown", "RESOURCE_TYPE:ACL", Action.VIEW)
    with pytest.raises(NotFoundError):
        await harness.add_rule(DEV, "DEVICE_CONFIG:unknown", Action.USE)
    with pytest.raises(UsageError):
        await harness.add_rule(DEV, "everything", Action.USE)
    named = await harness.add_rule(DEV, f"DEVICE_CONFIG:{GATEWAY}", Action.EXPORT)
    assert named.resource == device_resource(harness.engine.repository.device(GATEWAY).id)
    with pytest.raises(ConflictError):
        await harness.add_rule(DEV, named.resource, Action.EXPORT)


async def test_subjects_are_known_once_and_by_a_proper_name(harness: EngineHarness) -> None:
    with pytest.raises(ConflictError):
        await harness.add_subject("dev")
    with pytest.raises(UsageError):
        await harness.add_subject("USER:a b")


async def test_changes_of_access_are_audited(harness: EngineHarness) -> None:
    await harness.add_subject("GROUP:devs")
    await harness.add_member("GROUP:devs", DEV)
    made = await harness.add_rule("GROUP:devs", "RESOURCE_TYPE:POLICY", Action.VIEW)
    await harness.execute(ADMIN, harness.engine.access.remove_rule(ADMIN, made.id, confirmed=False))
    messages = [(each.author, each.change, each.message) for each in (await harness.audit_entries())[-4:]]
    assert messages == [
        (ADMIN, AuditAction.CREATED, "GROUP:devs added"),
        (ADMIN, AuditAction.CREATED, "USER:dev added to GROUP:devs"),
        (ADMIN, AuditAction.CREATED, "VIEW on RESOURCE_TYPE:POLICY granted to GROUP:devs"),
        (ADMIN, AuditAction.DELETED, "VIEW on RESOURCE_TYPE:POLICY revoked from GROUP:devs"),
    ]


async def test_periods_have_bounds(empty_harness: EngineHarness) -> None:
    for period, seconds in product(["approval_timeout", "execution_timeout", "time_limit"], [0, -1, 3650 * 86400 + 1]):
        with pytest.raises(UsageError):
            await empty_harness.set_policy(**{period: seconds})
