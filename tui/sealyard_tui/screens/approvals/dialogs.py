"""Dialogs for approving and rejecting tasks. They report tasks that can no longer be decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual import getters, on
from textual.app import ComposeResult
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input

from sealyard.model.approval import valid_approvers
from sealyard.model.formatting import format_count, format_size
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Task, TaskKind, TaskStatus
from sealyard_tui.app_base import BaseApp
from sealyard_tui.dialogs.confirm import TypedConfirmDialog
from sealyard_tui.dialogs.reason import EditText, ReasonDialog
from sealyard_tui.formatting import format_fields, shorten_name, task_title
from sealyard_tui.screens.approvals.row import is_timed_out
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.widgets.safe_input import SafeInput

DIGEST_LENGTH = 16
MAX_FILES = 3
MAX_TASKS = 6
TITLE_WIDTH = 46
"""Width of a dialog line, in cells, in the narrowest terminal that the application supports."""
LABEL_WIDTH = len("device  ")
NAME_WIDTH = TITLE_WIDTH - LABEL_WIDTH
LISTED_TITLE_WIDTH, LISTED_DEVICE_WIDTH = 24, 12
TEXT_WIDTH = 64
"""Width of dialog text, in cells, on an 80-column terminal."""
TICK_SECONDS = 1.0


class TaskWatcher:
    """Watcher that notifies an open dialog when one of its tasks can no longer be decided."""

    def __init__(
        self, dialog: ModalScreen[Any], app: BaseApp, tasks: Sequence[Task], on_closed: Callable[[Task, str], None]
    ) -> None:
        """Start watching.

        ``on_closed`` is called once for each task that can no longer be decided, with an escaped message.
        """
        self._app = app
        self._tasks = {each.id: each for each in tasks}
        self._on_closed = on_closed
        app.engine_updates.subscribe(dialog, self._on_engine_update)
        dialog.set_interval(TICK_SECONDS, self._check_deadlines)

    def _on_engine_update(self, update: EngineUpdate) -> None:
        for task_id, change in update.tasks.items():
            if change.status is not TaskStatus.WAITING:
                self._report(task_id, f"is now {change.detailed_status or change.status}")

    def _check_deadlines(self) -> None:
        now = self._app.now()
        for task in list(self._tasks.values()):
            if is_timed_out(task, now):
                self._report(task.id, "is no longer pending: its approval period has expired")

    def _report(self, task_id: str, event_text: str) -> None:
        if (task := self._tasks.pop(task_id, None)) is not None:
            self._on_closed(task, f"✗ {task_title(task)} {event_text}.")


class ApproveDialog(TypedConfirmDialog):
    """Dialog for approving tasks. Asks for a confirmation text, a comment and, if required, a one-time password."""

    app = getters.app(BaseApp)

    comments: ClassVar[dict[str, str]] = {}
    """Unsubmitted comments, keyed by approver and task ids."""

    def __init__(
        self,
        heading: str,
        tasks: Sequence[Task],
        about: Content,
        confirm_text: str,
        *,
        consequence: str,
        approver: str,
        requires_otp: bool,
    ) -> None:
        """Create the dialog.

        ``confirm_text``: the text that the user must type to confirm. ``approver``: the id of the user, whose
        unsubmitted comment is restored. ``requires_otp``: whether a one-time password is required.
        """
        super().__init__(heading, about, confirm_text, consequence=consequence, submit_label="Approve")
        self.one_time_password: str | None = None
        self._requires_otp = requires_otp
        self._tasks = {each.id: each for each in tasks}
        self._draft_key = _build_draft_key(tasks, approver)

    def compose_extra(self) -> ComposeResult:
        hint = "Comment (optional)"
        yield SafeInput(self.comments.get(self._draft_key, ""), placeholder=hint, id="comment", compact=True)
        if self._requires_otp:
            yield SafeInput(placeholder="One-time password from your authenticator", id="otp", compact=True)

    def on_mount(self) -> None:
        TaskWatcher(self, self.app, list(self._tasks.values()), self._on_closed)

    @property
    def comment(self) -> str:
        return self.comments.get(self._draft_key, "").strip()

    def on_success(self) -> None:
        """Delete the draft of the comment."""
        self.comments.pop(self._draft_key, None)

    @on(Input.Changed, "#comment")
    def _on_comment_changed(self, event: Input.Changed) -> None:
        self.comments[self._draft_key] = event.value

    @on(Input.Changed, "#otp")
    def _on_otp_changed(self, event: Input.Changed) -> None:
        self.one_time_password = event.value

    def _on_closed(self, task: Task, message: str) -> None:
        if self.is_busy:
            # Probably the user's own decision, whose response is still to come.
            return
        del self._tasks[task.id]
        self.show_failure(message)
        if not self._tasks:
            for field in self.query(Input):
                field.disabled = True
            self.update_blocked_reason()
            self.set_focus(self.query_one("#no", Button))

    def _get_blocked_reason(self) -> str:
        if not self._tasks:
            return "the tasks can no longer be decided"
        if reason := super()._get_blocked_reason():
            return reason
        if self._requires_otp and not (self.one_time_password or "").strip():
            return "enter a one-time password"
        return ""


def build_approve_dialog(task: Task, *, approver: str, is_read: bool, requires_otp: bool) -> ApproveDialog:
    """Build the dialog for approving one task. ``is_read``: whether the user has read its review to the end."""
    return ApproveDialog(
        "Approve",
        [task],
        _describe_task(task),
        task.config_name,
        consequence=_describe_effect(task, is_read=is_read),
        approver=approver,
        requires_otp=requires_otp,
    )


def build_bulk_approve_dialog(
    tasks: Sequence[Task],
    blocked_tasks: Sequence[tuple[Task, str]],
    *,
    approver: str,
    unread_count: int,
    requires_otp: bool,
) -> ApproveDialog:
    """Build the dialog for approving several tasks.

    ``blocked_tasks``: the selected tasks that cannot be decided, each with a short reason. ``unread_count``: the
    number of reviews that the user has not read to the end.
    """
    return ApproveDialog(
        f"Approve {format_count(len(tasks), 'task')}",
        tasks,
        _describe_tasks(tasks, blocked_tasks),
        f"approve {len(tasks)}",
        consequence=_describe_bulk_effect(len(tasks), unread_count),
        approver=approver,
        requires_otp=requires_otp,
    )


class RejectDialog(ReasonDialog):
    """Dialog for rejecting tasks. Asks for one reason that applies to all of them."""

    app = getters.app(BaseApp)

    def __init__(self, tasks: Sequence[Task], *, approver: str, edit: EditText) -> None:
        names = "\n".join(shorten_name(task_title(each), TITLE_WIDTH) for each in tasks[:MAX_TASKS])
        more = f"\nand {len(tasks) - MAX_TASKS} more" if len(tasks) > MAX_TASKS else ""
        heading = "Reject" if len(tasks) == 1 else f"Reject {format_count(len(tasks), 'task')}"
        super().__init__(
            heading,
            f"{names}{more}",
            required=True,
            subject=_build_draft_key(tasks, approver),
            edit=edit,
            consequence="The requester sees the reason. A rejection ends the task and cannot be undone.",
        )
        self._tasks = tuple(tasks)

    def on_mount(self) -> None:
        TaskWatcher(self, self.app, self._tasks, self._on_closed)

    def _on_closed(self, task: Task, message: str) -> None:  # noqa: ARG002
        if not self.is_busy:
            self.show_failure(message)


def _build_draft_key(tasks: Sequence[Task], approver: str) -> str:
    return " ".join([approver, *sorted(each.id for each in tasks)])


def _describe_task(task: Task) -> Content:
    return format_fields(
        [
            ("task", Content.styled(shorten_name(task_title(task), NAME_WIDTH), "bold")),
            ("device", _format_device(task)),
            ("digest", f"{task.approval_digest[:DIGEST_LENGTH]}…"),
            ("files" if task.kind is TaskKind.PACKAGING else "input", _format_files(task)),
        ],
        width=TEXT_WIDTH,
    )


def _format_device(task: Task) -> str:
    version = f" version {task.config_version}"
    return f"{shorten_name(escape_text(task.config_name), NAME_WIDTH - len(version))}{version}"


def _format_files(task: Task) -> str:
    files = (*task.inputs, *task.metadata)
    sizes = [f"  {format_size(each.size)}" for each in files[:MAX_FILES]]
    lines = [
        f"{shorten_name(escape_text(each.name), NAME_WIDTH - len(size))}{size}"
        for each, size in zip(files, sizes, strict=False)
    ]
    more = [f"and {len(files) - MAX_FILES} more"] if len(files) > MAX_FILES else []
    return "\n".join([*lines, *more])


def _describe_effect(task: Task, *, is_read: bool) -> str:
    unread_warning = "" if is_read else "! You have not read the review to the end.\n"
    count = len(valid_approvers(task, task.approvals)) + 1
    if count < task.approvals_required:
        required_count = task.approvals_required
        effect = f"Approval {count} of {required_count}; more approvals are needed. An approval cannot be undone."
    else:
        effect = "This is the final approval. The task will be signed and released immediately. This cannot be undone."
    return f"{unread_warning}{effect}"


def _describe_bulk_effect(count: int, unread_count: int) -> str:
    unread_warning = f"! You have not read {unread_count} of {count} reviews to the end.\n" if unread_count else ""
    return (
        f"{unread_warning}Tasks with enough approvals will be signed and released immediately. This cannot be undone."
    )


def _describe_tasks(tasks: Sequence[Task], blocked_tasks: Sequence[tuple[Task, str]]) -> Content:
    lines = [Content(f"✓ {_format_listed_task(task)}, {format_size(task.total_bytes)}") for task in tasks]
    lines += [
        Content.styled(f"✗ {shorten_name(task_title(task), LISTED_TITLE_WIDTH)}  skipped: {reason}", "$text-muted")
        for task, reason in blocked_tasks
    ]
    return Content("\n").join(lines)


def _format_listed_task(task: Task) -> str:
    title = shorten_name(task_title(task), LISTED_TITLE_WIDTH)
    device = shorten_name(escape_text(task.config_name), LISTED_DEVICE_WIDTH)
    return f"{title}  {device} version {task.config_version}"
