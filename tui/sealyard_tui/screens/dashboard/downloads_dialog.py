"""The dialog that lists the downloads of this session, with actions on them."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from sealyard.client.downloads.events import DownloadedFile, DownloadProgress, DownloadResult
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import ErrorInfo, ResultExpiredError, ResultGoneError, SealyardError
from sealyard.model.formatting import format_size, format_size_exact, format_time
from sealyard.model.safe_text import escape_text
from sealyard_tui.action_keys import action_keys, insert_keys
from sealyard_tui.formatting import format_fields, progress_bar
from sealyard_tui.screens.base import ScreenDialog
from sealyard_tui.session.hints import app_hint, error_text
from sealyard_tui.session.pending_changes import Change
from sealyard_tui.terminal.file_manager import open_in_file_manager
from sealyard_tui.widgets.columns import Cell, Column
from sealyard_tui.widgets.virtual_table import VirtualTable

EMPTY_TEXT = "No downloads in this session.\nPress {key[dashboard.download]} on the dashboard to download a result."
_BAR_WIDTH = 20


class DownloadRow(FrozenStruct, frozen=True, kw_only=True):
    """Table row for a download and its latest status."""

    task_id: str
    status: DownloadProgress | DownloadResult

    @property
    def name(self) -> str:
        return escape_text(self.status.name or self.task_id)

    @property
    def file(self) -> DownloadedFile | None:
        return self.status.downloaded if isinstance(self.status, DownloadResult) else None

    @property
    def error(self) -> ErrorInfo | None:
        return self.status.error if isinstance(self.status, DownloadResult) else None

    @property
    def is_expired(self) -> bool:
        return self.error is not None and self.error.code == ResultExpiredError.code

    @property
    def is_gone(self) -> bool:
        return self.error is not None and self.error.code == ResultGoneError.code


class DownloadsDialog(ScreenDialog[str | None]):
    """Dialog that lists the downloads. Returns the id of the chosen task, or None if the user closed the dialog."""

    heading = "Downloads in this session"
    CSS_PATH = "downloads_dialog.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "folder", "Open folder", id="downloads.folder", tooltip="Open the folder of the file"),
        Binding("c", "copy_path", "Copy path", id="downloads.copy_path"),
        Binding("a", "retry", "Retry", id="downloads.again", tooltip="Retry a failed download"),
        Binding("e", "renew", "Renew link", id="downloads.renew", tooltip="Renew the link and download the file"),
    ]

    def __init__(self) -> None:
        super().__init__(classes="wide downloads")

    def compose_body(self) -> ComposeResult:
        yield VirtualTable[DownloadRow](
            (Column(title="PACKAGE", width=16, grow=1), Column(title="DOWNLOAD", width=32, grow=1)),
            _render_cells,
            key=lambda row: row.task_id,
            empty=insert_keys(self.app, EMPTY_TEXT),
            id="list",
        )
        with VerticalScroll(id="detail", can_focus=False):
            yield Static("", markup=False)
        yield Static("", id="message", markup=False)

    def on_mount(self) -> None:
        self.app.downloads_changed.subscribe(self, self._on_downloads_changed)
        self._on_downloads_changed(None)
        self.set_focus(self.table)

    @property
    def table(self) -> VirtualTable[DownloadRow]:
        return self.query_one("#list", VirtualTable)

    def _on_downloads_changed(self, _: None) -> None:
        self.table.replace(
            DownloadRow(task_id=task_id, status=status) for task_id, status in self.app.download_manager.by_task.items()
        )
        self._show_detail()

    @on(VirtualTable.RowHighlighted)
    def _show_detail(self) -> None:
        row = self.table.cursor_row
        self.set_class(row is None, "-empty")
        self.query_one("#detail Static", Static).update(
            _describe_download(row, action_keys(self.app)) if row is not None else Content("")
        )
        self.refresh_bindings()

    @on(VirtualTable.RowActivated)
    def _on_row_activated(self, event: VirtualTable.RowActivated) -> None:
        self.dismiss(event.key)

    def _show_message(self, text: str) -> None:
        """Show a message below the downloads. ``text`` may be untrusted; it is escaped."""
        self.query_one("#message", Static).update(Content(escape_text(text)))

    def _run_guarded(self, work: Coroutine[Any, Any, None]) -> None:
        self.run_worker(self.app.guard(work), exit_on_error=False)

    # ---- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        if action not in ("folder", "copy_path", "retry", "renew"):
            return True
        row = self.table.cursor_row if self.query("#list") else None
        if row is None:
            return None
        if action == "renew":
            return (row.is_expired or None) if self.app.state.can_write else False
        if action == "retry":
            return (row.error is not None and not row.is_expired and not row.is_gone) or None
        return row.file is not None or None

    def action_copy_path(self) -> None:
        row = self.table.cursor_row
        if row is not None and row.file is not None:
            self.app.copy_to_clipboard(row.file.path)
            self._show_message("✓ Copied the path")

    def action_folder(self) -> None:
        row = self.table.cursor_row
        if row is not None and row.file is not None:
            self._run_guarded(self._open(Path(row.file.path).parent))

    async def _open(self, folder: Path) -> None:
        try:
            await open_in_file_manager(folder)
        except SealyardError as error:
            self._show_message(f"! {error}")
        else:
            self._show_message(f"✓ Opened {folder}")

    def action_retry(self) -> None:
        if (row := self.table.cursor_row) is not None:
            self._show_message("Retrying …")
            self._run_guarded(self._download(row))

    def action_renew(self) -> None:
        if (row := self.table.cursor_row) is not None:
            self._show_message("Renewing the link …")
            self._run_guarded(self._renew(row))

    async def _renew(self, row: DownloadRow) -> None:
        change = Change(label=f"Renewal of the link of {row.name}", task_id=row.task_id)
        try:
            await self.app.changes.run(change, lambda client: client.renew(row.task_id))
        except SealyardError as error:
            self._show_message(f"✗ {error_text(error, action_keys(self.app))}")
            return
        await self._download(row)

    async def _download(self, row: DownloadRow) -> None:
        result = await self.app.download_manager.download(row.task_id, row.status.name)
        self._show_message(_format_outcome(result))


def _render_cells(row: DownloadRow) -> Sequence[Cell]:
    return row.name, _format_status(row)


def _format_outcome(result: DownloadResult) -> str:
    if result.downloaded is None:
        return "✗ Download failed"
    return "✓ Already on disk" if result.downloaded.was_on_disk else "✓ Downloaded"


def _format_status(row: DownloadRow) -> Content:
    if isinstance(row.status, DownloadProgress):
        return progress_bar(row.status.bytes_done, row.status.bytes_total, _BAR_WIDTH)
    if row.file is not None:
        prefix = "already " if row.file.was_on_disk else ""
        return Content.styled(f"✓ {prefix}on disk, {row.file.checked} checked", "$success")
    if row.is_expired:
        return Content.styled("! not downloaded (link expired)", "$warning")
    if row.is_gone:
        return Content.styled("∅ not downloaded (file removed)", "$error")
    return Content.styled("✗ download failed", "$error")


def _describe_download(row: DownloadRow, keys: Mapping[str, str]) -> Content:
    if isinstance(row.status, DownloadProgress):
        return Content(f"{format_size(row.status.bytes_done)} of {format_size(row.status.bytes_total)}")
    if row.file is not None:
        return _describe_file(row.file)
    error = row.error
    if error is None:
        return Content("")
    hint = "" if row.is_expired or row.is_gone else app_hint(error, keys)
    lines = [Content.styled(f"✗ {escape_text(error.message)}", "$error"), Content(escape_text(hint))]
    if row.is_expired:
        lines.append(Content(f"→ Press {keys['downloads.renew']} to renew the link and download the file."))
    elif row.is_gone:
        lines.append(Content(f"→ Create a new package: press {keys['dashboard.new']} on the dashboard."))
    elif row.status.retry_in is not None:
        lines.append(Content(f"→ Retrying in {row.status.retry_in:g} s; press {keys['downloads.again']} to retry now."))
    else:
        lines.append(Content(f"→ Press {keys['downloads.again']} to retry."))
    return Content("\n").join([each for each in lines if each])


def _describe_file(file: DownloadedFile) -> Content:
    warnings = [Content.styled(f"! {escape_text(each)}", "$warning") for each in file.warnings]
    pairs: list[tuple[str, Content | str]] = [
        ("path", escape_text(file.path)),
        ("size", format_size_exact(file.size)),
        ("sha256", file.sha256),
        ("checked", "signature and digest" if file.checked == "signature" else "digest"),
        ("at", format_time(file.at)),
    ]
    return Content("\n").join([format_fields(pairs), *warnings])
