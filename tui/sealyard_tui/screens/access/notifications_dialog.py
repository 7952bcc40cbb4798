"""The dialog that lists notification targets, with actions on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from sealyard.client.protocol import Client
from sealyard.model.errors import SealyardError
from sealyard.model.formatting import format_count
from sealyard.model.notifications import NotificationSettings, NotificationTarget, TargetKind
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import format_subject_name
from sealyard_tui.action_keys import insert_keys
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.dialogs.fields import Answers
from sealyard_tui.dialogs.form import FormDraft
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.formatting import format_fields
from sealyard_tui.screens.access.notification_form import (
    KIND_CHOICES,
    build_target_form,
    build_target_request,
    load_target_options,
)
from sealyard_tui.screens.base import ScreenDialog
from sealyard_tui.session.messages import ConnectionMode
from sealyard_tui.session.pending_changes import Change
from sealyard_tui.widgets.columns import Cell, Column
from sealyard_tui.widgets.virtual_table import VirtualTable

T = TypeVar("T")

EMPTY_TEXT = "No notification targets yet. Press {key[notifications.add]} to add one."
ADDED_TEXT = "Press {key[notifications.test]} to send a test message."
SENDING_TEXT = "Notifications are sent while the workspace is open."
SERVER_SENDING_TEXT = "The server sends notifications."
NOT_SENDING_TEXT = "No process is sending notifications now; they wait."
COMMANDS_TEXT = "Mail server: sealyard notification settings"


class NotificationsDialog(ScreenDialog[None]):
    """Dialog that lists the targets that the user may manage: all of them for an administrator."""

    heading = "Notifications by e-mail and chat"
    CSS_PATH = "notifications_dialog.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "add", "Add", id="notifications.add", tooltip="Add an e-mail address or a chat channel"),
        Binding("t", "test", "Test", id="notifications.test", tooltip="Send a test message"),
        Binding("R", "retry", "Retry", id="notifications.retry", tooltip="Send the undeliverable messages again"),
        Binding("x", "remove", "Remove", id="notifications.remove", tooltip="Remove the target and its messages"),
    ]

    def __init__(self) -> None:
        super().__init__(classes="wide notifications")
        self._drafts: defaultdict[TargetKind, FormDraft] = defaultdict(FormDraft)

    def compose_body(self) -> ComposeResult:
        yield VirtualTable[NotificationTarget](
            (
                Column(title="ADDRESS", width=20, grow=1),
                Column(title="FOR", width=14, grow=1),
                Column(title="STATUS", width=18),
            ),
            self._render_cells,
            key=lambda target: target.id,
            empty="Loading…",
            id="list",
        )
        with VerticalScroll(id="detail", can_focus=False):
            yield Static("", markup=False)
        yield Static("", id="sending", markup=False)
        yield Static("", id="message", markup=False)

    def on_mount(self) -> None:
        self.set_focus(self.table)
        self._run_guarded(self._load())

    @property
    def table(self) -> VirtualTable[NotificationTarget]:
        return self.query_one("#list", VirtualTable)

    async def _load(self) -> None:
        client = await self.app.session.client()
        settings = await client.notification_settings()
        targets = await client.notification_targets()
        self.table.set_empty_text(insert_keys(self.app, EMPTY_TEXT))
        self.table.replace(targets)
        self.query_one("#sending", Static).update(Content(f"{self._describe_sending(settings)}\n{COMMANDS_TEXT}"))
        self._show_detail()

    def _describe_sending(self, settings: NotificationSettings) -> str:
        if self.app.state.mode is ConnectionMode.SERVER:
            return SERVER_SENDING_TEXT
        return SENDING_TEXT if settings.sends_now else NOT_SENDING_TEXT

    @on(VirtualTable.RowHighlighted)
    def _show_detail(self) -> None:
        target = self.table.cursor_row
        self.set_class(target is None, "-empty")
        self.query_one("#detail Static", Static).update(_describe(target) if target is not None else Content(""))
        self.refresh_bindings()

    def _render_cells(self, target: NotificationTarget) -> Sequence[Cell]:
        owner = (
            format_subject_name(target.subject, self.app.state.subject_names)
            if target.subject
            else f"team {target.config_name}"
        )
        return escape_text(target.address), escape_text(owner), _format_status(target)

    def _show_message(self, text: str) -> None:
        """Show a message below the targets. ``text`` may be untrusted; it is escaped."""
        self.query_one("#message", Static).update(Content(escape_text(text)))

    def _run_guarded(self, work: Coroutine[Any, Any, None]) -> None:
        self.run_worker(self.app.guard(work), exit_on_error=False)

    # ---- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        if action not in ("add", "test", "retry", "remove"):
            return True
        if not self.app.state.can_write or action == "add":
            return self.app.state.can_write
        target = self.table.cursor_row if self.query("#list") else None
        if target is None or (action == "retry" and not target.dead_letters):
            return None
        return True

    def action_add(self) -> None:
        self.app.push_screen(PickDialog("Add a notification target", KIND_CHOICES), self._on_kind_chosen)

    def _on_kind_chosen(self, kind: str | None) -> None:
        if kind is not None:
            self._run_guarded(self._open_form(TargetKind(kind)))

    async def _open_form(self, kind: TargetKind) -> None:
        options = await load_target_options(await self.app.session.client(), self.app.state)
        self.app.push_screen(build_target_form(kind, options, self._add, self._drafts[kind]))

    async def _add(self, answers: Answers) -> bool:
        request = build_target_request(answers, self.app.state.identity)
        target = await self._make_change(
            "New notification target", lambda client: client.add_notification_target(request)
        )
        self._run_guarded(self._show_added(target))
        return True

    async def _show_added(self, target: NotificationTarget) -> None:
        await self._load()
        self.table.move_cursor_to(target.id)
        self._show_message(f"✓ Added {target.address}. {insert_keys(self.app, ADDED_TEXT)}")

    def action_test(self) -> None:
        if (target := self.table.cursor_row) is not None:
            self._show_message("Sending a test message …")
            self._run_guarded(self._test(target))

    async def _test(self, target: NotificationTarget) -> None:
        try:
            result = await self._make_change(
                f"Test message to {target.address}", lambda client: client.test_notification_target(target.id)
            )
        except SealyardError as error:
            self._show_message(f"✗ {error.message}")
            return
        self._show_message(f"✗ {result.error}" if result.error else f"✓ Sent to {target.address}")

    def action_retry(self) -> None:
        if (target := self.table.cursor_row) is not None:
            self._run_guarded(self._retry(target))

    async def _retry(self, target: NotificationTarget) -> None:
        async def retry(client: Client) -> int:
            failed = await client.failed_notifications(target.id)
            for notification in failed:
                await client.retry_notification(notification.id)
            return len(failed)

        count = await self._make_change(f"New attempt for {target.address}", retry)
        await self._load()
        self._show_message(f"✓ Sending {format_count(count, 'message')} again")

    def action_remove(self) -> None:
        if (target := self.table.cursor_row) is None:
            return
        question = f"Remove {target.address}?\n\nIts pending and undeliverable messages are discarded."
        dialog = ConfirmDialog(
            "Remove notification target", question, yes="Remove", action=lambda: self._remove(target)
        )
        self.app.push_screen(dialog)

    async def _remove(self, target: NotificationTarget) -> bool:
        await self._make_change(
            f"Removal of {target.address}", lambda client: client.remove_notification_target(target.id)
        )
        self._run_guarded(self._load())
        self._show_message(f"✓ Removed {target.address}")
        return True

    async def _make_change(self, label: str, call: Callable[[Client], Awaitable[T]]) -> T:
        return await self.app.changes.run(Change(label=label), call)


def _format_status(target: NotificationTarget) -> Content:
    if target.dead_letters:
        return Content.styled(f"✗ {target.dead_letters:,} undeliverable", "$error")
    if target.last_error:
        return Content.styled("! failing", "$warning")
    if target.pending_count:
        return Content(f"◔ {target.pending_count:,} pending")
    return Content.styled("✓ ok", "$success")


def _describe(target: NotificationTarget) -> Content:
    pairs: list[tuple[str, Content | str]] = [
        ("id", target.id),
        ("events", ", ".join(target.events)),
        ("configuration", escape_text(target.config_name) or "all"),
        (
            "messages",
            f"{target.delivered_count:,} delivered, {target.pending_count:,} pending, "
            f"{target.dead_letters:,} undeliverable",
        ),
    ]
    if target.last_error:
        pairs.append(("last error", Content.styled(escape_text(target.last_error), "$error")))
    return format_fields(pairs)
