"""The downloads of this session: progress, files, errors, and what can be done."""

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
from sealyard_tui.formatting import format_fields, progress_bar
from sealyard_tui.screens.base import ScreenDialog
from sealyard_tui.session.hints import action_keys, app_hint
from sealyard_tui.terminal.file_manager import open_in_file_manager
from sealyard_tui.widgets.columns import Cell, Column
from sealyard_tui.widgets.virtual_table import VirtualTable

_BAR_WIDTH = 20


class DownloadRow(FrozenStruct, frozen=True, kw_only=True):
    """The latest state of one download."""

    task_id: str
    known: DownloadProgress | DownloadResult

    @property
    def name(self) -> str:
        return escape_text(self.known.name or self.task_id)

    @property
    def downloaded(self) -> DownloadedFile | None:
        return self.known.downloaded if isinstance(self.known, DownloadResult) else None

    @property
    def error(self) -> ErrorInfo | None:
        return self.known.error if isinstance(self.known, DownloadResult) else None

    @property
    def expired(self) -> bool:
        return self.error is not None and self.error.code == ResultExpiredError.code

    @property
    def gone(self) -> bool:
        return self.error is not None and self.error.code == ResultGoneError.code


class DownloadsDialog(ScreenDialog[str | None]):
    """Returns the id of a task to show."""

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
            _cells,
            key=lambda row: row.task_id,
            empty="No downloads in this session; press d on the dashboard to download a result.",
            id="list",
        )
        with VerticalScroll(id="about", can_focus=False):
            yield Static("", markup=False)
        yield Static("", id="said", markup=False)

    def on_mount(self) -> None:
        self.app.downloads_changed.subscribe(self, self._changed)
        self._changed(None)
        self.set_focus(self.table)

    @property
    def table(self) -> VirtualTable[DownloadRow]:
        return self.query_one("#list", VirtualTable)

    def _changed(self, _: None) -> None:
        self.table.replace(
            DownloadRow(task_id=task_id, known=known) for task_id, known in self.app.download_manager.by_task.items()
        )
        self._show_about()

    @on(VirtualTable.RowHighlighted)
    def _show_about(self) -> None:
        row = self.table.cursor_row
        self.query_one("#about Static", Static).update(
            _describe(row, action_keys(self.app)) if row is not None else Content("")
        )
        self.refresh_bindings()

    @on(VirtualTable.RowActivated)
    def _chosen(self, event: VirtualTable.RowActivated) -> None:
        self.dismiss(event.key)

    def _show_message(self, text: str) -> None:
        """Show a message. ``text`` may hold foreign text."""
        self.query_one("#said", Static).update(Content(escape_text(text)))

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
            return (row.expired or None) if self.app.state.can_write else False
        if action == "retry":
            return (row.error is not None and not row.expired and not row.gone) or None
        return row.downloaded is not None or None

    def action_copy_path(self) -> None:
        row = self.table.cursor_row
        if row is not None and row.downloaded is not None:
            self.app.copy_to_clipboard(row.downloaded.path)
            self._show_message("✓ Copied the path")

    def action_folder(self) -> None:
        row = self.table.cursor_row
        if row is not None and row.downloaded is not None:
            self._run_guarded(self._open(Path(row.downloaded.path).parent))

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
            self._run_guarded(self._fetch(row))

    def action_renew(self) -> None:
        if (row := self.table.cursor_row) is not None:
            self._show_message("Renewing the link …")
            self._run_guarded(self._renew(row))

    async def _renew(self, row: DownloadRow) -> None:
        client = await self.app.session.client()
        await client.renew(row.task_id)
        await self._fetch(row)

    async def _fetch(self, row: DownloadRow) -> None:
        result = await self.app.download_manager.download(row.task_id, row.known.name)
        self._show_message("✓ Downloaded" if result.downloaded is not None else "✗ Download failed")


def _cells(row: DownloadRow) -> Sequence[Cell]:
    return row.name, _state(row)


def _state(row: DownloadRow) -> Content:
    if isinstance(row.known, DownloadProgress):
        return progress_bar(row.known.bytes_done, row.known.bytes_total, _BAR_WIDTH)
    if row.downloaded is not None:
        return Content.styled(f"✓ on disk, {row.downloaded.checked} checked", "$success")
    if row.expired:
        return Content.styled("! not downloaded (link expired)", "$warning")
    if row.gone:
        return Content.styled("∅ not downloaded (file removed)", "$error")
    return Content.styled("✗ download failed", "$error")


def _describe(row: DownloadRow, keys: Mapping[str, str]) -> Content:
    if isinstance(row.known, DownloadProgress):
        return Content(f"{format_size(row.known.bytes_done)} of {format_size(row.known.bytes_total)}")
    if row.downloaded is not None:
        return _about_file(row.downloaded)
    error = row.error
    if error is None:
        return Content("")
    hint = "" if row.expired or row.gone else app_hint(error, keys)
    lines = [Content.styled(f"✗ {escape_text(error.message)}", "$error"), Content(escape_text(hint))]
    if row.expired:
        lines.append(Content("→ Press e to renew the link and download the file."))
    elif row.gone:
        lines.append(Content("→ Create a new package: press n on the dashboard."))
    elif row.known.retry_in is not None:
        lines.append(Content(f"→ Retrying in {row.known.retry_in:g} s; press a to retry now."))
    else:
        lines.append(Content("→ Press a to retry."))
    return Content("\n").join([each for each in lines if each])


def _about_file(found: DownloadedFile) -> Content:
    warnings = [Content.styled(f"! {escape_text(each)}", "$warning") for each in found.warnings]
    pairs: list[tuple[str, Content | str]] = [
        ("path", escape_text(found.path)),
        ("size", format_size_exact(found.size)),
        ("sha256", found.sha256),
        ("checked", "signature and digest" if found.checked == "signature" else "digest"),
        ("at", format_time(found.at)),
    ]
    return Content("\n").join([format_fields(pairs), *warnings])
