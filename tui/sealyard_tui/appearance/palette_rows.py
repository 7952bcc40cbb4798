"""Command palette providers for device configurations, people, groups and clients, and for saved filters."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Protocol, cast

from textual.command import Hit, Hits
from textual.content import Content
from textual.message import Message

from sealyard.client.protocol import Client
from sealyard.model.access import Action, ResourceType, resource_type_uri
from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_text
from sealyard_tui.appearance.palette import Command, CommandList, LiteralProvider
from sealyard_tui.appearance.ui_state import ScreenState
from sealyard_tui.messages import ShowFilter, ShowRow
from sealyard_tui.session.messages import EngineState

FILTER_SCREENS = {
    "dashboard": "Dashboard",
    "approvals": "Approvals",
    "audit": "Audit",
    "devices": "Devices",
    "access": "Access",
}
"""Labels of the screens with a filter, by name."""

_Row = tuple[str, Content, ShowRow]
"""The text to search in, a suffix to display after it, and the message that shows the row."""


class _Appearance(Protocol):
    def screen_state(self, name: str) -> ScreenState: ...


class _FilterApp(Protocol):
    """The part of the application that the commands for saved filters use."""

    appearance: _Appearance

    def post_message(self, message: Message) -> bool: ...


class RowCommands(LiteralProvider):
    """Commands that show a device configuration, or a person, group or client, in its list.

    They are loaded once, when the palette is opened.
    """

    _rows: tuple[_Row, ...] = ()

    async def startup(self) -> None:
        if self.palette_app.state.engine not in (EngineState.READY, EngineState.READ_ONLY):
            return
        try:
            client = await self.palette_app.session.client()
            self._rows = (*await _load_device_rows(client), *await self._load_subject_rows(client))
        except SealyardError:
            # The screens report why data cannot be read, so the palette ignores the error.
            return

    async def _load_subject_rows(self, client: Client) -> list[_Row]:
        # Without permission, the request would be rejected, and every rejection is recorded in the audit log.
        if not self.palette_app.state.is_allowed(Action.VIEW, resource_type_uri(ResourceType.ACL)):
            return []
        subjects = (await client.access()).subjects
        return [
            (
                escape_text(f"{subject.display_name} {subject.id}".strip(), 80),
                Content.styled("  Access", "$text-muted"),
                ShowRow("access", subject.id),
            )
            for subject in subjects
        ]

    async def search(self, query: str) -> Hits:
        for text, suffix, message in self._rows:
            score, content = self.match(query, text)
            if score > 0:
                callback = partial(self.palette_app.post_message, message)
                yield Hit(score, Content.assemble(content, suffix), callback, text)


async def _load_device_rows(client: Client) -> list[_Row]:
    return [
        (
            escape_text(device.name, 80),
            Content.styled(f"  Devices, version {device.version}", "$text-muted"),
            ShowRow("devices", device.id),
        )
        for device in await client.devices()
    ]


class FilterCommands(CommandList):
    """Commands that apply a saved filter on its screen."""

    def commands(self) -> Iterator[Command]:
        app = cast("_FilterApp", self.app)
        for screen, label in FILTER_SCREENS.items():
            for name, text in app.appearance.screen_state(screen).filters.items():
                yield (
                    escape_text(f"Filter {label}: {name}"),
                    Content(""),
                    escape_text(text, 80),
                    partial(app.post_message, ShowFilter(screen, text)),
                )
