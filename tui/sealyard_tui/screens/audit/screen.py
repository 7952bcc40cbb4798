"""The audit screen: view, filter, verify, and export the audit log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.timer import Timer

from sealyard.model.audit import AuditEntry, AuditResourceType
from sealyard.model.display_zone import display_zone
from sealyard.model.errors import AuditVerificationError, UsageError
from sealyard.model.formatting import format_time
from sealyard.model.requests import TaskFilter
from sealyard.model.safe_text import escape_text
from sealyard_tui.action_keys import action_keys, insert_keys
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.dialogs.text import TextDialog
from sealyard_tui.messages import ShowTask
from sealyard_tui.screens.audit.detail_pane import AuditDetailPane
from sealyard_tui.screens.audit.entry_format import (
    NOT_CHECKPOINTED,
    create_columns,
    entry_hash,
    entry_json,
    render_cells,
    row_key,
)
from sealyard_tui.screens.audit.entry_loader import LOADING_TEXT, EntryLoader
from sealyard_tui.screens.audit.filter_syntax import format_filter, split_filter
from sealyard_tui.screens.list_screen import ListScreen
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.session.state import SessionState
from sealyard_tui.widgets.columns import Cell, join_cells
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.pane_title import set_pane_title
from sealyard_tui.widgets.sort_order import SortOrder
from sealyard_tui.widgets.virtual_table import VirtualTable

DETAIL_DELAY = 0.05
"""Delay in seconds between the last cursor movement and showing the entry."""

PREVIEW_LENGTH = 40
"""Maximum number of characters shown for a value that can be copied."""

ACCESS_DENIED_TEXT = (
    "You do not have permission to view the audit log.\n"
    "Ask an administrator to grant {subject} VIEW on the audit log "
    "({key[access.add_rule]} under {key[app.access]} Access).\n"
    "\n"
    "The log is then shown here automatically."
)

FILTER_HINT = "text  type:TASK resource:TASK:… author:owner change:REFUSED since:2h until:2026-11-01"


class AuditScreen(ListScreen):
    """Screen that lists the entries of the audit log, newest first."""

    NAME = "audit"
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "#entries"
    HELP = (
        "All audited actions with author, time and result, newest first: creations, decisions, key uses, downloads, "
        f"refusals and failures. {NOT_CHECKPOINTED} marks entries not covered by a signed checkpoint yet.\n"
        "The filter accepts text and the fields type: resource: author: change: since: until:, for example "
        "author:owner change:REFUSED since:2h until:2026-11-01; until is exclusive. Verify recomputes the hashes of "
        "the whole log and verifies its signatures."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "form", "Form", id="audit.form", tooltip="Edit the filter in a form"),
        Binding("t", "filter_resource", "This resource", id="audit.only_resource", show=False),
        Binding("w", "filter_author", "This author", id="audit.only_author", show=False),
        Binding("T", "show_task", "Open task", id="audit.show_task", tooltip="Open the task of the entry"),
        Binding("V", "verify", "Verify", id="audit.verify", tooltip="Verify hashes and signatures of the whole log"),
        Binding(
            "X", "export", "Export", id="audit.export", tooltip="Export the log, or the filtered entries, to a file"
        ),
        Binding("y", "copy_hash", "Copy hash", id="audit.copy_hash", tooltip="Copy the hash of the entry"),
        Binding("c", "copy", "Copy …", id="audit.copy", tooltip="Choose what to copy", show=False),
        Binding("J", "json", "JSON", id="audit.json", tooltip="Show the whole entry as JSON", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._loader = EntryLoader(
            self,
            on_change=self.update_title,
            on_access=self._on_access,
            show_detail=self.show_detail,
            get_shown_text=lambda entry: join_cells(self._render_cells(entry)),
        )
        self._could_view = True
        self._has_entry = False
        """Whether the cursor is on an entry."""
        self._detail_timer: Timer | None = None
        self._zone: tzinfo | None = None

    # ---- layout

    def compose_body(self) -> ComposeResult:
        yield FilterBar(self.saved_state.filter, hint=FILTER_HINT)
        self._zone = display_zone.fixed_at(self.now())
        with Container(id="list-and-detail"):
            yield VirtualTable[AuditEntry](
                create_columns(self._zone),
                self._render_cells,
                key=row_key,
                empty=LOADING_TEXT,
                id="entries",
                classes="pane",
            )
            yield AuditDetailPane()

    def _render_cells(self, entry: AuditEntry) -> tuple[Cell, ...]:
        return render_cells(entry, self._loader.checkpointed_size, self._zone, self.state.subject_names)

    @property
    def table(self) -> VirtualTable[AuditEntry]:
        return self._loader.table

    # ---- load and update

    async def load(self) -> None:
        await self._loader.load()

    async def apply_update(self, update: EngineUpdate) -> None:
        if update.durable:
            await self._loader.catch_up()

    def tick(self, now: datetime) -> None:  # noqa: ARG002 - as in the base class
        self._loader.poll()
        self.update_title()

    def _on_state_changed(self, state: SessionState) -> None:
        super()._on_state_changed(state)
        self.table.refresh()

    def apply_order(self, order: SortOrder) -> None:
        """Do nothing: the log can only be read from the newest entry to the oldest."""

    def reset(self) -> None:
        self._loader.reset()
        self.remove_class("-detail")
        self.show_detail()

    @on(VirtualTable.NearEnd)
    def _on_near_end(self, event: VirtualTable.NearEnd) -> None:
        self._loader.load_more(last=event.last)

    def _on_access(self, subject: str) -> None:
        can_view = self._loader.can_view
        if can_view is not self._could_view:
            self._could_view = can_view
            self.set_class(not can_view, "-no-access")
            self.refresh_bindings()
        if not can_view:
            self.remove_class("-detail")
            text = ACCESS_DENIED_TEXT.format(subject=escape_text(subject), key=action_keys(self.app))
            self.table.set_empty_text(text)

    # ---- content

    def update_title(self) -> None:
        loader = self._loader
        row_count, log_size = len(self.table), loader.log_size
        bar = self.query_one(FilterBar)
        if bar.text == loader.filter_text:
            bar.show_count(row_count, log_size, more=loader.has_more, similar=loader.is_similar)
        if loader.can_view and loader.filter_text is not None:
            set_pane_title(self.table, *self._build_title_parts(row_count, log_size))

    def _build_title_parts(self, row_count: int, log_size: int) -> Iterator[str]:
        loader = self._loader
        yield (
            f"{row_count:,} of {log_size:,} entries"
            if loader.has_more or loader.filter_text
            else f"{log_size:,} entries"
        )
        if loader.is_searching:
            yield "searching for matches …"
        if loader.is_reading_down:
            yield insert_keys(self.app, "loading older entries … {key[screen.back]}: cancel")
        if unsigned_count := log_size - loader.checkpointed_size:
            yield f"{NOT_CHECKPOINTED} {unsigned_count:,} not checkpointed"
        yield self.format_last_update()

    @on(VirtualTable.RowHighlighted)
    def _on_row_highlighted(self, event: VirtualTable.RowHighlighted) -> None:
        """Show the highlighted entry once the cursor is idle, so that the list scrolls fast while a key is held."""
        if self._detail_timer is not None:
            self._detail_timer.stop()
        self._detail_timer = self.set_timer(DETAIL_DELAY, self.show_detail)
        if self._has_entry is not (event.key is not None):
            self._has_entry = event.key is not None
            self.refresh_bindings()

    def show_detail(self) -> None:
        self.query_one(AuditDetailPane).show(self.table.cursor_row, self._loader.checkpointed_size)

    @on(VirtualTable.RowActivated)
    def _open_detail(self) -> None:
        self.add_class("-detail")
        self.set_focus(self.query_one(AuditDetailPane))

    def action_back(self) -> None:
        """Stop reading older entries or close the detail pane; otherwise do the same as the base class."""
        if self._loader.is_reading_down:
            self._loader.stop_reading_down()
        elif self.has_class("-detail") or self.query_one(AuditDetailPane).has_focus:
            self.remove_class("-detail")
            self.set_focus(self.table)
        else:
            super().action_back()

    # ---- filter

    @on(FilterBar.Changed)
    def _on_filter_changed(self) -> None:
        self.reload()

    def _apply_filter(self, **parts: str) -> None:
        filter_text = self.query_one(FilterBar).text
        try:
            old_parts = split_filter(filter_text)
        except UsageError:
            old_parts = {}
        self.set_filter(format_filter({**old_parts, **parts}))
        self.set_focus(self.table)
        self.reload()

    def set_filter(self, text: str) -> None:
        """Set and save the filter. The caller must call :meth:`reload` to apply it."""
        self.query_one(FilterBar).set_text(text)
        self.save_state(filter=text)

    def action_filter_resource(self) -> None:
        if (entry := self.table.cursor_row) is not None:
            self._apply_filter(resource=entry.resource, type="")

    def action_filter_author(self) -> None:
        if (entry := self.table.cursor_row) is not None:
            self._apply_filter(author=entry.author)

    def action_form(self) -> None:
        from sealyard_tui.screens.audit.filter_dialog import AuditFilterDialog

        def apply_filter(filter_text: str | None) -> None:
            if filter_text is not None:
                self.set_filter(filter_text)
                self.reload()

        self.app.push_screen(AuditFilterDialog(self.query_one(FilterBar).text, self.now), apply_filter)

    # ---- task

    def action_show_task(self) -> None:
        if (entry := self.table.cursor_row) is None:
            return
        if entry.resource_type != AuditResourceType.TASK:
            self.flash(f"Entry {entry.seq} is not about a task.", warning=True)
            return
        self.run_guarded(self._show_task(entry.resource.partition(":")[2]), group="task")

    async def _show_task(self, task_id: str) -> None:
        """Open a task on the dashboard, or report that it is not visible.

        The task is looked up by a search: reading a hidden task would add a refusal to the audit log.
        """
        page = await (await self.client()).tasks(TaskFilter(text=task_id))
        if any(task.id == task_id for task in page.tasks):
            self.post_message(ShowTask(task_id))
        else:
            self.flash(f"You do not have permission to view task {task_id}, or it was removed.", warning=True)

    # ---- copy

    def action_copy_hash(self) -> None:
        if (entry := self.table.cursor_row) is not None:
            self._copy(entry_hash(entry), "hash")

    def action_copy(self) -> None:
        entry = self.table.cursor_row
        if entry is None:
            return
        values: dict[str, Callable[[], str]] = {
            "hash": lambda: entry_hash(entry),
            "number and hash": lambda: f"{entry.seq} {entry_hash(entry)}",
            "resource": lambda: entry.resource,
            "author": lambda: entry.author,
            "time": lambda: format_time(entry.timestamp),
            "message": lambda: escape_text(entry.message),
            "JSON": lambda: entry_json(entry),
        }

        def copy_value(choice: str | None) -> None:
            if choice is not None:
                self._copy(values[choice](), choice)

        choices = [(name, name if name == "JSON" else f"{name}  {_shorten(value())}") for name, value in values.items()]
        self.app.push_screen(PickDialog(f"Copy from entry {entry.seq}", choices), copy_value)

    def _copy(self, text: str, label: str) -> None:
        self.app.copy_to_clipboard(text)
        self.flash(f"Copied {label}")

    def action_json(self) -> None:
        if (entry := self.table.cursor_row) is not None:
            self.app.push_screen(TextDialog(f"Entry {entry.seq}", entry_json(entry), suffix=".json"))

    # ---- the whole log

    def action_verify(self) -> None:
        from sealyard_tui.screens.audit.verify_dialog import AuditVerifyDialog

        def show_invalid_entry(error: AuditVerificationError | None) -> None:
            if error is not None and error.seq is not None:
                self.show_entry(error.seq)

        self.app.push_screen(AuditVerifyDialog(self._loader.log_size), show_invalid_entry)

    def show_row(self, key: str) -> None:
        """Select the entry with the sequence number ``key``, as :meth:`show_entry` does."""
        self.show_entry(int(key))

    def show_entry(self, seq: int) -> None:
        """Clear the filter and select an entry, loading older entries as needed."""
        self._loader.select_after_load(seq)
        self.set_filter("")
        self.table.focus()
        self.reload()

    def action_export(self) -> None:
        from sealyard_tui.screens.audit.export_dialog import AuditExportDialog

        loader = self._loader
        matching_count = f"{len(self.table):,}{'+' if loader.has_more else ''}" if loader.has_exact_rows else "0"
        self.app.push_screen(AuditExportDialog(loader.log_size, loader.filters, matching_count))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("verify", "export") and not self.state.can_read_results:
            return False
        if action in ("form", "verify", "export", "filter"):
            return self._loader.can_view
        if action in ("filter_resource", "filter_author", "copy_hash", "copy", "json", "show_task"):
            return (self._has_entry or None) if self._loader.can_view else False
        return super().check_action(action, parameters)


def _shorten(text: str) -> str:
    return f"{text[:PREVIEW_LENGTH]}…" if len(text) > PREVIEW_LENGTH else text
