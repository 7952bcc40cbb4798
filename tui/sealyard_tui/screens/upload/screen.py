"""The upload screen, with a form for creating a task and a list of the watch folder entries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Button, Input, Static

from sealyard.client.config.settings_loader import WatchFolderSettings
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.formatting import format_count
from sealyard.model.tasks import Task, TaskKind
from sealyard_tui.action_keys import action_key, action_keys, insert_keys
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.messages import LoadTask, ShowTask
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.upload.actions import Submission, UploadActions
from sealyard_tui.screens.upload.bindings import EDIT_ACTIONS, UPLOAD_BINDINGS
from sealyard_tui.screens.upload.device_choice import DeviceChoice
from sealyard_tui.screens.upload.dialogs import WatchFolderDialog
from sealyard_tui.screens.upload.file_browser import FileBrowser, Selection
from sealyard_tui.screens.upload.files_pane import FilesPane
from sealyard_tui.screens.upload.folder_choice import FolderChoice
from sealyard_tui.screens.upload.form_fields import UploadFormFields
from sealyard_tui.screens.upload.form_model import FileRole, UploadForm
from sealyard_tui.screens.upload.format import (
    KIND_LABELS,
    format_readiness,
    format_title,
    format_watch_state,
    get_submit_blocked_reason,
)
from sealyard_tui.screens.upload.format_notes import FormatNotes
from sealyard_tui.screens.upload.watch_pane import WatchFolderPane
from sealyard_tui.session.messages import EngineState, EngineUpdate
from sealyard_tui.session.state import SessionState


class UploadScreen(BaseScreen):
    """Screen with the upload form, its files, any warnings about them, and the watch folder entries."""

    NAME = "upload"
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "#files"
    HELP = (
        "Create a packaging, encryption or signing task. Add files, choose the device configuration, then "
        "press {key[upload.submit]}. Files are uploaded and hashed immediately; unsubmitted files are discarded. Files "
        "dropped into the watch folder are proposed below."
    )

    BINDINGS = UPLOAD_BINDINGS

    def __init__(self) -> None:
        super().__init__()
        self._actions = UploadActions(
            self,
            on_form_changed=self._on_form_changed,
            on_submitting_changed=self._update_readiness,
            on_submitted=self._on_submitted,
            on_earlier_task_loaded=self._on_earlier_task_loaded,
        )
        self._device_choice = DeviceChoice(self)
        self._last_task_id = ""
        self._is_update_pending = False
        self._last_actions: object = None

    # ---- layout

    def compose_body(self) -> ComposeResult:
        with Horizontal(classes="row"):
            yield Static("", id="title", markup=False)
            yield Static("", id="watch", markup=False)
        yield UploadFormFields()
        yield FilesPane()
        yield FormatNotes()
        yield WatchFolderPane(lambda proposal: proposal in self.form.proposals)
        with Horizontal(id="end"):
            submit_label = insert_keys(self.app, "Submit ({key[upload.submit]})")
            yield Button(Content(submit_label), id="submit", variant="primary", compact=True)
            yield Static("", id="ready", markup=False)

    def on_mount(self) -> None:
        self._actions.switch_identity(self.state.identity)
        self.app.watch_folder_changed.subscribe(self, lambda _: self._schedule_update())
        self.app.state_changed.subscribe(self, self._on_permissions_changed)
        self._show_form()

    async def on_unmount(self) -> None:
        await self._actions.close()

    async def load(self) -> None:
        client = await self.client()
        await self._device_choice.load(client)
        self._device_choice.preselect_single(self.form)
        self._actions.retry_failed()
        self._update()

    async def apply_update(self, update: EngineUpdate) -> None:
        if update.missed_events or update.resources:
            await self.load()

    def tick(self, now: object) -> None:  # noqa: ARG002 - the pane reads the clock of the application
        self.query_one("#drops").refresh()

    def reset(self) -> None:
        """Switch to the form of the new identity. The forms of other identities are kept."""
        self._actions.switch_identity(self.state.identity)
        self._device_choice.reset()
        self._last_task_id = ""
        self._show_form()

    @property
    def form(self) -> UploadForm:
        """The form of the current identity."""
        return self._actions.form

    @property
    def _device(self) -> DeviceConfig | None:
        return self._device_choice.get_selected(self.form)

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
        self._schedule_update()

    # ---- content

    def _show_form(self) -> None:
        """Show all values of the current form, and update the rest of the screen."""
        self._fields.populate(self.form)
        self._update()

    def _on_form_changed(self, form: UploadForm) -> None:
        if form is self.form:
            self._schedule_update()

    def _schedule_update(self) -> None:
        """Schedule an update of the screen. Changes in quick succession are combined into one update."""
        if not self._is_update_pending and self.is_attached:
            self._is_update_pending = True
            self.call_later(self._update)

    def _update(self) -> None:
        self._is_update_pending = False
        form, device = self.form, self._device
        self.query_one("#title", Static).update(format_title(form))
        self._files.show(form)
        self.query_one(WatchFolderPane).show()
        self._notes.check_form(form, device)
        self.query_one("#watch", Static).update(format_watch_state(self.app.watch_folder, action_keys(self.app)))
        choice = self._device_choice
        self._fields.show(device, choice.format_terms_line(form), needs_signing_input=choice.needs_signing_input(form))
        self._update_readiness()
        self._update_bindings()

    def _update_bindings(self) -> None:
        """Redraw the key hints only if the available actions have changed, because redrawing them is slow."""
        form, choice = self.form, self._device_choice
        choices = (choice.needs_signing_input(form), choice.offers_encryption_keys(form))
        actions = (bool(form.entries), *choices, self._last_task_id)
        if actions != self._last_actions:
            self._last_actions = actions
            self.refresh_bindings()

    def _update_readiness(self) -> None:
        self.app.has_unsaved_form = self._actions.has_unsaved_form
        blocked_reason, is_submitting = self._get_blocked_reason(), self.form.is_submitting
        self.query_one("#ready", Static).update(format_readiness(blocked_reason, is_submitting=is_submitting))
        self.query_one("#submit", Button).disabled = bool(blocked_reason) or is_submitting

    def _get_blocked_reason(self) -> str:
        """Return the reason why the form cannot be submitted, as safe text; empty if it can be submitted."""
        return get_submit_blocked_reason(self.state, self.form, self._device, self._notes.error is not None)

    # ---- files

    def add_paths(self, paths: tuple[Path, ...], role: FileRole = FileRole.FIRMWARE) -> None:
        """Add files to the form and start uploading them. Files that are already in the form are skipped."""
        reason = self.state.write_blocked_reason
        if reason and self.state.engine is not EngineState.STARTING:
            self.flash(f"{reason.capitalize()}.", warning=True)
            return
        entries = [entry for path in paths if (entry := self.form.add(path, role)) is not None]
        if duplicate_count := len(paths) - len(entries):
            self.flash(f"{format_count(duplicate_count, 'file')} already added" if len(paths) > 1 else "Already added")
        self._actions.upload([each.key for each in entries])
        if entries:
            self._update()
            self._files.select_added(entries)

    def on_paste(self, event: events.Paste) -> None:
        """Add pasted paths or checksums, unless an input has the focus. Terminals paste the paths of dropped files."""
        if not isinstance(self.focused, Input):
            event.stop()
            self._fields.add_text(event.text)

    @on(UploadFormFields.PathsEntered)
    def _on_paths_entered(self, event: UploadFormFields.PathsEntered) -> None:
        self.add_paths(event.paths)

    @on(UploadFormFields.FoldersEntered)
    def _on_folders_entered(self, event: UploadFormFields.FoldersEntered) -> None:
        self.run_guarded(FolderChoice(self, self.add_paths, self._browse).ask(event.folders), group="folders")

    @on(UploadFormFields.ChecksumsEntered)
    def _on_checksums_entered(self, event: UploadFormFields.ChecksumsEntered) -> None:
        self._files.set_expected_checksums(event.checksums)

    @on(UploadFormFields.FieldChanged)
    @on(FormatNotes.ResultChanged)
    def _on_notes_changed(self) -> None:
        self._update_readiness()

    @on(FilesPane.Changed)
    def _on_files_changed(self) -> None:
        self._update()

    @on(FilesPane.UploadRequested)
    def _reupload(self, event: FilesPane.UploadRequested) -> None:
        self._actions.upload(event.keys)

    @on(FilesPane.RemoveRequested)
    def _remove_files(self, event: FilesPane.RemoveRequested) -> None:
        self._actions.remove(event.keys)

    # ---- fields

    @on(Button.Pressed)
    def _on_button_pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "kind":
                self.action_kind()
            case "device":
                self.action_device()
            case "signs":
                self.action_signing_input()
            case "key":
                self.action_encryption_key()
            case "submit":
                self.action_submit()

    def action_kind(self) -> None:
        choices = [(kind.value, label) for kind, label in KIND_LABELS.items()]
        self.app.push_screen(PickDialog("Choose a task type", choices, self.form.kind), self._set_kind)

    def _set_kind(self, kind: str | None) -> None:
        if kind is not None:
            self.form.kind = TaskKind(kind)
            self._update()

    def action_device(self) -> None:
        self._device_choice.pick_device(self.form, self._update)

    def action_encryption_key(self) -> None:
        self._device_choice.pick_encryption_key(self.form, self._update)

    def action_signing_input(self) -> None:
        self.form.hash_file = not self.form.hash_file
        self._update()

    def action_name(self) -> None:
        self.set_focus(self.query_one("#name", Input))

    def action_justification(self) -> None:
        self.set_focus(self.query_one("#justification", Input))

    def action_add(self) -> None:
        self.set_focus(self._fields.path_input)

    def action_browse(self) -> None:
        self._browse(None)

    def _browse(self, folder: Path | None) -> None:
        def add_selection(selection: Selection | None) -> None:
            if selection is not None:
                self.add_paths(selection.paths, FileRole.METADATA if selection.metadata else FileRole.FIRMWARE)

        self.app.push_screen(FileBrowser(folder), add_selection)

    def action_field(self, step: int) -> None:
        self.focus_next() if step > 0 else self.focus_previous()

    def action_back(self) -> None:
        if isinstance(self.focused, Input):
            self.set_focus(self._files.table)
            return
        super().action_back()

    def action_clear(self) -> None:
        if self.form.is_empty:
            return
        question = "Remove all files and clear all fields of the form?"
        self.app.push_screen(ConfirmDialog("Clear form", question, yes="Clear", no="Back"), self._on_clear_confirmed)

    def _on_clear_confirmed(self, is_confirmed: bool | None) -> None:
        if is_confirmed:
            self._actions.clear_form()
            self._show_form()

    # ---- the task

    def action_submit(self) -> None:
        if self.form.is_submitting:
            return
        if reason := self._get_blocked_reason():
            self.flash(f"Cannot submit: {reason}", warning=True)
            return
        device = self._device
        assert device is not None
        self._actions.submit(Submission(device, self._notes.warnings))

    def _on_submitted(self, form: UploadForm, task: Task) -> None:
        if form is self.form:
            self._last_task_id = task.id
            self._show_form()
            if form.is_empty:
                # In an input, the keys of commands would be typed as text.
                self.set_focus(self._files.table)
            self._flash_created(f"Created task {task.id}")

    def _flash_created(self, text: str) -> None:
        self.flash(f"{text} ({action_key(self.app, 'upload.show_task')}: open)")

    def action_show_task(self) -> None:
        self.post_message(ShowTask(self._last_task_id))

    @on(LoadTask)
    def _on_load_task(self, event: LoadTask) -> None:
        event.stop()
        self._actions.resubmit(event.task)

    def _on_earlier_task_loaded(self, missing_names: Sequence[str]) -> None:
        """Show the form with the fields of an earlier task. ``missing_names``: its files that the user must add."""
        self._show_form()
        self.set_focus(self._fields.path_input if missing_names else self._files.table)
        if missing_names:
            self._fields.show_hint(f"✗ not found on this machine: {', '.join(missing_names)}", is_error=True)

    # ---- the watch folder

    def action_watch(self) -> None:
        def configure(settings: WatchFolderSettings | None) -> None:
            if settings is not None:
                self.run_guarded(self.app.watch_folder.configure(settings), group="watch")

        dialog = WatchFolderDialog(self.app.watch_folder.settings, self._device_choice.usable, self.state.identity)
        self.app.push_screen(dialog, configure)

    @on(WatchFolderPane.TaskCreated)
    def _on_task_created(self, event: WatchFolderPane.TaskCreated) -> None:
        self._last_task_id = event.task_id
        self._flash_created(f"Created task {event.task_id} from {event.proposal.name}")
        self._update_bindings()

    @on(WatchFolderPane.LoadRequested)
    def _load_proposal(self, event: WatchFolderPane.LoadRequested) -> None:
        """Load a proposal into the form. The proposal is dismissed after the task has been created."""
        proposal, form = event.proposal, self.form
        form.add_proposal(proposal, self.app.watch_folder.settings.justification)
        self.add_paths(tuple(Path(each) for each in proposal.firmware))
        self.add_paths(tuple(Path(each) for each in proposal.metadata), FileRole.METADATA)
        self._show_form()
        self.set_focus(self._files.table)

    # ---- permissions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in EDIT_ACTIONS and self.state.write_blocked_reason and self.state.engine is not EngineState.STARTING:
            return False
        match action:
            case "signing_input":
                return self._device_choice.needs_signing_input(self.form)
            case "encryption_key":
                return self._device_choice.offers_encryption_keys(self.form)
            case "show_task":
                return bool(self._last_task_id)
            case "field":
                return isinstance(self.focused, Input | Button)
        return super().check_action(action, parameters)
