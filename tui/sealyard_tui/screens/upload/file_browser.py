"""The file browser of the upload screen. It lists one folder at a time and reads it in a thread."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from datetime import datetime, tzinfo
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Input, Static

from sealyard.client.config.state_file import StateFile, state_path
from sealyard.concurrency.threads import CheckCancelled, run_cancellable
from sealyard.model.base import FrozenStruct
from sealyard.model.display_zone import display_zone
from sealyard.model.errors import StorageError
from sealyard.model.formatting import format_count, format_size
from sealyard.model.safe_text import escape_text
from sealyard_tui.action_keys import action_keys
from sealyard_tui.formatting import add_zone, format_path
from sealyard_tui.screens.base import ScreenDialog
from sealyard_tui.screens.upload.path_input import PathInput
from sealyard_tui.widgets.columns import Column
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.path_parsing import parse_paths
from sealyard_tui.widgets.virtual_table import VirtualTable

PARENT_NAME = ".."
"""Name and key of the row for the parent folder."""


class Selection(FrozenStruct, frozen=True, kw_only=True):
    """The chosen files, in the order of selection. ``metadata``: whether they are metadata rather than firmware."""

    paths: tuple[Path, ...]
    metadata: bool = False


class FileOrder(StrEnum):
    """Sort order of the files in a folder."""

    NAME = "name"
    NEWEST = "newest"
    LARGEST = "largest"


class FileRow(FrozenStruct, frozen=True, kw_only=True):
    """A file or folder in the list.

    ``size``: in bytes. ``mtime``: modification time as a Unix time. Both are 0 if they cannot be read. ``is_special``:
    whether it is not a regular file, for example a folder or a socket.
    """

    name: str
    is_folder: bool
    size: int = 0
    mtime: float = 0.0
    is_link: bool = False
    is_special: bool = False


class _LastFolder(FrozenStruct, frozen=True, kw_only=True):
    """The most recently used folder, as stored in the state file."""

    folder: str = ""


class FileBrowser(ScreenDialog[Selection | None]):
    """Dialog for choosing files, either as firmware (Enter) or as metadata (m).

    Returns the selection, or None if cancelled.
    """

    heading = "Choose files"
    CSS_PATH = "file_browser.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "choose_metadata", "As metadata", id="browser.metadata", tooltip="Add as metadata"),
        Binding("h,left,backspace", "up", "Up", id="browser.up", tooltip="Open the parent folder"),
        Binding("l,right", "enter_folder", "Open", show=False, id="browser.open", tooltip="Open the folder"),
        Binding("slash", "filter", "Filter", id="browser.filter", tooltip="Filter the list"),
        Binding("full_stop", "hidden", "Hidden", id="browser.hidden", tooltip="Show or hide hidden files"),
        Binding("o", "order", "Order", id="browser.order", tooltip="Sort by name, date or size"),
        Binding("tilde", "home", "Home", id="browser.home", tooltip="Open your home folder"),
        Binding("p", "path", "Path", id="browser.path", tooltip="Type a path"),
        Binding("ctrl+a", "mark_all", "Mark all", show=False, id="browser.mark_all"),
        Binding("r,f5", "reload", "Refresh", show=False, id="browser.refresh"),
    ]

    def __init__(self, folder: Path | None = None) -> None:
        """``folder``: the folder to list first; by default the most recently used one."""
        super().__init__(classes="wide browser")
        self._folder = folder
        self._rows: list[FileRow] = []
        self._order = FileOrder.NAME
        self._shows_hidden = False
        self._error_text = ""

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="path-row"):
            yield PathInput(placeholder="a path; press Enter to open it", id="path")
        yield FilterBar(hint="part of a name")
        zone = display_zone.fixed_at(self.app.now())
        yield VirtualTable[FileRow](
            _create_columns(zone),
            lambda row: _render_cells(row, zone),
            key=lambda row: row.name,
            empty="Loading …",
            markable=True,
            id="entries",
        )
        yield Static("", id="summary", markup=False)

    def on_mount(self) -> None:
        self.set_focus(self._table)
        self._open_folder(self._folder)

    @property
    def _table(self) -> VirtualTable[FileRow]:
        return self.query_one("#entries", VirtualTable)

    # ---- reading

    def _open_folder(self, folder: Path | None, cursor_name: str = "") -> None:
        """List ``folder`` in the background, and move the cursor to the row named ``cursor_name``.

        If ``folder`` is None, the most recently used folder is listed.
        """
        work = self._read(folder, cursor_name)
        self.run_worker(self.app.guard(work), group="read", exclusive=True, exit_on_error=False)

    async def _read(self, folder: Path | None, cursor_name: str) -> None:
        if folder is None:
            folder = await run_cancellable(lambda _: _load_last_folder())
        try:
            rows = await run_cancellable(lambda check_cancelled: _read_rows(folder, check_cancelled))
            self._error_text = ""
        except OSError as error:
            rows = []
            self._error_text = f"✗ Cannot read this folder ({escape_text(error.strerror or str(error))})."
        if folder != self._folder:
            self.query_one(FilterBar).set_text("")
            self._table.clear_marks()
        self._folder, self._rows = folder, rows
        path_input = self.query_one("#path", PathInput)
        path_input.base = folder
        # Do not overwrite what the user is typing.
        if not path_input.has_focus:
            path_input.value = _format_path_text(folder)
        await self._show_rows(cursor_name)

    async def _show_rows(self, cursor_name: str = "") -> None:
        """Filter, sort and show the rows, and move the cursor to the row named ``cursor_name``.

        Filtering and sorting run in a thread, because a folder may be large.
        """
        rows, order, shows_hidden = self._rows, self._order, self._shows_hidden
        search = self.query_one(FilterBar).text.casefold()
        parent_rows = [] if self._folder is None or self._folder.parent == self._folder else [_PARENT_ROW]
        visible_rows = await run_cancellable(
            lambda _: _select_rows(rows, order, shows_hidden=shows_hidden, search=search)
        )
        self._table.set_empty_text(self._error_text or "No entries.")
        self._table.replace([*parent_rows, *visible_rows])
        is_found = bool(cursor_name) and self._table.move_cursor_to(cursor_name)
        if not is_found and visible_rows and self._table.cursor_key == PARENT_NAME:
            self._table.move_cursor_to(visible_rows[0].name)
        self.query_one(FilterBar).show_count(len(visible_rows), len(rows))
        self._update_summary()

    def _update_summary(self) -> None:
        marked_files, keys = self._marked_files, action_keys(self.app)
        if self._error_text:
            text = self._error_text
        elif marked_files:
            total_size = format_size(sum(each.size for each in marked_files))
            pronoun = "it" if len(marked_files) == 1 else "them"
            text = f"{len(marked_files)} marked, {total_size}: press {keys['table.open']} to add {pronoun}"
        else:
            hidden_count = sum(each.name.startswith(".") for each in self._rows)
            hidden_note = "" if self._shows_hidden else f", {hidden_count} hidden ({keys['browser.hidden']})"
            count = format_count(len(self._rows), "entry", "entries")
            key_note = f"{keys['table.open']}: add or open, {keys['table.mark']}: mark"
            text = f"{count}{hidden_note}; by {self._order} · {key_note}"
        self.query_one("#summary", Static).update(Content(text))

    # ---- keys

    @on(VirtualTable.RowActivated)
    def _on_row_activated(self) -> None:
        row = self._table.cursor_row
        if not self._marked_files and row is not None and row.is_folder:
            self.action_enter_folder()
            return
        self._finish(metadata=False)

    def action_choose_metadata(self) -> None:
        self._finish(metadata=True)

    @property
    def _marked_files(self) -> list[FileRow]:
        return [each for each in self._table.marked_rows if not each.is_folder]

    def _finish(self, *, metadata: bool) -> None:
        row, folder = self._table.cursor_row, self._folder
        rows = self._marked_files or ([row] if row is not None and not row.is_folder else [])
        if not rows or folder is None:
            return
        self.app.run_worker(self.app.guard(run_cancellable(lambda _: _save_last_folder(folder))), exit_on_error=False)
        self.dismiss(Selection(paths=tuple(folder / each.name for each in rows), metadata=metadata))

    def action_enter_folder(self) -> None:
        row, folder = self._table.cursor_row, self._folder
        if row is None or folder is None or not row.is_folder:
            return
        if row.name == PARENT_NAME:
            self.action_up()
        else:
            self._open_folder(folder / row.name)

    def action_up(self) -> None:
        if self._folder is not None:
            self._open_folder(self._folder.parent, cursor_name=self._folder.name)

    def action_home(self) -> None:
        self._open_folder(Path.home())

    def action_reload(self) -> None:
        self._open_folder(self._folder)

    def action_hidden(self) -> None:
        self._shows_hidden = not self._shows_hidden
        self._update_rows()

    def action_order(self) -> None:
        orders = list(FileOrder)
        self._order = orders[(orders.index(self._order) + 1) % len(orders)]
        self._update_rows()

    def action_mark_all(self) -> None:
        self._table.mark_all()

    def action_filter(self) -> None:
        self.query_one(FilterBar).open()

    def action_path(self) -> None:
        path = self.query_one("#path", PathInput)
        path.action_select_all()
        self.set_focus(path)

    def action_dismiss_dialog(self) -> None:
        """Leave the path input, clear the marks, clear the filter or close the dialog, whichever applies first."""
        if self.query_one("#path").has_focus:
            self.set_focus(self._table)
        elif self._table.clear_marks() or self.query_one(FilterBar).clear():
            return
        else:
            self.dismiss(None)

    def _update_rows(self) -> None:
        self.run_worker(self.app.guard(self._show_rows()), group="read", exclusive=True, exit_on_error=False)

    @on(VirtualTable.MarksChanged)
    def _on_marks_changed(self) -> None:
        self._update_summary()

    @on(FilterBar.Changed)
    def _on_filter_changed(self) -> None:
        self._update_rows()

    @on(FilterBar.Closed)
    def _on_filter_closed(self) -> None:
        self.set_focus(self._table)

    @on(PathInput.Completed)
    def _on_path_completed(self, event: PathInput.Completed) -> None:
        names = "  ".join(escape_text(each, 30) for each in event.completion.candidates)
        self.query_one("#summary", Static).update(Content(names))

    @on(PathInput.Pasted)
    def _on_path_pasted(self, event: PathInput.Pasted) -> None:
        self._open_path(event.text)

    @on(Input.Submitted, "#path")
    def _on_path_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._open_path(event.value)

    def _open_path(self, text: str) -> None:
        self.run_worker(self.app.guard(self._parse_and_open(text)), group="jump", exclusive=True, exit_on_error=False)

    async def _parse_and_open(self, text: str) -> None:
        base = self._folder or Path.cwd()
        result = await run_cancellable(lambda _: parse_paths(text, base))
        if result.folder is not None:
            self.set_focus(self._table)
            self._open_folder(result.folder)
        elif result.paths:
            self.set_focus(self._table)
            self._open_folder(result.paths[0].parent, cursor_name=result.paths[0].name)
        else:
            self.query_one("#summary", Static).update(Content.styled(f"✗ {result.problem_text}", "$error"))


_PARENT_ROW = FileRow(name=PARENT_NAME, is_folder=True)


def _create_columns(zone: tzinfo | None) -> tuple[Column, ...]:
    return (
        Column(title="NAME", width=20, grow=1),
        Column(title="SIZE", width=10, right=True),
        Column(title=add_zone("CHANGED", zone), width=16, from_width=50),
    )


def _render_cells(row: FileRow, zone: tzinfo | None) -> tuple[Content | str, ...]:
    """Return the cells of a row. ``zone``: the time zone in the column title, used for all times regardless of DST."""
    if row.name == PARENT_NAME:
        return Content.styled("../", "$text-muted"), "", ""
    name = escape_text(row.name)
    modified_at = f"{datetime.fromtimestamp(row.mtime, zone):%Y-%m-%d %H:%M}" if row.mtime else ""
    if row.is_folder:
        return Content.styled(f"{name}/", "bold $accent"), "", modified_at
    mark = " (link)" if row.is_link else " (not a file)" if row.is_special else ""
    return Content.assemble(name, Content.styled(mark, "$text-muted")), format_size(row.size), modified_at


def _read_rows(folder: Path, check_cancelled: CheckCancelled) -> list[FileRow]:
    """Return a row for each entry of ``folder``. Raises ``OSError`` if the folder cannot be read."""
    with os.scandir(folder) as entries:
        return [_read_row(each, check_cancelled) for each in entries]


def _read_row(entry: os.DirEntry[str], check_cancelled: CheckCancelled) -> FileRow:
    check_cancelled(0)
    is_link = entry.is_symlink()
    try:
        status = entry.stat()
    except OSError:  # The entry is a dangling link or has just been deleted.
        return FileRow(name=entry.name, is_folder=False, is_link=is_link, is_special=True)
    return FileRow(
        name=entry.name,
        is_folder=stat.S_ISDIR(status.st_mode),
        size=status.st_size,
        mtime=status.st_mtime,
        is_link=is_link,
        is_special=not stat.S_ISREG(status.st_mode),
    )


def _select_rows(rows: list[FileRow], order: FileOrder, *, shows_hidden: bool, search: str) -> list[FileRow]:
    """Return the visible rows whose names contain ``search``, sorted by ``order``, with folders first.

    ``search``: text in casefolded form; empty to match all names.
    """
    visible_rows = [
        each for each in rows if (shows_hidden or not each.name.startswith(".")) and search in each.name.casefold()
    ]
    visible_rows.sort(key=lambda each: each.name.casefold())
    if order is FileOrder.NEWEST:
        visible_rows.sort(key=lambda each: each.mtime, reverse=True)
    if order is FileOrder.LARGEST:
        visible_rows.sort(key=lambda each: each.size, reverse=True)
    return [each for each in visible_rows if each.is_folder] + [each for each in visible_rows if not each.is_folder]


def _format_path_text(folder: Path) -> str:
    """Return the path with a trailing slash, for the path input. Unprintable characters are escaped."""
    return format_path(folder).rstrip("/") + "/"


def _open_state_file() -> StateFile[_LastFolder]:
    return StateFile(state_path("application", "file-browser"), _LastFolder())


def _load_last_folder() -> Path:
    """Return the most recently used folder if it still exists, or the working directory otherwise."""
    with suppress(StorageError, ValueError):
        if (folder := _open_state_file().read().folder) and Path(folder).is_dir():
            return Path(folder)
    return Path.cwd()


def _save_last_folder(folder: Path) -> None:
    """Save ``folder`` as the most recently used one. Errors are ignored; another folder is then opened next time."""
    try:
        text = str(folder).encode().decode()
    except UnicodeEncodeError:
        return
    with suppress(StorageError):
        _open_state_file().update(lambda _: _LastFolder(folder=text))
