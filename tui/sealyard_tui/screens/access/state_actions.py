"""Actions on the access control screen for people, groups and clients who leave: disable, enable and remove them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.widgets import Input

from sealyard.model.access import Subject, SubjectKind, SubjectState, subject_kind
from sealyard.model.errors import ConfirmationRequiredError
from sealyard.model.safe_text import escape_text
from sealyard_tui.dialogs.confirm import TypedConfirmDialog
from sealyard_tui.dialogs.reason import ReasonDialog
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.session.pending_changes import Change
from sealyard_tui.widgets.safe_input import SafeInput

ReloadAndSelect = Callable[[str, str], None]
"""Reloads the list, moves the cursor to the row with the given key, and flashes a message."""

REMOVAL_TEXT = (
    "Tasks and the audit log keep the name. It can be enabled again, but without what is deleted now.\n"
    "Approved tasks that are not signed yet are cancelled if their approvals no longer suffice."
)
DISABLED_GROUP_TEXT = (
    "The group grants nothing to its members until you enable it again. Its rules and members are kept."
)
DISABLED_SUBJECT_TEXT = (
    "It is refused everywhere until you enable it again: requests, tokens, logins and open connections."
    " Its rules and credentials are kept."
)


class RemoveSubjectDialog(TypedConfirmDialog):
    """The confirmation of a removal, with its reason. Returns whether the user confirmed it."""

    reasons: ClassVar[dict[str, str]] = {}
    """Unsubmitted reasons, by subject."""

    def __init__(self, subject: str, effects: str) -> None:
        """``effects``: what the removal deletes; untrusted text."""
        word = subject.partition(":")[2]
        super().__init__(f"Remove {subject}", f"{escape_text(effects)}\n\n{REMOVAL_TEXT}", word, submit_label="Remove")
        self._subject = subject

    def compose_extra(self) -> ComposeResult:
        draft = self.reasons.get(self._subject, "")
        yield SafeInput(draft, placeholder="Reason, for the audit log", id="reason", compact=True)

    @property
    def reason(self) -> str:
        return self.reasons.get(self._subject, "").strip()

    def clear_draft(self) -> None:
        """Delete the saved reason once the subject has been removed."""
        self.reasons.pop(self._subject, None)

    @on(Input.Changed, "#reason")
    def _on_reason_changed(self, event: Input.Changed) -> None:
        self.reasons[self._subject] = event.value

    def _get_blocked_reason(self) -> str:
        return super()._get_blocked_reason() or ("" if self.reason else "enter a reason")


class SubjectStateActions:
    """Disables, enables and removes the subject of the current row."""

    def __init__(self, screen: BaseScreen, reload_and_select: ReloadAndSelect) -> None:
        self._screen = screen
        self._reload_and_select = reload_and_select

    def disable(self, subject: Subject) -> None:
        is_group = subject_kind(subject.id) is SubjectKind.GROUP
        about = DISABLED_GROUP_TEXT if is_group else DISABLED_SUBJECT_TEXT
        self._ask_reason("Disable", subject, about, SubjectState.DISABLED)

    def enable(self, subject: Subject) -> None:
        if subject.state is SubjectState.REMOVED:
            about = "It gets none of its earlier permissions and credentials back: grant them again."
        else:
            about = (
                "Its permissions and credentials take effect again. Approvals that no longer count are not restored."
            )
        self._ask_reason("Enable", subject, f"{about} A reason is optional.", SubjectState.ACTIVE)

    async def remove(self, subject: Subject) -> None:
        """Let the user confirm the removal of the subject, whose effects the engine describes."""
        try:
            # The engine requires a confirmation of each removal.
            await (await self._screen.client()).set_subject_state(subject.id, SubjectState.REMOVED, confirmed=False)
        except ConfirmationRequiredError as error:
            dialog = RemoveSubjectDialog(subject.id, error.message)
            dialog.action = lambda: self._submit_removal(subject, dialog)
            self._screen.app.push_screen(dialog)

    async def _submit_removal(self, subject: Subject, dialog: RemoveSubjectDialog) -> bool:
        await self._change(f"Removal of {subject.id}", subject, SubjectState.REMOVED, dialog.reason, confirmed=True)
        dialog.clear_draft()
        self._reload_and_select("", f"Removed {subject.id}")
        return True

    def _ask_reason(self, heading: str, subject: Subject, about: str, state: SubjectState) -> None:
        """Ask for the reason of a change, and make the change."""
        dialog = ReasonDialog(
            f"{heading} {subject.id}",
            about,
            required=state is SubjectState.DISABLED,
            subject=subject.id,
            edit=self._screen.app.edit_text,
            action=lambda reason: self._submit(f"{heading} {subject.id}", subject, state, reason),
        )
        self._screen.app.push_screen(dialog)

    async def _submit(self, label: str, subject: Subject, state: SubjectState, reason: str) -> bool:
        """Change the state, asking for confirmation if needed. Returns whether it was changed."""
        try:
            await self._change(label, subject, state, reason, confirmed=False)
        except ConfirmationRequiredError as error:
            dialog = TypedConfirmDialog(
                f"Effects on {subject.id}",
                escape_text(error.message),
                subject.id.partition(":")[2],
                consequence="Pending tasks would be marked and stay pending.",
                submit_label="Continue",
            )
            if not await self._screen.app.push_screen_wait(dialog):
                return False
            await self._change(label, subject, state, reason, confirmed=True)
        outcome = "Disabled" if state is SubjectState.DISABLED else "Enabled"
        self._reload_and_select(subject.id, f"{outcome} {subject.id}")
        return True

    async def _change(self, label: str, subject: Subject, state: SubjectState, reason: str, *, confirmed: bool) -> None:
        await self._screen.app.changes.run(
            Change(label=label),
            lambda client: client.set_subject_state(subject.id, state, reason, confirmed=confirmed),
        )
