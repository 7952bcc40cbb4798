"""Rows of the approvals screen, and short reasons why a user cannot decide on a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

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
from sealyard_tui.widgets.sort_order import SortOrder

MAX_TIME = datetime.max.replace(tzinfo=UTC)

COLUMNS = (
    Column(key="name", title="NAME", width=20, min_width=13, max_width=60, grow=4),
    Column(key="kind", title="KIND", width=10, from_width=100, give_way=3),
    Column(key="device", title="DEVICE", width=10, max_width=24, grow=1),
    Column(key="requester", title="REQUESTER", width=9, max_width=24, grow=1, give_way=4),
    Column(key="age", title="AGE", width=4, right=True, give_way=1),
    Column(key="size", title="SIZE", width=9, right=True, give_way=2),
    Column(key="approvals", title="APPROVALS", width=9, right=True, give_way=5),
    Column(key="expires", title="EXPIRES", width=7, right=True, give_way=6),
    Column(key="you", title="YOU", width=11),
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


AGE = "age"

SORT_VALUES: Mapping[str, Callable[[Task, SessionState, datetime], Any]] = {
    "name": lambda task, *_: task_title(task).casefold(),
    "kind": lambda task, *_: task.kind,
    "device": lambda task, *_: task.config_name.casefold(),
    "requester": lambda task, state, _: format_subject_name(task.created_by, state.subject_names).casefold(),
    "size": lambda task, *_: task.total_bytes,
    "approvals": lambda task, *_: len(valid_approvers(task, task.approvals)),
    "expires": lambda task, *_: task.approval_expires_at or MAX_TIME,
    "you": get_blocked_reason,
}
"""Functions that return the value by which tasks are sorted, by column. Tasks can also be sorted by age."""

SORTABLE_COLUMNS = frozenset({AGE, *SORT_VALUES})


class PendingOrder(SortOrder, frozen=True, kw_only=True):
    """Sort order of the list: the newest tasks first by default, which is the order of the engine's pages."""

    column: str = AGE


def sort_tasks(tasks: Iterable[Task], order: SortOrder, state: SessionState, now: datetime) -> list[Task]:
    newest_first = sorted(tasks, key=lambda task: (task.created_at, task.id), reverse=True)
    if order.column == AGE:
        return newest_first[::-1] if order.descending else newest_first
    get_value = SORT_VALUES[order.column]
    return sorted(newest_first, key=lambda task: get_value(task, state, now), reverse=order.descending)


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
        return f"No pending tasks match the filter.\nPress {keys['screen.back']} to clear it."
    if show_all:
        return "No pending tasks.\nNew tasks appear here automatically."
    if not any(action is Action.APPROVE for _, action in state.rights):
        return (
            "You are not an approver for any device configuration.\nAsk an administrator for APPROVE "
            f"permission ({keys['app.access']} Access). Press {keys['approvals.all']} to show all pending tasks."
        )
    return (
        "Nothing to approve.\nNew tasks appear here automatically and are counted in the tab above. "
        f"Press {keys['approvals.all']} to show all pending tasks, including your own."
    )
