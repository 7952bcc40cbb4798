"""Actions of the approvals screen: approve or reject tasks, and report the result of each decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sealyard.model.approval import valid_approvers
from sealyard.model.errors import ConflictError, SealyardError, ServerUnreachableError
from sealyard.model.formatting import format_count
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import DecisionOrigin, Task, TaskStatus, Verdict
from sealyard_tui.action_keys import action_keys
from sealyard_tui.dialogs.base import Answer
from sealyard_tui.dialogs.retry import Attempt, ask_and_retry
from sealyard_tui.dialogs.text import TextDialog
from sealyard_tui.formatting import task_title
from sealyard_tui.screens.approvals.dialogs import (
    ApproveDialog,
    RejectDialog,
    build_approve_dialog,
    build_bulk_approve_dialog,
)
from sealyard_tui.screens.approvals.review_pane import ReviewPane
from sealyard_tui.screens.approvals.row import get_blocked_reason
from sealyard_tui.screens.approvals.task_list import PendingTaskList
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.session.hints import app_hint, error_text

OTP_SINGLE_ONLY = "One-time passwords can be used once; approve tasks individually."

_PAST_TENSE = {Verdict.APPROVED: "approved", Verdict.REJECTED: "rejected"}


class DecisionBatchResult(NamedTuple):
    """Result of deciding on several tasks.

    ``unanswered_tasks`` are the tasks for which no response arrived because the connection was lost. ``error_text``
    is the message of the connection error; empty if there was none.
    """

    decided_tasks: Sequence[Task]
    unanswered_tasks: Sequence[Task]
    error_text: str


class ApprovalActions:
    """Actions that approve or reject the marked tasks, or the task under the cursor if no row is marked."""

    def __init__(
        self, screen: BaseScreen, task_list: PendingTaskList, get_review_pane: Callable[[], ReviewPane]
    ) -> None:
        self._screen = screen
        self._task_list = task_list
        self._get_review_pane = get_review_pane

    # ---- approve

    def approve(self) -> None:
        tasks, blocked_tasks = self._split_selection()
        if not tasks:
            return
        requires_otp = self._screen.state.one_time_password
        if requires_otp and len(tasks) > 1:
            self._screen.flash(OTP_SINGLE_ONLY, warning=True)
            return
        unread_count = sum(not self._get_review_pane().was_read_to_end(task) for task in tasks)
        identity = self._screen.state.identity
        is_single = len(tasks) == 1 and not blocked_tasks and not self._task_list.table.marked_rows

        def build_dialog(pending_tasks: Sequence[Task]) -> ApproveDialog:
            if is_single:
                return build_approve_dialog(
                    pending_tasks[0], approver=identity, is_read=not unread_count, requires_otp=requires_otp
                )
            return build_bulk_approve_dialog(
                pending_tasks, blocked_tasks, approver=identity, unread_count=unread_count, requires_otp=requires_otp
            )

        self._start_attempt(self._create_approval_attempt(tasks, build_dialog(tasks), build_dialog))

    def _create_approval_attempt(
        self, tasks: Sequence[Task], dialog: ApproveDialog, build_dialog: Callable[[Sequence[Task]], ApproveDialog]
    ) -> Attempt[bool]:
        async def approve(_: bool) -> Attempt[bool] | None:
            comment = dialog.comment
            result = await self._decide(tasks, Verdict.APPROVED, comment, dialog.one_time_password)
            if result.decided_tasks:
                dialog.clear_draft()
            if not result.unanswered_tasks:
                return None
            next_dialog = build_dialog(result.unanswered_tasks)
            next_dialog.error_text = result.error_text
            next_dialog.restore(comment)
            return self._create_approval_attempt(result.unanswered_tasks, next_dialog, build_dialog)

        return Attempt(dialog, approve)

    # ---- reject

    def reject(self) -> None:
        tasks, _ = self._split_selection()
        if tasks:
            self._start_attempt(self._create_rejection_attempt(tasks, self._build_reject_dialog(tasks)))

    def _create_rejection_attempt(self, tasks: Sequence[Task], dialog: RejectDialog) -> Attempt[str | None]:
        async def reject(reason: str | None) -> Attempt[str | None] | None:
            assert reason, "the dialog requires a reason"
            result = await self._decide(tasks, Verdict.REJECTED, reason)
            if not result.decided_tasks:
                dialog.restore(reason)
            if not result.unanswered_tasks:
                return None
            next_dialog = self._build_reject_dialog(result.unanswered_tasks)
            next_dialog.error_text = result.error_text
            next_dialog.restore(reason)
            return self._create_rejection_attempt(result.unanswered_tasks, next_dialog)

        return Attempt(dialog, reject)

    def _build_reject_dialog(self, tasks: Sequence[Task]) -> RejectDialog:
        return RejectDialog(tasks, approver=self._screen.state.identity, edit=self._screen.app.edit_text)

    def _start_attempt(self, attempt: Attempt[Answer]) -> None:
        ask_and_retry(self._screen.app, attempt, self._screen.run_guarded)

    # ---- selection

    def _split_selection(self) -> tuple[list[Task], list[tuple[Task, str]]]:
        """Return the selected tasks that can be decided, and each blocked task paired with a short reason."""
        tasks: list[Task] = []
        blocked_tasks: list[tuple[Task, str]] = []
        for row in self._task_list.table.selected_rows:
            task = self._get_reviewed_version(row)
            reason = get_blocked_reason(task, self._screen.state, self._screen.now())
            if reason:
                blocked_tasks.append((task, reason))
            else:
                tasks.append(task)
        return tasks, blocked_tasks

    def _get_reviewed_version(self, task: Task) -> Task:
        """Return the version of the task that the review shows, because this is what the user has read.

        Returns ``task`` itself if the review shows another task or none.
        """
        review = self._get_review_pane().review
        return review.task if review is not None and review.task.id == task.id else task

    def explain_blocked(self) -> None:
        """Show why the selected tasks cannot be decided."""
        _, blocked_tasks = self._split_selection()
        if blocked_tasks:
            reasons = "; ".join(f"{task_title(task)}: {reason}" for task, reason in blocked_tasks)
            self._screen.flash(f"You cannot decide on these tasks. {reasons}", warning=True)

    # ---- requests

    async def _decide(
        self, tasks: Sequence[Task], verdict: Verdict, reason: str, one_time_password: str | None = None
    ) -> DecisionBatchResult:
        """Send a decision for each task, show the results, and reload the list.

        Stops if the connection is lost; the caller must report this error.
        """
        client = await self._screen.client()
        decided_tasks: list[Task] = []
        failures: list[tuple[Task, SealyardError]] = []
        unanswered_tasks: Sequence[Task] = ()
        error_message = ""
        for number, task in enumerate(tasks):
            self._task_list.decided_in_session.add(task.id)
            try:
                decided_task = await client.decide(
                    task.id,
                    verdict,
                    reason,
                    digest=task.approval_digest,
                    origin=DecisionOrigin.TERMINAL,
                    one_time_password=one_time_password,
                )
                decided_tasks.append(decided_task)
            except ServerUnreachableError as error:
                unanswered_tasks, error_message = tasks[number:], error_text(error, action_keys(self._screen.app))
                break
            except SealyardError as error:
                failures.append((task, error))
        self._task_list.table.clear_marks()
        self._report(verdict, decided_tasks, failures)
        self._screen.reload()
        return DecisionBatchResult(decided_tasks, unanswered_tasks, error_message)

    def _report(
        self, verdict: Verdict, decided_tasks: Sequence[Task], failures: Sequence[tuple[Task, SealyardError]]
    ) -> None:
        app = self._screen.app
        if len(failures) == 1 and not decided_tasks:
            app.show_error(_add_reload_hint(failures[0][1], action_keys(app)))
        elif failures:
            text = _format_results(verdict, decided_tasks, failures, action_keys(app))
            app.push_screen(TextDialog("Some tasks could not be processed", text))
        elif len(decided_tasks) == 1:
            outcome, note = _format_outcome(verdict, decided_tasks[0])
            self._screen.flash_outcome(outcome, task_title(decided_tasks[0]), note)
        elif decided_tasks:
            outcome = _PAST_TENSE[verdict].capitalize()
            self._screen.flash(f"{outcome}: {len(decided_tasks)} tasks; {_format_pending(decided_tasks)}")


def _add_reload_hint(error: SealyardError, keys: Mapping[str, str]) -> SealyardError:
    """Return a copy of a conflict error with a hint that the list and the review were reloaded.

    Other errors are returned unchanged.
    """
    if not isinstance(error, ConflictError):
        return error
    hint = " ".join(part for part in (app_hint(error, keys), "The list and the review were reloaded.") if part)
    return ConflictError(error.message, hint)


def _format_outcome(verdict: Verdict, task: Task) -> tuple[str, str]:
    """Return what was done to a task, and a note that follows the name of the task."""
    if verdict is Verdict.REJECTED:
        return "Rejected", ""
    if task.status is TaskStatus.WAITING:
        count = len(valid_approvers(task, task.approvals))
        return "Approved", f" ({count} of {task.approvals_required} approvals)"
    return "Approved", f" (status: {task.status})"


def _format_result(verdict: Verdict, task: Task) -> str:
    outcome, note = _format_outcome(verdict, task)
    return f"{outcome}: {task_title(task)}{note}"


def _format_pending(decided_tasks: Sequence[Task]) -> str:
    count = sum(task.status is TaskStatus.WAITING for task in decided_tasks)
    return f"{format_count(count, 'task')} still pending" if count else "no further approvals needed"


def _format_results(
    verdict: Verdict,
    decided_tasks: Sequence[Task],
    failures: Sequence[tuple[Task, SealyardError]],
    keys: Mapping[str, str],
) -> str:
    lines = [f"{len(decided_tasks)} {_PAST_TENSE[verdict]}, {len(failures)} failed", ""]
    lines += [f"✗ {task_title(task)}: {escape_text(error_text(error, keys))}" for task, error in failures]
    lines += [f"✓ {_format_result(verdict, task)}" for task in decided_tasks]
    return "\n".join(lines)
