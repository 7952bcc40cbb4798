"""The dialogs of the upload screen, for expected checksums and for the watch folder settings."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Button, Input, Static, TextArea

from sealyard.client.config.settings import DropAction
from sealyard.client.config.settings_loader import WatchFolderSettings
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.safe_text import escape_text
from sealyard_tui.action_keys import action_keys
from sealyard_tui.dialogs.base import BaseDialog, button_row
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.screens.upload.checksums import Checksum, parse_checksums
from sealyard_tui.screens.upload.form_model import MAX_JUSTIFICATION_LENGTH
from sealyard_tui.screens.upload.format import format_device_choice
from sealyard_tui.screens.upload.path_input import PathInput
from sealyard_tui.widgets.path_parsing import resolve_path
from sealyard_tui.widgets.safe_input import SafeInput
from sealyard_tui.widgets.safe_text_area import SafeTextArea


class ExpectedChecksumDialog(BaseDialog[tuple[Checksum, ...] | None]):
    """Dialog for entering expected checksums.

    Returns the entered checksums, an empty tuple to remove the expected checksum of the file, or None if cancelled.
    """

    heading = "Expected SHA-256"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "submit", "Save", id="dialog.done", priority=True),
    ]

    drafts: ClassVar[dict[str, str]] = {}
    """Unsubmitted text, by file path."""

    def __init__(self, path: str, name: str, current_digest: str) -> None:
        """Edit the expected digest of the file at ``path``.

        ``name``: the file name as safe text. ``current_digest``: the current expected digest; empty if none is set.
        """
        super().__init__()
        self._path = path
        self._file_name = name
        self._current_digest = current_digest

    def compose_body(self) -> ComposeResult:
        keys = action_keys(self.app)
        about = f"Expected digest of {self._file_name}, or the output of sha256sum for one or more files."
        yield Static(Content(about), classes="dialog-text")
        yield SafeTextArea(self.drafts.get(self._path, self._current_digest), compact=True)
        yield Static("", classes="wrong", markup=False)
        yield button_row(
            Button(Content(f"Save ({keys['dialog.done']})"), id="yes", variant="primary", compact=True),
            Button(Content(f"Back ({keys['dialog.back']})"), id="no", compact=True),
        )

    def on_mount(self) -> None:
        self.set_focus(self.query_one(TextArea))
        self._update_blocked_reason()

    @property
    def _checksums(self) -> tuple[Checksum, ...] | None:
        """The entered checksums; None if the text is invalid."""
        text = self.query_one(TextArea).text
        return parse_checksums(text) if text.strip() else ()

    def _update_blocked_reason(self) -> None:
        self.set_blocked_reason("enter checksums" if self._checksums is None else "")

    @on(TextArea.Changed)
    def _on_text_changed(self) -> None:
        text = self.query_one(TextArea).text
        self._update_blocked_reason()
        if text == self._current_digest:
            self.drafts.pop(self._path, None)
        else:
            self.drafts[self._path] = text
        self.clear_input_error()

    @on(Button.Pressed)
    def _on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_submit()
        else:
            self.dismiss(None)

    def action_submit(self) -> None:
        checksums = self._checksums
        if checksums is None:
            self.show_input_error("✗ Enter 64 hexadecimal digits or the output of sha256sum.")
            return
        self.drafts.pop(self._path, None)
        self.dismiss(checksums)


class WatchFolderDialog(BaseDialog[WatchFolderSettings | None]):
    """Dialog for editing the watch folder settings. Returns the new settings, or None if cancelled.

    An empty ``folder`` in the returned settings turns watching off.
    """

    heading = "Watch folder"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "submit", "Watch", id="dialog.done", priority=True),
    ]

    drafts: ClassVar[dict[str, WatchFolderSettings]] = {}
    """Unsubmitted settings, by identity."""

    def __init__(self, settings: WatchFolderSettings, devices: list[DeviceConfig], identity: str) -> None:
        """Edit ``settings``, or the unsubmitted draft of ``identity`` if there is one.

        ``devices``: the device configurations that the user may use.
        """
        super().__init__(classes="watch")
        self._initial_settings = settings
        self._settings = self.drafts.pop(identity, settings)
        self._identity = identity
        self._devices = devices

    def compose_body(self) -> ComposeResult:
        keys = action_keys(self.app)
        about = "Each file or folder dropped there becomes a package. Its subfolder metadata/ holds the metadata."
        yield Static(Content(about), classes="dialog-text")
        with Horizontal(classes="row"):
            yield Static("Folder", classes="label")
            placeholder = f"{keys['path.complete']} completes"
            yield PathInput(self._settings.folder, folders_only=True, placeholder=placeholder, id="folder")
        yield Static("", id="candidates", markup=False)
        with Horizontal(classes="row"):
            yield Static("Device", classes="label")
            yield Button("", id="device", compact=True, classes="field")
        with Horizontal(classes="row"):
            yield Static("Rule", classes="label")
            yield Button("", id="rule", compact=True, classes="field")
        with Horizontal(classes="row"):
            yield Static("Changes", classes="label")
            yield Button("", id="polling", compact=True, classes="field")
        with Horizontal(classes="row"):
            yield Static("Why", classes="label")
            yield SafeInput(
                escape_text(self._settings.justification),
                placeholder="justification for the approvers (optional)",
                max_length=MAX_JUSTIFICATION_LENGTH,
                id="justification",
                compact=True,
                select_on_focus=False,
            )
        yield Static("", classes="wrong", markup=False)
        turn_off_button = Button(Content("Turn off"), id="off", compact=True)
        turn_off_button.display = bool(self._initial_settings.folder)
        yield button_row(
            Button(Content(f"Watch ({keys['dialog.done']})"), id="yes", variant="primary", compact=True),
            turn_off_button,
            Button(Content(f"Back ({keys['dialog.back']})"), id="no", compact=True),
        )

    def on_mount(self) -> None:
        self.set_focus(self.query_one(PathInput))
        if not self._settings.device and len(self._devices) == 1:
            self._settings = msgspec.structs.replace(self._settings, device=self._devices[0].name)
        self._show()

    def _show(self) -> None:
        settings = self._settings
        rules = {
            DropAction.PROPOSE: "propose: ask before creating each package",
            DropAction.SUBMIT: "submit: create a task immediately",
        }
        change_detection = "by polling (for network folders)" if settings.force_polling else "from file system events"
        self.query_one("#device", Button).label = Content(escape_text(settings.device) or "choose …")
        self.query_one("#rule", Button).label = Content(rules[settings.on_drop])
        self.query_one("#polling", Button).label = Content(change_detection)
        self._update_blocked_reason()

    def _update_blocked_reason(self) -> None:
        reason = "choose a folder" if not self._folder else "" if self._settings.device else "choose a device"
        self.set_blocked_reason(reason)

    @property
    def _folder(self) -> str:
        return self.query_one(PathInput).value.strip()

    @property
    def _justification(self) -> str:
        return self.query_one("#justification", Input).value.strip()

    @on(PathInput.Completed)
    def _on_path_completed(self, event: PathInput.Completed) -> None:
        names = "  ".join(escape_text(each, 30) for each in event.completion.candidates[:20])
        self.query_one("#candidates", Static).update(Content(names))

    @on(PathInput.Pasted)
    def _on_path_pasted(self, event: PathInput.Pasted) -> None:
        event.input.value = "".join(each for each in event.text.strip("'\"") if each.isprintable())

    @on(PathInput.Changed, "#folder")
    def _on_path_changed(self) -> None:
        self._update_blocked_reason()
        self.clear_input_error()

    @on(Input.Submitted)
    def _on_path_submitted(self) -> None:
        self.action_submit()

    @on(Button.Pressed)
    def _on_button_pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "yes":
                self.action_submit()
            case "off":
                self.dismiss(msgspec.structs.replace(self._initial_settings, folder=""))
            case "device":
                choices = [(each.name, format_device_choice(each)) for each in self._devices]
                self.app.push_screen(
                    PickDialog("Choose a device configuration", choices, self._settings.device), self._set_device
                )
            case "rule":
                rule = DropAction.SUBMIT if self._settings.on_drop is DropAction.PROPOSE else DropAction.PROPOSE
                self._update_settings(on_drop=rule)
            case "polling":
                self._update_settings(force_polling=not self._settings.force_polling)
            case _:
                self.action_dismiss_dialog()

    def action_dismiss_dialog(self) -> None:
        self.drafts[self._identity] = msgspec.structs.replace(
            self._settings, folder=self._folder, justification=self._justification
        )
        self.dismiss(None)

    def _set_device(self, name: str | None) -> None:
        if name is not None:
            self._update_settings(device=name)

    def _update_settings(self, **changes: object) -> None:
        self._settings = msgspec.structs.replace(self._settings, **changes)
        self._show()
        self.clear_input_error()

    def action_submit(self) -> None:
        folder = self._folder
        if not folder or not self._settings.device:
            self.show_input_error("✗ Choose a folder and a device configuration.")
            return
        path = str(resolve_path(folder, Path.cwd()))
        self.dismiss(msgspec.structs.replace(self._settings, folder=path, justification=self._justification))
