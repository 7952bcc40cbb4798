"""Dialog for exporting audit entries to a file in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
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
from sealyard.fs.atomic import AtomicFile
from sealyard.model.audit import AuditFilter
from sealyard.model.display_zone import display_zone
from sealyard.model.errors import InvalidInputError, SealyardError, StorageError
from sealyard.model.formatting import format_count, format_size
from sealyard.model.safe_text import escape_text
from sealyard_tui.action_keys import action_keys, insert_keys
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.screens.base import ScreenDialog
from sealyard_tui.session.hints import error_text
from sealyard_tui.widgets.safe_input import SafeInput

FORMAT_DESCRIPTIONS = {
    "jsonl": "JSON Lines, exactly as stored in the log",
    "csv": "for spreadsheets; formulas are escaped",
}
"""Descriptions of the formats, keyed by file name suffix."""

CHUNK_SIZE = 64 << 10
"""Minimum number of characters per write, except for the last one."""


class FormatButton(RadioButton):
    """Radio button that shows its state with a symbol, not only with color."""

    BUTTON_INNER = " "

    def watch_value(self) -> None:
        self.BUTTON_INNER = "●" if self.value else " "
        super().watch_value()


class AuditExportDialog(ScreenDialog[None]):
    """Dialog that asks for a format and a path, exports the log, and shows progress and the result."""

    heading = "Export the audit log"
    CSS_PATH = "dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "begin", "Export", id="audit_export.begin", priority=True),
        Binding("y", "copy", "Copy the path", id="audit_export.copy"),
    ]

    draft: ClassVar[str] = ""
    """Path that was entered but not yet used for an export."""

    def __init__(self, size: int, filters: AuditFilter | None = None, matching_count: str = "") -> None:
        """Create the dialog. ``size``: the last known number of entries in the log.

        ``filters``: the filter of the screen, None if there is none. ``matching_count``: the number of entries that
        match it, for display.
        """
        super().__init__()
        self._log_size = size
        self._filters = filters
        self._matching_count = matching_count
        self._format = "jsonl"
        self._path = Path()
        self._worker: Worker[None] | None = None

    def compose_body(self) -> ComposeResult:
        with Vertical(classes="input"):
            if self._filters is not None:
                yield from self._compose_scope()
            with RadioSet(id="kind", compact=True):
                for format_name, description in FORMAT_DESCRIPTIONS.items():
                    yield FormatButton(
                        Content(f"{format_name:6}{description}"),
                        value=format_name == self._format,
                        id=format_name,
                        compact=True,
                    )
            with Horizontal(classes="field"):
                yield Label("file")
                yield SafeInput(AuditExportDialog.draft or str(self._build_default_path()), id="path", compact=True)
            yield Static("", classes="wrong", markup=False)
            with Horizontal(classes="buttons"):
                yield Button(Content("Export"), id="begin", variant="primary", compact=True)
                yield Button(Content("Back"), id="back", compact=True)
        with Vertical(classes="running"):
            yield Static("", classes="about", markup=False)
            yield ProgressBar(total=max(1, self._log_size), show_eta=False)
        yield Static("", classes="outcome", markup=False)

    def _compose_scope(self) -> ComposeResult:
        matching = f"matching the filter  {self._matching_count} of {self._log_size:,}; the chain cannot be verified"
        with RadioSet(id="scope", compact=True):
            yield FormatButton(Content(matching), value=True, id="matching", compact=True)
            yield FormatButton(Content(f"complete log         {self._log_size:,} entries"), id="complete", compact=True)

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#path"))

    def _build_default_path(self) -> Path:
        folder = self.app.download_manager.folder or Path.home()
        return folder / f"sealyard-audit-{display_zone.convert(self.app.now()):%Y-%m-%d}.{self._format}"

    @on(RadioSet.Changed, "#kind")
    def _on_format_changed(self, event: RadioSet.Changed) -> None:
        """Update the suffix of the path to the new format, unless the user has chosen a different suffix."""
        old_format, self._format = self._format, event.pressed.id or self._format
        path_input = self.query_one("#path", Input)
        if path_input.value.endswith(f".{old_format}"):
            path_input.value = f"{path_input.value.removesuffix(old_format)}{self._format}"

    @on(Input.Changed)
    def _on_path_changed(self, event: Input.Changed) -> None:
        AuditExportDialog.draft = event.value if event.value != str(self._build_default_path()) else ""
        self._show_error("")

    @on(Button.Pressed)
    def _on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "begin":
            self.action_begin()
        else:
            self.dismiss(None)

    # ---- export

    @on(Input.Submitted)
    def action_begin(self) -> None:
        path_text = self.query_one("#path", Input).value.strip()
        if not path_text:
            self._show_error("Enter a file name.")
            return
        self._path = Path(path_text).expanduser().absolute()
        self._worker = self.run_worker(self.app.guard(self._check_and_write()), exit_on_error=False)

    async def _check_and_write(self) -> None:
        if await asyncio.to_thread(self._path.is_dir):
            self._show_error("This is a folder; enter a file name.")
            return
        overwrite = await asyncio.to_thread(self._path.exists)
        if overwrite and not await self._confirm_replace():
            return
        self.add_class("-running")
        hint = insert_keys(self.app, "press {key[dialog.back]} to cancel.")
        self.query_one(".running .about", Static).update(Content(f"Writing {escape_text(str(self._path))}; {hint}"))
        self.refresh_bindings()
        try:
            await self._write(await self.app.session.client(), overwrite=overwrite)
        except SealyardError as error:
            self._show_error(error_text(error, action_keys(self.app)))
        finally:
            self.remove_class("-running")
            self.refresh_bindings()

    async def _confirm_replace(self) -> bool:
        question = f"{escape_text(str(self._path))} already exists. Replace it?"
        answer = await self.app.push_screen_wait(ConfirmDialog("Replace the file", question, yes="Replace"))
        return answer is True

    def _selected_filters(self) -> AuditFilter | None:
        if self._filters is None or self.query_one("#complete", RadioButton).value:
            return None
        return self._filters

    async def _write(self, client: Client, *, overwrite: bool) -> None:
        count = 0
        filters = self._selected_filters()
        with _convert_os_errors(self._path):
            file = await asyncio.to_thread(AtomicFile, self._path)
            try:
                async for text in _merge_chunks(client.export_audit(self._format, filters)):
                    await asyncio.to_thread(file.write, text.encode())
                    count += text.count("\n")
                    self.query_one(ProgressBar).update(progress=min(count, self._log_size))
                size = await asyncio.to_thread(lambda: file.commit(overwrite=overwrite))
            finally:
                file.discard()
        self._finish(count - (self._format == "csv"), size)

    # ---- result

    def _finish(self, count: int, size: int) -> None:
        AuditExportDialog.draft = ""
        self.add_class("-finished")
        entries = format_count(count, "entry", "entries")
        summary = Content.styled(f"✓ {entries}, {format_size(size)}", "bold $success")
        hint = insert_keys(self.app, "Only you can read the file. Press {key[audit_export.copy]} to copy its path.")
        details = f"\n\n{escape_text(str(self._path))}\n\n{hint}"
        self.query_one(".outcome", Static).update(Content.assemble(summary, details))

    def _show_error(self, text: str) -> None:
        self.query_one(".wrong", Static).update(Content(f"✗ {escape_text(text)}" if text else ""))

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(str(self._path))
        self.notify("Copied.", markup=False)

    def action_dismiss_dialog(self) -> None:
        """Close the dialog. If an export is running, cancel the export and keep the dialog open instead."""
        if self._worker is not None and not self._worker.is_finished and self.has_class("-running"):
            self._worker.cancel()
            return
        self.dismiss(None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "begin":
            return not self.has_class("-running") and not self.has_class("-finished")
        if action == "copy":
            return self.has_class("-finished")
        return super().check_action(action, parameters)


@contextmanager
def _convert_os_errors(path: Path) -> Iterator[None]:
    """Convert an ``OSError`` raised in the ``with`` block, which writes to ``path``.

    Raises :class:`InvalidInputError` if the file already exists, and :class:`StorageError` for any other error.
    """
    safe_path = escape_text(str(path))
    try:
        yield
    except FileExistsError as error:
        raise InvalidInputError(f"{safe_path} already exists.", "Choose another name.") from error
    except OSError as error:
        reason = escape_text(error.strerror or str(error))
        hint = "Choose a folder that you can write to, or free some disk space."
        raise StorageError(f"{safe_path} cannot be written: {reason}.", hint) from error


async def _merge_chunks(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    """Join texts into chunks of at least :data:`CHUNK_SIZE` characters, because writing line by line is slow."""
    parts: list[str] = []
    length = 0
    async for text in texts:
        parts.append(text)
        length += len(text)
        if length >= CHUNK_SIZE:
            yield "".join(parts)
            parts, length = [], 0
    yield "".join(parts)
