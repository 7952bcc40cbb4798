"""Tests of subject names, resource names and permissions."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.access import (
    ACTIONS_BY_RESOURCE_TYPE,
    Action,
    Permission,
    ResourceType,
    Role,
    Subject,
    SubjectKind,
    SubjectState,
    device_resource,
    is_allowed,
    parse_subject,
    resource_type_of,
    resource_type_uri,
    roles_for,
    subject_kind,
)
from sealyard.model.errors import UsageError

near_misses = st.builds(
    "".join, st.lists(st.sampled_from(["USER", "CLIENT", "GROUP", ":", "a", "\n", " ", "é", "RESOURCE_TYPE", "ACL"]))
)


@given(st.text() | near_misses)
def test_parse_subject_accepts_or_rejects_text(text: str) -> None:
    try:
        subject = parse_subject(text)
    except UsageError:
        return
    assert parse_subject(subject) == subject
    assert subject_kind(subject) in SubjectKind
    assert subject.isascii()
    assert subject.isprintable()
    assert " " not in subject


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("anna", "USER:anna"),
        ("USER:anna", "USER:anna"),
        ("GROUP:owners", "GROUP:owners"),
        ("CLIENT:ci-1", "CLIENT:ci-1"),
        ("anna@example.org", "USER:anna@example.org"),
        ("a" * 64, "USER:" + "a" * 64),
    ],
)
def test_bare_name_is_a_user(text: str, subject: str) -> None:
    assert parse_subject(text) == subject


@pytest.mark.parametrize(
    "text", ["", ":", "USER:", ":anna", "user:anna", "SYSTEM:engine", "anna\n", ".anna", "a b", "a/b", "a" * 65, "ä"]
)
def test_invalid_subject_is_rejected(text: str) -> None:
    with pytest.raises(UsageError):
        parse_subject(text)


@given(st.text() | near_misses)
def test_resource_type_of_accepts_or_rejects_text(text: str) -> None:
    try:
        kind = resource_type_of(text)
    except UsageError:
        return
    assert kind in ResourceType
    assert text == resource_type_uri(kind) or text.startswith("DEVICE_CONFIG:")


def test_resource_type_of_resource() -> None:
    assert resource_type_of(device_resource("c1")) is ResourceType.DEVICE_CONFIG
    for kind in ResourceType:
        assert resource_type_of(resource_type_uri(kind)) is kind


@pytest.mark.parametrize("text", ["DEVICE_CONFIG:", "DEVICE_CONFIG", "RESOURCE_TYPE:", "KEY:local:a", "ACL", ""])
def test_invalid_resource_is_rejected(text: str) -> None:
    with pytest.raises(UsageError):
        resource_type_of(text)


def test_every_resource_type_has_actions() -> None:
    assert set(ACTIONS_BY_RESOURCE_TYPE) == set(ResourceType)
    assert all(ACTIONS_BY_RESOURCE_TYPE.values())


ANY_DEVICE = resource_type_uri(ResourceType.DEVICE_CONFIG)
AUDIT_LOG = resource_type_uri(ResourceType.AUDIT_LOG)
ACL = resource_type_uri(ResourceType.ACL)


def test_type_permission_includes_its_resources() -> None:
    assert is_allowed([(ANY_DEVICE, Action.USE)], Action.USE, device_resource("c1"))
    assert is_allowed([(device_resource("c1"), Action.USE)], Action.VIEW, device_resource("c1"))
    assert not is_allowed([(device_resource("c1"), Action.USE)], Action.APPROVE, device_resource("c1"))
    assert not is_allowed([(device_resource("c1"), Action.USE)], Action.USE, ANY_DEVICE)
    assert not is_allowed([], Action.VIEW, device_resource("c1"))


@pytest.mark.parametrize(
    ("permissions", "roles"),
    [
        ([], ()),
        ([(device_resource("c1"), Action.USE)], (Role.DEVELOPER,)),
        ([(ANY_DEVICE, Action.APPROVE)], (Role.PRODUCT_OWNER,)),
        ([(device_resource("c1"), Action.USE), (device_resource("c2"), Action.APPROVE)], tuple(Role)[:2]),
        ([(AUDIT_LOG, Action.VIEW)], (Role.AUDITOR,)),
        ([(AUDIT_LOG, Action.VIEW), (ACL, Action.CREATE)], (Role.ADMINISTRATOR,)),
        ([(ACL, Action.VIEW)], ()),
        ([(device_resource("c1"), Action.VIEW)], ()),
    ],
)
def test_roles_follow_the_permissions(permissions: list[Permission], roles: tuple[Role, ...]) -> None:
    assert roles_for(permissions) == roles


def test_subject_stored_by_an_older_version_is_active() -> None:
    stored = {"id": "USER:anna", "createdBy": "USER:admin", "createdAt": "2026-01-01T00:00:00Z", "displayName": ""}
    subject = msgspec.convert(stored, Subject)
    assert (subject.state, subject.is_active, subject.state_changed_at) == (SubjectState.ACTIVE, True, None)
