"""Tests of permissions: rules, groups, the permissions of each role, and changes of access."""

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
from sealyard.model.errors import (
    AlreadyExistsError,
    ConfirmationRequiredError,
    ConflictError,
    InvalidTransitionError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from sealyard.model.requests import CertificateContent, TaskFilter
from sealyard.model.tasks import Verdict
from sealyard.storage.documents import WriteBatch
from tests.support.engine_harness import ADMIN, CLIENT, DEV, GATEWAY, OWNER, SECOND, EngineHarness

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 23, tzinfo=UTC)
A, G, H = "USER:a", "GROUP:g", "GROUP:h"


def make_rule(subject: str, resource: str, action: Action) -> AclRule:
    return AclRule(id="r", subject=subject, resource=resource, action=action, created_by=A, created_at=NOW)


def make_membership(member: str, group: str) -> Membership:
    return Membership(id="m", member=member, group=group, created_by=A, created_at=NOW)


RESOURCES = [device_resource("c1"), *map(resource_type_uri, ResourceType)]


@pytest.mark.parametrize(("resource", "action"), [(each, action) for each in RESOURCES for action in Action], ids=str)
def test_rule_grants_only_its_action_and_view(resource: str, action: Action) -> None:
    permissions = EffectivePermissions([A], [], [make_rule(A, resource, action)])
    grants = {(target, each) for target, each in product(RESOURCES, Action) if permissions.is_allowed(A, each, target)}
    expected = {(resource, action), (resource, Action.VIEW)}
    if resource == resource_type_uri(ResourceType.DEVICE_CONFIG):
        expected |= {(device_resource("c1"), action), (device_resource("c1"), Action.VIEW)}
    assert grants == expected


def test_device_rule_does_not_apply_elsewhere() -> None:
    permissions = EffectivePermissions([A], [], [make_rule(A, device_resource("c1"), Action.USE)])
    assert not permissions.is_allowed(A, Action.USE, device_resource("c2"))
    assert not permissions.is_allowed(A, Action.USE, resource_type_uri(ResourceType.DEVICE_CONFIG))


def test_nested_groups_grant_permissions() -> None:
    chain = [make_membership(A, "GROUP:0"), *(make_membership(f"GROUP:{n}", f"GROUP:{n + 1}") for n in range(20))]
    permissions = EffectivePermissions(
        [A, "USER:b"], chain, [make_rule("GROUP:20", device_resource("c1"), Action.APPROVE)]
    )
    assert permissions.is_allowed(A, Action.APPROVE, device_resource("c1"))
    assert permissions.approvers("c1") == {A}
    assert not permissions.is_allowed("USER:b", Action.APPROVE, device_resource("c1"))


def test_group_gets_no_permissions_of_members() -> None:
    permissions = EffectivePermissions(
        [A, G], [make_membership(A, G)], [make_rule(A, device_resource("c1"), Action.USE)]
    )
    assert not permissions.is_allowed(G, Action.USE, device_resource("c1"))


def test_unknown_subject_with_rule_has_no_permissions() -> None:
    permissions = EffectivePermissions([], [], [make_rule(A, device_resource("c1"), Action.USE)])
    assert not permissions.contains(A)
    assert not permissions.is_allowed(A, Action.VIEW, device_resource("c1"))


@given(st.lists(st.tuples(st.sampled_from([A, G, H, "GROUP:i"]), st.sampled_from([G, H, "GROUP:i"]))))
def test_cyclic_groups_are_resolved(pairs: list[tuple[str, str]]) -> None:
    permissions = EffectivePermissions(
        [A], [make_membership(*pair) for pair in pairs], [make_rule(H, device_resource("c1"), Action.USE)]
    )
    principals = {A}
    for _ in pairs:
        principals |= {group for member, group in pairs if member in principals}
    assert permissions.principals_of(A) == principals
    assert permissions.is_allowed(A, Action.USE, device_resource("c1")) is (H in principals)


NODES = [A, "USER:b", "CLIENT:ci", G, H, "GROUP:i"]
GROUPS = [G, H, "GROUP:i"]


@given(
    inactive=st.sets(st.sampled_from(NODES)),
    pairs=st.lists(st.tuples(st.sampled_from(NODES), st.sampled_from(GROUPS))),
    grants=st.lists(st.tuples(st.sampled_from(NODES), st.sampled_from(RESOURCES), st.sampled_from(Action))),
)
def test_inactive_subjects_have_and_grant_nothing(
    inactive: set[str], pairs: list[tuple[str, str]], grants: list[tuple[str, str, Action]]
) -> None:
    permissions = EffectivePermissions(
        [each for each in NODES if each not in inactive],
        [make_membership(*pair) for pair in pairs],
        [make_rule(*grant) for grant in grants],
        inactive,
    )
    for subject in inactive:
        assert not permissions.contains(subject)
        assert not any(permissions.is_allowed(subject, action, each) for action in Action for each in RESOURCES)
        assert subject not in permissions.approvers("c1") | permissions.requesters("c1")
    # The others have the permissions that they would have if the inactive subjects had never existed.
    without_them = EffectivePermissions(
        [each for each in NODES if each not in inactive],
        [make_membership(*pair) for pair in pairs if not inactive & set(pair)],
        [make_rule(*grant) for grant in grants if grant[0] not in inactive],
    )
    for subject in NODES:
        assert permissions.permissions_of(subject) == without_them.permissions_of(subject)


def test_allowed_subjects_are_filtered_by_kind() -> None:
    subjects = [A, "CLIENT:ci", G]
    rules = [
        make_rule(each, device_resource("c1"), action) for each in subjects for action in (Action.USE, Action.APPROVE)
    ]
    permissions = EffectivePermissions(subjects, [], rules)
    assert permissions.approvers("c1") == {A}
    assert permissions.requesters("c1") == {A, "CLIENT:ci"}
    assert permissions.subjects_allowed(Action.USE, device_resource("c1"), [SubjectKind.GROUP]) == {G}


# ---- in the engine


async def test_each_role_has_only_its_permissions(harness: EngineHarness) -> None:
    waiting_task = await harness.package()
    file = await harness.upload(b"other")

    async def is_permitted(subject: str, call: str) -> bool:
        engine = harness.engine
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "package": lambda: harness.package(subject, firmware=(file,)),
            "decide": lambda: engine.decisions.decide(subject, waiting_task.id, Verdict.REJECTED, "no", "wrong digest"),
            "subject": lambda: engine.access.add_subject(subject, "USER:dev", ""),
            "member": lambda: engine.access.add_member(subject, "GROUP:none", DEV),
            "rule": lambda: engine.access.add_rule(subject, "USER:none", "RESOURCE_TYPE:ACL", Action.VIEW),
            "drop rule": lambda: engine.access.remove_rule(subject, "none", confirmed=True),
            "policy": lambda: engine.access.set_policy(subject, engine.access.policy()),
            "rotate": lambda: engine.devices.rotate_key(subject, "local:none"),
            "renew": lambda: engine.devices.import_certificate(
                subject, CertificateContent(uri="local:none", content=b"")
            ),
            "request": lambda: engine.keys.create_certificate_request(subject, "local:none"),
            "export": lambda: engine.devices.export_key(subject, GATEWAY, confirmed=False),
            "audit": lambda: engine.audit.verify(subject, None, None),
        }
        try:
            await harness.execute(subject, calls[call]())
        except PermissionDeniedError:
            return False
        except (ConfirmationRequiredError, ConflictError, NotFoundError):  # raised after the permission was checked
            return True
        return True

    administrator_calls = {"subject", "member", "rule", "drop rule", "policy", "audit"}
    administrator_calls |= {"rotate", "renew", "request", "export"}
    calls_by_subject = {
        ADMIN: administrator_calls,
        DEV: {"package"},
        CLIENT: {"package"},
        OWNER: {"decide"},
        SECOND: {"decide"},
    }
    for subject, calls in calls_by_subject.items():
        for call in sorted(administrator_calls | {"package", "decide"}):
            assert await is_permitted(subject, call) is (call in calls), (subject, call)


async def test_unknown_subject_is_denied(harness: EngineHarness) -> None:
    for run in (harness.engine.execute, harness.engine.query):
        with pytest.raises(PermissionDeniedError, match="is unknown"):
            await run("USER:stranger", "TASK", harness.engine.creation.create_package("USER:stranger", None))  # type: ignore[arg-type]
    entries = [each for each in await harness.audit_entries(AuditAction.REFUSED) if each.author == "USER:stranger"]
    assert len(entries) == 2


async def test_group_cannot_create_task(harness: EngineHarness) -> None:
    await harness.add_subject("GROUP:devs")
    await harness.add_rule("GROUP:devs", "RESOURCE_TYPE:DEVICE_CONFIG", Action.USE)
    with pytest.raises(PermissionDeniedError):
        await harness.package("GROUP:devs")


async def test_denied_call_is_audited(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        await harness.package(OWNER)
    entry = (await harness.audit_entries(AuditAction.REFUSED))[-1]
    assert (entry.author, entry.code, entry.resource) == (OWNER, "not-allowed", "TEST")
    assert "USE" in entry.message


async def test_failed_call_is_audited(harness: EngineHarness) -> None:
    task = await harness.package()
    await harness.cancel(task)
    with pytest.raises(InvalidTransitionError):
        await harness.cancel(task)
    entry = (await harness.audit_entries(AuditAction.FAILED))[-1]
    assert (entry.author, entry.code) == (DEV, "transition")


async def test_only_denied_queries_are_audited(harness: EngineHarness) -> None:
    async def read_access() -> object:
        return harness.engine.access.access(DEV)

    entry_count = len(await harness.audit_entries())
    with pytest.raises(PermissionDeniedError):
        await harness.engine.query(DEV, "ACL", read_access())
    assert (await harness.audit_entries())[entry_count:][0].change is AuditAction.REFUSED

    async def get_missing_task() -> object:
        return harness.engine.queries.get(DEV, "nothing")

    with pytest.raises(NotFoundError):
        await harness.engine.query(DEV, "TASK", get_missing_task())
    assert len(await harness.audit_entries()) == entry_count + 1


@pytest.mark.parametrize("text", ["\udcff", "\x1b[31m", "\u202e", "a" * 5000])
async def test_denied_call_with_unprintable_text_is_audited(harness: EngineHarness, text: str) -> None:
    with pytest.raises(PermissionDeniedError):
        await harness.engine.execute(
            f"USER:{text}",
            f"DEVICE_CONFIG:{text}",
            harness.engine.creation.create_package(DEV, None),  # type: ignore[arg-type]
        )
    entry = (await harness.audit_entries(AuditAction.REFUSED))[-1]
    assert entry.author.isprintable()
    assert entry.resource.isprintable()


async def test_unreadable_rules_deny_everything(harness: EngineHarness) -> None:
    task = await harness.package()
    harness.engine.store.submit(WriteBatch(puts=((RULES.name, "broken", {"not": "a rule"}),))).result()
    harness.engine.repository.invalidate()
    assert not harness.engine.permissions.is_allowed(ADMIN, Action.VIEW, resource_type_uri(ResourceType.ACL))
    for call in (harness.package, harness.set_policy, lambda: harness.approve(task), lambda: harness.cancel(task)):
        with pytest.raises(PermissionDeniedError):
            await call()


async def test_hidden_task_raises_not_found(harness: EngineHarness) -> None:
    task = await harness.package()
    await harness.add_subject("USER:stranger")
    with pytest.raises(NotFoundError):
        harness.engine.queries.get("USER:stranger", task.id)
    with pytest.raises(NotFoundError):
        harness.engine.queries.get("USER:stranger", task.id[:4])
    page = await harness.engine.queries.list_tasks("USER:stranger", TaskFilter(), None, 100)
    assert page.tasks == ()
    assert page.total in (None, 0)


async def test_task_is_found_by_id_prefix(harness: EngineHarness) -> None:
    task = await harness.package()
    assert harness.engine.queries.get(DEV, task.id[:5]).id == task.id
    with pytest.raises(NotFoundError):
        harness.engine.queries.get(DEV, task.id[:2])


# ---- groups and rules


async def test_cyclic_or_invalid_membership_is_rejected(empty_harness: EngineHarness) -> None:
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


async def test_leaving_group_revokes_permissions(harness: EngineHarness) -> None:
    await harness.add_subject("GROUP:devs")
    await harness.add_subject("USER:new")
    await harness.add_rule("GROUP:devs", "RESOURCE_TYPE:DEVICE_CONFIG", Action.USE)
    await harness.add_member("GROUP:devs", "USER:new")
    await harness.package("USER:new")
    access = harness.engine.access
    await harness.execute(ADMIN, access.remove_member(ADMIN, "GROUP:devs", "new", confirmed=False))
    with pytest.raises(NotFoundError):
        await harness.package("USER:new")


async def test_permanent_rules_cannot_be_removed(harness: EngineHarness) -> None:
    access = harness.engine.access
    permanent_rules = [each for each in access.access(ADMIN).rules if each.permanent]
    assert {each.subject for each in permanent_rules} == {ADMIN}
    assert permanent_rules
    for each in permanent_rules:
        with pytest.raises(PermissionDeniedError):
            await harness.execute(ADMIN, access.remove_rule(ADMIN, each.id, confirmed=True))
    assert [each for each in access.access(ADMIN).rules if each.permanent] == permanent_rules


async def test_administrator_cannot_use_or_approve(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        await harness.package(ADMIN)
    task = await harness.package()
    with pytest.raises(PermissionDeniedError):
        await harness.approve(task, ADMIN)


async def test_rule_with_inapplicable_action_is_rejected(empty_harness: EngineHarness) -> None:
    for kind, action in product(ResourceType, Action):
        if action not in ACTIONS_BY_RESOURCE_TYPE[kind]:
            with pytest.raises(UsageError, match="cannot be granted"):
                await empty_harness.add_rule(ADMIN, resource_type_uri(kind), action)


async def test_unknown_or_duplicate_rule_is_rejected(harness: EngineHarness) -> None:
    with pytest.raises(NotFoundError):
        await harness.add_rule("USER:unknown", "RESOURCE_TYPE:ACL", Action.VIEW)
    with pytest.raises(NotFoundError):
        await harness.add_rule(DEV, "DEVICE_CONFIG:unknown", Action.USE)
    with pytest.raises(UsageError):
        await harness.add_rule(DEV, "everything", Action.USE)
    rule = await harness.add_rule(DEV, f"DEVICE_CONFIG:{GATEWAY}", Action.EXPORT)
    assert rule.resource == device_resource(harness.engine.repository.device(GATEWAY).id)
    with pytest.raises(ConflictError):
        await harness.add_rule(DEV, rule.resource, Action.EXPORT)


async def test_duplicate_or_invalid_subject_is_rejected(harness: EngineHarness) -> None:
    with pytest.raises(ConflictError):
        await harness.add_subject("dev")
    with pytest.raises(UsageError):
        await harness.add_subject("USER:a b")


async def test_access_changes_are_audited(harness: EngineHarness) -> None:
    await harness.add_subject("GROUP:devs")
    await harness.add_member("GROUP:devs", DEV)
    rule = await harness.add_rule("GROUP:devs", "RESOURCE_TYPE:POLICY", Action.VIEW)
    await harness.execute(ADMIN, harness.engine.access.remove_rule(ADMIN, rule.id, confirmed=False))
    messages = [(each.author, each.change, each.message) for each in (await harness.audit_entries())[-4:]]
    assert messages == [
        (ADMIN, AuditAction.CREATED, "GROUP:devs added"),
        (ADMIN, AuditAction.CREATED, "USER:dev added to GROUP:devs"),
        (ADMIN, AuditAction.CREATED, "VIEW on RESOURCE_TYPE:POLICY granted to GROUP:devs"),
        (ADMIN, AuditAction.DELETED, "VIEW on RESOURCE_TYPE:POLICY revoked from GROUP:devs"),
    ]


async def test_policy_timeouts_are_bounded(empty_harness: EngineHarness) -> None:
    for period, seconds in product(["approval_timeout", "execution_timeout", "time_limit"], [0, -1, 3650 * 86400 + 1]):
        with pytest.raises(UsageError):
            await empty_harness.set_policy(**{period: seconds})


async def test_errors_name_the_device_configuration(harness: EngineHarness) -> None:
    config_id = harness.engine.repository.device(GATEWAY).id
    task = await harness.package()
    with pytest.raises(PermissionDeniedError) as caught:
        await harness.decide(task, DEV)
    assert caught.value.message == f"{DEV} does not have APPROVE permission on DEVICE_CONFIG:{GATEWAY}."
    with pytest.raises(UsageError) as wrong_action:
        await harness.add_rule(DEV, f"DEVICE_CONFIG:{GATEWAY}", Action.DELETE)
    assert f"DEVICE_CONFIG:{GATEWAY}" in wrong_action.value.message
    with pytest.raises(AlreadyExistsError) as existing:
        await harness.add_rule(DEV, f"DEVICE_CONFIG:{config_id}", Action.USE)
    assert config_id not in existing.value.message
    await harness.remove_rule(DEV, Action.USE)
    messages = [entry.message for entry in await harness.audit_entries() if entry.resource.startswith("ACL:")]
    assert messages[-1] == f"USE on DEVICE_CONFIG:{GATEWAY} revoked from {DEV}"
    assert f"USE on DEVICE_CONFIG:{GATEWAY} granted to {DEV}" in messages
    assert config_id not in "".join(messages)
