"""The key bindings of the upload screen."""

from __future__ import annotations

from textual.binding import Binding, BindingType

EDIT_ACTIONS = frozenset(
    {
        "submit",
        "browse",
        "add",
        "device",
        "kind",
        "signing_input",
        "encryption_key",
        "name",
        "justification",
        "clear",
        "watch",
    }
)
"""Actions that are not available in a read-only workspace."""

UPLOAD_BINDINGS: list[BindingType] = [
    Binding("ctrl+s", "submit", "Submit", id="upload.submit", tooltip="Submit the task"),
    Binding("a", "add", "Add", id="upload.add", tooltip="Add files by path"),
    Binding("b,ctrl+o", "browse", "Browse", id="upload.browse", tooltip="Browse for files"),
    Binding("d", "device", "Device", id="upload.device", tooltip="Choose the device configuration"),
    Binding("t", "kind", "Kind", show=False, id="upload.kind", tooltip="Choose the type of task"),
    Binding(
        "i",
        "signing_input",
        "What is signed",
        show=False,
        id="upload.signing_input",
        tooltip="Choose whether the file is hashed or contains the digest",
    ),
    Binding(
        "E",
        "encryption_key",
        "Encryption key",
        show=False,
        id="upload.encryption_key",
        tooltip="Choose the key of an encryption task",
    ),
    Binding("n", "name", "Name", show=False, id="upload.name", tooltip="Enter a name for the task"),
    Binding(
        "W",
        "justification",
        "Justification",
        show=False,
        id="upload.justification",
        tooltip="Enter a justification for the approvers",
    ),
    Binding("w", "watch", "Watch", show=False, id="upload.watch", tooltip="Set up the watch folder"),
    Binding("X", "clear", "Clear form", show=False, id="upload.clear", tooltip="Clear the form and discard its files"),
    Binding("o", "show_task", "Open task", id="upload.show_task", tooltip="Open the task that was just created"),
    Binding("down", "field(1)", show=False, id="upload.next_field"),
    Binding("up", "field(-1)", show=False, id="upload.previous_field"),
]
