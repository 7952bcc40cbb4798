"""Export of the whole audit log to a file, in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, Label, ProgressBar, RadioButton, RadioSet, Static
from textual.worker import Worker

from sealyard.client.protocol import Client
from sealyard.model.errors import SealyardError
from sealyard.model.formatting import format_size
from sealyard.model.safe_text import escape_text
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.screens.audit.atomic_text_file import AtomicTextFile
from sealyard_tui.screens.base import ScreenDialog
from sealyard_tui.session.hints import action_keys, error_text
from sealyard_tui.widgets.safe_input import SafeInput

KINDS = {
    "jsonl": "JSON Lines, exactly as stored in the log",
    "csv": "for spreadsheets; formulas are escaped",
}


CHUNK_SIZE = 64 << 10
"""Characters that are written together, however small the pieces are."""


class FormatButton(RadioButton):
    """A radio button that differs from the others by more than its colour."""

    BUTTON_INNER = " "

    def watch_value(self) -> None:
        self.BUTTON_INNER = "●" if self.value else " "
        super().watch_value()


class AuditExportDialog(ScreenDialog[None]):
    """Asks for format and path, writes the file, and shows progress and result."""

    heading = "Export the audit log"
    CSS_PATH = "dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "begin", "Export", id="audit_export.begin", priority=True),
        Binding("y", "copy", "Copy the path", id="audit_export.copy"),
    ]

    draft: ClassVar[str] = ""
    """The path that was typed and not used."""

    def __init__(self, size: int) -> None:
        """``size`` is the known number of entries."""
        super().__init__()
        self._log_size = size
        self._kind = "jsonl"
        self._path = Path()
        self._work: Worker[None] | None = None

    def compose_body(self) -> ComposeResult:
        with Vertical(classes="asking"):
            with RadioSet(id="kind", compact=True):
                for kind, words in KINDS.items():
                    yield FormatButton(Content(f"{kind:6}{words}"), value=kind == self._kind, id=kind, compact=True)
            with Horizontal(classes="field"):
                yield Label("file")
                yield SafeInput(AuditExportDialog.draft or str(self._usual_path()), id="path", compact=True)
            yield Static("", classes="wrong", markup=False)
            with Horizontal(classes="buttons"):
                yield Button(Content("Export"), id="begin", variant="primary", compact=True)
                yield Button(Content("Back"), id="back", compact=True)
        with Vertical(classes="running"):
            yield Static("", classes="about", markup=False)
            yield ProgressBar(total=max(1, self._log_size), show_eta=False)
        yield Static("", classes="outcome", markup=False)

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#path"))

    def _usual_path(self) -> Path:
        folder = self.app.download_manager.folder or Path.home()
        return folder / f"sealyard-audit-{self.app.now().astimezone():%Y-%m-%d}.{self._kind}"

    @on(RadioSet.Changed)
    def _choose(self, event: RadioSet.Changed) -> None:
        """Change the suffix of the path with the format, unless it was edited."""
        before, self._kind = self._kind, event.pressed.id or self._kind
        path = self.query_one("#path", Input)
        if path.value.endswith(f".{before}"):
            path.value = f"{path.value.removesuffix(before)}{self._kind}"

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        AuditExportDialog.draft = event.value if event.value != str(self._usual_path()) else ""
        self._show_error("")

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "begin":
            self.action_begin()
        else:
            self.dismiss(None)

    # ---- export

    @on(Input.Submitted)
    def action_begin(self) -> None:
        typed = self.query_one("#path", Input).value.strip()
        if not typed:
            self._show_error("Enter a file name.")
            return
        self._path = Path(typed).expanduser().absolute()
        self._work = self.run_worker(self.app.guard(self._check_and_write()), exit_on_error=False)

    async def _check_and_write(self) -> None:
        if await asyncio.to_thread(self._path.is_dir):
            self._show_error("This is a folder; enter a file name.")
            return
        replace = await asyncio.to_thread(self._path.exists)
        if replace and not await self._confirmed():
            return
        self.add_class("-running")
        self.query_one(".running .about", Static).update(
            Content(f"Writing {escape_text(str(self._path))}; press Esc to cancel.")
        )
        self.refresh_bindings()
        try:
            await self._write(await self.app.session.client(), replace=replace)
        except SealyardError as error:
            self._show_error(error_text(error, action_keys(self.app)))
        finally:
            self.remove_class("-running")
            self.refresh_bindings()

    async def _confirmed(self) -> bool:
        question = f"{escape_text(str(self._path))} already exists. Replace it?"
        answer = await self.app.push_screen_wait(ConfirmDialog("Replace the file", question, yes="Replace"))
        return answer is True

    async def _write(self, client: Client, *, replace: bool) -> None:
        file = await asyncio.to_thread(AtomicTextFile, self._path)
        count = 0
        try:
            async for text in _chunked(client.export_audit(self._kind)):
                await asyncio.to_thread(file.write, text)
                count += text.count("\n")
                self.query_one(ProgressBar).update(progress=min(count, self._log_size))
            size = await asyncio.to_thread(lambda: file.commit(replace=replace))
        finally:
            file.discard()
        self._finish(count - (self._kind == "csv"), size)

    # ---- result

    def _finish(self, count: int, size: int) -> None:
        AuditExportDialog.draft = ""
        self.add_class("-over")
        done = Content.styled(f"✓ {count:,} entries, {format_size(size)}", "bold $success")
        where = f"\n\n{escape_text(str(self._path))}\n\nOnly you can read the file. Press y to copy its path."
        self.query_one(".outcome", Static).update(Content.assemble(done, where))

    def _show_error(self, text: str) -> None:
        self.query_one(".wrong", Static).update(Content(f"✗ {escape_text(text)}" if text else ""))

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(str(self._path))
        self.notify("Copied.", markup=False)

    def action_dismiss_dialog(self) -> None:
        """Close the dialog; during an export, cancel it, delete the partial file and stay open."""
        if self._work is not None and not self._work.is_finished and self.has_class("-running"):
            self._work.cancel()
            return
        self.dismiss(None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "begin":
            return not self.has_class("-running") and not self.has_class("-over")
        if action == "copy":
            return self.has_class("-over")
        return super().check_action(action, parameters)


async def _chunked(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    waiting: list[str] = []
    length = 0
    async for text in texts:
        waiting.append(text)
        length += len(text)
        if length >= CHUNK_SIZE:
            yield "".join(waiting)
            waiting, length = [], 0
    yield "".join(waiting)
