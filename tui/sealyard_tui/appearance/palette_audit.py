"""Command palette provider for the audit log: ``audit 120`` and ``audit rejected`` find entries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import islice

from textual.command import Hit, Hits
from textual.content import Content
from textual.message import Message

from sealyard.model.access import Action, ResourceType, resource_type_uri
from sealyard.model.audit import AuditEntry, AuditFilter
from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import format_subject_name, insert_subject_names
from sealyard_tui.appearance.palette import LiteralProvider
from sealyard_tui.messages import ShowFilter, ShowRow
from sealyard_tui.session.messages import EngineState

PAGE_SIZE = 200
"""Number of the newest entries that are searched; another command filters the whole log."""

MAX_ENTRIES = 20
TOP_SCORE = 1000.0
"""Score of the first hit: the query names the audit log, so its hits come before those of other providers."""

_QUERY = re.compile(r"audit\s+(?P<text>\S.*)", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,15}")


class AuditCommands(LiteralProvider):
    """Commands that select an audit entry, by its number or its text, or filter the log.

    The newest entries are loaded once, when such a query is entered for the first time.
    """

    _entries: tuple[AuditEntry, ...] | None = None

    async def search(self, query: str) -> Hits:
        match = _QUERY.fullmatch(query.strip())
        if match is None or not self._can_view():
            return
        text = match["text"]
        commands: list[tuple[str, Message]] = [(f"Audit: filter by {text}", ShowFilter("audit", text))]
        if _NUMBER.fullmatch(text):
            commands.insert(0, (f"Audit: entry {int(text)}", ShowRow("audit", str(int(text)))))
        entries = self._find(await self._load(), text)
        commands += [(self._format(entry), ShowRow("audit", str(entry.seq))) for entry in entries]
        for position, (label, message) in enumerate(commands):
            callback = partial(self.palette_app.post_message, message)
            yield Hit(TOP_SCORE - position, Content(escape_text(label, 120)), callback)

    def _can_view(self) -> bool:
        """Return whether entries may be requested. Without permission, each request would be added to the log."""
        state = self.palette_app.state
        is_open = state.engine in (EngineState.READY, EngineState.READ_ONLY)
        return is_open and state.is_allowed(Action.VIEW, resource_type_uri(ResourceType.AUDIT_LOG))

    async def _load(self) -> tuple[AuditEntry, ...]:
        if self._entries is None:
            try:
                client = await self.palette_app.session.client()
                self._entries = (await client.audit(AuditFilter(), limit=PAGE_SIZE)).entries
            except SealyardError:
                # The audit screen reports why entries cannot be read, so the palette ignores the error.
                return ()
        return self._entries

    def _find(self, entries: tuple[AuditEntry, ...], text: str) -> Iterator[AuditEntry]:
        words = text.casefold().split()
        matches = (entry for entry in entries if all(word in self._format(entry).casefold() for word in words))
        return islice(matches, MAX_ENTRIES)

    def _format(self, entry: AuditEntry) -> str:
        names = self.palette_app.state.subject_names
        author, message = format_subject_name(entry.author, names), insert_subject_names(entry.message, names)
        return f"Audit {entry.seq}: {author} {entry.change} {entry.resource} {message}"
