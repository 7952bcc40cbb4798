"""The upload screen: a form for one task, and the proposals of the watch folder."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Button, Input, Static

from sealyard.client.config.settings_loader import WatchFolderSettings
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.formatting import format_count
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Task, TaskKind
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.messages import ShowTask
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.upload.actions import Submission, UploadActions
from sealyard_tui.screens.upload.device_choice import DeviceChoice
from sealyard_tui.screens.upload.dialogs import WatchFolderDialog
from sealyard_tui.screens.upload.file_browser import FileBrowser, Selection
from sealyard_tui.screens.upload.files_pane import FilesPane
from sealyard_tui.screens.upload.form_fields import UploadFormFields
from sealyard_tui.screens.upload.form_model import FileRole, UploadForm
from sealyard_tui.screens.upload.format import (
    KINDS,
    format_device_choice,
    format_readiness,
    format_watch_state,
    submit_blocked_reason,
)
from sealyard_tui.screens.upload.format_notes import FormatNotes
from sealyard_tui.screens.upload.watch_pane import WatchFolderPane
from sealyard_tui.session.messages import EngineState, EngineUpdate
from sealyard_tui.session.state import SessionState

EDIT_ACTIONS = {"submit", "browse", "add", "device", "kind", "signing_input", "name", "clear", "watch"}


class UploadScreen(BaseScreen):
    """Composes the form, its files, notes on their format, and the watch folder."""

    NAME = "upload"
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "#files"
    HELP = (
        "Create a packaging, encryption or signing task. Add files, choose the device configuration, then "
        "press ctrl+s. Files are uploaded and hashed immediately; unsubmitted files are discarded. Files "
        "dropped into the watch folder are proposed below."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "submit", "Submit", id="upload.submit", tooltip="Submit the task"),
        Binding("a", "add", "Add", id="upload.add", tooltip="Add files by path"),
        Binding("b,ctrl+o", "browse", "Browse", id="upload.browse", tooltip="Browse for files"),
        Binding("d", "device", "Device", id="upload.device", tooltip="Choose the device configuration"),
        Binding("t", "kind", "Kind", show=False, id="upload.kind", tooltip="Choose the type of task"),
        Binding(
            "i",
            "signing_input",
            "What is signed",
            show=False,
            id="upload.signing_input",
            tooltip="Choose whether the file is hashed or contains the digest",
        ),
        Binding("n", "name", "Name", show=False, id="upload.name", tooltip="Enter a name for the task"),
        Binding("w", "watch", "Watch", show=False, id="upload.watch", tooltip="Set up the watch folder"),
        Binding(
            "X", "clear", "Clear form", show=False, id="upload.clear", tooltip="Clear the form and discard its files"
        ),
        Binding("o", "show_task", "Open task", id="upload.show_task", tooltip="Open the task that was just created"),
        Binding("down", "field(1)", show=False, id="upload.next_field"),
        Binding("up", "field(-1)", show=False, id="upload.previous_field"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._actions = UploadActions(
            self,
            on_form_changed=self._on_form_changed,
            on_sending=self._show_ready,
            on_submitted=self._on_submitted,
        )
        self._device_choice = DeviceChoice(self)
        self._last_task_id = ""
        self._show_pending = False
        self._last_actions: object = None

    # ---- layout

    def compose_body(self) -> ComposeResult:
        with Horizontal(classes="row"):
            yield Static("New task", id="title", markup=False)
            yield Static("", id="watch", markup=False)
        yield UploadFormFields()
        yield FilesPane()
        yield FormatNotes()
        yield WatchFolderPane(lambda proposal: proposal in self.form.taken)
        with Horizontal(id="end"):
            yield Button(Content("Submit (ctrl+s)"), id="submit", variant="primary", compact=True)
            yield Static("", id="ready", markup=False)

    def on_mount(self) -> None:
        self._actions.switch_identity(self.state.identity)
        self.app.watch_folder_changed.subscribe(self, lambda _: self._show_soon())
        self.app.state_changed.subscribe(self, self._on_permissions_changed)
        self._fill()

    async def on_unmount(self) -> None:
        await self._actions.close()

    async def load(self) -> None:
        client = await self.client()
        await self._device_choice.load(client)
        self._device_choice.preselect_single(self.form)
        self._actions.retry_failed()
        self._show()

    async def apply_update(self, update: EngineUpdate) -> None:
        if update.missed_events or update.resources:
            await self.load()

    def tick(self, now: object) -> None:  # noqa: ARG002 - ages are counted from the application's own clock
        self.query_one("#drops").refresh()

    def reset(self) -> None:
        """Switch to the form of the new identity; the others are kept."""
        self._actions.switch_identity(self.state.identity)
        self._device_choice.reset()
        self._last_task_id = ""
        self._fill()

    @property
    def form(self) -> UploadForm:
        """The form of the current identity."""
        return self._actions.form

    @property
    def _device(self) -> DeviceConfig | None:
        return self._device_choice.of(self.form)

    @property
    def _fields(self) -> UploadFormFields:
        return self.query_one(UploadFormFields)

    @property
    def _files(self) -> FilesPane:
        return self.query_one(FilesPane)

    @property
    def _notes(self) -> FormatNotes:
        return self.query_one(FormatNotes)

    def _on_permissions_changed(self, _: SessionState) -> None:
        self._device_choice.preselect_single(self.form)
        self._show_soon()

    # ---- content

    def _fill(self) -> None:
        """Show the form from scratch."""
        self._fields.populate(self.form)
        self._show()

    def _on_form_changed(self, form: UploadForm) -> None:
        if form is self.form:
            self._show_soon()

    def _show_soon(self) -> None:
        """Show the form once for all changes within a moment."""
        if not self._show_pending and self.is_attached:
            self._show_pending = True
            self.call_later(self._show)

    def _show(self) -> None:
        self._show_pending = False
        form, device = self.form, self._device
        self._files.show(form)
        self.query_one(WatchFolderPane).show()
        self._notes.update_for(form, device)
        self.query_one("#watch", Static).update(format_watch_state(self.app.watch_folder))
        choice = self._device_choice
        self._fields.show(device, choice.terms(form), needs_signing_input=choice.needs_signing_input(form))
        self._show_ready()
        self._update_bindings()

    def _update_bindings(self) -> None:
        """Redraw the key hints only if other actions are available: it is expensive, and progress comes often."""
        actions = (bool(self.form.entries), self._device_choice.needs_signing_input(self.form), self._last_task_id)
        if actions != self._last_actions:
            self._last_actions = actions
            self.refresh_bindings()

    def _show_ready(self) -> None:
        self.app.has_unsaved_form = self._actions.has_unsaved_form
        readiness = format_readiness(self._blocked_reason(), is_submitting=self.form.sending)
        self.query_one("#ready", Static).update(readiness)
        self.query_one("#submit", Button).disabled = not self.state.can_write or self.form.sending

    def _blocked_reason(self) -> str:
        """Return why no task can be created now, as safe text."""
        return submit_blocked_reason(self.state, self.form, self._device, self._notes.refusal is not None)

    # ---- files

    def add_paths(self, paths: tuple[Path, ...], part: FileRole = FileRole.FIRMWARE) -> None:
        """Add files to the form and upload them."""
        if not self.state.can_write and self.state.engine is not EngineState.STARTING:
            self.flash("The workspace is read-only.", warning=True)
            return
        entries = [entry for path in paths if (entry := self.form.add(path, part)) is not None]
        if known := len(paths) - len(entries):
            self.flash(f"{format_count(known, 'file')} already added" if len(paths) > 1 else "Already added")
        self._actions.upload([each.key for each in entries])
        if entries:
            self._show()
            self._files.table.move_cursor_to(entries[-1].key)

    def on_paste(self, event: events.Paste) -> None:
        """Handle files dropped onto the terminal, which arrive as a paste."""
        if not isinstance(self.focused, Input):
            event.stop()
            self._fields.set_texts(event.text)

    @on(UploadFormFields.Paths)
    def _paths_named(self, event: UploadFormFields.Paths) -> None:
        self.add_paths(event.paths)

    @on(UploadFormFields.Folder)
    def _folder_named(self, event: UploadFormFields.Folder) -> None:
        self._browse(event.folder)

    @on(UploadFormFields.Checksums)
    def _checksums_pasted(self, event: UploadFormFields.Checksums) -> None:
        self._files.set_expected_checksum(event.checksums)

    @on(UploadFormFields.Typed)
    @on(FormatNotes.Judged)
    def _on_notes_changed(self) -> None:
        self._show_ready()

    @on(FilesPane.Changed)
    def _files_changed(self) -> None:
        self._show()

    @on(FilesPane.Again)
    def _reupload(self, event: FilesPane.Again) -> None:
        self._actions.upload(event.keys)

    @on(FilesPane.Remove)
    def _remove_files(self, event: FilesPane.Remove) -> None:
        self._actions.remove(event.keys)

    # ---- fields

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "kind":
                self.action_kind()
            case "device":
                self.action_device()
            case "signs":
                self.action_signing_input()
            case "submit":
                self.action_submit()

    def action_kind(self) -> None:
        choices = [(kind.value, label) for kind, label in KINDS.items()]
        self.app.push_screen(PickDialog("Choose a task type", choices, self.form.kind), self._kind_picked)

    def _kind_picked(self, kind: str | None) -> None:
        if kind is not None:
            self.form.kind = TaskKind(kind)
            self._show()

    def action_device(self) -> None:
        choices = [(each.id, format_device_choice(each)) for each in self._device_choice.usable]
        if not choices:
            self.flash("No device configuration available. Ask an administrator for USE permission.", warning=True)
            return
        self.app.push_screen(
            PickDialog("Choose a device configuration", choices, self.form.device), self._device_picked
        )

    def _device_picked(self, device: str | None) -> None:
        if device is not None:
            self.form.device = device
            self._show()

    def action_signing_input(self) -> None:
        self.form.hash_file = not self.form.hash_file
        self._show()

    def action_name(self) -> None:
        self.set_focus(self.query_one("#name", Input))

    def action_add(self) -> None:
        self.set_focus(self._fields.path_text)

    def action_browse(self) -> None:
        self._browse(None)

    def _browse(self, folder: Path | None) -> None:
        def answered(selection: Selection | None) -> None:
            if selection is not None:
                self.add_paths(selection.paths, FileRole.METADATA if selection.metadata else FileRole.FIRMWARE)

        self.app.push_screen(FileBrowser(folder), answered)

    def action_field(self, by: int) -> None:
        self.focus_next() if by > 0 else self.focus_previous()

    def action_back(self) -> None:
        if isinstance(self.focused, Input):
            self.set_focus(self._files.table)
            return
        super().action_back()

    def action_clear(self) -> None:
        if self.form.is_empty:
            return
        question = "Remove all files and clear all fields of the form?"
        self.app.push_screen(ConfirmDialog("Clear form", question, yes="Clear", no="Back"), self._cleared)

    def _cleared(self, sure: bool | None) -> None:
        if sure:
            self._actions.remove([each.key for each in self.form.entries])
            self.form.empty()
            self._fill()

    # ---- the task

    def action_submit(self) -> None:
        if self.form.sending:
            return
        if reason := self._blocked_reason():
            self.flash(f"Cannot submit: {reason}", warning=True)
            return
        device = self._device
        assert device is not None
        self._actions.submit(Submission(device, self._notes.warnings))

    def _on_submitted(self, form: UploadForm, task: Task) -> None:
        if form is self.form:
            self._last_task_id = task.id
            self._fill()
            self.flash(f"Created task {task.id} (o: open)")

    def action_show_task(self) -> None:
        self.post_message(ShowTask(self._last_task_id))

    # ---- the watch folder

    def action_watch(self) -> None:
        def answered(settings: WatchFolderSettings | None) -> None:
            if settings is not None:
                self.run_guarded(self.app.watch_folder.configure(settings), group="watch")

        dialog = WatchFolderDialog(self.app.watch_folder.settings, self._device_choice.usable, self.state.identity)
        self.app.push_screen(dialog, answered)

    @on(WatchFolderPane.Made)
    def _on_proposal_submitted(self, event: WatchFolderPane.Made) -> None:
        self._last_task_id = event.task_id
        self.flash(f"Created task {event.task_id} from {event.proposal.name} (o: open)")
        self._update_bindings()

    @on(WatchFolderPane.Take)
    def _load_proposal(self, event: WatchFolderPane.Take) -> None:
        """Load a proposal into the form; it is dismissed once the task is created."""
        proposal, form = event.proposal, self.form
        form.taken.append(proposal)
        form.device = proposal.device
        if not form.name:
            form.name = escape_text(proposal.name)
        self.add_paths(tuple(Path(each) for each in proposal.firmware))
        self.add_paths(tuple(Path(each) for each in proposal.metadata), FileRole.METADATA)
        self._fill()
        self.set_focus(self._files.table)

    # ---- permissions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in EDIT_ACTIONS and self.state.read_only:
            return False
        match action:
            case "signing_input":
                return self._device_choice.needs_signing_input(self.form)
            case "show_task":
                return bool(self._last_task_id)
            case "field":
                return isinstance(self.focused, Input | Button)
        return super().check_action(action, parameters)
