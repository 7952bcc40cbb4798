"""Approving and rejecting, one task or several; every outcome is told."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NamedTuple

from sealyard.model.approval import valid_approvers
from sealyard.model.errors import ConflictError, SealyardError, ServerUnreachableError
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import DecisionOrigin, Task, TaskStatus, Verdict
from sealyard_tui.dialogs.base import TextDialog
from sealyard_tui.formatting import task_title
from sealyard_tui.screens.approvals.dialogs import ApproveDialog, RejectDialog, approve_dialog, bulk_approve_dialog
from sealyard_tui.screens.approvals.review_pane import ReviewPane
from sealyard_tui.screens.approvals.row import blocked_reason
from sealyard_tui.screens.approvals.task_list import PendingTasksScreen
from sealyard_tui.session.hints import app_hint, error_text

OTP_SINGLE_ONLY = "A one-time password counts once: approve the tasks one by one."

_DONE = {Verdict.APPROVED: "approved", Verdict.REJECTED: "rejected"}


class DecisionBatchResult(NamedTuple):
    """``lost``: those that no answer came for, and ``why``."""

    done: Sequence[Task]
    lost: Sequence[Task]
    why: str


class DecisionActions(PendingTasksScreen):
    """What the approvals place does with the tasks that are marked, else with the one under the cursor."""

    @property
    @abstractmethod
    def review(self) -> ReviewPane:
        """What it is made of."""

    def action_approve(self) -> None:
        tasks, left_out = self._split_selection()
        if not tasks:
            return
        one_time = self.state.one_time_password
        if one_time and len(tasks) > 1:
            self.flash(OTP_SINGLE_ONLY, warning=True)
            return
        unread = sum(not self.review.was_read_to_end(each) for each in tasks)
        me = self.state.identity
        single = len(tasks) == 1 and not left_out and not self.table.marked_rows

        def dialog_for(asked: Sequence[Task]) -> ApproveDialog:
            if single:
                return approve_dialog(asked[0], by=me, read=not unread, one_time=one_time)
            return bulk_approve_dialog(asked, left_out, by=me, unread=unread, one_time=one_time)

        self._ask_approval(tasks, dialog_for(tasks), dialog_for)

    def _ask_approval(
        self, tasks: Sequence[Task], dialog: ApproveDialog, dialog_for: Callable[[Sequence[Task]], ApproveDialog]
    ) -> None:
        async def approve() -> None:
            comment = dialog.comment
            decided = await self._decide(tasks, Verdict.APPROVED, comment, dialog.one_time_password)
            if decided.done:
                dialog.clear_draft()
            if decided.lost:
                again = dialog_for(decided.lost)
                again.error_text = decided.why
                again.restore(comment)
                self._ask_approval(decided.lost, again, dialog_for)

        self.app.push_screen(dialog, lambda yes: self._begin(approve) if yes else None)

    def action_reject(self) -> None:
        tasks, _ = self._split_selection()
        if tasks:
            self._ask_rejection(tasks, RejectDialog(tasks, by=self.state.identity))

    def _ask_rejection(self, tasks: Sequence[Task], dialog: RejectDialog) -> None:
        async def reject(reason: str) -> None:
            decided = await self._decide(tasks, Verdict.REJECTED, reason)
            if not decided.done:
                dialog.restore(reason)
            if decided.lost:
                again = RejectDialog(decided.lost, by=self.state.identity)
                again.error_text = decided.why
                again.restore(reason)
                self._ask_rejection(decided.lost, again)

        self.app.push_screen(dialog, lambda reason: self._begin(partial(reject, reason)) if reason else None)

    def _begin(self, deciding: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.run_guarded(deciding())

    def _split_selection(self) -> tuple[list[Task], list[tuple[Task, str]]]:
        """As they were seen; and those that this person cannot decide on, with two words why."""
        tasks: list[Task] = []
        left_out: list[tuple[Task, str]] = []
        for each in self.table.selected_rows:
            seen = self._reviewed_version(each)
            reason = blocked_reason(seen, self.state, self.now())
            if reason:
                left_out.append((seen, reason))
            else:
                tasks.append(seen)
        return tasks, left_out

    def _reviewed_version(self, task: Task) -> Task:
        """The one in the review is what the person looked at, should it differ from the row."""
        seen = self.review.review
        return seen.task if seen is not None and seen.task.id == task.id else task

    def explain_blocked(self) -> None:
        """Where nothing that is chosen is this person's to decide."""
        _, left_out = self._split_selection()
        if left_out:
            why = "; ".join(f"{task_title(task)}: {reason}" for task, reason in left_out)
            self.flash(f"Not yours to decide. {why}", warning=True)

    async def _decide(
        self, tasks: Sequence[Task], verdict: Verdict, reason: str, one_time_password: str | None = None
    ) -> DecisionBatchResult:
        """What was refused is told; for what the line was lost is for the caller to say."""
        client = await self.client()
        done: list[Task] = []
        refused: list[tuple[Task, SealyardError]] = []
        lost: Sequence[Task] = ()
        why = ""
        for number, each in enumerate(tasks):
            self.decided_in_session.add(each.id)
            try:
                decided = await client.decide(
                    each.id,
                    verdict,
                    reason,
                    digest=each.approval_digest,
                    origin=DecisionOrigin.TERMINAL,
                    one_time_password=one_time_password,
                )
                done.append(decided)
            except ServerUnreachableError as error:
                lost, why = tasks[number:], error_text(error)
                break
            except SealyardError as error:
                refused.append((each, error))
        self.table.clear_marks()
        self._tell(verdict, done, refused)
        self.reload()
        return DecisionBatchResult(done, lost, why)

    def _tell(self, verdict: Verdict, done: Sequence[Task], refused: Sequence[tuple[Task, SealyardError]]) -> None:
        if len(refused) == 1 and not done:
            self.sealyard.show_error(_explained(refused[0][1]))
        elif refused:
            self.app.push_screen(TextDialog("Not all of it was done", _format_results(verdict, done, refused)))
        elif len(done) == 1:
            self.flash(_outcome(verdict, done[0]))
        elif done:
            self.flash(f"{len(done)} tasks {_DONE[verdict]}; {_waiting(done)}")


def _explained(error: SealyardError) -> SealyardError:
    """A task that is another than the one looked at was read anew meanwhile."""
    if not isinstance(error, ConflictError):
        return error
    advice = " ".join(each for each in (app_hint(error), "The list and the review were read anew.") if each)
    return ConflictError(error.message, advice)


def _outcome(verdict: Verdict, task: Task) -> str:
    name = task_title(task)
    if verdict is Verdict.REJECTED:
        return f"{name} rejected"
    if task.status is TaskStatus.WAITING:
        count = len(valid_approvers(task, task.approvals))
        return f"{name}: {count} of {task.approvals_required}: waits for another"
    return f"{name} approved: it is {task.status}"


def _waiting(done: Sequence[Task]) -> str:
    count = sum(each.status is TaskStatus.WAITING for each in done)
    return f"{count} of them wait for another" if count else "none waits any more"


def _format_results(verdict: Verdict, done: Sequence[Task], refused: Sequence[tuple[Task, SealyardError]]) -> str:
    lines = [f"{len(done)} {_DONE[verdict]}, {len(refused)} refused", ""]
    lines += [f"✗ {task_title(task)}: {escape_text(error_text(error))}" for task, error in refused]
    lines += [f"✓ {_outcome(verdict, each)}" for each in done]
    return "\n".join(lines)
