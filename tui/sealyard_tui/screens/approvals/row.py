"""Rows of the approvals screen, and short reasons why a user cannot decide on a task."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from textual.content import Content

from sealyard.model.access import Action, device_resource
from sealyard.model.approval import DecisionBlocker, decision_blocker, valid_approvers
from sealyard.model.formatting import format_size
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import format_subject_name
from sealyard.model.tasks import Task
from sealyard_tui.formatting import format_age, short_duration, task_title
from sealyard_tui.session.state import SessionState
from sealyard_tui.widgets.columns import Cell, Column

COLUMNS = (
    Column(title="NAME", width=13, grow=4),
    Column(title="KIND", width=10, from_width=100),
    Column(title="DEVICE", width=10, grow=1),
    Column(title="REQUESTER", width=9, grow=1),
    Column(title="AGE", width=4, right=True, from_width=83),
    Column(title="SIZE", width=9, right=True),
    Column(title="APPROVALS", width=9, right=True),
    Column(title="EXPIRES", width=7, right=True),
    Column(title="YOU", width=11),
)

EXPIRY_WARNING = 24 * 3600
"""Remaining approval period, in seconds, below which the time left is shown as a warning."""

EXPIRED_TEXT = "expired"
LOADING_TEXT = "Loading …"

_BLOCKER_TEXTS = {
    DecisionBlocker.EXPIRED: EXPIRED_TEXT,
    DecisionBlocker.OWN_TASK: "own task",
    DecisionBlocker.NOT_A_PERSON: "not a user",
    DecisionBlocker.ALREADY_DECIDED: "decided",
    DecisionBlocker.NO_PERMISSION: "no access",
}


def get_blocked_reason(task: Task, state: SessionState, now: datetime) -> str:
    """Return a short reason why the user cannot decide on the task; empty if no reason is known.

    The engine makes the final decision; the review shows its reason (:attr:`ApprovalReview.blocked_reason`).
    """
    may_approve = state.is_allowed(Action.APPROVE, device_resource(task.config_id))
    # The deadline is checked last, so that a task the user could never have decided on is not shown as expired.
    blocker = decision_blocker(task, state.identity, task.created_at, may_approve=may_approve)
    if blocker is DecisionBlocker.NOT_WAITING:
        return task.status.lower()
    if blocker is not None:
        return _BLOCKER_TEXTS[blocker]
    return EXPIRED_TEXT if is_timed_out(task, now) else ""


def is_timed_out(task: Task, now: datetime) -> bool:
    return task.approval_expires_at is not None and now >= task.approval_expires_at


def format_quorum(task: Task) -> str:
    return f"{len(valid_approvers(task, task.approvals))}/{task.approvals_required}"


def render_cells(task: Task, state: SessionState, now: datetime, change_mark: str = "") -> tuple[Cell, ...]:
    """Return the cells of a row. ``change_mark``: the mark of a pending change of the task; empty if there is none."""
    return (
        _format_name(task),
        task.kind,
        escape_text(f"{task.config_name} v{task.config_version}"),
        escape_text(format_subject_name(task.created_by, state.subject_names)),
        format_age(task.created_at, now),
        format_size(task.total_bytes),
        format_quorum(task),
        _format_time_left(task, now),
        Content.styled(change_mark, "$warning") if change_mark else _format_decision(task, state, now),
    )


def _format_name(task: Task) -> Content:
    trial_mark = Content.styled("TRIAL ", "$error") if task.self_approved else ""
    warning_mark = Content.styled("! ", "$warning") if task.warning else ""
    return Content.assemble(trial_mark, warning_mark, Content(task_title(task)))


def _format_time_left(task: Task, now: datetime) -> Content:
    if task.approval_expires_at is None:
        return Content("")
    if is_timed_out(task, now):
        return Content.styled(EXPIRED_TEXT, "$error")
    seconds = (task.approval_expires_at - now).total_seconds()
    return Content.styled(short_duration(seconds), "$warning" if seconds < EXPIRY_WARNING else "")


def _format_decision(task: Task, state: SessionState, now: datetime) -> Content:
    if not state.has_permissions:
        return Content.styled("…", "$text-muted")
    reason = get_blocked_reason(task, state, now)
    return Content.styled(f"✗ {reason}", "$text-muted") if reason else Content.styled("✓ approve", "$success")


def format_empty_text(state: SessionState, keys: Mapping[str, str], *, show_all: bool, is_filtered: bool) -> str:
    """Return the text to show in an empty list, including what the user can do.

    ``keys``: the keys bound to actions, by binding id. ``show_all``: whether the list includes tasks that the user
    cannot approve.
    """
    if not state.has_permissions:
        return LOADING_TEXT
    if is_filtered:
        return f"No pending tasks match the filter. Press {keys['screen.back']} to clear it."
    if show_all:
        return "No pending tasks. New tasks appear here automatically."
    if not any(action is Action.APPROVE for _, action in state.rights):
        return (
            "You are not an approver for any device configuration. Ask an administrator for APPROVE "
            f"permission ({keys['app.access']} Access). Press {keys['approvals.all']} to show all pending tasks."
        )
    return (
        "Nothing to approve. New tasks appear here automatically and are counted in the tab above. "
        f"Press {keys['approvals.all']} to show all pending tasks, including your own."
    )
