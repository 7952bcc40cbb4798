"""Command palette providers for actions, profiles, and tasks (found by name or id)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.message import Message

from sealyard.model.errors import SealyardError
from sealyard.model.requests import TaskFilter
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Task
from sealyard_tui.appearance.active_bindings import ActiveAction, active_actions
from sealyard_tui.messages import ShowTask, SwitchProfile
from sealyard_tui.session.messages import EngineState
from sealyard_tui.session.session import Session
from sealyard_tui.session.state import SessionState

MAX_TASKS = 50
ID_LENGTH = 12
MIN_SCORE = 0.01
"""Score of a task that matches only in a property that is not displayed, such as a file name."""

Command = tuple[str, Content, str, Callable[[], object]]
"""The text to search in, a suffix to display after it, a help text, and the callback."""


class _PaletteApp(Protocol):
    """The part of the application that the palette uses."""

    session: Session
    state: SessionState

    def post_message(self, message: Message) -> bool: ...


class LiteralProvider(Provider):
    """Base class of providers that display text literally: Textual would interpret untrusted names as markup."""

    @property
    def palette_app(self) -> _PaletteApp:
        return cast("_PaletteApp", self.app)

    def match(self, query: str, text: str) -> tuple[float, Content]:
        """Return the score of ``text`` (0 if it does not match), and the text with matching characters highlighted."""
        score, offsets = self.matcher(query).fuzzy_search.match(query, text)
        content = Content(text)
        for offset in offsets:
            content = content.stylize(self.match_style or "underline", offset, offset + 1)
        return score, content


class CommandList(LiteralProvider):
    """Base class of providers with a few commands, all of which can be listed immediately."""

    @abstractmethod
    def commands(self) -> Iterator[Command]:
        """Yield the commands that are currently available."""

    async def discover(self) -> Hits:
        for text, suffix, help_text, callback in self.commands():
            yield DiscoveryHit(Content.assemble(Content(text), suffix), callback, text, help_text or None)

    async def search(self, query: str) -> Hits:
        for text, suffix, help_text, callback in self.commands():
            score, content = self.match(query, text)
            if score > 0:
                yield Hit(score, Content.assemble(content, suffix), callback, text, help_text or None)


class BindingCommands(CommandList):
    """Commands for the enabled actions of the current screen, with their keys."""

    def commands(self) -> Iterator[Command]:
        for action in active_actions(self.screen):
            if action.enabled and action.scope not in ("table", ""):
                keys = Content.styled(f"  {' '.join(action.keys)}", "$text-muted")
                yield action.description, keys, action.tooltip, partial(self._run_action, action)

    async def _run_action(self, action: ActiveAction) -> None:
        await self.app.run_action(action.action, default_namespace=action.node)


class ProfileCommands(CommandList):
    """Commands that switch to another profile."""

    def commands(self) -> Iterator[Command]:
        for profile in self.palette_app.session.profiles:
            if profile.name != self.palette_app.session.profile.name:
                text = escape_text(f"Switch to profile {profile.name} ({profile.identity})")
                yield (
                    text,
                    Content(""),
                    "Switch to this profile",
                    partial(self.palette_app.post_message, SwitchProfile(profile)),
                )


class TaskCommands(LiteralProvider):
    """Commands that show a task. The engine searches for the tasks that match the query."""

    async def search(self, query: str) -> Hits:
        app = self.palette_app
        if app.state.engine not in (EngineState.READY, EngineState.READ_ONLY):
            return
        try:
            client = await app.session.client()
            page = await client.tasks(TaskFilter(text=query), limit=MAX_TASKS)
        except SealyardError:
            # The screens report why tasks cannot be read, so the palette ignores the error.
            return
        for task in page.tasks:
            text = _task_text(task)
            suffix = Content.styled(f"  {task.detailed_status}", "$text-muted")
            callback = partial(app.post_message, ShowTask(task.id))
            score, content = self.match(query, text)
            yield Hit(max(score, MIN_SCORE), Content.assemble(content, suffix), callback, text)


def _task_text(task: Task) -> str:
    return f"{escape_text(task.name, 40)} {escape_text(task.id[:ID_LENGTH])}"
