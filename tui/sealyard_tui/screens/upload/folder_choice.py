"""Adding the files of typed or dropped folders to the upload form, after a confirmation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from sealyard.model.formatting import format_count, format_size
from sealyard.model.safe_text import escape_text
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.widgets.path_patterns import MAX_MATCHES, FolderContents, PatternTooBroadError, list_folder

ADD = "add"
BROWSE = "browse"


class FolderChoice:
    """Asks whether the files of folders are added to the form, or a folder is opened in the file browser."""

    def __init__(
        self, screen: BaseScreen, add: Callable[[tuple[Path, ...]], None], browse: Callable[[Path], None]
    ) -> None:
        self._screen = screen
        self._add = add
        self._browse = browse

    async def ask(self, folders: Sequence[Path]) -> None:
        """Ask what to do with ``folders``. Opens the browser if the first one has no files to add, or too many."""
        try:
            contents = await asyncio.to_thread(lambda: [list_folder(folder) for folder in folders])
        except PatternTooBroadError:
            self._screen.flash(f"More than {MAX_MATCHES:,} files: choose some of them.", warning=True)
            self._browse(folders[0])
            return
        except OSError:  # the browser reports the reason
            self._browse(folders[0])
            return
        files = tuple(path for each in contents for path in each.files)
        if not files:
            self._browse(folders[0])
            return

        def apply(choice: str | None) -> None:
            if choice == ADD:
                self._add(files)
            elif choice == BROWSE:
                self._browse(folders[0])

        self._screen.app.push_screen(PickDialog(_format_title(contents), _list_choices(contents)), apply)


def _format_title(contents: Sequence[FolderContents]) -> str:
    if len(contents) > 1:
        return f"{len(contents)} folders"
    return f"Folder {escape_text(contents[0].folder.name, 40)}"


def _list_choices(contents: Sequence[FolderContents]) -> list[tuple[str, str]]:
    file_count = sum(len(each.files) for each in contents)
    size = format_size(sum(each.size for each in contents))
    label = f"Add {format_count(file_count, 'file')} ({size})"
    if skipped := _format_skipped(contents):
        label += f", without {skipped}"
    browse_label = "Choose files in the file browser"
    return [(ADD, label), (BROWSE, browse_label if len(contents) == 1 else f"{browse_label} (first folder)")]


def _format_skipped(contents: Sequence[FolderContents]) -> str:
    """Return what is not added from the folders; empty if everything is."""
    counts = (
        (sum(each.folders for each in contents), "subfolder"),
        (sum(each.hidden for each in contents), "hidden file"),
        (sum(each.special for each in contents), "special file"),
    )
    return ", ".join(format_count(count, noun) for count, noun in counts if count)
