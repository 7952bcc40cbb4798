"""The fields of the upload form: task type, device configuration, name, content type, justification, and path input."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Input, Static

from sealyard.model.device_configs import DeviceConfig
from sealyard.model.formatting import format_count
from sealyard.model.safe_text import escape_text
from sealyard_tui.action_keys import insert_keys
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.upload.checksums import Checksum, parse_checksums
from sealyard_tui.screens.upload.form_model import UploadForm
from sealyard_tui.screens.upload.format import KIND_LABELS, format_device
from sealyard_tui.screens.upload.path_input import PathInput
from sealyard_tui.widgets.path_parsing import parse_paths
from sealyard_tui.widgets.safe_input import SafeInput


class UploadFormFields(Vertical):
    """Fields of the upload form. Input is applied to the form model as the user types."""

    class FieldChanged(Message):
        """Posted after a field has changed."""

    class PathsEntered(Message):
        """Posted to request that files be added to the form."""

        def __init__(self, paths: tuple[Path, ...]) -> None:
            super().__init__()
            self.paths = paths

    class FoldersEntered(Message):
        """Posted to request that the files of folders be added, or that one folder be opened in the file browser."""

        def __init__(self, folders: tuple[Path, ...]) -> None:
            super().__init__()
            self.folders = folders

    class ChecksumsEntered(Message):
        """Posted to request that expected checksums be set."""

        def __init__(self, checksums: tuple[Checksum, ...]) -> None:
            super().__init__()
            self.checksums = checksums

    def __init__(self) -> None:
        super().__init__(id="fields")
        self._form = UploadForm()

    def compose(self) -> ComposeResult:
        with Horizontal(classes="row", id="kind-row"):
            yield Static("Kind", classes="label")
            yield Button("", id="kind", compact=True, classes="field")
            yield Static("Device", classes="label")
            yield Button("", id="device", compact=True, classes="field")
            yield Button("", id="signs", compact=True, classes="field")
            yield Button("", id="key", compact=True, classes="field")
        yield Static("", id="terms", markup=False)
        with Vertical(id="names"):
            with Horizontal(classes="row"):
                yield Static("Name", classes="label")
                yield SafeInput(id="name", compact=True, select_on_focus=False)
            with Horizontal(classes="row"):
                yield Static("Content", classes="label")
                yield SafeInput(
                    placeholder="content type (optional)", id="content", compact=True, select_on_focus=False
                )
        with Horizontal(classes="row"):
            yield Static("Why", classes="label")
            yield SafeInput(
                placeholder="justification for the approvers (optional)",
                id="justification",
                compact=True,
                select_on_focus=False,
            )
        with Horizontal(classes="row"):
            yield Static("Add", classes="label")
            placeholder = insert_keys(self.app, "paths (Enter: add, {key[path.complete]}: complete)")
            yield PathInput(placeholder=placeholder, id="line")
        yield Static("", id="hint", markup=False)

    @property
    def path_input(self) -> PathInput:
        return self.query_one("#line", PathInput)

    def populate(self, form: UploadForm) -> None:
        """Show the values of ``form``, and apply all further input to this form."""
        self._form = form
        with self.prevent(Input.Changed):
            self.query_one("#name", Input).value = form.name
            self.query_one("#content", Input).value = form.content_type
            self.query_one("#justification", Input).value = form.justification
            self.path_input.value = form.path_text
        self.show_hint("")

    def show(self, device: DeviceConfig | None, terms: Content, *, needs_signing_input: bool) -> None:
        form = self._form
        self.query_one("#kind", Button).label = Content(KIND_LABELS[form.kind])
        self.query_one("#device", Button).label = format_device(device)
        signing_input_button = self.query_one("#signs", Button)
        signing_input_button.display = needs_signing_input
        signing_input_button.label = Content(
            "sign the file's SHA-256" if form.hash_file else "the file contains the SHA-256"
        )
        self._show_encryption_key(device)
        self.query_one("#terms", Static).update(terms)
        self.query_one("#name", Input).placeholder = form.suggested_name or "suggested from the file names"

    def _show_encryption_key(self, device: DeviceConfig | None) -> None:
        button = self.query_one("#key", Button)
        button.display = device is not None and self._form.offers_encryption_keys(device)
        if device is not None and button.display:
            key = self._form.get_encryption_key(device)
            button.label = Content(
                f"key {escape_text(key.name or key.uri, 20)}" if key is not None else "choose a key …"
            )

    def show_hint(self, text: str, *, is_error: bool = False) -> None:
        """Show a hint below the path input, or hide it if ``text`` is empty. ``text`` must be safe text."""
        hint_line = self.query_one("#hint", Static)
        hint_line.update(Content(text))
        hint_line.set_class(bool(text), "-shown")
        hint_line.set_class(is_error, "-wrong")

    def add_text(self, text: str, *, is_typed: bool = False) -> None:
        """Add the files, the files of folders, or the expected checksums in ``text`` to the form.

        ``is_typed``: whether the text was typed into the path input, which then keeps it if none of the paths exist.
        """
        checksums = parse_checksums(text)
        if checksums is not None:
            self._set_path_text("")
            self.post_message(self.ChecksumsEntered(checksums))
        elif text.strip():
            cast(BaseScreen, self.screen).run_guarded(self._add_paths(text, is_typed=is_typed))

    async def _add_paths(self, text: str, *, is_typed: bool) -> None:
        form, path_input = self._form, self.path_input
        result = await asyncio.to_thread(parse_paths, text, path_input.base)
        if form is not self._form or (is_typed and path_input.value != text):
            return
        folders = await asyncio.to_thread(lambda: tuple(path for path in result.paths if path.is_dir()))
        if files := tuple(path for path in result.paths if path not in folders):
            self.post_message(self.PathsEntered(files))
        if folders:
            self.post_message(self.FoldersEntered(folders))
        if result.paths or not is_typed:
            self._set_path_text(escape_text(result.remaining))
        if result.problems:
            self.show_hint(f"✗ {result.problem_text}", is_error=True)
            self.screen.set_focus(path_input)

    def _set_path_text(self, text: str) -> None:
        self.path_input.value = text
        self.path_input.cursor_position = len(text)
        self.show_hint("")

    @on(PathInput.Submitted, "#line")
    def _on_path_submitted(self, event: PathInput.Submitted) -> None:
        event.stop()
        self.add_text(event.value, is_typed=True)

    @on(PathInput.Pasted)
    def _on_path_pasted(self, event: PathInput.Pasted) -> None:
        self.add_text(event.text)

    @on(PathInput.Completed)
    def _on_path_completed(self, event: PathInput.Completed) -> None:
        completion = event.completion
        text = "  ".join(escape_text(each, 30) for each in completion.candidates)
        if completion.unprintable:
            name_count = format_count(completion.unprintable, "name")
            text += f"  {name_count} with unprintable characters: use the file browser"
        self.show_hint(text)

    @on(Input.Submitted, "#name")
    @on(Input.Submitted, "#content")
    @on(Input.Submitted, "#justification")
    def _on_field_submitted(self) -> None:
        self.screen.focus_next()

    @on(Input.Changed)
    def _on_input_changed(self, event: Input.Changed) -> None:
        match event.input.id:
            case "name":
                self._form.name = event.value
            case "content":
                self._form.content_type = event.value
            case "justification":
                self._form.justification = event.value
            case "line":
                self._form.path_text = event.value
        self.post_message(self.FieldChanged())
