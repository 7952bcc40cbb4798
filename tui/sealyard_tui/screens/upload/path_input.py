"""An input for paths, with Tab completion. Pasted text may contain several paths."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from sealyard_tui.widgets.path_parsing import Completion, complete_path
from sealyard_tui.widgets.safe_input import SafeInput


class PathInput(SafeInput):
    """Input in which Tab completes the path or, if there is nothing to complete, moves to the next field."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "Complete", show=False, id="path.complete"),
    ]

    class Completed(Message):
        """Posted after a completion. The receiver should show ``completion.candidates``."""

        def __init__(self, control: PathInput, completion: Completion) -> None:
            super().__init__()
            self.input = control
            self.completion = completion

        @property
        def control(self) -> PathInput:
            return self.input

    class Pasted(Message):
        """Posted when pasted text may contain several, quoted or unprintable paths.

        The input does not insert such text.
        """

        def __init__(self, control: PathInput, text: str) -> None:
            super().__init__()
            self.input = control
            self.text = text

        @property
        def control(self) -> PathInput:
            return self.input

    def __init__(
        self,
        value: str = "",
        *,
        folders_only: bool = False,
        base: Path | None = None,
        placeholder: str = "",
        id: str | None = None,  # noqa: A002 - Textual's name
    ) -> None:
        """``folders_only``: whether to complete only folders.

        ``base``: the folder to which paths are relative, by default the working directory.
        """
        super().__init__(value, placeholder=placeholder, compact=True, select_on_focus=False, id=id)
        self.base = base or Path.cwd()
        self._folders_only = folders_only

    def action_complete(self) -> None:
        if not self.value or self.cursor_position < len(self.value):
            self.screen.focus_next()
            return
        self.run_worker(self._complete(self.value), group="complete", exclusive=True, exit_on_error=False)

    async def _complete(self, text: str) -> None:
        completion = await asyncio.to_thread(complete_path, text, self.base, folders_only=self._folders_only)
        if self.value != text or not self.has_focus:
            return
        if completion.text == text and not completion.candidates and not completion.unprintable:
            self.screen.focus_next()
            return
        self.value = completion.text
        self.cursor_position = len(self.value)
        self.post_message(self.Completed(self, completion))

    def on_paste(self, event: events.Paste) -> None:
        """Insert the pasted text, or post :class:`Pasted` instead.

        A single printable line is inserted if the input is not empty, or if the line contains no spaces, quotation
        marks or backslashes.
        """
        event.stop()
        event.prevent_default()
        text = event.text.strip()
        is_single_line = len(text.splitlines()) <= 1 and text.isprintable()
        if is_single_line and (self.value or not _SHELL_QUOTING.intersection(text)):
            self.replace(text, *self.selection)
            return
        self.post_message(self.Pasted(self, text))


_SHELL_QUOTING = frozenset(" '\"\\")
