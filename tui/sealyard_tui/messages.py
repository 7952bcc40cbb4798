"""Messages by which screens and dialogs request actions from the application without importing it."""

from __future__ import annotations

from textual.message import Message

from sealyard.client.config.profiles import Profile
from sealyard.model.tasks import Task


class ShowScreen(Message):
    """A request to switch to the main screen with the given name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class ShowTask(Message):
    """A request to switch to the dashboard and select a task."""

    def __init__(self, task_id: str) -> None:
        super().__init__()
        self.task_id = task_id


class ResubmitTask(Message):
    """A request to switch to the upload form and load a rejected, cancelled or failed task into it."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task


class LoadTask(Message):
    """A request to the upload screen, which is visible, to load a task into its form."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task


class ShowRow(Message):
    """A request to switch to a screen and select a row of its list."""

    def __init__(self, screen: str, key: str) -> None:
        super().__init__()
        self.screen = screen
        self.key = key


class ShowFilter(Message):
    """A request to switch to a screen and apply a filter to its list."""

    def __init__(self, screen: str, text: str) -> None:
        super().__init__()
        self.screen = screen
        self.text = text


class SwitchProfile(Message):
    """A request to switch to the identity of another profile in the same workspace."""

    def __init__(self, profile: Profile) -> None:
        super().__init__()
        self.profile = profile
