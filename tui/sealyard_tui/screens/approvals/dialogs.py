"""The dialogs of the approvals screen: they show what is released, and report a task that is decided elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual import getters, on
from textual.app import ComposeResult
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from sealyard.model.approval import valid_approvers
from sealyard.model.formatting import format_size
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Task, TaskKind, TaskStatus
from sealyard_tui.app_base import BaseApp
from sealyard_tui.dialogs.confirm import TypedConfirmDialog
from sealyard_tui.dialogs.reason import EditText, ReasonDialog
from sealyard_tui.formatting import format_fields, task_title
from sealyard_tui.screens.approvals.row import is_timed_out
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.widgets.safe_input import SafeInput

DIGEST_LENGTH = 16
MAX_FILES = 3
MAX_TASKS = 6
NAME_LENGTH = 36
WIDTH = 64
"""Columns for text in a dialog at 80 columns."""
TICK_SECONDS = 1.0


class TaskWatcher:
    """Notifies an open dialog, once for each of its tasks that can no longer be decided."""

    def __init__(
        self, dialog: ModalScreen[Any], app: BaseApp, tasks: Sequence[Task], on_closed: Callable[[Task, str], None]
    ) -> None:
        """``on_closed`` gets the task and what happened to it, as safe text."""
        self._app = app
        self._tasks = {each.id: each for each in tasks}
        self._on_closed = on_closed
        app.engine_updates.subscribe(dialog, self._on_engine_update)
        dialog.set_interval(TICK_SECONDS, self._check_deadlines)

    def _on_engine_update(self, update: EngineUpdate) -> None:
        for task_id, change in update.tasks.items():
            if change.status is not TaskStatus.WAITING:
                self._report(task_id, f"is now {change.status}")

    def _check_deadlines(self) -> None:
        now = self._app.now()
        for task in list(self._tasks.values()):
            if is_timed_out(task, now):
                self._report(task.id, "is no longer pending: its approval period has expired")

    def _report(self, task_id: str, words: str) -> None:
        if (task := self._tasks.pop(task_id, None)) is not None:
            self._on_closed(task, f"✗ {task_title(task)} {words}.")


class ApproveDialog(TypedConfirmDialog):
    """Shows what is released; asks for the word, a comment, and a one-time password if required."""

    app = getters.app(BaseApp)

    comments: ClassVar[dict[str, str]] = {}
    """Comments that were typed and not submitted, by task."""

    def __init__(
        self, heading: str, tasks: Sequence[Task], about: Content, word: str, *, by: str, one_time: bool
    ) -> None:
        """``by`` is the approver, for whom drafts are kept. ``one_time``: a one-time password is required."""
        super().__init__(heading, about, word, submit_label="Approve")
        self.one_time_password: str | None = None
        self._one_time = one_time
        self._tasks = {each.id: each for each in tasks}
        self._subject = _subject(tasks, by)

    def compose_extra(self) -> ComposeResult:
        hint = "Comment (optional)"
        yield SafeInput(self.comments.get(self._subject, ""), placeholder=hint, id="comment", compact=True)
        if self._one_time:
            yield SafeInput(placeholder="One-time password from your authenticator", id="otp", compact=True)

    def on_mount(self) -> None:
        TaskWatcher(self, self.app, list(self._tasks.values()), self._on_closed)

    @property
    def comment(self) -> str:
        return self.comments.get(self._subject, "").strip()

    def restore(self, comment: str) -> None:
        """Keep a comment that could not be submitted, for when the dialog opens again."""
        self.comments[self._subject] = comment

    def clear_draft(self) -> None:
        """Drop the comment after it was submitted."""
        self.comments.pop(self._subject, None)

    @on(Input.Changed, "#comment")
    def _commented(self, event: Input.Changed) -> None:
        self.comments[self._subject] = event.value

    @on(Input.Changed, "#otp")
    def _on_otp_changed(self, event: Input.Changed) -> None:
        self.one_time_password = event.value

    def _on_closed(self, task: Task, words: str) -> None:
        del self._tasks[task.id]
        self.query_one(".wrong", Static).update(Content(words))
        if not self._tasks:
            for field in self.query(Input):
                field.disabled = True
            self.query_one("#yes", Button).disabled = True
            self.set_focus(self.query_one("#no", Button))

    def _missing_text(self) -> str:
        if not self._tasks:
            return "The tasks can no longer be decided"
        if missing := super()._missing_text():
            return missing
        if self._one_time and not (self.one_time_password or "").strip():
            return "Enter a one-time password"
        return ""


def approve_dialog(task: Task, *, by: str, read: bool, one_time: bool) -> ApproveDialog:
    """Return the dialog for one task. ``read``: the review was read to its end."""
    about = _released(task, read=read)
    return ApproveDialog("Approve", [task], about, task.config_name, by=by, one_time=one_time)


def bulk_approve_dialog(
    tasks: Sequence[Task], left_out: Sequence[tuple[Task, str]], *, by: str, unread: int, one_time: bool
) -> ApproveDialog:
    """Return the dialog for several tasks. ``left_out`` has the others with a short reason, ``unread`` is the number of
    reviews not read to the end.
    """
    about = _several(tasks, left_out, unread)
    return ApproveDialog(f"Approve {_count(tasks)}", tasks, about, f"approve {len(tasks)}", by=by, one_time=one_time)


class RejectDialog(ReasonDialog):
    """Asks for one reason for all ``tasks``."""

    app = getters.app(BaseApp)

    def __init__(self, tasks: Sequence[Task], *, by: str, edit: EditText) -> None:
        names = "\n".join(task_title(each) for each in tasks[:MAX_TASKS])
        more = f"\nand {len(tasks) - MAX_TASKS} more" if len(tasks) > MAX_TASKS else ""
        about = f"{names}{more}\n\nThe requester sees the reason. A rejection ends the task and cannot be undone."
        heading = "Reject" if len(tasks) == 1 else f"Reject {_count(tasks)}"
        super().__init__(heading, about, required=True, subject=_subject(tasks, by), edit=edit)
        self._tasks = tuple(tasks)

    def on_mount(self) -> None:
        TaskWatcher(self, self.app, self._tasks, self._on_closed)

    def _on_closed(self, task: Task, words: str) -> None:  # noqa: ARG002
        self.query_one(".wrong", Static).update(Content(words))


def _subject(tasks: Sequence[Task], by: str) -> str:
    return " ".join([by, *sorted(each.id for each in tasks)])


def _count(tasks: Sequence[Task]) -> str:
    return f"{len(tasks)} task{'s' if len(tasks) > 1 else ''}"


def _released(task: Task, *, read: bool) -> Content:
    what = format_fields(
        [
            ("task", Content.styled(task_title(task), "bold")),
            ("device", _device(task)),
            ("files" if task.kind is TaskKind.PACKAGING else "input", _files(task)),
            ("digest", f"{task.approval_digest[:DIGEST_LENGTH]}…"),
        ],
        width=WIDTH,
    )
    unread = Content.styled("\n! You have not read the review to the end.", "$warning") if not read else Content("")
    return Content.assemble(what, unread, "\n\n", _consequence(task))


def _device(task: Task) -> str:
    return escape_text(f"{task.config_name} version {task.config_version}")


def _files(task: Task) -> str:
    files = (*task.inputs, *task.metadata)
    lines = [f"{escape_text(each.name, NAME_LENGTH)}  {format_size(each.size)}" for each in files[:MAX_FILES]]
    more = [f"and {len(files) - MAX_FILES} more"] if len(files) > MAX_FILES else []
    return "\n".join([*lines, *more])


def _consequence(task: Task) -> str:
    count = len(valid_approvers(task, task.approvals)) + 1
    if count < task.approvals_required:
        need = task.approvals_required
        return f"Approval {count} of {need}; more approvals are needed. An approval cannot be undone."
    return "This is the final approval. The task will be signed and released immediately. This cannot be undone."


def _several(tasks: Sequence[Task], left_out: Sequence[tuple[Task, str]], unread: int) -> Content:
    lines = [Content(f"✓ {task_title(each)}  {_device(each)}, {format_size(each.total_bytes)}") for each in tasks]
    lines += [Content.styled(f"✗ {task_title(each)}  skipped: {why}", "$text-muted") for each, why in left_out]
    if unread:
        lines.append(Content.styled(f"! You have not read {unread} of {len(tasks)} reviews to the end.", "$warning"))
    lines.append(Content("Tasks with enough approvals will be signed and released immediately. This cannot be undone."))
    return Content("\n").join(lines)
