"""The welcome screen, shown when there is no workspace yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from sealyard.client.config.workspaces import current_user_name, default_workspace_path
from sealyard.model.access import SubjectKind, parse_subject, subject_kind
from sealyard.model.errors import SealyardError, UsageError
from sealyard.model.workspace import KeyStore
from sealyard_tui.dialogs.fields import Answers, ChoiceField, Choices, Field, TextField, path_field
from sealyard_tui.dialogs.form import FormDialog, FormDraft
from sealyard_tui.dialogs.quit import QuitDialog
from sealyard_tui.screens.welcome.choices import CreateWorkspaceChoice, OpenDemoChoice
from sealyard_tui.widgets.key_hints import KeyHintBar
from sealyard_tui.widgets.path_parsing import resolve_path

INTRO_TEXT = (
    "Signs and encrypts firmware under dual control: one person requests a package, another reviews and "
    "approves it. Every step is recorded in an audit log that anyone can verify."
)

START_CHOICES = (
    ("new", "Create a workspace", "folder, user name and master key"),
    ("demo", "Open the demo", "temporary, with sample users and tasks"),
    ("quit", "Quit", ""),
)

CHOICE_LABEL_WIDTH = 20
DISCARD_QUESTION = "The workspace has not been created. What you entered in the form will be discarded."

KEY_STORE_LABELS = {
    KeyStore.OS_KEYRING: "OS keyring",
    KeyStore.PASSPHRASE: "encrypted file (passphrase)",
}

_KEY_STORE_NOTES = {
    KeyStore.OS_KEYRING: "Unlocked with your login session; no passphrase needed.",
    KeyStore.PASSPHRASE: "You will be asked for the passphrase now and at every start. It cannot be recovered.",
}


class WelcomeScreen(Screen[None]):
    """Screen that lets the user create a workspace, open the demo, or quit."""

    CSS_PATH = "screen.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "move(1)", "Down", show=False, id="welcome.down"),
        Binding("k", "move(-1)", "Up", show=False, id="welcome.up"),
        Binding("n", "begin('new')", "Create a workspace", id="welcome.new"),
        Binding("d", "begin('demo')", "Demo", id="welcome.demo"),
        Binding("q,escape", "begin('quit')", "Quit", id="welcome.quit"),
    ]

    def __init__(
        self,
        detect_key_store: Callable[[], Awaitable[KeyStore]],
        previous_choice: CreateWorkspaceChoice | None = None,
        error: SealyardError | None = None,
    ) -> None:
        """``detect_key_store``: returns the best available key store; may take several seconds.

        ``previous_choice``: the answers from an earlier run, shown again. ``error``: the error that they caused.
        """
        super().__init__()
        self._detect_key_store = detect_key_store
        self._previous_choice = previous_choice
        self._error = error
        self._draft = FormDraft()

    def compose(self) -> ComposeResult:
        with Vertical(id="welcome"):
            yield Static(Content("Sealyard"), id="name")
            yield Static(Content(INTRO_TEXT), id="intro")
            yield OptionList(
                *(
                    Option(_format_choice(label, description), id=choice_id)
                    for choice_id, label, description in START_CHOICES
                ),
                compact=True,
            )
            yield Static("", id="status", markup=False)
        yield KeyHintBar()

    def on_mount(self) -> None:
        self.set_focus(self.query_one(OptionList))
        if self._error is not None:
            self.action_begin("new")

    def action_move(self, step: int) -> None:
        options = self.query_one(OptionList)
        options.action_cursor_down() if step > 0 else options.action_cursor_up()

    @on(OptionList.OptionSelected)
    def _on_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.action_begin(event.option_id or "quit")

    def action_begin(self, choice: str) -> None:
        if choice == "new":
            self.run_worker(self._open_form(), group="ask", exclusive=True)
        elif choice == "demo":
            self.app.exit(OpenDemoChoice())
        elif self._has_unsaved_input:
            self.app.push_screen(QuitDialog(DISCARD_QUESTION), self._on_quit_answered)
        else:
            self.app.exit(None)

    @property
    def _has_unsaved_input(self) -> bool:
        return self._draft.answers is not None or self._previous_choice is not None

    def _on_quit_answered(self, is_confirmed: bool | None) -> None:
        if is_confirmed:
            self.app.exit(None)

    async def _open_form(self) -> None:
        status = self.query_one("#status", Static)
        status.update(Content("Checking for an OS keyring…"))
        key_store = await self._detect_key_store()
        status.update(Content(""))
        error, self._error = self._error, None
        self.app.push_screen(
            FormDialog(
                "Create a workspace",
                _build_fields(self._previous_choice or _build_default_answers(key_store), key_store),
                self._submit,
                draft=self._draft,
                about="Choose a folder, your name, and how to protect the master key.",
                submit_label="Create",
                error=error,
            )
        )

    async def _submit(self, answers: Answers) -> bool:
        texts = answers.texts
        self.app.exit(
            CreateWorkspaceChoice(
                folder=resolve_path(texts["folder"], Path.cwd()),
                name=texts["name"],
                administrator=_parse_identity(texts["who"]),
                key_store=KeyStore(texts["store"]),
            )
        )
        return False


def _build_default_answers(key_store: KeyStore) -> CreateWorkspaceChoice:
    folder = default_workspace_path()
    return CreateWorkspaceChoice(
        folder=folder, name=folder.name, administrator=current_user_name(), key_store=key_store
    )


def _format_choice(label: str, description: str) -> Content:
    return Content.assemble(
        Content.styled(label.ljust(CHOICE_LABEL_WIDTH), "bold"), Content.styled(description, "$text-muted")
    )


def _build_fields(defaults: CreateWorkspaceChoice, preferred_key_store: KeyStore) -> tuple[Field, ...]:
    stores: Choices = tuple(
        (each, label)
        for each, label in KEY_STORE_LABELS.items()
        if preferred_key_store is KeyStore.OS_KEYRING or each is not KeyStore.OS_KEYRING
    )
    return (
        path_field("folder", "Folder", defaults.folder, "A new or empty folder, readable only by you"),
        TextField(
            name="name",
            label="Name",
            value=defaults.name,
            required=True,
            hint="Display name",
        ),
        TextField(
            name="who",
            label="User name",
            value=defaults.administrator,
            required=True,
            check=_parse_identity,
            hint="Stored as USER:name. You will be the administrator. Letters, digits and . _ @ + -",
        ),
        ChoiceField(
            name="store",
            label="Master key",
            choices=stores,
            value=defaults.key_store,
            hint="{key[form.previous_choice]}/{key[form.next_choice]}: change"
            if len(stores) > 1
            else "No OS keyring available",
            note=lambda chosen: Content.styled(_KEY_STORE_NOTES[KeyStore(chosen)], "$text-muted"),
        ),
    )


def _parse_identity(text: str) -> str:
    """Parse a user name or user id, and return the user id. Raises :class:`UsageError` if it is invalid."""
    subject = parse_subject(text)
    if subject_kind(subject) is not SubjectKind.USER:
        raise UsageError(f"{subject} is not a user.", "Enter a user name such as USER:anna.")
    return subject
