"""Verification of the whole audit log, with progress and result."""

from __future__ import annotations

import threading
import time
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, ProgressBar, Static, TextArea
from textual.worker import Worker

from sealyard.model.audit import AuditReport
from sealyard.model.errors import AuditVerificationError, SealyardError
from sealyard.model.safe_text import escape_multiline, escape_text
from sealyard_tui.formatting import format_fields
from sealyard_tui.screens.base import ScreenDialog
from sealyard_tui.session.hints import action_keys, app_hint
from sealyard_tui.widgets.safe_text_area import SafeTextArea

PROGRESS_INTERVAL = 0.1

ABOUT = (
    "Recomputes the hash of every entry and verifies the signature of every checkpoint. If you kept a "
    "checkpoint elsewhere, paste it here: only this detects that the whole log was replaced."
)
VERIFIED_TEXT = (
    "No checkpointed entry was changed, removed, inserted or replaced since its checkpoint was signed. All "
    "hashes match up to the root."
)
VERIFIED_EXTERNAL_TEXT = "Your checkpoint belongs to this log: the entries it covers are unchanged."
NOT_PROVED = (
    "Not covered: replacing the whole log together with its key, or rolling it back{outside}. Entries not "
    "yet checkpointed are only chained, not signed."
)
DO_NOT_TOUCH = "The log was modified. Do not change the folder; report this to the person responsible."
KEEP_CHECKPOINT_HINT = (
    "Keep a copy elsewhere: the fingerprint of the key, and the last signed checkpoint in "
    "{location}/audit/checkpoints.txt."
)


class _CancelledError(Exception):
    """Cancels the work in the engine's thread."""


class AuditVerifyDialog(ScreenDialog[AuditVerificationError | None]):
    """Returns the error whose entry should be shown, else None."""

    heading = "Verify the audit log"
    CSS_PATH = "dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "begin", "Verify", id="audit_verify.begin", priority=True),
        Binding("y", "copy", "Copy result", id="audit_verify.copy"),
        Binding("enter", "go_there", "Go to the entry", id="audit_verify.go_there"),
    ]

    draft: ClassVar[str] = ""
    """The checkpoint that was pasted; kept until another one is."""

    class Progressed(Message):
        """Entries were verified."""

        def __init__(self, done: int, total: int) -> None:
            super().__init__()
            self.done = done
            self.total = total

    def __init__(self, size: int) -> None:
        """``size`` is the known number of entries."""
        super().__init__()
        self._log_size = size
        self._stop = threading.Event()
        self._last_progress = 0.0
        self._work: Worker[None] | None = None
        self._error: AuditVerificationError | None = None
        self._outcome = ""

    def compose_body(self) -> ComposeResult:
        with Vertical(classes="asking"):
            yield Static(Content(ABOUT), classes="about")
            yield SafeTextArea(
                AuditVerifyDialog.draft,
                placeholder="Checkpoint kept elsewhere (optional)",
                compact=True,
                id="note",
            )
            with Horizontal(classes="buttons"):
                yield Button(Content("Verify"), id="begin", variant="primary", compact=True)
                yield Button(Content("Back"), id="back", compact=True)
        with Vertical(classes="running"):
            yield Static(Content(f"Verifying {self._log_size:,} entries; press Esc to cancel."), classes="about")
            yield ProgressBar(total=max(1, self._log_size), show_eta=False)
        with VerticalScroll(classes="outcome"):
            yield Static("", markup=False, id="outcome")

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#begin"))

    @on(TextArea.Changed)
    def _pasted(self) -> None:
        AuditVerifyDialog.draft = self.query_one(TextArea).text

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "begin":
            self.action_begin()
        else:
            self.dismiss(None)

    # ---- verification

    def action_begin(self) -> None:
        self.add_class("-running")
        self.refresh_bindings()
        self._work = self.run_worker(self.app.guard(self._verify()), exit_on_error=False)

    async def _verify(self) -> None:
        checkpoint = _normalize_note(self.query_one(TextArea).text)
        client = await self.app.session.client()
        try:
            report = await client.verify_audit(checkpoint=checkpoint, progress=self._progress)
        except AuditVerificationError as error:
            self._show_result(self._failure(error))
            self._error = error
        except SealyardError:
            self.dismiss(None)
            raise
        else:
            location = (await client.workspace()).location
            self._show_result(_success(report, location, outside=checkpoint is not None))
        self.refresh_bindings()

    def _progress(self, done: int, total: int) -> None:
        """Report progress; called by a thread of the engine, every thousand entries."""
        if self._stop.is_set():
            raise _CancelledError
        now = time.monotonic()
        if done >= total or now - self._last_progress >= PROGRESS_INTERVAL:
            self._last_progress = now
            self.post_message(self.Progressed(done, total))

    @on(Progressed)
    def _show_progress(self, event: Progressed) -> None:
        self.query_one(ProgressBar).update(total=max(1, event.total), progress=event.done)

    # ---- result

    def _show_result(self, outcome: Content) -> None:
        self._outcome = outcome.plain
        self.remove_class("-running")
        self.add_class("-over")
        self.query_one("#outcome", Static).update(outcome)
        self.set_focus(self.query_one(".outcome"))

    def _failure(self, error: AuditVerificationError) -> Content:
        lines = [Content.styled(f"✗ {escape_multiline(error.message)}", "bold $error")]
        if hint := app_hint(error, action_keys(self.app)):
            lines.append(Content(f"→ {escape_multiline(hint)}"))
        lines.append(Content(DO_NOT_TOUCH))
        if error.seq is not None:
            lines.append(Content(f"Press Enter to go to entry {error.seq}, the first invalid entry."))
        return Content("\n\n").join(lines)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._outcome)
        self.notify("Copied.", markup=False)

    def action_go_there(self) -> None:
        self.dismiss(self._error)

    def action_dismiss_dialog(self) -> None:
        self._stop.set()
        if self._work is not None:
            self._work.cancel()
        self.dismiss(None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "begin":
            return not self.has_class("-running") and not self.has_class("-over")
        if action == "copy":
            return self.has_class("-over")
        if action == "go_there":
            return self._error is not None and self._error.seq is not None
        return super().check_action(action, parameters)


def _normalize_note(pasted: str) -> str | None:
    """Return the checkpoint as it was signed: terminals and mail change trailing spaces."""
    lines = [line.strip() for line in pasted.strip().splitlines()]
    return "\n".join(lines) + "\n" if lines else None


def _success(report: AuditReport, location: str, *, outside: bool) -> Content:
    unsealed = f"{report.uncheckpointed_count:,} not checkpointed" if report.uncheckpointed_count else "all entries"
    facts = format_fields(
        [
            ("log", escape_text(report.origin)),
            ("entries", f"{report.size:,}"),
            ("sealed", f"{report.checkpointed_size:,}, {unsealed}"),
            ("checkpoints", f"{report.checkpoints_checked:,} checked" + (", yours among them" if outside else "")),
            ("root", report.root),
            ("audit key", report.key_fingerprint or "none yet"),
        ]
    )
    words = [VERIFIED_TEXT, *([VERIFIED_EXTERNAL_TEXT] if outside else []), NOT_PROVED.format(outside=_since(outside))]
    kept = KEEP_CHECKPOINT_HINT.format(location=escape_text(location))
    return Content("\n\n").join(
        [
            Content.styled("✓ Audit log verified", "bold $success"),
            facts,
            *(Content(each) for each in words),
            Content(kept),
        ]
    )


def _since(outside: bool) -> str:
    return " after your checkpoint" if outside else ""
