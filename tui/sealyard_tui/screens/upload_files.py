"""The two lists of the upload place, with the keys that act on their rows."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from sealyard_tui.screens.upload_form import Entry
from sealyard_tui.watching_folder import Dropped
from sealyard_tui.widgets.big_table import BigTable, Column

FILE_COLUMNS = (
    Column(title="PART", width=11),
    Column(title="NAME", width=16, grow=2),
    Column(title="SIZE", width=10, right=True),
    Column(title="SHA-256", width=28, grow=1),
)
DROP_COLUMNS = (
    Column(title="DROPPED", width=16, grow=1),
    Column(title="STATE", width=34, grow=2),
    Column(title="AGE", width=5, right=True),
)


class FilesTable(BigTable[Entry]):
    """Firmware in its order, then metadata."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x,delete", "screen.remove", "Remove", id="upload.remove", tooltip="Take it out of the form"),
        Binding("K,shift+up", "screen.move(-1)", "Earlier", show=False, id="upload.earlier"),
        Binding("J,shift+down", "screen.move(1)", "Later", show=False, id="upload.later"),
        Binding("m", "screen.part", "Metadata", id="upload.part", tooltip="Make it metadata, or firmware"),
        Binding("u", "screen.again", "Hand in again", show=False, id="upload.again", tooltip="Read the file anew"),
        Binding("c", "screen.copy", "Copy digest", show=False, id="upload.copy", tooltip="SHA-256 to the clipboard"),
    ]


class DropsTable(BigTable[Dropped]):
    """What lies in the watch folder."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "screen.submit_offer", "Submit", id="upload.submit_offer", tooltip="Make a task of the offer"),
        Binding("f", "screen.take_offer", "Into the form", id="upload.take_offer", tooltip="To change it first"),
        Binding("x,delete", "screen.dismiss_offer", "Dismiss", id="upload.dismiss_offer", tooltip="Not this one"),
    ]
