"""The file browser: one directory at a time, read in a thread, with sizes and dates."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
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
from sealyard.model.errors import StorageError
from sealyard.model.formatting import format_count, format_size
from sealyard.model.safe_text import escape_text
from sealyard_tui.formatting import format_path
from sealyard_tui.screens.base import ScreenDialog
from sealyard_tui.screens.upload.path_input import PathInput
from sealyard_tui.widgets.columns import Column
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.path_parsing import parse_paths
from sealyard_tui.widgets.virtual_table import VirtualTable

UP = ".."
"""Key of the row of the parent directory."""


class Selection(FrozenStruct, frozen=True, kw_only=True):
    """The chosen files, in the order of choosing."""

    paths: tuple[Path, ...]
    metadata: bool = False


class FileOrder(StrEnum):
    """Order of the files in a directory."""

    NAME = "name"
    NEWEST = "newest"
    LARGEST = "largest"


class FileRow(FrozenStruct, frozen=True, kw_only=True):
    """``size`` in bytes, ``modified`` as Unix time; both 0 if unreadable. ``special``: a pipe or a device."""

    name: str
    is_folder: bool
    size: int = 0
    modified: float = 0.0
    is_link: bool = False
    special: bool = False


class _LastFolder(FrozenStruct, frozen=True, kw_only=True):
    """The stored directory."""

    folder: str = ""


COLUMNS = (
    Column(title="NAME", width=20, grow=1),
    Column(title="SIZE", width=10, right=True),
    Column(title="CHANGED", width=16, from_width=50),
)


class FileBrowser(ScreenDialog[Selection | None]):
    """Chooses firmware by Enter and metadata by m. Starts in the directory that was used last."""

    heading = "Choose files"
    CSS_PATH = "file_browser.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "choose_metadata", "As metadata", id="browser.metadata", tooltip="Add as metadata"),
        Binding("h,left,backspace", "up", "Up", id="browser.up", tooltip="Open the parent folder"),
        Binding("l,right", "enter_folder", "Open", show=False, id="browser.into", tooltip="Open the folder"),
        Binding("slash", "filter", "Filter", id="browser.filter", tooltip="Filter the list"),
        Binding("full_stop", "hidden", "Hidden", id="browser.hidden", tooltip="Show or hide hidden files"),
        Binding("o", "order", "Order", id="browser.order", tooltip="Sort by name, date or size"),
        Binding("tilde", "home", "Home", id="browser.home", tooltip="Open your home folder"),
        Binding("p", "path", "Path", id="browser.path", tooltip="Type a path"),
        Binding("ctrl+a", "mark_all", "Mark all", show=False, id="browser.mark_all"),
        Binding("r,f5", "reload", "Refresh", show=False, id="browser.refresh"),
    ]

    def __init__(self, folder: Path | None = None) -> None:
        """``folder``: where to start, by default the directory that was used last."""
        super().__init__(classes="wide browser")
        self._folder = folder
        self._rows: list[FileRow] = []
        self._order = FileOrder.NAME
        self._hidden = False
        self._unread = ""

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="where"):
            yield PathInput(placeholder="a path; press Enter to open it", id="path")
        yield FilterBar(hint="part of a name")
        yield VirtualTable[FileRow](
            COLUMNS, _cells, key=lambda row: row.name, empty="Loading …", markable=True, id="entries"
        )
        yield Static("", id="below", markup=False)

    def on_mount(self) -> None:
        self.set_focus(self._table)
        self._go(self._folder)

    @property
    def _table(self) -> VirtualTable[FileRow]:
        return self.query_one("#entries", VirtualTable)

    # ---- reading

    def _go(self, folder: Path | None, select: str = "") -> None:
        """Open a directory, None is the last one, and select the row named ``select``."""
        self.run_worker(self.app.guard(self._read(folder, select)), group="read", exclusive=True, exit_on_error=False)

    async def _read(self, folder: Path | None, select: str) -> None:
        if folder is None:
            folder = await run_cancellable(lambda _: _last_folder())
        try:
            rows = await run_cancellable(lambda check_cancelled: _rows(folder, check_cancelled))
            self._unread = ""
        except OSError as error:
            rows = []
            self._unread = f"✗ Cannot read this folder ({escape_text(error.strerror or str(error))})."
        if folder != self._folder:
            self.query_one(FilterBar).set_text("")
            self._table.clear_marks()
        self._folder, self._rows = folder, rows
        path = self.query_one("#path", PathInput)
        path.base = folder
        if not path.has_focus:
            # The user may be typing there already.
            path.value = _to_input_text(folder)
        await self._arrange(select)

    async def _arrange(self, cursor: str = "") -> None:
        """Sort and filter the rows in a thread: a directory may be large."""
        rows, order, hidden = self._rows, self._order, self._hidden
        search = self.query_one(FilterBar).text.casefold()
        top = [] if self._folder is None or self._folder.parent == self._folder else [_UP_ROW]
        shown = await run_cancellable(lambda _: _sorted_rows(rows, order, hidden=hidden, search=search))
        self._table.set_empty_text(self._unread or "No entries.")
        self._table.replace([*top, *shown])
        if not (cursor and self._table.move_cursor_to(cursor)) and shown and self._table.cursor_key == UP:
            self._table.move_cursor_to(shown[0].name)
        self.query_one(FilterBar).show_count(len(shown), len(rows))
        self._update_summary()

    def _update_summary(self) -> None:
        marked = self._marked
        if self._unread:
            words = self._unread
        elif marked:
            what = "it" if len(marked) == 1 else "them"
            words = f"{len(marked)} marked, {format_size(sum(each.size for each in marked))}: press Enter to add {what}"
        else:
            hidden = "" if self._hidden else f", {sum(each.name.startswith('.') for each in self._rows)} hidden (.)"
            count = format_count(len(self._rows), "entry", "entries")
            words = f"{count}{hidden}; by {self._order} · Enter: add or open, Space: mark"
        self.query_one("#below", Static).update(Content(words))

    # ---- keys

    @on(VirtualTable.RowActivated)
    def _chosen(self) -> None:
        row = self._table.cursor_row
        if not self._marked and row is not None and row.is_folder:
            self.action_enter_folder()
            return
        self._finish(metadata=False)

    def action_choose_metadata(self) -> None:
        self._finish(metadata=True)

    @property
    def _marked(self) -> list[FileRow]:
        return [each for each in self._table.marked_rows if not each.is_folder]

    def _finish(self, *, metadata: bool) -> None:
        row, folder = self._table.cursor_row, self._folder
        rows = self._marked or ([row] if row is not None and not row.is_folder else [])
        if not rows or folder is None:
            return
        self.app.run_worker(self.app.guard(run_cancellable(lambda _: _remember(folder))), exit_on_error=False)
        self.dismiss(Selection(paths=tuple(folder / each.name for each in rows), metadata=metadata))

    def action_enter_folder(self) -> None:
        row, folder = self._table.cursor_row, self._folder
        if row is None or folder is None or not row.is_folder:
            return
        if row.name == UP:
            self.action_up()
        else:
            self._go(folder / row.name)

    def action_up(self) -> None:
        if self._folder is not None:
            self._go(self._folder.parent, select=self._folder.name)

    def action_home(self) -> None:
        self._go(Path.home())

    def action_reload(self) -> None:
        self._go(self._folder)

    def action_hidden(self) -> None:
        self._hidden = not self._hidden
        self._rearrange()

    def action_order(self) -> None:
        orders = list(FileOrder)
        self._order = orders[(orders.index(self._order) + 1) % len(orders)]
        self._rearrange()

    def action_mark_all(self) -> None:
        self._table.mark_all()

    def action_filter(self) -> None:
        self.query_one(FilterBar).open()

    def action_path(self) -> None:
        path = self.query_one("#path", PathInput)
        path.action_select_all()
        self.set_focus(path)

    def action_dismiss_dialog(self) -> None:
        """Leave the path input, else clear marks, else the filter, else close the dialog."""
        if self.query_one("#path").has_focus:
            self.set_focus(self._table)
        elif self._table.clear_marks() or self.query_one(FilterBar).clear():
            return
        else:
            self.dismiss(None)

    def _rearrange(self) -> None:
        self.run_worker(self.app.guard(self._arrange()), group="read", exclusive=True, exit_on_error=False)

    @on(VirtualTable.MarksChanged)
    def _marks_changed(self) -> None:
        self._update_summary()

    @on(FilterBar.Changed)
    def _filtered(self) -> None:
        self._rearrange()

    @on(FilterBar.Closed)
    def _left(self) -> None:
        self.set_focus(self._table)

    @on(PathInput.Completed)
    def _completed(self, event: PathInput.Completed) -> None:
        words = "  ".join(escape_text(each, 30) for each in event.completion.candidates)
        self.query_one("#below", Static).update(Content(words))

    @on(PathInput.Pasted)
    def _pasted(self, event: PathInput.Pasted) -> None:
        self._jump(event.text)

    @on(Input.Submitted, "#path")
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self._jump(event.value)

    def _jump(self, text: str) -> None:
        self.run_worker(self.app.guard(self._jump_to(text)), group="jump", exclusive=True, exit_on_error=False)

    async def _jump_to(self, text: str) -> None:
        base = self._folder or Path.cwd()
        found = await run_cancellable(lambda _: parse_paths(text, base))
        if found.folder is not None:
            self.set_focus(self._table)
            self._go(found.folder)
        elif found.paths:
            self.set_focus(self._table)
            self._go(found.paths[0].parent, select=found.paths[0].name)
        else:
            self.query_one("#below", Static).update(Content.styled(f"✗ not found: {escape_text(text)}", "$error"))


_UP_ROW = FileRow(name=UP, is_folder=True)


def _cells(row: FileRow) -> tuple[Content | str, ...]:
    if row.name == UP:
        return Content.styled("../", "$text-muted"), "", ""
    name = escape_text(row.name)
    changed = f"{datetime.fromtimestamp(row.modified, UTC).astimezone():%Y-%m-%d %H:%M}" if row.modified else ""
    if row.is_folder:
        return Content.styled(f"{name}/", "bold $accent"), "", changed
    mark = " (link)" if row.is_link else " (not a file)" if row.special else ""
    return Content.assemble(name, Content.styled(mark, "$text-muted")), format_size(row.size), changed


def _rows(folder: Path, check_cancelled: CheckCancelled) -> list[FileRow]:
    """Read a directory. Raises ``OSError``."""
    with os.scandir(folder) as entries:
        return [_row(each, check_cancelled) for each in entries]


def _row(entry: os.DirEntry[str], check_cancelled: CheckCancelled) -> FileRow:
    check_cancelled(0)
    link = entry.is_symlink()
    try:
        found = entry.stat()
    except OSError:  # a dangling link, or just deleted
        return FileRow(name=entry.name, is_folder=False, is_link=link, special=True)
    return FileRow(
        name=entry.name,
        is_folder=stat.S_ISDIR(found.st_mode),
        size=found.st_size,
        modified=found.st_mtime,
        is_link=link,
        special=not stat.S_ISREG(found.st_mode),
    )


def _sorted_rows(rows: list[FileRow], order: FileOrder, *, hidden: bool, search: str) -> list[FileRow]:
    """Return the sorted rows, directories first."""
    shown = [each for each in rows if (hidden or not each.name.startswith(".")) and search in each.name.casefold()]
    shown.sort(key=lambda each: each.name.casefold())
    if order is FileOrder.NEWEST:
        shown.sort(key=lambda each: each.modified, reverse=True)
    if order is FileOrder.LARGEST:
        shown.sort(key=lambda each: each.size, reverse=True)
    return [each for each in shown if each.is_folder] + [each for each in shown if not each.is_folder]


def _to_input_text(folder: Path) -> str:
    """Return the directory with a trailing slash, ready for typing; escaped if it could not be typed."""
    return format_path(folder).rstrip("/") + "/"


def _memory() -> StateFile[_LastFolder]:
    return StateFile(state_path("application", "file-browser"), _LastFolder())


def _last_folder() -> Path:
    """Return the directory that was used last, if it exists; else the working directory."""
    with suppress(StorageError, ValueError):
        if (last := _memory().read().folder) and Path(last).is_dir():
            return Path(last)
    return Path.cwd()


def _remember(folder: Path) -> None:
    """Save the directory. Failures are ignored: the next start uses another one."""
    try:
        written = str(folder).encode().decode()
    except UnicodeEncodeError:
        return
    with suppress(StorageError):
        _memory().update(lambda _: _LastFolder(folder=written))
