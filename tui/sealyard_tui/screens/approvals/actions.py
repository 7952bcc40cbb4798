"""Actions of the approvals screen: approve or reject tasks, and report the result of each decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sealyard.model.approval import valid_approvers
from sealyard.model.errors import ConflictError, SealyardError, ServerUnreachableError
from sealyard.model.formatting import format_count
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import DecisionOrigin, Task, TaskStatus, Verdict
from sealyard_tui.action_keys import action_keys
from sealyard_tui.dialogs.text import TextDialog
from sealyard_tui.formatting import task_title
from sealyard_tui.screens.approvals.dialogs import (
    RejectDialog,
    build_approve_dialog,
    build_bulk_approve_dialog,
)
from sealyard_tui.screens.approvals.review_pane import ReviewPane
from sealyard_tui.screens.approvals.row import get_blocked_reason
from sealyard_tui.screens.approvals.task_list import PendingTaskList
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.session.hints import app_hint, error_text
from sealyard_tui.session.pending_changes import Change, ChangeCancelledError

OTP_SINGLE_ONLY = "One-time passwords can be used once; approve tasks individually."

_PAST_TENSE = {Verdict.APPROVED: "approved", Verdict.REJECTED: "rejected"}


class _DecisionBatch:
    """The decisions of one dialog, which can take several attempts.

    ``remaining``: the tasks without a decision, in order. ``decided`` and ``failures``: the results so far.
    """

    def __init__(self, tasks: Sequence[Task], verdict: Verdict) -> None:
        self.verdict = verdict
        self.count = len(tasks)
        self.remaining = list(tasks)
        self.decided: list[Task] = []
        self.failures: list[tuple[Task, SealyardError]] = []


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

        if is_single:
            dialog = build_approve_dialog(
                tasks[0], approver=identity, is_read=not unread_count, requires_otp=requires_otp
            )
        else:
            dialog = build_bulk_approve_dialog(
                tasks, blocked_tasks, approver=identity, unread_count=unread_count, requires_otp=requires_otp
            )
        batch = _DecisionBatch(tasks, Verdict.APPROVED)
        dialog.action = lambda: self._decide(batch, dialog.comment, dialog.one_time_password)
        self._screen.app.push_screen(dialog, lambda _: self._report(batch))

    # ---- reject

    def reject(self) -> None:
        tasks, _ = self._split_selection()
        if not tasks:
            return
        batch = _DecisionBatch(tasks, Verdict.REJECTED)
        dialog = RejectDialog(tasks, approver=self._screen.state.identity, edit=self._screen.app.edit_text)
        dialog.action = lambda reason: self._decide(batch, reason)
        self._screen.app.push_screen(dialog, lambda _: self._report(batch))

    # ---- selection

    def _split_selection(self) -> tuple[list[Task], list[tuple[Task, str]]]:
        """Return the selected tasks that can be decided, and each blocked task paired with a short reason."""
        tasks: list[Task] = []
        blocked_tasks: list[tuple[Task, str]] = []
        for row in self._task_list.table.selected_rows:
            task = self._get_reviewed_version(row)
            is_pending = self._screen.app.changes.is_pending(task.id)
            reason = "sending" if is_pending else get_blocked_reason(task, self._screen.state, self._screen.now())
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

    async def _decide(self, batch: _DecisionBatch, reason: str, one_time_password: str | None = None) -> bool:
        """Send a decision for each remaining task of ``batch``, and reload the list.

        Raises the error of a single task, and errors of the connection, after which the user can repeat the rest.
        """
        try:
            while batch.remaining:
                await self._decide_next(batch, reason, one_time_password)
        finally:
            if batch.decided or batch.failures:
                self._task_list.table.clear_marks()
            self._screen.reload()
        return True

    async def _decide_next(self, batch: _DecisionBatch, reason: str, one_time_password: str | None) -> None:
        task = batch.remaining[0]
        self._task_list.decided_in_session.add(task.id)
        try:
            decided_task = await self._screen.app.changes.run(
                self._describe_change(task, batch.verdict),
                lambda client: client.decide(
                    task.id,
                    batch.verdict,
                    reason,
                    digest=task.approval_digest,
                    origin=DecisionOrigin.TERMINAL,
                    one_time_password=one_time_password,
                ),
            )
        except (ServerUnreachableError, ChangeCancelledError) as error:
            raise _add_progress(error, batch) from error
        except SealyardError as error:
            if batch.count == 1:
                raise _add_reload_hint(error, action_keys(self._screen.app)) from error
            batch.failures.append((task, error))
        else:
            batch.decided.append(decided_task)
        batch.remaining.remove(task)

    def _describe_change(self, task: Task, verdict: Verdict) -> Change:
        subject = self._screen.state.identity

        def is_made(current: Task) -> bool:
            return any((each.by, each.verdict) == (subject, verdict) for each in current.approvals)

        is_approval = verdict is Verdict.APPROVED
        return Change(
            label=f"{'Approval' if is_approval else 'Rejection'} of {task_title(task)}",
            task_id=task.id,
            is_made=is_made,
            hint=f"Press {{key[approvals.{'approve' if is_approval else 'reject'}]}} to repeat it.",
        )

    def _report(self, batch: _DecisionBatch) -> None:
        app = self._screen.app
        verdict, decided, failures = batch.verdict, batch.decided, batch.failures
        if len(failures) == 1 and not decided:
            app.show_error(_add_reload_hint(failures[0][1], action_keys(app)))
        elif failures:
            text = _format_results(verdict, decided, failures, action_keys(app))
            app.push_screen(TextDialog("Some tasks could not be processed", text))
        elif len(decided) == 1:
            self._screen.flash(_format_result(verdict, decided[0]))
        elif decided:
            self._screen.flash(f"{len(decided)} tasks {_PAST_TENSE[verdict]}; {_format_pending(decided)}")


def _add_progress(error: SealyardError, batch: _DecisionBatch) -> SealyardError:
    """Return ``error`` with the number of tasks that were decided before it, if the batch has several tasks."""
    if batch.count == 1:
        return error
    decided_text = f"{len(batch.decided)} of {batch.count} tasks {_PAST_TENSE[batch.verdict]}"
    return SealyardError(f"{decided_text}. {error.message}", "Submit again to repeat the rest.")


def _add_reload_hint(error: SealyardError, keys: Mapping[str, str]) -> SealyardError:
    """Return a copy of a conflict error with a hint that the list and the review were reloaded.

    Other errors are returned unchanged.
    """
    if not isinstance(error, ConflictError):
        return error
    hint = " ".join(part for part in (app_hint(error, keys), "The list and the review were reloaded.") if part)
    return ConflictError(error.message, hint)


def _format_result(verdict: Verdict, task: Task) -> str:
    name = task_title(task)
    if verdict is Verdict.REJECTED:
        return f"{name} rejected"
    if task.status is TaskStatus.WAITING:
        count = len(valid_approvers(task, task.approvals))
        return f"{name}: {count} of {task.approvals_required} approvals"
    return f"{name} approved (status: {task.status})"


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
