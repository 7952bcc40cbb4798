"""The fields of the form: kind, configuration, names, and the input for paths."""

from __future__ import annotations

import asyncio
import shlex
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
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.upload.checksums import Checksum, parse_checksums
from sealyard_tui.screens.upload.form_model import UploadForm
from sealyard_tui.screens.upload.format import KINDS, device_label
from sealyard_tui.screens.upload.path_input import PathInput
from sealyard_tui.widgets.path_parsing import parse_paths
from sealyard_tui.widgets.safe_input import SafeInput


class UploadFormFields(Vertical):
    """Changes the form as the user types."""

    class Typed(Message):
        """A field has changed."""

    class Paths(Message):
        """Files should be added to the form."""

        def __init__(self, paths: tuple[Path, ...]) -> None:
            super().__init__()
            self.paths = paths

    class Folder(Message):
        """A directory was named: files should be chosen from it."""

        def __init__(self, folder: Path) -> None:
            super().__init__()
            self.folder = folder

    class Checksums(Message):
        """Expected checksums were pasted."""

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
            yield Static("Add", classes="label")
            yield PathInput(placeholder="paths (Enter: add, Tab: complete, ctrl+o: browse)", id="line")
        yield Static("", id="hint", markup=False)

    @property
    def path_text(self) -> PathInput:
        return self.query_one("#line", PathInput)

    def populate(self, form: UploadForm) -> None:
        """Show the values of ``form``, and use it from now on."""
        self._form = form
        with self.prevent(Input.Changed):
            self.query_one("#name", Input).value = form.name
            self.query_one("#content", Input).value = form.content_type
            self.path_text.value = form.path_text
        self.hint("")

    def show(self, device: DeviceConfig | None, terms: Content, *, needs_signing_input: bool) -> None:
        form = self._form
        self.query_one("#kind", Button).label = Content(KINDS[form.kind])
        self.query_one("#device", Button).label = device_label(device)
        signs = self.query_one("#signs", Button)
        signs.display = needs_signing_input
        signs.label = Content("sign the file's SHA-256" if form.hash_file else "the file contains the SHA-256")
        self.query_one("#terms", Static).update(terms)
        self.query_one("#name", Input).placeholder = form.suggested_name or "suggested from the file names"

    def hint(self, text: str, *, wrong: bool = False) -> None:
        """Show a hint below the path input. ``text`` must be safe."""
        hint = self.query_one("#hint", Static)
        hint.update(Content(text))
        hint.set_class(bool(text), "-shown")
        hint.set_class(wrong, "-wrong")

    def set_texts(self, text: str, *, typed: bool = False) -> None:
        """Add paths, or a list of checksums. ``typed``: the text is in the input, and stays if nothing is found."""
        checksums = parse_checksums(text)
        if checksums is not None:
            self._set_line("")
            self.post_message(self.Checksums(checksums))
        elif text.strip():
            cast(BaseScreen, self.screen).run_guarded(self._add_typed_paths(text, typed=typed))

    async def _add_typed_paths(self, text: str, *, typed: bool) -> None:
        form, line = self._form, self.path_text
        found = await asyncio.to_thread(parse_paths, text, line.base)
        if form is not self._form or (typed and line.value != text):
            return
        if found.folder is not None:
            self._set_line("")
            self.post_message(self.Folder(found.folder))
            return
        if found.paths:
            self.post_message(self.Paths(found.paths))
        if found.paths or not typed:
            self._set_line(escape_text(shlex.join(found.missing)))
        if found.missing:
            self.hint(f"✗ not found: {escape_text(', '.join(found.missing), 200)}", wrong=True)
            self.screen.set_focus(line)

    def _set_line(self, text: str) -> None:
        self.path_text.value = text
        self.path_text.cursor_position = len(text)
        self.hint("")

    @on(PathInput.Submitted, "#line")
    def _line_entered(self, event: PathInput.Submitted) -> None:
        event.stop()
        self.set_texts(event.value, typed=True)

    @on(PathInput.Pasted)
    def _line_pasted(self, event: PathInput.Pasted) -> None:
        self.set_texts(event.text)

    @on(PathInput.Completed)
    def _completed(self, event: PathInput.Completed) -> None:
        completion = event.completion
        words = "  ".join(escape_text(each, 30) for each in completion.candidates)
        if completion.unprintable:
            words += (
                f"  {format_count(completion.unprintable, 'name')} with unprintable characters: press ctrl+o to browse"
            )
        self.hint(words)

    @on(Input.Submitted, "#name")
    @on(Input.Submitted, "#content")
    def _field_done(self) -> None:
        self.screen.focus_next()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        match event.input.id:
            case "name":
                self._form.name = event.value
            case "content":
                self._form.content_type = event.value
            case "line":
                self._form.path_text = event.value
        self.post_message(self.Typed())
