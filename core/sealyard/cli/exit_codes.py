"""The exit codes of the `sealyard` command; scripts rely on them."""

from __future__ import annotations

from enum import IntEnum

from sealyard.model.errors import (
    AuthenticationError,
    ConfirmationRequiredError,
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
    INTERRUPTED = 130
    PIPE_CLOSED = 141


HELP = """\
exit codes:
  0  done
  1  failed, or does not verify
  2  usage: the command makes no sense as written, or wants confirmation (--yes)
  3  not allowed: no such right, no valid token, or no one-time password where one is wanted
  4  not found
  5  still waiting when --timeout ended
  6  the workspace is held by another writer
  7  the key store is locked: no passphrase, or a wrong one
  8  the result's link has expired: renew it
  9  the result is gone: its retention period is over
  10  the server does not answer
  130  interrupted"""

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
}


def exit_code_for_error(error: SealyardError) -> ExitCode:
    return _CODES.get(type(error), ExitCode.FAILED)


def exit_code_for_task(task: Task) -> ExitCode:
    """A task that waits for people or a worker is no failure."""
    return ExitCode.FAILED if task.status in (TaskStatus.FAILED, TaskStatus.CANCELLED) else ExitCode.OK
