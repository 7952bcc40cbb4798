"""The access control screen: users, groups, rules, and the policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from sealyard.model.access import (
    Action,
    Permission,
    ResourceType,
    Subject,
    SubjectState,
    is_allowed,
    resource_type_uri,
)
from sealyard.model.errors import PermissionDeniedError
from sealyard.model.requests import AccessControlList
from sealyard_tui.action_keys import insert_keys
from sealyard_tui.dialogs.text import TextDialog
from sealyard_tui.screens.access.actions import AccessActions, format_policy
from sealyard_tui.screens.access.notifications_dialog import NotificationsDialog
from sealyard_tui.screens.access.rows import (
    KIND_SIGNS,
    PERMANENT_RULE_NOTE,
    ROW_KINDS_BY_SECTION,
    SORT_VALUES,
    AccessRow,
    DeviceNames,
    RowKind,
    Section,
    build_own_rows,
    build_rows,
    describe_row,
    filter_rows,
    render_cells,
)
from sealyard_tui.screens.list_screen import ListScreen
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.widgets.columns import Column
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.sort_order import SortOrder, sort_rows
from sealyard_tui.widgets.virtual_table import VirtualTable

RESOURCES = ("ACL", "SUBJECT", "DEVICE_CONFIG", "POLICY")
"""Types of the resources whose changes cause this screen to reload its data."""

WIDE_FROM = 100
"""Minimum width of the table, in cells, for showing subjects with their display names."""

ACCESS_DENIED_TEXT = (
    "You do not have permission to view this list.\nPress {key[access.next_section]} to show your permissions."
)
NO_ENTRIES_TEXT = (
    "No entries yet.\nPress {key[access.add_subject]} to add a user, group or client, {key[access.add_rule]} to add a "
    "rule, {key[access.add_member]} to add a group member."
)


class SectionTab(Static):
    """Tab with the name of a section and its number of rows. Posts :class:`Clicked` when clicked."""

    class Clicked(Message):
        """Posted when the tab is clicked."""

        def __init__(self, section: Section) -> None:
            super().__init__()
            self.section = section

    def __init__(self, section: Section) -> None:
        super().__init__(markup=False)
        self.section = section
        self.show(0, is_selected=False)

    def show(self, count: int, *, is_selected: bool) -> None:
        self.set_class(is_selected, "-selected")
        label = f"{self.section} {count:,}"
        self.update(Content(f"[{label}]" if is_selected else f" {label} "))

    async def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Clicked(self.section))


class AccessScreen(ListScreen):
    """Screen that lists users, groups, rules, and the user's own permissions."""

    NAME = "access"
    CSS_PATH = "screen.tcss"
    SORTABLE = frozenset(SORT_VALUES)
    HELP = (
        "All users, groups and machine clients, group memberships, and the rules that grant permissions. "
        "Permissions come only from rules, for a user or for a group; the product owner's permission to "
        "approve is a rule too. {key[access.disable]} disables people who leave or are away, and "
        "{key[access.remove]} removes them with their permissions; {key[access.enable]} enables them again. A change "
        "that would leave a device configuration without enough approvers requires an additional confirmation. "
        "{key[access.notifications]} shows who is notified of requests by e-mail and chat."
    )

    DISABLED_HINTS: ClassVar[Mapping[str, str]] = {
        "remove": "Only rules and members of groups can be removed: select one of them.",
    }

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column(key="kind", title="KIND", width=12, give_way=4),
        Column(key="subject", title="SUBJECT", width=18, min_width=14, grow=1, below_width=WIDE_FROM),
        Column(key="subject", title="SUBJECT", width=23, min_width=14, grow=1, from_width=WIDE_FROM),
        Column(key="action", title="ACTION", width=8),
        Column(key="target", title="TARGET", width=28, min_width=17, grow=1),
        Column(key="locked", title="LOCKED", width=6, give_way=3),
        Column(key="since", title="SINCE", width=10, give_way=2, from_width=WIDE_FROM),
        Column(key="by", title="BY", width=18, min_width=10, give_way=1, from_width=110),
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "add_subject", "Add", id="access.add_subject", tooltip="Add a user, group or client"),
        Binding("plus", "add_rule", "Rule", id="access.add_rule", tooltip="Grant a permission"),
        Binding("m", "add_member", "Member", id="access.add_member", tooltip="Add a member to a group"),
        Binding("d", "disable", "Disable", id="access.disable", tooltip="Disable the user, group or client"),
        Binding(
            "e", "enable", "Enable", show=False, id="access.enable", tooltip="Enable the user, group or client again"
        ),
        Binding("x", "remove", "Remove", id="access.remove", tooltip="Remove the user, group, client, rule or member"),
        Binding(
            "p",
            "policy",
            "Policy",
            show=False,
            id="access.policy",
            tooltip="Show or change what requires approval, and time limits",
        ),
        Binding(
            "N",
            "notifications",
            "Notifications",
            show=False,
            id="access.notifications",
            tooltip="Show who is notified of requests by e-mail and chat",
        ),
        Binding("right,l", "section(1)", "Next section", show=False, id="access.next_section"),
        Binding("left,h", "section(-1)", "Previous section", show=False, id="access.previous_section"),
        Binding("c", "copy", "Copy", show=False, id="access.copy", tooltip="Copy the subject, or the id of the rule"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.section = Section.ALL
        self.device_names: DeviceNames = {}
        self._actions = AccessActions(
            self,
            device_names=lambda: self.device_names,
            subjects=lambda: self.known_subjects,
            select_row=self.select_row,
        )
        self._access: AccessControlList | None = None
        self._rows: tuple[AccessRow, ...] = ()
        self._is_loaded = False

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="sections"):
            for section in Section:
                yield SectionTab(section)
        yield FilterBar(self.saved_state.filter, hint="name, action, device configuration or kind")
        yield VirtualTable[AccessRow](
            self.COLUMNS, render_cells, key=lambda each: each.key, empty="Loading…", id="rows", classes="pane"
        )

    def on_mount(self) -> None:
        self.set_focus(self.query_one(VirtualTable))

    # ---- load and update

    @property
    def known_subjects(self) -> tuple[Subject, ...]:
        return self._access.subjects if self._access is not None else ()

    async def load(self) -> None:
        client = await self.client()
        permissions = (await client.workspace()).rights
        self.device_names = {each.id: each.name for each in await client.devices()}
        self._access = None
        # Without permission, the request would be rejected, and every rejection is recorded in the audit log.
        if is_allowed(permissions, Action.VIEW, resource_type_uri(ResourceType.ACL)):
            self._access = await client.access()
        self._update_rows(permissions)

    def _update_rows(self, permissions: tuple[Permission, ...]) -> None:
        rows = build_rows(self._access, self.device_names) if self._access is not None else ()
        self._rows = (*rows, *build_own_rows(permissions, self.device_names))
        if not self._is_loaded and self._access is None:
            self.section = Section.OWN_PERMISSIONS
        self._is_loaded = True
        self._update_list()

    async def apply_update(self, update: EngineUpdate) -> None:
        if update.missed_events or any(each.partition(":")[0] in RESOURCES for each in update.resources):
            await self.load()

    def reset(self) -> None:
        self._access = None
        self._rows = ()
        self._is_loaded = False
        self.section = Section.ALL
        self.query_one(VirtualTable).set_empty_text("Loading…")
        self.query_one(VirtualTable).replace(())

    @on(FilterBar.Changed)
    def _update_list(self) -> None:
        bar = self.query_one(FilterBar)
        for tab in self.query(SectionTab):
            count = sum(each.kind in ROW_KINDS_BY_SECTION[tab.section] for each in self._rows)
            tab.show(count, is_selected=tab.section is self.section)
        rows, is_similar = filter_rows(self._rows, self.section, bar.text)
        table = self.query_one(VirtualTable)
        table.set_empty_text(self._format_empty_text())
        table.replace(rows if is_similar else sort_rows(rows, self.order, SORT_VALUES))
        total = sum(each.kind in ROW_KINDS_BY_SECTION[self.section] for each in self._rows)
        bar.show_count(len(rows), total, similar=is_similar)
        self.refresh_bindings()

    def apply_order(self, order: SortOrder) -> None:
        table: VirtualTable[AccessRow] = self.list_table
        table.replace(sort_rows(table.rows, order, SORT_VALUES))

    def _format_empty_text(self) -> str:
        if self.query_one(FilterBar).text:
            return insert_keys(self.app, "No entries match the filter.\nPress {key[screen.back]} to clear it.")
        if self.section is Section.OWN_PERMISSIONS:
            return "You have no permissions yet.\nAsk an administrator to grant them."
        if self._access is None:
            return insert_keys(self.app, ACCESS_DENIED_TEXT)
        return insert_keys(self.app, NO_ENTRIES_TEXT)

    @on(VirtualTable.RowHighlighted)
    def _on_row_highlighted(self) -> None:
        self.refresh_bindings()

    @on(VirtualTable.RowActivated)
    def _open_detail(self) -> None:
        row = self.row
        if row is not None:
            text = describe_row(
                row, self._access or AccessControlList(subjects=(), memberships=(), rules=()), self.device_names
            )
            self.app.push_screen(TextDialog(f"{KIND_SIGNS[row.kind]} {row.kind}", text))

    @property
    def row(self) -> AccessRow | None:
        row: AccessRow | None = self.query_one(VirtualTable).cursor_row
        return row

    def select_row(self, key: str) -> None:
        """Move the cursor to the row with ``key``, if it is in the list."""
        self.query_one(VirtualTable).move_cursor_to(key)

    def show_all_rows(self) -> None:
        super().show_all_rows()
        self.section = Section.ALL

    @on(SectionTab.Clicked)
    def _select_section(self, event: SectionTab.Clicked) -> None:
        self.section = event.section
        self._update_list()

    def action_section(self, step: int) -> None:
        sections = list(Section)
        self.section = sections[(sections.index(self.section) + step) % len(sections)]
        self._update_list()

    # ---- actions

    def action_add_subject(self) -> None:
        self._actions.add_subject()

    def action_add_rule(self) -> None:
        self._actions.add_rule(self.row)

    def action_add_member(self) -> None:
        if not any(each.kind is RowKind.GROUP for each in self._rows):
            hint = insert_keys(self.app, "Press {key[access.add_subject]} to add one, such as GROUP:owners")
            self.flash(f"No groups yet. {hint}", warning=True)
            return
        self._actions.add_member(self.row)

    def action_remove(self) -> None:
        row = self.row
        if row is None:
            return
        if row.permanent:
            self.app.show_error(PermissionDeniedError("This rule cannot be removed.", PERMANENT_RULE_NOTE))
            return
        self._actions.remove(row)

    def action_disable(self) -> None:
        if (subject := self._current_subject) is not None:
            self._actions.states.disable(subject)

    def action_enable(self) -> None:
        if (subject := self._current_subject) is not None:
            self._actions.states.enable(subject)

    @property
    def _current_subject(self) -> Subject | None:
        """The person, group or client of the current row."""
        return self.row.subject_item if self.is_mounted and self.row is not None else None

    def action_policy(self) -> None:
        self.run_opening(self._open_policy())

    async def _open_policy(self) -> None:
        policy = await (await self.client()).policy()
        if self._is_allowed(Action.UPDATE, ResourceType.POLICY):
            self._actions.change_policy(policy)
        else:
            self.app.push_screen(TextDialog("Policy", format_policy(policy)))

    def action_notifications(self) -> None:
        self.app.push_screen(NotificationsDialog())

    def action_copy(self) -> None:
        row = self.row
        if row is not None:
            text = row.key if row.kind is RowKind.RULE else row.subject
            self.app.copy_to_clipboard(text)
            self.flash(f"Copied {text}")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "add_subject":
                return self._is_allowed(Action.CREATE, ResourceType.SUBJECT)
            case "add_member":
                return self._is_allowed(Action.CREATE, ResourceType.SUBJECT) and self._access is not None
            case "add_rule":
                return self._is_allowed(Action.CREATE, ResourceType.ACL) and self._access is not None
            case "disable" | "enable":
                return self._can_change_state(action)
            case "remove":
                return self._can_remove()
        return super().check_action(action, parameters)

    def _can_remove(self) -> bool | None:
        """Return whether the current row can be removed.

        Returns False (hidden) without permission, and None (disabled) if the row is of a kind that cannot be removed.
        """
        row = self.row if self.is_mounted else None
        if row is not None and row.kind is RowKind.MEMBER:
            return self._is_allowed(Action.CREATE, ResourceType.SUBJECT)
        if (subject := self._current_subject) is not None:
            if not self._is_allowed(Action.CREATE, ResourceType.SUBJECT):
                return False
            return None if subject.state is SubjectState.REMOVED or self._is_self(subject) else True
        if not self._is_allowed(Action.DELETE, ResourceType.ACL):
            return False
        return True if row is not None and row.kind is RowKind.RULE else None

    def _can_change_state(self, action: str) -> bool | None:
        """Return False (hidden) for the action that does not apply to the current row, or None if none does."""
        if not self._is_allowed(Action.CREATE, ResourceType.SUBJECT):
            return False
        subject = self._current_subject
        if action == "enable":
            return subject is not None and not subject.is_active
        if subject is None or self._is_self(subject):
            return None
        return subject.is_active

    def _is_self(self, subject: Subject) -> bool:
        return subject.id == self.state.identity

    def _is_allowed(self, action: Action, kind: ResourceType) -> bool:
        return self.state.can_write and self.state.is_allowed(action, resource_type_uri(kind))
