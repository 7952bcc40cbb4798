"""The texts of notifications. They contain names of packages and people only if the settings allow it."""

from __future__ import annotations

from collections.abc import Sequence

from sealyard.model.base import FrozenStruct
from sealyard.model.certificate_notices import CertificateNotice
from sealyard.model.events import TaskChanged
from sealyard.model.formatting import format_count, format_time
from sealyard.model.notifications import NotificationEvent, notification_event
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Task, TaskKind, TaskStatus, Verdict

MAX_LISTED = 20
"""Maximum number of requests that one message describes; the rest are counted."""

MAX_NAME_LENGTH = 200

_NOUNS = {
    TaskKind.PACKAGING: "package",
    TaskKind.ENCRYPTION: "encryption request",
    TaskKind.SIGNING: "signing request",
}
_MARKUP = str.maketrans({"<": "‹", ">": "›", "@": "＠"})
"""Characters with which a name could mention people or insert links in a chat, and their replacements."""


class TaskNotice(FrozenStruct, frozen=True, kw_only=True):
    """A change to report, and the task as it is now."""

    change: TaskChanged
    task: Task

    @property
    def event(self) -> NotificationEvent:
        event = notification_event(self.change.notification)
        assert event is not None
        return event


class ExpiryNotice(FrozenStruct, frozen=True, kw_only=True):
    """A certificate that expires soon, and the names of the device configurations that use its key."""

    certificate: CertificateNotice
    config_names: tuple[str, ...]


Notice = TaskNotice | ExpiryNotice


def build_title(notices: Sequence[Notice]) -> str:
    """Return the subject line of a message about one or more changes."""
    if len(notices) == 1:
        return _format_headline(notices[0])
    task_notices = [notice for notice in notices if isinstance(notice, TaskNotice)]
    task_count = len({notice.task.id for notice in task_notices})
    if len(task_notices) < len(notices):
        return format_count(len(notices), "notification")
    if {notice.event for notice in task_notices} <= {NotificationEvent.WAITING, NotificationEvent.REMINDER}:
        return f"{format_count(task_count, 'request')} waiting for approval"
    return f"{format_count(len(notices), 'notification')} about {format_count(task_count, 'request')}"


def build_body(notices: Sequence[Notice], workspace: str, *, show_names: bool) -> str:
    """Return the text of a message about one or more changes."""
    blocks = ["\n".join(_describe(notice, show_names=show_names)) for notice in notices[:MAX_LISTED]]
    if len(notices) > MAX_LISTED:
        blocks.append(f"And {len(notices) - MAX_LISTED} more.")
    return "\n\n".join((*blocks, build_footer(workspace)))


def build_footer(workspace: str) -> str:
    return f"Workspace: {_quote(workspace)}\nManage notifications: sealyard notification list"


def build_test_texts(workspace: str) -> tuple[str, str]:
    """Return title and body of a test message."""
    return "Test message", f"Notifications to this address work.\n\n{build_footer(workspace)}"


def _describe(notice: Notice, *, show_names: bool) -> list[str]:
    if isinstance(notice, ExpiryNotice):
        return _describe_expiry(notice)
    task = notice.task
    lines = [f"{_format_headline(notice)}.", f"Task: {task.id}"]
    if show_names:
        lines += [f"Name: {_quote(task.name)}", f"Requested by: {_quote(task.created_by)}"]
        if reason := _find_reason(notice):
            lines.append(f"Reason: {_quote(reason)}")
    if task.status is TaskStatus.WAITING and notice.event is not NotificationEvent.DECISION:
        lines.append(f"Approval period ends: {format_time(task.approval_expires_at)}")
        lines.append(f"Review and decide: sealyard show {task.id}, or the application's screen Approvals")
    else:
        lines.append(f"Details: sealyard show {task.id}")
    return lines


def _describe_expiry(notice: ExpiryNotice) -> list[str]:
    uri = _quote(notice.certificate.uri)
    return [
        f"{_format_headline(notice)}.",
        f"Used by: {', '.join(map(_quote, notice.config_names))}",
        f"Request another certificate: sealyard key csr {uri}",
        f"Import it: sealyard key certificate {uri} --chain FILE",
    ]


def _format_headline(notice: Notice) -> str:
    """Return a sentence without its full stop."""
    if isinstance(notice, ExpiryNotice):
        return _quote(notice.certificate.text)
    task = notice.task
    noun = f"{_NOUNS[task.kind]} for {_quote(task.config_name)}"
    article = "An" if task.kind is TaskKind.ENCRYPTION else "A"
    match notice.event:
        case NotificationEvent.WAITING:
            return f"{article} {noun} waits for your approval"
        case NotificationEvent.REMINDER:
            return f"Reminder: {article.lower()} {noun} still waits for your approval"
        case NotificationEvent.ESCALATION:
            return f"{article} {noun} is still not approved, and its approval period ends soon"
        case NotificationEvent.DECISION:
            return f"{article} {noun} was {_format_decision(notice)}"
    if task.status is TaskStatus.CANCELLED:
        return f"{article} {noun} was cancelled before it was released"
    return f"{article} {noun} has failed"


def _format_decision(notice: TaskNotice) -> str:
    decision = notice.change.decision
    if decision is not None and decision.verdict is Verdict.REJECTED:
        return "rejected"
    return "approved; more approvals are required" if notice.change.status is TaskStatus.WAITING else "approved"


def _find_reason(notice: TaskNotice) -> str:
    if notice.event is NotificationEvent.DECISION:
        return notice.change.decision.reason if notice.change.decision is not None else ""
    return notice.task.reason if notice.event is NotificationEvent.FAILURE else ""


def _quote(text: str) -> str:
    """Return untrusted text for a message: one line, of limited length, without markup of chat services."""
    return escape_text(text, MAX_NAME_LENGTH).translate(_MARKUP)
