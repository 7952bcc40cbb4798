"""The one family of errors: each tells a person what happened and what to do next.

``code`` is stable and machine-readable: it crosses the worker's pipe, the REST API and ``--json`` output.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from sealyard.model.base import FrozenStruct


class ErrorInfo(FrozenStruct, frozen=True, kw_only=True):
    """An error as plain data, to cross a process or network border."""

    code: str
    message: str
    hint: str = ""


class SealyardError(Exception):
    """Something a person can understand and act on.

    ``message`` says what happened, ``hint`` what to do next. Neither ever holds a secret.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = advice

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def to_info(self) -> ErrorInfo:
        return ErrorInfo(code=self.code, message=self.message, hint=self.hint)


class InvalidInputError(SealyardError):
    """A file or value given by a person cannot be used: missing, empty, changed, wrong digest, too large."""

    code = "input"


class UsageError(SealyardError):
    """A command or request makes no sense as written."""

    code = "usage"


class PermissionDeniedError(SealyardError):
    """The subject lacks the right; the refusal is in the audit log."""

    code = "not-allowed"


class NotFoundError(SealyardError):
    """No such task, device configuration, key, subject or rule, or none this subject may see.

    ``refused``: it is there, and not for this subject; the words are the same, and the audit log knows.
    """

    code = "not-found"

    def __init__(self, message: str, advice: str = "", *, refused: bool = False) -> None:
        super().__init__(message, advice)
        self.hidden = refused


class ConflictError(SealyardError):
    """The thing is in a state that does not admit the act (already decided, name taken, …)."""

    code = "conflict"


class AuthenticationError(SealyardError):
    """Nobody asks, or nobody who is known: no token, an unknown, expired or revoked one, or another tenant's."""

    code = "unauthenticated"


class OneTimePasswordError(SealyardError):
    """An approval wants a one-time password: none was given, it is wrong or used, or too many were tried."""

    code = "one-time-password"


class TooLargeError(SealyardError):
    """More bytes were sent than are taken here."""

    code = "too-large"


class TooManyRequestsError(SealyardError):
    """A token asks more often than it may. ``retry_after``: seconds until it may again."""

    code = "too-many-requests"

    def __init__(self, message: str, advice: str = "", *, retry_after: float = 1.0) -> None:
        super().__init__(message, advice)
        self.retry_after = retry_after


class DeliveryCertainty(StrEnum):
    """How far a request came that was not answered."""

    NOT_SENT = "nobody"  # nobody listens there: nothing was done
    BUSY = "busy"  # it still waited for a connection: nothing was done
    UNTRUSTED = "untrusted"  # who listens is not who it should be, and will not be soon: nothing was done
    UNKNOWN = "perhaps"  # it may have been done


class ServerUnreachableError(SealyardError):
    """The server does not answer: not there, cut off, too slow, or not what it should be."""

    code = "connection"

    def __init__(self, message: str, advice: str = "", *, reach: DeliveryCertainty = DeliveryCertainty.UNKNOWN) -> None:
        super().__init__(message, advice)
        self.reach = reach


class InvalidTransitionError(ConflictError):
    """A happening that is not in the task's table of transitions."""

    code = "transition"


class StaleTaskError(ConflictError):
    """The task was changed by another request while this one was being processed; nothing was stored."""

    code = "stale-task"


class InvariantError(SealyardError):
    """A change of a task would break an invariant of the life cycle; nothing was stored. A fault in Sealyard."""

    code = "invariant"


class ConfirmationRequiredError(SealyardError):
    """The act has a consequence that somebody must confirm first; the message says which."""

    code = "confirmation-needed"


class WaitTimeoutError(SealyardError):
    """The time to wait ended before the task did."""

    code = "still-waiting"


class WorkspaceLockedError(SealyardError):
    """Another process holds the workspace for writing."""

    code = "workspace-held"


class WorkspaceError(SealyardError):
    """The workspace is missing, of a newer format, or already there."""

    code = "workspace"


class KeyStoreLockedError(SealyardError):
    """The key store cannot be opened: no passphrase, a wrong one, or the OS keyring does not answer."""

    code = "key-store-locked"


class KeyStoreCorruptedError(SealyardError):
    """A file of the key store is not what was written there."""

    code = "key-store-damaged"


class InvalidKeyError(SealyardError):
    """A key does not fit what is asked of it: kind, purpose, size, or an unreadable key file."""

    code = "key-refused"


class StoreCorruptedError(SealyardError):
    """The journal holds a frame that does not check and is followed by good ones. Nothing was changed."""

    code = "store-damaged"


class IntegrityError(SealyardError):
    """A stored file is not what was approved or written: its contents differ, or its name leads to another file."""

    code = "integrity"


class StorageError(SealyardError):
    """The disk refused: full, read-only, or failing. What was asked was not done."""

    code = "storage"


class FormatLimitError(SealyardError):
    """The container format cannot hold what was asked."""

    code = "format-limit"


class ContainerError(SealyardError):
    """A container does not parse, verify or decrypt. ``part`` names where (``header``, ``segment 2``, …)."""

    code = "container"

    def __init__(self, message: str, advice: str = "", *, part: str = "") -> None:
        super().__init__(message, advice)
        self.part = part


class AuditVerificationError(SealyardError):
    """The audit log does not fit together; the message and ``seq`` name the first entry that does not."""

    code = "audit"

    def __init__(self, message: str, advice: str = "", *, seq: int | None = None) -> None:
        super().__init__(message, advice)
        self.seq = seq


class ResultExpiredError(SealyardError):
    """The link's time is over; while the artifact is kept the link can be renewed."""

    code = "result-expired"


class ResultGoneError(SealyardError):
    """The artifact was removed, at the end of its retention period or by hand."""

    code = "result-gone"


class DownloadError(SealyardError):
    """What came down is not, or not all of, what the task made."""

    code = "download"


class TaskFailedError(SealyardError):
    """The task ended FAILED or CANCELLED; the message is its reason."""

    code = "task-failed"


class WorkerError(SealyardError):
    """The crypto worker could not be started, died, or did not answer in time."""

    code = "worker"


def _subclasses_by_code(base: type[SealyardError]) -> dict[str, type[SealyardError]]:
    found = {base.code: base}
    for child in base.__subclasses__():
        found.update(_subclasses_by_code(child))
    return found


def error_from_info(value: ErrorInfo) -> SealyardError:
    """The error that was sent over a border; an unknown code becomes the base class."""
    return _subclasses_by_code(SealyardError).get(value.code, SealyardError)(value.message, value.hint)
