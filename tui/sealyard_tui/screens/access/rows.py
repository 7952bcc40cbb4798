"""The access control list as rows: users, clients, groups, memberships, rules, and own permissions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from sealyard.model.access import (
    ACTIONS_BY_RESOURCE_TYPE,
    AclRule,
    Action,
    Membership,
    Permission,
    ResourceType,
    Subject,
    SubjectKind,
    device_id_of,
    device_resource,
    resource_type_of,
    resource_type_uri,
    subject_kind,
)
from sealyard.model.base import FrozenStruct
from sealyard.model.formatting import format_time
from sealyard.model.requests import AccessControlList


class Section(StrEnum):
    """A part of the list."""

    ALL = "all"
    PEOPLE = "users & clients"
    GROUPS = "groups"
    RULES = "rules"
    MINE = "my permissions"


class RowKind(StrEnum):
    """What a row is about."""

    PERSON = "person"
    CLIENT = "client"
    GROUP = "group"
    MEMBER = "member"
    RULE = "rule"
    RIGHT = "right"


SIGNS = {
    RowKind.PERSON: "○",
    RowKind.CLIENT: "◇",
    RowKind.GROUP: "◎",
    RowKind.MEMBER: "└",
    RowKind.RULE: "→",
    RowKind.RIGHT: "✓",
}

SECTIONS: Mapping[Section, frozenset[RowKind]] = {
    Section.ALL: frozenset(RowKind) - {RowKind.RIGHT},
    Section.PEOPLE: frozenset({RowKind.PERSON, RowKind.CLIENT}),
    Section.GROUPS: frozenset({RowKind.GROUP, RowKind.MEMBER}),
    Section.RULES: frozenset({RowKind.RULE}),
    Section.MINE: frozenset({RowKind.RIGHT}),
}

_TYPES = {
    ResourceType.ACL: "the access control list",
    ResourceType.AUDIT_LOG: "the audit log",
    ResourceType.DEVICE_CONFIG: "every device configuration",
    ResourceType.KEY: "every key",
    ResourceType.POLICY: "the policy",
    ResourceType.SUBJECT: "users, groups and clients",
}

_KINDS = {
    SubjectKind.USER: RowKind.PERSON,
    SubjectKind.CLIENT: RowKind.CLIENT,
    SubjectKind.GROUP: RowKind.GROUP,
}

Names = Mapping[str, str]
"""Names of device configurations, by id."""


class AccessRow(FrozenStruct, frozen=True, kw_only=True):
    """One row: ``subject`` may do ``action`` on something; foreign text. ``item`` is None for the user's own
    permissions.
    """

    key: str
    kind: RowKind
    subject: str
    action: str = ""
    to: str = ""
    since: datetime | None = None
    by: str = ""
    permanent: bool = False
    item: Subject | Membership | AclRule | None = None

    @property
    def searchable(self) -> str:
        return f"{self.kind} {self.subject} {self.action} {self.to} {'locked' if self.permanent else ''}".casefold()


def format_resource(resource: str, names: Names) -> str:
    config_id = device_id_of(resource)
    if config_id:
        return names.get(config_id, config_id)
    return _TYPES[resource_type_of(resource)]


def resources(names: Names) -> tuple[tuple[str, str], ...]:
    """Return all resources of rules with their labels: single configurations first."""
    single = ((device_resource(each), f"{name} (device configuration)") for each, name in names.items())
    return (*single, *((resource_type_uri(kind), words) for kind, words in _TYPES.items()))


def build_rows(access: AccessControlList, names: Names) -> tuple[AccessRow, ...]:
    """Return users and clients, then groups with their members, then rules."""
    people = [each for each in access.subjects if subject_kind(each.id) is not SubjectKind.GROUP]
    groups = [each for each in access.subjects if subject_kind(each.id) is SubjectKind.GROUP]
    found = [_subject_row(each, access) for each in people]
    for group in groups:
        found.append(_subject_row(group, access))
        found += [_member_row(each) for each in access.memberships if each.group == group.id]
    return (*found, *(_rule_row(each, names) for each in access.rules))


def build_own_rows(rights: Iterable[Permission], names: Names) -> tuple[AccessRow, ...]:
    return tuple(
        AccessRow(key=f"mine {resource} {action}", kind=RowKind.RIGHT, subject="you", action=action, to=to)
        for resource, action, to in sorted(
            ((resource, action, format_resource(resource, names)) for resource, action in rights),
            key=lambda each: (each[2], each[1]),
        )
    )


def filter_rows(found: Sequence[AccessRow], section: Section, text: str) -> list[AccessRow]:
    words = text.casefold().split()
    kinds = SECTIONS[section]
    return [each for each in found if each.kind in kinds and all(word in each.searchable for word in words)]


def groups_of(subject: str, access: AccessControlList) -> tuple[str, ...]:
    """Return all groups that contain the subject, directly or not."""
    found: dict[str, None] = {}
    waiting = [subject]
    while waiting:
        inside = waiting.pop()
        for membership in access.memberships:
            if membership.member == inside and membership.group not in found:
                found[membership.group] = None
                waiting.append(membership.group)
    return tuple(found)


def _subject_row(subject: Subject, access: AccessControlList) -> AccessRow:
    kind = _KINDS[subject_kind(subject.id)]
    members = sum(each.group == subject.id for each in access.memberships)
    groups = ", ".join(groups_of(subject.id, access))
    parts = (
        subject.display_name,
        f"{members} member{'' if members == 1 else 's'}" if kind is RowKind.GROUP else "",
        f"in {groups}" if groups else "",
    )
    return AccessRow(
        key=subject.id,
        kind=kind,
        subject=subject.id,
        to=" · ".join(each for each in parts if each),
        since=subject.created_at,
        by=subject.created_by,
        item=subject,
    )


def _member_row(each: Membership) -> AccessRow:
    return AccessRow(
        key=each.id,
        kind=RowKind.MEMBER,
        subject=each.member,
        action="in",
        to=each.group,
        since=each.created_at,
        by=each.created_by,
        item=each,
    )


def _rule_row(rule: AclRule, names: Names) -> AccessRow:
    return AccessRow(
        key=rule.id,
        kind=RowKind.RULE,
        subject=rule.subject,
        action=rule.action,
        to=format_resource(rule.resource, names),
        since=rule.created_at,
        by=rule.created_by,
        permanent=rule.permanent,
        item=rule,
    )


def describe(row: AccessRow, access: AccessControlList, names: Names) -> str:
    """Describe a row line by line; foreign text."""
    if isinstance(row.item, Subject):
        return "\n".join(_subject_lines(row.item, access, names))
    lines = [f"{row.subject} {'may ' if row.kind in (RowKind.RULE, RowKind.RIGHT) else ''}{row.action} {row.to}"]
    if isinstance(row.item, AclRule):
        lines += [f"resource: {row.item.resource}", f"id: {row.item.id}"]
    if row.since is not None:
        lines.append(f"since {format_time(row.since)}, by {row.by}")
    if row.permanent:
        lines += ["", PERMANENT_RULE_NOTE]
    return "\n".join(lines)


PERMANENT_RULE_NOTE = (
    "This rule is locked: it belongs to the initial administrator, so that the workspace can always "
    "be administered. Add rules for other users instead."
)


def _subject_lines(subject: Subject, access: AccessControlList, names: Names) -> list[str]:
    groups = groups_of(subject.id, access)
    members = [each.member for each in access.memberships if each.group == subject.id]
    lines = [
        f"{subject.id}  {subject.display_name}".rstrip(),
        f"since {format_time(subject.created_at)}, by {subject.created_by}",
        *([f"in {', '.join(groups)}"] if groups else []),
        *([f"members: {', '.join(members)}"] if members else []),
        "",
        "Permissions:",
    ]
    held = [each for each in access.rules if each.subject in (subject.id, *groups)]
    through = {each.id: f"  through {each.subject}" if each.subject != subject.id else "" for each in held}
    lines += [f"  {each.action} {format_resource(each.resource, names)}{through[each.id]}" for each in held]
    return lines if held else [*lines, "  none"]


def removal_impact(row: AccessRow) -> str:
    """Return what is lost if the row is removed; foreign text."""
    if row.kind is RowKind.MEMBER:
        return f"{row.subject} will be removed from {row.to} and lose all permissions granted only through that group."
    return f"{row.subject} will lose {row.action} on {row.to} unless granted elsewhere."


def allowed_actions(resource: str) -> tuple[Action, ...]:
    """Return the actions that are valid for a resource, in the order of :class:`Action`."""
    meaningful = ACTIONS_BY_RESOURCE_TYPE[resource_type_of(resource)]
    return tuple(each for each in Action if each in meaningful)
