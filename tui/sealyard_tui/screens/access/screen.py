"""The access control screen: users, groups, rules and the policy."""

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

from sealyard.model.access import Action, Permission, ResourceType, Subject, is_allowed, resource_type_uri
from sealyard.model.errors import PermissionDeniedError
from sealyard.model.requests import AccessControlList
from sealyard.model.safe_text import escape_text
from sealyard_tui.dialogs.text import TextDialog
from sealyard_tui.screens.access.actions import AccessActions, format_policy
from sealyard_tui.screens.access.rows import (
    PERMANENT_RULE_NOTE,
    SECTIONS,
    SIGNS,
    AccessRow,
    RowKind,
    Section,
    build_own_rows,
    build_rows,
    describe,
    filter_rows,
)
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.widgets.columns import Cell, Column
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.virtual_table import VirtualTable

RESOURCES = ("ACL", "SUBJECT", "DEVICE_CONFIG", "POLICY")
"""Resource types that this screen shows, as updates name them."""


class SectionTab(Static):
    """Name and size of one section; a click selects it."""

    class Clicked(Message):
        """A section was clicked."""

        def __init__(self, section: Section) -> None:
            super().__init__()
            self.section = section

    def __init__(self, section: Section) -> None:
        super().__init__(markup=False)
        self.section = section
        self.show(0, here=False)

    def show(self, count: int, *, here: bool) -> None:
        self.set_class(here, "here")
        words = f"{self.section} {count:,}"
        self.update(Content(f"[{words}]" if here else f" {words} "))

    async def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Clicked(self.section))


class AccessScreen(BaseScreen):
    """Users, groups, rules and the policy in one list."""

    NAME = "access"
    CSS_PATH = "screen.tcss"
    HELP = (
        "All users, groups and machine clients, group memberships, and the rules that grant permissions. "
        "Permissions come only from rules, for a user or for a group; the product owner's permission to "
        "approve is a rule too. A change that would leave a device configuration without enough approvers "
        "requires an additional confirmation."
    )

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column(title="KIND", width=9),
        Column(title="SUBJECT", width=18, grow=1),
        Column(title="ACTION", width=8),
        Column(title="TARGET", width=22, grow=2),
        Column(title="LOCKED", width=6),
        Column(title="SINCE", width=10, from_width=100),
        Column(title="BY", width=18, from_width=110),
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "add_subject", "Add", id="access.add_subject", tooltip="Add a user, group or client"),
        Binding("plus", "add_rule", "Rule", id="access.add_rule", tooltip="Grant a permission"),
        Binding("m", "add_member", "Member", id="access.add_member", tooltip="Add a member to a group"),
        Binding("x", "remove", "Remove", id="access.remove", tooltip="Remove the rule, or the member from its group"),
        Binding(
            "p",
            "policy",
            "Policy",
            id="access.policy",
            tooltip="Show or change what requires approval, and time limits",
        ),
        Binding("right,l", "section(1)", "Next section", show=False, id="access.next_section"),
        Binding("left,h", "section(-1)", "Previous section", show=False, id="access.previous_section"),
        Binding("c", "copy", "Copy", show=False, id="access.copy", tooltip="Copy the subject, or the id of the rule"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.section = Section.ALL
        self.names: Mapping[str, str] = {}
        """Names of device configurations, by id."""
        self._actions = AccessActions(
            self, names=lambda: self.names, subjects=lambda: self.known_subjects, select_row=self.select_row
        )
        self._access: AccessControlList | None = None
        self._rows: tuple[AccessRow, ...] = ()
        self._loaded = False

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="sections"):
            for section in Section:
                yield SectionTab(section)
        yield FilterBar(self.saved_state.filter, hint="name, action, device configuration or kind")
        yield VirtualTable[AccessRow](self.COLUMNS, _cells, key=lambda each: each.key, empty="Loading…", id="rows")

    def on_mount(self) -> None:
        self.set_focus(self.query_one(VirtualTable))

    # ---- load and update

    @property
    def known_subjects(self) -> tuple[Subject, ...]:
        return self._access.subjects if self._access is not None else ()

    async def load(self) -> None:
        client = await self.client()
        rights = (await client.workspace()).rights
        self.names = {each.id: each.name for each in await client.devices()}
        self._access = None
        # Rejected requests are audited: nothing is requested without permission.
        if is_allowed(rights, Action.VIEW, resource_type_uri(ResourceType.ACL)):
            self._access = await client.access()
        self._update_rows(rights)

    def _update_rows(self, rights: tuple[Permission, ...]) -> None:
        there = build_rows(self._access, self.names) if self._access is not None else ()
        self._rows = (*there, *build_own_rows(rights, self.names))
        if not self._loaded and self._access is None:
            self.section = Section.MINE
        self._loaded = True
        self._show()

    async def apply_update(self, update: EngineUpdate) -> None:
        if update.missed_events or any(each.partition(":")[0] in RESOURCES for each in update.resources):
            await self.load()

    def reset(self) -> None:
        self._access = None
        self._rows = ()
        self._loaded = False
        self.section = Section.ALL
        self.query_one(VirtualTable).set_empty_text("Loading…")
        self.query_one(VirtualTable).replace(())

    @on(FilterBar.Changed)
    def _show(self) -> None:
        bar = self.query_one(FilterBar)
        for tab in self.query(SectionTab):
            count = sum(each.kind in SECTIONS[tab.section] for each in self._rows)
            tab.show(count, here=tab.section is self.section)
        found = filter_rows(self._rows, self.section, bar.text)
        table = self.query_one(VirtualTable)
        table.set_empty_text(self._empty_text())
        table.replace(found)
        bar.show_count(len(found), len(filter_rows(self._rows, self.section, "")))
        self.refresh_bindings()

    def _empty_text(self) -> str:
        if self.query_one(FilterBar).text:
            return "No entries match the filter. Press Esc to clear it."
        if self.section is Section.MINE:
            return "You have no permissions yet. Ask an administrator to grant them."
        if self._access is None:
            return "You do not have permission to view this list. Press → to show your permissions."
        return "No entries yet. Press n to add a user, group or client, + to add a rule, m to add a group member."

    @on(VirtualTable.RowHighlighted)
    def _highlighted(self) -> None:
        self.refresh_bindings()

    @on(VirtualTable.RowActivated)
    def _load_detail(self) -> None:
        row = self.row
        if row is not None:
            text = describe(row, self._access or AccessControlList(subjects=(), memberships=(), rules=()), self.names)
            self.app.push_screen(TextDialog(f"{SIGNS[row.kind]} {row.kind}", text))

    @property
    def row(self) -> AccessRow | None:
        found: AccessRow | None = self.query_one(VirtualTable).cursor_row
        return found

    def select_row(self, key: str) -> None:
        """Select a row, if it is visible."""
        self.query_one(VirtualTable).move_cursor_to(key)

    @on(SectionTab.Clicked)
    def _select_section(self, event: SectionTab.Clicked) -> None:
        self.section = event.section
        self._show()

    def action_section(self, by: int) -> None:
        sections = list(Section)
        self.section = sections[(sections.index(self.section) + by) % len(sections)]
        self._show()

    # ---- actions

    def action_add_subject(self) -> None:
        self._actions.add_subject()

    def action_add_rule(self) -> None:
        self._actions.add_rule(self.row)

    def action_add_member(self) -> None:
        if not any(each.kind is RowKind.GROUP for each in self._rows):
            self.flash("No groups yet. Press n to add one, such as GROUP:owners", warning=True)
            return
        self._actions.add_member(self.row)

    def action_remove(self) -> None:
        row = self.row
        if row is None:
            return
        if row.permanent:
            self.app.show_error(PermissionDeniedError("This rule cannot be removed.", PERMANENT_RULE_NOTE))
            return
        self.run_guarded(self._actions.remove(row))

    def action_policy(self) -> None:
        self.run_guarded(self._policy())

    async def _policy(self) -> None:
        policy = await (await self.client()).policy()
        if self._is_allowed(Action.UPDATE, ResourceType.POLICY):
            self._actions.change_policy(policy)
        else:
            self.app.push_screen(TextDialog("Policy", format_policy(policy)))

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
            case "remove":
                return self._may_remove()
        return super().check_action(action, parameters)

    def _may_remove(self) -> bool | None:
        """Return None (disabled) for rows that cannot be removed."""
        row = self.row if self.is_mounted else None
        if row is not None and row.kind is RowKind.MEMBER:
            return self._is_allowed(Action.CREATE, ResourceType.SUBJECT)
        if not self._is_allowed(Action.DELETE, ResourceType.ACL):
            return False
        return True if row is not None and row.kind is RowKind.RULE else None

    def _is_allowed(self, action: Action, kind: ResourceType) -> bool:
        return self.state.can_write and self.state.is_allowed(action, resource_type_uri(kind))


def _cells(row: AccessRow) -> tuple[Cell, ...]:
    return (
        Content.assemble(Content.styled(f"{SIGNS[row.kind]} ", "$accent"), row.kind),
        escape_text(row.subject),
        row.action,
        escape_text(row.to),
        Content.styled("locked" if row.permanent else "", "$text-muted"),
        f"{row.since:%Y-%m-%d}" if row.since is not None else "",
        escape_text(row.by),
    )
