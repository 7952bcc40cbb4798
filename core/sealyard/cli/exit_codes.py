"""The exit codes of the ``sealyard`` command. They must not change, because scripts rely on them."""

from __future__ import annotations

from enum import IntEnum

from sealyard.model.errors import (
    AuthenticationError,
    ConfirmationRequiredError,
    IssuerUnreachableError,
    KeyStoreLockedError,
    NotFoundError,
    OneTimePasswordError,
    PermissionDeniedError,
    ResultExpiredError,
    ResultGoneError,
    SealyardError,
    ServerUnreachableError,
    UsageError,
    WaitTimeoutError,
    WorkspaceLockedError,
)
from sealyard.model.tasks import Task, TaskStatus


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_ALLOWED = 3
    NOT_FOUND = 4
    TIMED_OUT = 5
    WORKSPACE_LOCKED = 6
    KEY_STORE_LOCKED = 7
    RESULT_EXPIRED = 8
    RESULT_GONE = 9
    SERVER_UNREACHABLE = 10
    REJECTED = 11
    CANCELLED = 12
    INTERRUPTED = 130
    PIPE_CLOSED = 141


DESCRIPTIONS: dict[ExitCode, str] = {
    ExitCode.OK: "success",
    ExitCode.FAILED: "failed, or verification failed",
    ExitCode.USAGE: "invalid usage, or confirmation required (--yes)",
    ExitCode.NOT_ALLOWED: "permission denied, no valid token, or a one-time password is required",
    ExitCode.NOT_FOUND: "not found",
    ExitCode.TIMED_OUT: "timed out waiting for the task",
    ExitCode.WORKSPACE_LOCKED: "the workspace is locked by another process",
    ExitCode.KEY_STORE_LOCKED: "the key store is locked: no passphrase, or a wrong one",
    ExitCode.RESULT_EXPIRED: "the link of the result has expired; renew it",
    ExitCode.RESULT_GONE: "the result was removed at the end of its retention period",
    ExitCode.SERVER_UNREACHABLE: "the server does not respond",
    ExitCode.REJECTED: "an approver rejected the task",
    ExitCode.CANCELLED: "the task was withdrawn or cancelled",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.PIPE_CLOSED: "standard output was closed",
}
"""The table that ``sealyard help exit-codes`` prints. core/sealyard/cli/README.md contains the same table."""

_CODES: dict[type[SealyardError], ExitCode] = {
    UsageError: ExitCode.USAGE,
    ConfirmationRequiredError: ExitCode.USAGE,
    PermissionDeniedError: ExitCode.NOT_ALLOWED,
    AuthenticationError: ExitCode.NOT_ALLOWED,
    OneTimePasswordError: ExitCode.NOT_ALLOWED,
    NotFoundError: ExitCode.NOT_FOUND,
    WaitTimeoutError: ExitCode.TIMED_OUT,
    WorkspaceLockedError: ExitCode.WORKSPACE_LOCKED,
    KeyStoreLockedError: ExitCode.KEY_STORE_LOCKED,
    ResultExpiredError: ExitCode.RESULT_EXPIRED,
    ResultGoneError: ExitCode.RESULT_GONE,
    ServerUnreachableError: ExitCode.SERVER_UNREACHABLE,
    IssuerUnreachableError: ExitCode.SERVER_UNREACHABLE,
}


_CODES_BY_REASON = {
    "rejected": ExitCode.REJECTED,
    "withdrawn": ExitCode.CANCELLED,
    "cancelled": ExitCode.CANCELLED,
}
"""The exit codes of tasks that a person ended, by reason code. Others, such as an expired approval, are failures."""


def exit_code_for_error(error: SealyardError) -> ExitCode:
    return _CODES.get(type(error), ExitCode.FAILED)


def exit_code_for_task(task: Task) -> ExitCode:
    """Return the exit code for a task. A task that waits for approval or for a worker is not a failure."""
    if task.status is TaskStatus.CANCELLED:
        return _CODES_BY_REASON.get(task.reason_code, ExitCode.FAILED)
    return ExitCode.FAILED if task.status is TaskStatus.FAILED else ExitCode.OK
