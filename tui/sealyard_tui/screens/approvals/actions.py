"""Approving and rejecting one task or several, with a report of every outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sealyard.model.approval import valid_approvers
from sealyard.model.errors import ConflictError, SealyardError, ServerUnreachableError
from sealyard.model.formatting import format_count
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import DecisionOrigin, Task, TaskStatus, Verdict
from sealyard_tui.dialogs.base import Answer
from sealyard_tui.dialogs.retry import Attempt, ask_and_retry
from sealyard_tui.dialogs.text import TextDialog
from sealyard_tui.formatting import task_title
from sealyard_tui.screens.approvals.dialogs import ApproveDialog, RejectDialog, approve_dialog, bulk_approve_dialog
from sealyard_tui.screens.approvals.review_pane import ReviewPane
from sealyard_tui.screens.approvals.row import blocked_reason
from sealyard_tui.screens.approvals.task_list import PendingTaskList
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.session.hints import action_keys, app_hint, error_text

OTP_SINGLE_ONLY = "One-time passwords can be used once; approve tasks individually."

_PAST_TENSE = {Verdict.APPROVED: "approved", Verdict.REJECTED: "rejected"}


class DecisionBatchResult(NamedTuple):
    """``lost`` are the tasks without an answer because the connection was lost; ``reason`` describes that error."""

    done: Sequence[Task]
    lost: Sequence[Task]
    reason: str


class ApprovalActions:
    """Decisions on the marked tasks, else on the one under the cursor."""

    def __init__(self, screen: BaseScreen, pending: PendingTaskList, review: Callable[[], ReviewPane]) -> None:
        self._screen = screen
        self._pending = pending
        self._review = review

    # ---- approving

    def approve(self) -> None:
        tasks, left_out = self._split_selection()
        if not tasks:
            return
        one_time = self._screen.state.one_time_password
        if one_time and len(tasks) > 1:
            self._screen.flash(OTP_SINGLE_ONLY, warning=True)
            return
        unread = sum(not self._review().was_read_to_end(task) for task in tasks)
        identity = self._screen.state.identity
        single = len(tasks) == 1 and not left_out and not self._pending.table.marked_rows

        def dialog_for(asked: Sequence[Task]) -> ApproveDialog:
            if single:
                return approve_dialog(asked[0], by=identity, read=not unread, one_time=one_time)
            return bulk_approve_dialog(asked, left_out, by=identity, unread=unread, one_time=one_time)

        self._ask(self._approval(tasks, dialog_for(tasks), dialog_for))

    def _approval(
        self, tasks: Sequence[Task], dialog: ApproveDialog, dialog_for: Callable[[Sequence[Task]], ApproveDialog]
    ) -> Attempt[bool]:
        async def approve(_: bool) -> Attempt[bool] | None:
            comment = dialog.comment
            result = await self._decide(tasks, Verdict.APPROVED, comment, dialog.one_time_password)
            if result.done:
                dialog.clear_draft()
            if not result.lost:
                return None
            again = dialog_for(result.lost)
            again.error_text = result.reason
            again.restore(comment)
            return self._approval(result.lost, again, dialog_for)

        return Attempt(dialog, approve)

    # ---- rejecting

    def reject(self) -> None:
        tasks, _ = self._split_selection()
        if tasks:
            self._ask(self._rejection(tasks, self._reject_dialog(tasks)))

    def _rejection(self, tasks: Sequence[Task], dialog: RejectDialog) -> Attempt[str | None]:
        async def reject(reason: str | None) -> Attempt[str | None] | None:
            assert reason, "the dialog requires a reason"
            result = await self._decide(tasks, Verdict.REJECTED, reason)
            if not result.done:
                dialog.restore(reason)
            if not result.lost:
                return None
            again = self._reject_dialog(result.lost)
            again.error_text = result.reason
            again.restore(reason)
            return self._rejection(result.lost, again)

        return Attempt(dialog, reject)

    def _reject_dialog(self, tasks: Sequence[Task]) -> RejectDialog:
        return RejectDialog(tasks, by=self._screen.state.identity, edit=self._screen.app.edit_text)

    def _ask(self, attempt: Attempt[Answer]) -> None:
        ask_and_retry(self._screen.app, attempt, self._screen.run_guarded)

    # ---- what can be decided

    def _split_selection(self) -> tuple[list[Task], list[tuple[Task, str]]]:
        """Return the tasks that can be decided, as reviewed; and the others, each with a short reason."""
        tasks: list[Task] = []
        left_out: list[tuple[Task, str]] = []
        for row in self._pending.table.selected_rows:
            task = self._reviewed_version(row)
            reason = blocked_reason(task, self._screen.state, self._screen.now())
            if reason:
                left_out.append((task, reason))
            else:
                tasks.append(task)
        return tasks, left_out

    def _reviewed_version(self, task: Task) -> Task:
        """Return the task as the review shows it, should that differ from the row: it is what the user has read."""
        review = self._review().review
        return review.task if review is not None and review.task.id == task.id else task

    def explain_blocked(self) -> None:
        """Say why none of the selected tasks can be decided."""
        _, left_out = self._split_selection()
        if left_out:
            reasons = "; ".join(f"{task_title(task)}: {reason}" for task, reason in left_out)
            self._screen.flash(f"You cannot decide on these tasks. {reasons}", warning=True)

    # ---- deciding

    async def _decide(
        self, tasks: Sequence[Task], verdict: Verdict, reason: str, one_time_password: str | None = None
    ) -> DecisionBatchResult:
        """Decide on each task and report rejected requests; the caller reports a lost connection."""
        client = await self._screen.client()
        done: list[Task] = []
        refused: list[tuple[Task, SealyardError]] = []
        lost: Sequence[Task] = ()
        failure = ""
        for number, task in enumerate(tasks):
            self._pending.decided_in_session.add(task.id)
            try:
                decided = await client.decide(
                    task.id,
                    verdict,
                    reason,
                    digest=task.approval_digest,
                    origin=DecisionOrigin.TERMINAL,
                    one_time_password=one_time_password,
                )
                done.append(decided)
            except ServerUnreachableError as error:
                lost, failure = tasks[number:], error_text(error, action_keys(self._screen.app))
                break
            except SealyardError as error:
                refused.append((task, error))
        self._pending.table.clear_marks()
        self._report(verdict, done, refused)
        self._screen.reload()
        return DecisionBatchResult(done, lost, failure)

    def _report(self, verdict: Verdict, done: Sequence[Task], refused: Sequence[tuple[Task, SealyardError]]) -> None:
        app = self._screen.app
        if len(refused) == 1 and not done:
            app.show_error(_with_reload_hint(refused[0][1], action_keys(app)))
        elif refused:
            text = _format_results(verdict, done, refused, action_keys(app))
            app.push_screen(TextDialog("Some tasks could not be processed", text))
        elif len(done) == 1:
            self._screen.flash(_format_result(verdict, done[0]))
        elif done:
            self._screen.flash(f"{len(done)} tasks {_PAST_TENSE[verdict]}; {_format_pending(done)}")


def _with_reload_hint(error: SealyardError, keys: Mapping[str, str]) -> SealyardError:
    """Add to a conflict that the task was read again: it differs from the one that was reviewed."""
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


def _format_pending(done: Sequence[Task]) -> str:
    count = sum(task.status is TaskStatus.WAITING for task in done)
    return f"{format_count(count, 'task')} still pending" if count else "no further approvals needed"


def _format_results(
    verdict: Verdict, done: Sequence[Task], refused: Sequence[tuple[Task, SealyardError]], keys: Mapping[str, str]
) -> str:
    lines = [f"{len(done)} {_PAST_TENSE[verdict]}, {len(refused)} failed", ""]
    lines += [f"✗ {task_title(task)}: {escape_text(error_text(error, keys))}" for task, error in refused]
    lines += [f"✓ {_format_result(verdict, task)}" for task in done]
    return "\n".join(lines)
