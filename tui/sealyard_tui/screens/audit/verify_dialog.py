"""Dialog for verifying the whole audit log."""

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
from sealyard_tui.action_keys import action_keys, insert_keys
from sealyard_tui.formatting import format_fields
from sealyard_tui.screens.base import ScreenDialog
from sealyard_tui.session.hints import app_hint
from sealyard_tui.widgets.safe_text_area import SafeTextArea

PROGRESS_INTERVAL = 0.1

ABOUT_TEXT = (
    "Recomputes the hash of every entry and verifies the signature of every checkpoint. If you kept a "
    "checkpoint elsewhere, paste it here: only this detects that the whole log was replaced."
)
VERIFIED_TEXT = (
    "No checkpointed entry was changed, removed, inserted or replaced since its checkpoint was signed. All "
    "hashes match up to the root."
)
COMPARED_TEXT = (
    "Compared with your checkpoint of size {size}: it belongs to this log, the entries it covers are unchanged."
)
NOT_COMPARED_TEXT = (
    "Nothing outside the workspace folder was compared. Enter a checkpoint kept elsewhere to compare with it."
)
LIMITS_TEXT = (
    "Not covered: replacing the whole log together with its key, or rolling it back{since}. Entries not "
    "yet checkpointed are only chained, not signed."
)
MODIFIED_TEXT = "The log was modified. Do not change the folder; report this to the person responsible."
KEEP_CHECKPOINT_TEXT = (
    "Keep a copy elsewhere: the fingerprint of the key, and the last signed checkpoint in "
    "{location}/audit/checkpoints.txt."
)


class _CancelledError(Exception):
    """Exception that is raised in the progress callback to cancel the verification."""


class AuditVerifyDialog(ScreenDialog[AuditVerificationError | None]):
    """Dialog that verifies the audit log and shows the result.

    Returns the error if the user wants to see the invalid entry, otherwise None.
    """

    heading = "Verify the audit log"
    CSS_PATH = "dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "begin", "Verify", id="audit_verify.begin", priority=True),
        Binding("y", "copy", "Copy result", id="audit_verify.copy"),
        Binding("enter", "go_to_entry", "Go to the entry", id="audit_verify.go_to_entry"),
    ]

    draft: ClassVar[str] = ""
    """The checkpoint that was last entered, kept for the next time the dialog is opened."""

    class Progress(Message):
        """Message posted when ``done`` of ``total`` entries have been verified."""

        def __init__(self, done: int, total: int) -> None:
            super().__init__()
            self.done = done
            self.total = total

    def __init__(self, size: int) -> None:
        """Create the dialog. ``size``: the last known number of entries in the log."""
        super().__init__()
        self._log_size = size
        self._cancel_event = threading.Event()
        self._last_progress_at = 0.0
        self._worker: Worker[None] | None = None
        self._error: AuditVerificationError | None = None
        self._result_text = ""

    def compose_body(self) -> ComposeResult:
        with Vertical(classes="input"):
            yield Static(Content(ABOUT_TEXT), classes="about")
            yield SafeTextArea(
                AuditVerifyDialog.draft,
                placeholder="Checkpoint kept elsewhere (optional)",
                compact=True,
                id="checkpoint",
            )
            with Horizontal(classes="buttons"):
                yield Button(Content("Verify"), id="begin", variant="primary", compact=True)
                yield Button(Content("Back"), id="back", compact=True)
        with Vertical(classes="running"):
            hint = insert_keys(self.app, "press {key[dialog.back]} to cancel.")
            yield Static(Content(f"Verifying {self._log_size:,} entries; {hint}"), classes="about")
            yield ProgressBar(total=max(1, self._log_size), show_eta=False)
        with VerticalScroll(classes="outcome"):
            yield Static("", markup=False, id="outcome")

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#begin"))

    @on(TextArea.Changed)
    def _on_checkpoint_changed(self) -> None:
        AuditVerifyDialog.draft = self.query_one(TextArea).text

    @on(Button.Pressed)
    def _on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "begin":
            self.action_begin()
        else:
            self.dismiss(None)

    # ---- verification

    def action_begin(self) -> None:
        self.add_class("-running")
        self.refresh_bindings()
        self._worker = self.run_worker(self.app.guard(self._verify()), exit_on_error=False)

    async def _verify(self) -> None:
        checkpoint = _normalize_checkpoint(self.query_one(TextArea).text)
        client = await self.app.session.client()
        try:
            report = await client.verify_audit(checkpoint=checkpoint, progress=self._report_progress)
        except AuditVerificationError as error:
            self._show_result(self._format_failure(error))
            self._error = error
        except SealyardError:
            self.dismiss(None)
            raise
        else:
            location = (await client.workspace()).location
            self._show_result(_format_success(report, location))
        self.refresh_bindings()

    def _report_progress(self, done: int, total: int) -> None:
        """Post the progress at a limited rate. May be called in another thread.

        Raises :class:`_CancelledError` if the dialog has been closed.
        """
        if self._cancel_event.is_set():
            raise _CancelledError
        now = time.monotonic()
        if done >= total or now - self._last_progress_at >= PROGRESS_INTERVAL:
            self._last_progress_at = now
            self.post_message(self.Progress(done, total))

    @on(Progress)
    def _show_progress(self, event: Progress) -> None:
        self.query_one(ProgressBar).update(total=max(1, event.total), progress=event.done)

    # ---- result

    def _show_result(self, result: Content) -> None:
        self._result_text = result.plain
        self.remove_class("-running")
        self.add_class("-finished")
        self.query_one("#outcome", Static).update(result)
        self.set_focus(self.query_one(".outcome"))

    def _format_failure(self, error: AuditVerificationError) -> Content:
        lines = [Content.styled(f"✗ {escape_multiline(error.message)}", "bold $error")]
        keys = action_keys(self.app)
        if hint := app_hint(error, keys):
            lines.append(Content(f"→ {escape_multiline(hint)}"))
        lines.append(Content(MODIFIED_TEXT))
        if error.seq is not None:
            key = keys["audit_verify.go_to_entry"]
            lines.append(Content(f"Press {key} to go to entry {error.seq}, the first invalid entry."))
        return Content("\n\n").join(lines)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._result_text)
        self.notify("Copied.", markup=False)

    def action_go_to_entry(self) -> None:
        self.dismiss(self._error)

    def action_dismiss_dialog(self) -> None:
        self._cancel_event.set()
        if self._worker is not None:
            self._worker.cancel()
        self.dismiss(None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "begin":
            return not self.has_class("-running") and not self.has_class("-finished")
        if action == "copy":
            return self.has_class("-finished")
        if action == "go_to_entry":
            return self._error is not None and self._error.seq is not None
        return super().check_action(action, parameters)


def _normalize_checkpoint(text: str) -> str | None:
    """Restore the whitespace of a pasted checkpoint, which terminals and email clients may have changed.

    Returns None if ``text`` is blank.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    return "\n".join(lines) + "\n" if lines else None


def _format_success(report: AuditReport, location: str) -> Content:
    external_size = report.external_checkpoint_size
    coverage_text = (
        f"{report.uncheckpointed_count:,} not checkpointed" if report.uncheckpointed_count else "all entries"
    )
    fields = format_fields(
        [
            ("log", escape_text(report.origin)),
            ("entries", f"{report.size:,}"),
            ("checkpointed", f"{report.checkpointed_size:,}, {coverage_text}"),
            (
                "checkpoints",
                f"{report.checkpoints_checked:,} checked" + ("" if external_size is None else ", yours among them"),
            ),
            ("root", report.root),
            ("audit key", report.key_fingerprint or "none yet"),
        ]
    )
    paragraphs = [
        VERIFIED_TEXT,
        NOT_COMPARED_TEXT if external_size is None else COMPARED_TEXT.format(size=f"{external_size:,}"),
        LIMITS_TEXT.format(since="" if external_size is None else " after your checkpoint"),
        KEEP_CHECKPOINT_TEXT.format(location=escape_text(location)),
    ]
    return Content("\n\n").join(
        [
            Content.styled("✓ Audit log verified", "bold $success"),
            fields,
            *(Content(paragraph) for paragraph in paragraphs),
        ]
    )
