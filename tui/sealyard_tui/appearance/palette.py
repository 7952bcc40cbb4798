"""The command palette: the actions of keys by name, the profiles, and tasks by name or id."""

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
ID_SHOWN = 12
LOWEST_SCORE = 0.01
"""Score of a task that matches by something that is not shown, such as the name of a file."""

Command = tuple[str, Content, str, Callable[[], object]]
"""The text that is searched, what is shown after it, a description, and what the command does."""


class _PaletteApp(Protocol):
    """What the palette reads of the application."""

    session: Session
    state: SessionState

    def post_message(self, message: Message) -> bool: ...


class _LiteralProvider(Provider):
    """Shows text literally: Textual's own highlighting interprets it as markup, and names are foreign text."""

    @property
    def palette_app(self) -> _PaletteApp:
        return cast("_PaletteApp", self.app)

    def match(self, query: str, text: str) -> tuple[float, Content]:
        """Return how well ``text`` matches, 0 if it does not, and the text with the matching characters marked."""
        score, offsets = self.matcher(query).fuzzy_search.match(query, text)
        content = Content(text)
        for offset in offsets:
            content = content.stylize(self.match_style or "underline", offset, offset + 1)
        return score, content


class _Commands(_LiteralProvider):
    """A provider whose commands are few and known at once."""

    @abstractmethod
    def commands(self) -> Iterator[Command]:
        """Yield all commands, as they are now."""

    async def discover(self) -> Hits:
        for text, more, about, act in self.commands():
            yield DiscoveryHit(Content.assemble(Content(text), more), act, text, about or None)

    async def search(self, query: str) -> Hits:
        for text, more, about, act in self.commands():
            score, content = self.match(query, text)
            if score > 0:
                yield Hit(score, Content.assemble(content, more), act, text, about or None)


class BindingCommands(_Commands):
    """The actions of all keys that are active on the screen, each with its keys."""

    def commands(self) -> Iterator[Command]:
        for action in active_actions(self.screen):
            if action.enabled and action.scope not in ("table", ""):
                keys = Content.styled(f"  {' '.join(action.keys)}", "$text-muted")
                yield action.description, keys, action.about, partial(self._run_action, action)

    async def _run_action(self, action: ActiveAction) -> None:
        await self.app.run_action(action.action, default_namespace=action.node)


class ProfileCommands(_Commands):
    """Switches to another profile."""

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


class TaskCommands(_LiteralProvider):
    """Tasks, searched by the engine; only what it finds is matched and shown."""

    async def search(self, query: str) -> Hits:
        app = self.palette_app
        if app.state.engine not in (EngineState.READY, EngineState.READ_ONLY):
            return
        try:
            client = await app.session.client()
            page = await client.tasks(TaskFilter(text=query), limit=MAX_TASKS)
        except SealyardError:
            # The screens report why tasks cannot be read; the palette only finds them.
            return
        for task in page.tasks:
            text = _task_text(task)
            more = Content.styled(f"  {task.status}", "$text-muted")
            act = partial(app.post_message, ShowTask(task.id))
            score, content = self.match(query, text)
            yield Hit(max(score, LOWEST_SCORE), Content.assemble(content, more), act, text)


def _task_text(task: Task) -> str:
    return f"{escape_text(task.name, 40)} {escape_text(task.id[:ID_SHOWN])}"
