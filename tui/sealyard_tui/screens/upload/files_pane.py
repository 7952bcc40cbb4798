"""The pane that lists the files in the upload form, with actions on them."""

from __future__ import annotations

from typing import ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static

from sealyard.model.formatting import format_count
from sealyard.model.tasks import TaskKind
from sealyard_tui.action_keys import action_keys, insert_keys
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.upload.checksums import Checksum, find_checksum
from sealyard_tui.screens.upload.dialogs import ExpectedChecksumDialog
from sealyard_tui.screens.upload.form_model import FileRole, FormFile, UploadForm
from sealyard_tui.screens.upload.format import (
    format_role_hint,
    format_totals,
    render_file_cells,
    render_file_detail,
)
from sealyard_tui.widgets.columns import Column
from sealyard_tui.widgets.pane_title import set_pane_title
from sealyard_tui.widgets.virtual_table import VirtualTable

EMPTY_TEXT = (
    "No files yet.\nPress {key[upload.add]} to type or paste paths, {key[upload.browse]} to browse, or drop files onto "
    "the terminal."
)
COLUMNS = (
    Column(title="PART", width=11),
    Column(title="NAME", width=16, grow=2),
    Column(title="SIZE", width=10, right=True),
    Column(title="SHA-256", width=28, grow=1),
)


class FilesPane(Vertical):
    """Pane that lists the firmware files, then the metadata files, each group in package order.

    Two lines below the list show details of the current file.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x,delete", "remove", "Remove", id="upload.remove", tooltip="Remove the file from the form"),
        Binding(
            "K,shift+up",
            "move(-1)",
            "Move up",
            show=False,
            id="upload.earlier",
            tooltip="Move the file up in the package",
        ),
        Binding(
            "J,shift+down",
            "move(1)",
            "Move down",
            show=False,
            id="upload.later",
            tooltip="Move the file down in the package",
        ),
        Binding("m", "toggle_metadata", "Metadata", id="upload.part", tooltip="Switch between metadata and firmware"),
        Binding(
            "e", "expect", "Expected digest", show=False, id="upload.expect", tooltip="Set the expected SHA-256 digest"
        ),
        Binding("u", "retry", "Upload again", show=False, id="upload.again", tooltip="Upload the file again"),
        Binding(
            "c", "copy", "Copy digest", show=False, id="upload.copy", tooltip="Copy the SHA-256 digest to the clipboard"
        ),
    ]

    class RemoveRequested(Message):
        """Posted to request that files be removed from the form."""

        def __init__(self, keys: list[str]) -> None:
            super().__init__()
            self.keys = keys

    class UploadRequested(Message):
        """Posted to request that files be uploaded again."""

        def __init__(self, keys: list[str]) -> None:
            super().__init__()
            self.keys = keys

    class Changed(Message):
        """Posted after the order, the role or the expected checksum of a file has changed."""

    def __init__(self) -> None:
        super().__init__(id="files-pane", classes="pane")
        self._form = UploadForm()
        self._numbers: dict[str, int] = {}

    def compose(self) -> ComposeResult:
        yield VirtualTable[FormFile](
            COLUMNS,
            lambda entry: render_file_cells(entry, self._numbers.get(entry.key, 0)),
            key=lambda entry: entry.key,
            empty=insert_keys(self.app, EMPTY_TEXT),
            markable=True,
            id="files",
        )
        yield Static("", id="detail", markup=False)

    @property
    def table(self) -> VirtualTable[FormFile]:
        return self.query_one("#files", VirtualTable)

    @property
    def _base_screen(self) -> BaseScreen:
        return cast(BaseScreen, self.screen)

    def show(self, form: UploadForm) -> None:
        self._form = form
        self._numbers = {each.key: number for role in FileRole for number, each in enumerate(form.get_files(role), 1)}
        set_pane_title(self, format_totals(form))
        self.table.replace(form.entries)
        self._show_detail()

    def select_added(self, entries: list[FormFile]) -> None:
        """Select the last of the files that have just been added, and explain how to change the role of metadata.

        The lines below the list explain it for the selected file.
        """
        self.table.move_cursor_to(entries[-1].key)
        misplaced_entries = [entry for entry in entries if entry.is_misplaced]
        if misplaced_entries not in ([], entries[-1:]) and self._form.kind is TaskKind.PACKAGING:
            self._base_screen.flash(format_role_hint(misplaced_entries, action_keys(self.app)), warning=True)

    @on(VirtualTable.RowHighlighted)
    def _show_detail(self) -> None:
        self.query_one("#detail", Static).update(render_file_detail(self.table.cursor_row, action_keys(self.app)))

    @on(VirtualTable.RowActivated)
    def _on_row_activated(self) -> None:
        self.action_expect()

    # ---- keys

    def action_remove(self) -> None:
        keys = [each.key for each in self.table.selected_rows]
        self.table.clear_marks()
        self.post_message(self.RemoveRequested(keys))

    def action_move(self, step: int) -> None:
        if (key := self.table.cursor_key) is not None and self._form.move(key, step):
            self.post_message(self.Changed())

    def action_toggle_metadata(self) -> None:
        for entry in self.table.selected_rows:
            self._form.change(
                entry.key, role=FileRole.METADATA if entry.role is FileRole.FIRMWARE else FileRole.FIRMWARE
            )
        self.post_message(self.Changed())

    def action_retry(self) -> None:
        self.post_message(self.UploadRequested([each.key for each in self.table.selected_rows]))

    def action_copy(self) -> None:
        entry = self.table.cursor_row
        if entry is not None and entry.file is not None:
            self.app.copy_to_clipboard(entry.file.sha256)
            self._base_screen.flash(f"Copied the SHA-256 digest of {entry.name}")

    def action_expect(self) -> None:
        entry = self.table.cursor_row
        if entry is None:
            return

        def set_checksums(checksums: tuple[Checksum, ...] | None) -> None:
            if checksums == ():
                self._set_expected(entry.key, "")
                self.post_message(self.Changed())
            elif checksums is not None:
                self.set_expected_checksums(checksums, entry)

        self.app.push_screen(ExpectedChecksumDialog(str(entry.path), entry.name, entry.expected_sha256), set_checksums)

    def set_expected_checksums(self, checksums: tuple[Checksum, ...], entry: FormFile | None = None) -> None:
        """Set the expected checksums of the files in the form that are named in ``checksums``.

        A single digest without a file name is set for ``entry``, by default the current file.
        """
        entry = entry or self.table.cursor_row
        digests = {
            each.key: sha256 for each in self._form.entries if (sha256 := find_checksum(str(each.path), checksums))
        }
        if entry is not None and len(checksums) == 1 and not checksums[0].name:
            digests = {entry.key: checksums[0].sha256}
        for key, sha256 in digests.items():
            self._set_expected(key, sha256)
        self.post_message(self.Changed())
        self._base_screen.flash(f"Expected SHA-256 set for {format_count(len(digests), 'file')}", warning=not digests)

    def _set_expected(self, key: str, sha256: str) -> None:
        entry = self._form.change(key, expected_sha256=sha256)
        if entry is not None and entry.error is not None:
            self.post_message(self.UploadRequested([key]))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        if action in ("remove", "move", "toggle_metadata", "retry", "copy", "expect"):
            return bool(self._form.entries)
        return True
