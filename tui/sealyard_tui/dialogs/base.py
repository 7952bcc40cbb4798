"""The dialogs that several places use: errors, confirmations, reasons, choices and texts to read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_multiline, escape_text
from sealyard_tui.appearance.textual_patches import RepaintingCompositor
from sealyard_tui.session.hints import app_hint
from sealyard_tui.terminal.editor import edit_text, view_in_pager
from sealyard_tui.widgets.key_hints import KeyHintBar
from sealyard_tui.widgets.safe_input import SafeInput

if TYPE_CHECKING:
    from textual.widgets import TextArea

    from sealyard_tui.app import SealyardApp

Answer = TypeVar("Answer")


class BaseDialog(ModalScreen[Answer], Generic[Answer]):
    """A box over the place it came from; Esc closes it with nothing done."""

    heading: str = ""

    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (22, "-short"), (32, "-tall")]

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss_dialog", "Back", id="dialog.back"),
    ]

    def __init__(self, *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self._compositor = RepaintingCompositor()

    @property
    def sealyard(self) -> SealyardApp:
        return cast("SealyardApp", self.app)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self.heading)
            yield from self.compose_body()
        yield KeyHintBar()

    @abstractmethod
    def compose_body(self) -> ComposeResult:
        """What it is made of."""

    def action_dismiss_dialog(self) -> None:
        self.dismiss(None)


class ErrorDialog(BaseDialog[None]):
    """What happened, what to do, and the detail to copy."""

    heading = "That did not work"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "dismiss_dialog", "Close", id="dialog.close", priority=True),
        Binding("c", "copy", "Copy the detail", id="dialog.copy"),
    ]

    def __init__(self, error: SealyardError, detail: str = "") -> None:
        super().__init__(classes="error")
        self.error = error
        self._detail = detail

    def compose_body(self) -> ComposeResult:
        with VerticalScroll(classes="dialog-text"):
            yield Static(Content(f"✗ {escape_multiline(self.error.message)}"), classes="what-happened")
            if advice := app_hint(self.error):
                yield Static(Content(f"→ {escape_multiline(advice)}"), classes="what-to-do")
            yield Static(Content(f"code: {self.error.code}"), classes="detail")
            if self._detail:
                yield Static(Content(escape_multiline(self._detail)), classes="detail")

    def action_copy(self) -> None:
        lines = (self.error.message, app_hint(self.error), f"code: {self.error.code}", self._detail)
        self.app.copy_to_clipboard("\n".join(escape_multiline(line) for line in lines if line))
        self.notify("Copied.", markup=False)


class ConfirmDialog(BaseDialog[bool]):
    """Yes or no, by y and n, Enter and Esc. ``question`` may hold foreign text."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="dialog.yes"),
        Binding("n", "answer(False)", "No", id="dialog.no"),
    ]

    def __init__(self, heading: str, question: str, *, yes: str = "Yes", no: str = "No") -> None:
        super().__init__()
        self.heading = heading
        self._question = question
        self._yes = yes
        self._no = no

    def compose_body(self) -> ComposeResult:
        yield Static(Content(escape_multiline(self._question)), classes="dialog-text")
        with Horizontal(classes="buttons"):
            yield Button(Content(self._yes), id="yes", variant="primary", compact=True)
            yield Button(Content(self._no), id="no", compact=True)

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#yes"))

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)

    def action_dismiss_dialog(self) -> None:
        self.dismiss(False)


class TypedConfirmDialog(BaseDialog[bool]):
    """For what cannot be undone: the word must be typed before Enter does anything."""

    error_text: str = ""
    """Why it did not happen when it was confirmed before; the word need not be typed again then."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "read(-1)", "Text up", show=False, id="dialog.text_up"),
        Binding("pagedown", "read(1)", "Text down", show=False, id="dialog.text_down"),
    ]

    def __init__(self, heading: str, about: Content | str, word: str, *, act: str = "Do it") -> None:
        """``about``: foreign text must be safe already."""
        super().__init__()
        self.heading = heading
        self._about = about
        self._word = word
        self._act = act

    def compose_body(self) -> ComposeResult:
        with VerticalScroll(classes="dialog-text"):
            yield Static(self._about if isinstance(self._about, Content) else Content(self._about))
        yield Static(Content.assemble("Type ", Content.styled(self._word, "bold"), " to go on:"), classes="ask")
        yield SafeInput(self._word if self.error_text else "", id="word", compact=True)
        yield from self.compose_extra()
        yield Static(_failure(self.error_text), classes="wrong", markup=False)
        with Horizontal(classes="buttons"):
            yield Button(Content(self._act), id="yes", variant="warning", disabled=True, compact=True)
            yield Button(Content("Back"), id="no", compact=True)

    def compose_extra(self) -> ComposeResult:
        """What else is asked, below the word."""
        yield from ()

    def on_mount(self) -> None:
        self.set_focus(self.query_one(Input))

    @on(Input.Changed)
    def _typed(self) -> None:
        self.query_one("#yes", Button).disabled = not self._is_confirmed()

    @on(Input.Submitted)
    def _entered(self) -> None:
        if self._is_confirmed():
            self.dismiss(True)
            return
        self.query_one(".wrong", Static).update(Content(f"{self._missing_text()}; Esc goes back."))

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes" and self._is_confirmed())

    def _is_confirmed(self) -> bool:
        return not self._missing_text()

    def _missing_text(self) -> str:
        """What keeps the person from going on; empty where nothing does."""
        return "" if self.query_one(Input).value.strip() == self._word else f"That is not {self._word}"

    def action_read(self, pages: int) -> None:
        """The text above may be longer than its room."""
        text = self.query_one(".dialog-text")
        text.scroll_relative(y=pages * max(1, text.size.height - 1), animate=False, immediate=True)

    def action_dismiss_dialog(self) -> None:
        self.dismiss(False)


class ReasonDialog(BaseDialog[str | None]):
    """A text of some lines, in the person's editor too. None where the person went back; what was typed is kept."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "done", "Done", id="dialog.done", priority=True),
        Binding("ctrl+e", "edit", "Editor", id="dialog.edit", priority=True),
    ]

    error_text: str = ""
    """Why what was handed in before was not done."""

    drafts: ClassVar[dict[str, str]] = {}
    """What was typed and not handed in, by heading and subject: nothing typed is lost."""

    def __init__(self, heading: str, about: str, *, required: bool, subject: str) -> None:
        """``subject``: what it is about, as an id; ``about`` may hold foreign text."""
        super().__init__()
        self.heading = heading
        self._about = about
        self._required = required
        self._draft = f"{heading}/{subject}"

    def compose_body(self) -> ComposeResult:
        from sealyard_tui.widgets.safe_text_area import (
            SafeTextArea,  # loaded when it is first needed, not before the first paint
        )

        yield Static(Content(escape_multiline(self._about)), classes="dialog-text")
        yield SafeTextArea(self.drafts.get(self._draft, ""), id="reason", compact=True)
        yield Static(_failure(self.error_text), classes="wrong", markup=False)
        with Horizontal(classes="buttons"):
            yield Button(Content("Done (ctrl+s)"), id="yes", variant="primary", compact=True)
            yield Button(Content("Back (esc)"), id="no", compact=True)

    @property
    def _area(self) -> TextArea:
        return cast("TextArea", self.query_one("#reason"))

    def on_mount(self) -> None:
        self.set_focus(self._area)

    def restore(self, text: str) -> None:
        """It could not be handed in: it is there when the dialog opens again."""
        self.drafts[self._draft] = text

    def on_text_area_changed(self) -> None:
        self.drafts[self._draft] = self._area.text

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_done()
        else:
            self.dismiss(None)

    def action_done(self) -> None:
        # These keys come before others: what was typed ahead of them still waits in the text's own queue.
        self._area.call_later(self._finish)

    def action_edit(self) -> None:
        self._area.call_later(self._edit)

    def _finish(self) -> None:
        text = self._area.text.strip()
        if self._required and not text:
            self.query_one(".wrong", Static).update(Content("✗ A reason is needed."))
            return
        self.drafts.pop(self._draft, None)
        self.dismiss(text)

    def _edit(self) -> None:
        area = self._area
        try:
            area.text = edit_text(self.sealyard, area.text)
            area.move_cursor(area.document.end)
        except SealyardError as error:
            self.app.push_screen(ErrorDialog(error))


class PickDialog(BaseDialog[str | None]):
    """One of some choices, by arrows, j and k, or its number."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "move(1)", show=False, id="dialog.down"),
        Binding("k", "move(-1)", show=False, id="dialog.up"),
        *(Binding(str(number), f"pick({number})", show=False, id=f"dialog.pick_{number}") for number in range(1, 10)),
    ]

    def __init__(self, heading: str, choices: Sequence[tuple[str, Content | str]], current: str = "") -> None:
        """``choices``: ids and what is shown; a ``str`` may hold foreign text."""
        super().__init__()
        self.heading = heading
        self._choices = choices
        self._current = current

    def compose_body(self) -> ComposeResult:
        yield OptionList(*self._options(), id="choices", compact=True)

    def _options(self) -> Iterable[Option]:
        for number, (_, label) in enumerate(self._choices, 1):
            content = label if isinstance(label, Content) else Content(escape_text(label))
            yield Option(Content.assemble(Content.styled(f"{number} ", "$text-muted"), content))

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        ids = [each for each, _ in self._choices]
        options.highlighted = ids.index(self._current) if self._current in ids else (0 if ids else None)
        self.set_focus(options)

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._choices[event.option_index][0])

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        options.action_cursor_down() if by > 0 else options.action_cursor_up()

    def action_pick(self, number: int) -> None:
        if number <= len(self._choices):
            self.dismiss(self._choices[number - 1][0])


class TextDialog(BaseDialog[None]):
    """A text to read, copy, or take to the pager or editor. ``text`` may be foreign."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "copy", "Copy", id="dialog.copy"),
        Binding("e", "pager", "Pager", id="dialog.pager"),
        Binding("j", "scroll(1)", show=False, id="dialog.down"),
        Binding("k", "scroll(-1)", show=False, id="dialog.up"),
        Binding("g", "ends(True)", show=False, id="dialog.first"),
        Binding("G", "ends(False)", show=False, id="dialog.last"),
        Binding("q", "dismiss_dialog", show=False, id="dialog.close"),
    ]

    def __init__(self, heading: str, text: str, *, suffix: str = ".txt") -> None:
        super().__init__(classes="wide")
        self.heading = heading
        self._text = text
        self._suffix = suffix

    def compose_body(self) -> ComposeResult:
        with VerticalScroll(classes="reading"):
            yield Static(Content(escape_multiline(self._text)))

    def on_mount(self) -> None:
        self.set_focus(self.query_one(".reading"))

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._text)
        self.notify("Copied.", markup=False)

    def action_pager(self) -> None:
        try:
            view_in_pager(self.sealyard, self._text, self._suffix)
        except SealyardError as error:
            self.app.push_screen(ErrorDialog(error))

    def action_scroll(self, by: int) -> None:
        self.query_one(".reading").scroll_relative(y=by, animate=False, immediate=True)

    def action_ends(self, top: bool) -> None:
        reading = self.query_one(".reading")
        reading.scroll_home(animate=False, immediate=True) if top else reading.scroll_end(animate=False, immediate=True)


def _failure(why: str) -> Content:
    return Content(f"✗ {escape_text(why)}" if why else "")
