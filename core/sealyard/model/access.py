"""Subjects, groups and the rules of the access control list."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError


class SubjectKind(StrEnum):
    USER = "USER"
    GROUP = "GROUP"
    CLIENT = "CLIENT"


SYSTEM_SUBJECT = "SYSTEM:engine"
"""The author of what nobody asked for: expiry, time limits, recovery."""

_SUBJECT = re.compile(r"(USER|GROUP|CLIENT):[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


def parse_subject(text: str) -> str:
    """A subject written ``KIND:name``; a bare name means a USER. Raises :class:`UsageError`."""
    subject = text if ":" in text else f"{SubjectKind.USER}:{text}"
    if not _SUBJECT.fullmatch(subject):
        raise UsageError(
            f"{text[:80]!r} is not a subject.",
            "Write USER:anna, GROUP:owners or CLIENT:ci; letters, digits and . _ @ + - are allowed.",
        )
    return subject


def subject_kind(subject: str) -> SubjectKind:
    return SubjectKind(subject.partition(":")[0])


class Subject(FrozenStruct, frozen=True, kw_only=True):
    """A person, a group or a machine client of the workspace; ``id`` is written ``KIND:name``."""

    id: str
    created_by: str
    created_at: datetime
    display_name: str = ""


class Membership(FrozenStruct, frozen=True, kw_only=True):
    """A group rule: ``member`` (of any kind) is inside ``group``."""

    id: str
    member: str
    group: str
    created_by: str
    created_at: datetime


class Action(StrEnum):
    """What a rule allows. Every action implies VIEW of the same resource."""

    VIEW = "VIEW"
    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    USE = "USE"
    APPROVE = "APPROVE"
    EXPORT = "EXPORT"


class ResourceType(StrEnum):
    """What rules can be about, as ``RESOURCE_TYPE:<this>``; a rule on a type holds for each resource of it."""

    ACL = "ACL"
    AUDIT_LOG = "AUDIT_LOG"
    DEVICE_CONFIG = "DEVICE_CONFIG"
    KEY = "KEY"
    POLICY = "POLICY"
    SUBJECT = "SUBJECT"


ACTIONS_BY_RESOURCE_TYPE: dict[ResourceType, frozenset[Action]] = {
    ResourceType.ACL: frozenset({Action.VIEW, Action.CREATE, Action.DELETE}),
    ResourceType.AUDIT_LOG: frozenset({Action.VIEW}),
    ResourceType.DEVICE_CONFIG: frozenset(
        {Action.VIEW, Action.CREATE, Action.UPDATE, Action.USE, Action.APPROVE, Action.EXPORT}
    ),
    ResourceType.KEY: frozenset({Action.VIEW, Action.CREATE, Action.UPDATE}),
    ResourceType.POLICY: frozenset({Action.VIEW, Action.UPDATE}),
    ResourceType.SUBJECT: frozenset({Action.VIEW, Action.CREATE}),
}
"""The actions that mean something on each type; other rules are refused rather than kept without effect."""


def resource_type_uri(kind: ResourceType) -> str:
    return f"RESOURCE_TYPE:{kind}"


def device_resource(config_id: str) -> str:
    return f"{ResourceType.DEVICE_CONFIG}:{config_id}"


def device_id_of(resource: str) -> str:
    """The id of the configuration that ``resource`` is; empty for what is none."""
    head, _, config_id = resource.partition(":")
    return config_id if head == ResourceType.DEVICE_CONFIG else ""


def resource_type_of(resource: str) -> ResourceType:
    """The type a resource belongs to. Raises :class:`UsageError` for what is no resource."""
    head, _, tail = resource.partition(":")
    try:
        if head == "RESOURCE_TYPE":
            return ResourceType(tail)
        if head == ResourceType.DEVICE_CONFIG and tail:
            return ResourceType.DEVICE_CONFIG
    except ValueError:
        pass
    raise UsageError(
        f"{resource[:80]!r} is not a resource.",
        "Write DEVICE_CONFIG:<id> or RESOURCE_TYPE:<type>, with one of " + ", ".join(ResourceType) + ".",
    )


class AclRule(FrozenStruct, frozen=True, kw_only=True):
    """``subject`` may do ``action`` to ``resource``. A ``permanent`` rule (the initial administrator's) stays."""

    id: str
    subject: str
    resource: str
    action: Action
    created_by: str
    created_at: datetime
    permanent: bool = False


Permission = tuple[str, Action]
"""A resource and what may be done to it."""


def is_allowed(rights: Collection[Permission], action: Action, resource: str) -> bool:
    """Whether ``rights`` allow it: a right on a type holds for each resource of it, every right implies VIEW.

    Raises :class:`UsageError` for what is no resource.
    """
    places = (resource, resource_type_uri(resource_type_of(resource)))
    if action is Action.VIEW:
        return any(place in places for place, _ in rights)
    return any((place, action) in rights for place in places)


class Role(StrEnum):
    """What a person is called who has certain rights; one may have several roles."""

    DEVELOPER = "developer"
    PRODUCT_OWNER = "product owner"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


def roles_for(rights: Collection[Permission]) -> tuple[Role, ...]:
    """The roles that rights make, in the order of :class:`Role`; an administrator is no auditor besides."""
    actions = {action for _, action in rights}
    administers = is_allowed(rights, Action.CREATE, resource_type_uri(ResourceType.ACL))
    audits = is_allowed(rights, Action.VIEW, resource_type_uri(ResourceType.AUDIT_LOG))
    held = {
        Role.DEVELOPER: Action.USE in actions,
        Role.PRODUCT_OWNER: Action.APPROVE in actions,
        Role.AUDITOR: audits and not administers,
        Role.ADMINISTRATOR: administers,
    }
    return tuple(role for role, holds in held.items() if holds)
