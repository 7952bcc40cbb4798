"""Subjects, group memberships and the rules of the access control list (ACL)."""

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
"""The author of changes that the engine makes on its own: expiry, time limits, recovery."""

OIDC_AUTHOR = "SYSTEM:oidc"
"""The author of memberships and audit entries that result from the roles in a token of an identity provider."""

_SUBJECT_PATTERN = re.compile(r"(USER|GROUP|CLIENT):[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


def parse_subject(text: str) -> str:
    """Parse ``text`` as a subject and return it as ``KIND:name``. A name without a kind is taken to be a USER.

    Raises :class:`UsageError` if ``text`` is not a valid subject.
    """
    subject = text if ":" in text else f"{SubjectKind.USER}:{text}"
    if not _SUBJECT_PATTERN.fullmatch(subject):
        raise UsageError(
            f"Invalid subject {text[:80]!r}.",
            "Use USER:anna, GROUP:owners or CLIENT:ci; letters, digits and . _ @ + - are allowed.",
        )
    return subject


def subject_kind(subject: str) -> SubjectKind:
    return SubjectKind(subject.partition(":")[0])


class SubjectState(StrEnum):
    """Whether a subject can act, approve, and grant permissions as a group.

    A disabled subject keeps its rules, memberships and credentials, but they have no effect until it is enabled. A
    removed subject has lost them; its record is kept so that its name stays known and its id is not reused by accident.
    """

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"
    REMOVED = "REMOVED"


class Subject(FrozenStruct, frozen=True, kw_only=True):
    """A person, group or machine client of the workspace. ``id`` has the form ``KIND:name``.

    ``state_reason``, ``state_changed_by`` and ``state_changed_at`` describe the last change of ``state``; they are
    empty or None if it never changed.
    """

    id: str
    created_by: str
    created_at: datetime
    display_name: str = ""
    state: SubjectState = SubjectState.ACTIVE
    state_reason: str = ""
    state_changed_by: str = ""
    state_changed_at: datetime | None = None

    @property
    def is_active(self) -> bool:
        return self.state is SubjectState.ACTIVE


class Membership(FrozenStruct, frozen=True, kw_only=True):
    """The membership of ``member``, a subject of any kind, in ``group``."""

    id: str
    member: str
    group: str
    created_by: str
    created_at: datetime


class Action(StrEnum):
    """An action that an access rule can allow. Permission for any action implies VIEW of the same resource."""

    VIEW = "VIEW"
    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    USE = "USE"
    APPROVE = "APPROVE"
    EXPORT = "EXPORT"


ACCESS_LIST_ACTIONS = (Action.VIEW, Action.USE, Action.APPROVE)
"""The actions in the access list of a device configuration, which its creator can allow when creating it."""

AccessList = dict[Action, tuple[str, ...]]
"""Subjects by the action that they may perform on a device configuration."""


class ResourceType(StrEnum):
    """A type of resource, written ``RESOURCE_TYPE:<type>`` in access rules.

    A rule for a type applies to every resource of that type.
    """

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
"""The actions that apply to each resource type. Rules with another action would have no effect and are rejected."""


def resource_type_uri(kind: ResourceType) -> str:
    return f"RESOURCE_TYPE:{kind}"


def device_resource(config_id: str) -> str:
    return f"{ResourceType.DEVICE_CONFIG}:{config_id}"


def device_id_of(resource: str) -> str:
    """Return the id in ``resource`` if it names a device configuration, otherwise an empty string."""
    prefix, _, config_id = resource.partition(":")
    return config_id if prefix == ResourceType.DEVICE_CONFIG else ""


def resource_type_of(resource: str) -> ResourceType:
    """Return the type of ``resource``. Raises :class:`UsageError` if ``resource`` is not valid."""
    prefix, _, suffix = resource.partition(":")
    try:
        if prefix == "RESOURCE_TYPE":
            return ResourceType(suffix)
        if prefix == ResourceType.DEVICE_CONFIG and suffix:
            return ResourceType.DEVICE_CONFIG
    except ValueError:
        pass
    raise UsageError(
        f"Invalid resource {resource[:80]!r}.",
        "Use DEVICE_CONFIG:<id> or RESOURCE_TYPE:<type>, with one of " + ", ".join(ResourceType) + ".",
    )


class AclRule(FrozenStruct, frozen=True, kw_only=True):
    """Allows ``subject`` to perform ``action`` on ``resource``.

    A ``permanent`` rule, such as those of the initial administrator, cannot be removed.
    """

    id: str
    subject: str
    resource: str
    action: Action
    created_by: str
    created_at: datetime
    permanent: bool = False


Permission = tuple[str, Action]
"""A resource and an action that is allowed on it."""


def is_allowed(permissions: Collection[Permission], action: Action, resource: str) -> bool:
    """Return whether ``permissions`` allow ``action`` on ``resource``.

    A permission for a type applies to every resource of that type, and every permission implies VIEW. Raises
    :class:`UsageError` if ``resource`` is not a valid resource.
    """
    matching_resources = (resource, resource_type_uri(resource_type_of(resource)))
    if action is Action.VIEW:
        return any(granted_resource in matching_resources for granted_resource, _ in permissions)
    return any((granted_resource, action) in permissions for granted_resource in matching_resources)


class Role(StrEnum):
    """A name for a set of permissions. A subject can have several roles."""

    DEVELOPER = "developer"
    PRODUCT_OWNER = "product owner"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


def roles_for(permissions: Collection[Permission]) -> tuple[Role, ...]:
    """Return the roles that follow from ``permissions``, in the order of :class:`Role`.

    An administrator, who can also view the audit log, is not listed as an auditor.
    """
    actions = {action for _, action in permissions}
    is_administrator = is_allowed(permissions, Action.CREATE, resource_type_uri(ResourceType.ACL))
    can_view_audit_log = is_allowed(permissions, Action.VIEW, resource_type_uri(ResourceType.AUDIT_LOG))
    has_role = {
        Role.DEVELOPER: Action.USE in actions,
        Role.PRODUCT_OWNER: Action.APPROVE in actions,
        Role.AUDITOR: can_view_audit_log and not is_administrator,
        Role.ADMINISTRATOR: is_administrator,
    }
    return tuple(role for role, applies in has_role.items() if applies)
