"""Actions on the access control screen for people, groups and clients who leave: disable, enable and remove them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
from sealyard_tui.widgets.safe_input import SafeInput

ReloadAndSelect = Callable[[str, str], Awaitable[None]]
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

    def _missing_text(self) -> str:
        return super()._missing_text() or ("" if self.reason else "Enter a reason")


class SubjectStateActions:
    """Disables, enables and removes the subject of the current row."""

    def __init__(self, screen: BaseScreen, reload_and_select: ReloadAndSelect) -> None:
        self._screen = screen
        self._reload_and_select = reload_and_select

    async def disable(self, subject: Subject) -> None:
        is_group = subject_kind(subject.id) is SubjectKind.GROUP
        about = DISABLED_GROUP_TEXT if is_group else DISABLED_SUBJECT_TEXT
        reason = await self._ask_reason("Disable", subject, about, required=True)
        if reason is not None and await self._change(subject, SubjectState.DISABLED, reason):
            await self._reload_and_select(subject.id, f"Disabled {subject.id}")

    async def enable(self, subject: Subject) -> None:
        if subject.state is SubjectState.REMOVED:
            about = "It gets none of its earlier permissions and credentials back: grant them again."
        else:
            about = (
                "Its permissions and credentials take effect again. Approvals that no longer count are not restored."
            )
        reason = await self._ask_reason("Enable", subject, f"{about} A reason is optional.", required=False)
        if reason is not None and await self._change(subject, SubjectState.ACTIVE, reason):
            await self._reload_and_select(subject.id, f"Enabled {subject.id}")

    async def remove(self, subject: Subject) -> None:
        client = await self._screen.client()
        try:
            await client.set_subject_state(subject.id, SubjectState.REMOVED, confirmed=False)
        except ConfirmationRequiredError as error:
            effects = error.message
        dialog = RemoveSubjectDialog(subject.id, effects)
        if not await self._screen.app.push_screen_wait(dialog):
            return
        await client.set_subject_state(subject.id, SubjectState.REMOVED, dialog.reason, confirmed=True)
        dialog.clear_draft()
        await self._reload_and_select("", f"Removed {subject.id}")

    async def _ask_reason(self, heading: str, subject: Subject, about: str, *, required: bool) -> str | None:
        """Ask for the reason of a change. Returns None if the user went back."""
        dialog = ReasonDialog(
            f"{heading} {subject.id}", about, required=required, subject=subject.id, edit=self._screen.app.edit_text
        )
        return await self._screen.app.push_screen_wait(dialog)

    async def _change(self, subject: Subject, state: SubjectState, reason: str) -> bool:
        """Change the state, asking for confirmation if needed. Returns whether it was changed."""
        client = await self._screen.client()
        try:
            await client.set_subject_state(subject.id, state, reason, confirmed=False)
        except ConfirmationRequiredError as error:
            word = subject.id.partition(":")[2]
            about = f"{escape_text(error.message)}\n\nPending tasks would be marked and stay pending."
            dialog = TypedConfirmDialog(f"Effects on {subject.id}", about, word, submit_label="Continue")
            if not await self._screen.app.push_screen_wait(dialog):
                return False
            await client.set_subject_state(subject.id, state, reason, confirmed=True)
        return True
