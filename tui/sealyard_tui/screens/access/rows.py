"""Rows of the access control screen: users, clients, groups, memberships, rules, and the user's own permissions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from textual.content import Content

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
from sealyard.model.display_zone import display_zone
from sealyard.model.formatting import format_count, format_time
from sealyard.model.requests import AccessControlList
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import SubjectNames, format_subject
from sealyard_tui.fuzzy import find_matches
from sealyard_tui.widgets.columns import Cell, join_cells


class Section(StrEnum):
    """Section of the list, shown when its tab is selected."""

    ALL = "all"
    USERS = "users & clients"
    GROUPS = "groups"
    RULES = "rules"
    OWN_PERMISSIONS = "my permissions"


class RowKind(StrEnum):
    """Kind of the entry that a row shows."""

    USER = "user"
    CLIENT = "client"
    GROUP = "group"
    MEMBER = "member"
    RULE = "rule"
    REMOVED = "removed"
    PERMISSION = "permission"


KIND_SIGNS = {
    RowKind.USER: "○",
    RowKind.CLIENT: "◇",
    RowKind.GROUP: "◎",
    RowKind.MEMBER: "└",
    RowKind.RULE: "→",
    RowKind.REMOVED: "×",
    RowKind.PERMISSION: "✓",
}

ROW_KINDS_BY_SECTION: Mapping[Section, frozenset[RowKind]] = {
    Section.ALL: frozenset(RowKind) - {RowKind.PERMISSION},
    Section.USERS: frozenset({RowKind.USER, RowKind.CLIENT}),
    Section.GROUPS: frozenset({RowKind.GROUP, RowKind.MEMBER}),
    Section.RULES: frozenset({RowKind.RULE}),
    Section.OWN_PERMISSIONS: frozenset({RowKind.PERMISSION}),
}

_RESOURCE_TYPE_LABELS = {
    ResourceType.ACL: "the access control list",
    ResourceType.AUDIT_LOG: "the audit log",
    ResourceType.DEVICE_CONFIG: "every device configuration",
    ResourceType.KEY: "every key",
    ResourceType.POLICY: "the policy",
    ResourceType.SUBJECT: "users, groups and clients",
}

_ROW_KINDS = {
    SubjectKind.USER: RowKind.USER,
    SubjectKind.CLIENT: RowKind.CLIENT,
    SubjectKind.GROUP: RowKind.GROUP,
}

DeviceNames = Mapping[str, str]
"""Names of device configurations, keyed by id."""


class AccessRow(FrozenStruct, frozen=True, kw_only=True):
    """Row of the list. All text is untrusted.

    ``subject``, ``action`` and ``target`` read as a sentence: ``USER:anna APPROVE gateway``. ``subject_label``: the
    subject as displayed in a wide table. ``permanent``: whether the row is a rule that cannot be removed. ``item``: the
    object that the row shows; None for the user's own permissions.
    """

    key: str
    kind: RowKind
    subject: str
    subject_label: str
    action: str = ""
    target: str = ""
    created_at: datetime | None = None
    created_by: str = ""
    permanent: bool = False
    item: Subject | Membership | AclRule | None = None

    @property
    def subject_item(self) -> Subject | None:
        """The subject, if this is the row of a person, group or client."""
        return self.item if isinstance(self.item, Subject) else None


def _render_target(row: AccessRow) -> Content:
    is_inactive = row.subject_item is not None and not row.subject_item.is_active
    return Content.styled(escape_text(row.target), "$warning" if is_inactive else "")


def render_cells(row: AccessRow) -> tuple[Cell, ...]:
    return (
        Content.assemble(Content.styled(f"{KIND_SIGNS[row.kind]} ", "$accent"), row.kind),
        escape_text(row.subject),
        escape_text(row.subject_label),
        row.action,
        _render_target(row),
        Content.styled("locked" if row.permanent else "", "$text-muted"),
        f"{display_zone.convert(row.created_at):%Y-%m-%d}" if row.created_at is not None else "",
        escape_text(row.created_by),
    )


SORT_VALUES: Mapping[str, Callable[[AccessRow], str | bool]] = {
    "kind": lambda row: row.kind,
    "subject": lambda row: row.subject_label.casefold(),
    "action": lambda row: row.action,
    "target": lambda row: row.target.casefold(),
    "locked": lambda row: not row.permanent,
    "since": lambda row: row.created_at.isoformat() if row.created_at is not None else "",
    "by": lambda row: row.created_by.casefold(),
}
"""Functions that return the value by which rows are sorted, by column."""


def format_resource(resource: str, device_names: DeviceNames) -> str:
    config_id = device_id_of(resource)
    if config_id:
        return device_names.get(config_id, config_id)
    return _RESOURCE_TYPE_LABELS[resource_type_of(resource)]


def list_resources(device_names: DeviceNames) -> tuple[tuple[str, str], ...]:
    """Return all resources that a rule can refer to, with their labels. Individual configurations come first."""
    device_choices = ((device_resource(each), f"{name} (device configuration)") for each, name in device_names.items())
    return (*device_choices, *((resource_type_uri(kind), label) for kind, label in _RESOURCE_TYPE_LABELS.items()))


def build_rows(access: AccessControlList, device_names: DeviceNames) -> tuple[AccessRow, ...]:
    """Return the rows in order: users and clients, groups with their members, rules, and removed subjects."""
    individuals = [each for each in access.subjects if subject_kind(each.id) is not SubjectKind.GROUP]
    groups = [each for each in access.subjects if subject_kind(each.id) is SubjectKind.GROUP]
    names = access.names
    rows = [_build_subject_row(each, access, names) for each in individuals]
    for group in groups:
        rows.append(_build_subject_row(group, access, names))
        rows += [_build_member_row(each, names) for each in access.memberships if each.group == group.id]
    rules = (_build_rule_row(each, device_names, names) for each in access.rules)
    return (*rows, *rules, *(_build_removed_row(each, names) for each in access.removed))


def build_own_rows(permissions: Iterable[Permission], device_names: DeviceNames) -> tuple[AccessRow, ...]:
    return tuple(
        AccessRow(
            key=f"mine {resource} {action}",
            kind=RowKind.PERMISSION,
            subject="you",
            subject_label="you",
            action=action,
            target=target,
        )
        for resource, action, target in sorted(
            ((resource, action, format_resource(resource, device_names)) for resource, action in permissions),
            key=lambda each: (each[2], each[1]),
        )
    )


def filter_rows(rows: Sequence[AccessRow], section: Section, text: str) -> tuple[list[AccessRow], bool]:
    """Return the matching rows of a section, and whether they are only similar to the text."""
    kinds = ROW_KINDS_BY_SECTION[section]
    return find_matches([each for each in rows if each.kind in kinds], text, lambda row: join_cells(render_cells(row)))


def find_groups(subject: str, access: AccessControlList) -> tuple[str, ...]:
    """Return all groups that contain a subject, directly or through other groups."""
    groups: dict[str, None] = {}
    queue = [subject]
    while queue:
        member = queue.pop()
        for membership in access.memberships:
            if membership.member == member and membership.group not in groups:
                groups[membership.group] = None
                queue.append(membership.group)
    return tuple(groups)


def _build_subject_row(subject: Subject, access: AccessControlList, names: SubjectNames) -> AccessRow:
    kind = _ROW_KINDS[subject_kind(subject.id)]
    member_count = sum(each.group == subject.id for each in access.memberships)
    groups = _format_subjects(find_groups(subject.id, access), names)
    parts = (
        "" if subject.is_active else subject.state.lower(),
        subject.display_name,
        format_count(member_count, "member") if kind is RowKind.GROUP else "",
        f"in {groups}" if groups else "",
    )
    return AccessRow(
        key=subject.id,
        kind=kind,
        subject=subject.id,
        subject_label=subject.id,
        target=" · ".join(each for each in parts if each),
        created_at=subject.created_at,
        created_by=format_subject(subject.created_by, names),
        item=subject,
    )


def _build_removed_row(subject: Subject, names: SubjectNames) -> AccessRow:
    parts = (subject.display_name, subject.state_reason)
    return AccessRow(
        key=subject.id,
        kind=RowKind.REMOVED,
        subject=subject.id,
        subject_label=subject.id,
        target=" · ".join(part for part in parts if part),
        created_at=subject.state_changed_at,
        created_by=format_subject(subject.state_changed_by, names),
        item=subject,
    )


def _build_member_row(membership: Membership, names: SubjectNames) -> AccessRow:
    return AccessRow(
        key=membership.id,
        kind=RowKind.MEMBER,
        subject=membership.member,
        subject_label=format_subject(membership.member, names),
        action="in",
        target=format_subject(membership.group, names),
        created_at=membership.created_at,
        created_by=format_subject(membership.created_by, names),
        item=membership,
    )


def _build_rule_row(rule: AclRule, device_names: DeviceNames, names: SubjectNames) -> AccessRow:
    return AccessRow(
        key=rule.id,
        kind=RowKind.RULE,
        subject=rule.subject,
        subject_label=format_subject(rule.subject, names),
        action=rule.action,
        target=format_resource(rule.resource, device_names),
        created_at=rule.created_at,
        created_by=format_subject(rule.created_by, names),
        permanent=rule.permanent,
        item=rule,
    )


def describe_row(row: AccessRow, access: AccessControlList, device_names: DeviceNames) -> str:
    """Return the text of the detail dialog for ``row``. It may contain untrusted text."""
    if isinstance(row.item, Subject):
        return "\n".join(_describe_subject(row.item, access, device_names))
    verb = "may " if row.kind in (RowKind.RULE, RowKind.PERMISSION) else ""
    lines = [f"{row.subject_label} {verb}{row.action} {row.target}"]
    if isinstance(row.item, AclRule):
        lines += [f"resource: {row.item.resource}", f"id: {row.item.id}"]
    if row.created_at is not None:
        lines.append(f"since {format_time(row.created_at)}, by {row.created_by}")
    if row.permanent:
        lines += ["", PERMANENT_RULE_NOTE]
    return "\n".join(lines)


PERMANENT_RULE_NOTE = (
    "This rule is locked: it belongs to the initial administrator, so that the workspace can always "
    "be administered. Add rules for other users instead."
)


def _describe_subject(subject: Subject, access: AccessControlList, device_names: DeviceNames) -> list[str]:
    names = access.names
    groups = find_groups(subject.id, access)
    members = [each.member for each in access.memberships if each.group == subject.id]
    lines = [
        format_subject(subject.id, names),
        f"since {format_time(subject.created_at)}, by {format_subject(subject.created_by, names)}",
        *_describe_state(subject, names),
        *([f"in {_format_subjects(groups, names)}"] if groups else []),
        *([f"members: {_format_subjects(members, names)}"] if members else []),
        "",
        "Permissions:" if subject.is_active else "Permissions, without effect until it is enabled:",
    ]
    rules = [each for each in access.rules if each.subject in (subject.id, *groups)]
    for rule in rules:
        origin = f"  through {format_subject(rule.subject, names)}" if rule.subject != subject.id else ""
        lines.append(f"  {rule.action} {format_resource(rule.resource, device_names)}{origin}")
    return lines if rules else [*lines, "  none"]


def _describe_state(subject: Subject, names: SubjectNames) -> list[str]:
    """Return who last changed the state of a subject, and why; empty if it never changed."""
    if subject.state_changed_at is None:
        return []
    change = "enabled" if subject.is_active else subject.state.lower()
    author = format_subject(subject.state_changed_by, names)
    reason = f": {subject.state_reason}" if subject.state_reason else ""
    return [f"{change} {format_time(subject.state_changed_at)}, by {author}{reason}"]


def _format_subjects(subject_ids: Iterable[str], names: SubjectNames) -> str:
    return ", ".join(format_subject(each, names) for each in subject_ids)


def describe_removal(row: AccessRow) -> str:
    """Return a description of the permissions lost when ``row`` is removed. It may contain untrusted text."""
    if row.kind is RowKind.MEMBER:
        return (
            f"{row.subject_label} will be removed from {row.target} and lose all permissions granted only through that "
            "group."
        )
    return f"{row.subject_label} will lose {row.action} on {row.target} unless granted elsewhere."


def list_valid_actions(resource: str) -> tuple[Action, ...]:
    """Return the actions that are valid for a resource, in the order of :class:`Action`."""
    valid_actions = ACTIONS_BY_RESOURCE_TYPE[resource_type_of(resource)]
    return tuple(each for each in Action if each in valid_actions)
