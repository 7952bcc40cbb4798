"""The exceptions that Sealyard raises. Each has a message for users and a hint on what to do next.

``code`` is stable and machine-readable. The worker's pipe, the REST API and the ``--json`` output carry it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from sealyard.model.error_base import ErrorInfo as ErrorInfo  # noqa: PLC0414 - re-exported
from sealyard.model.error_base import SealyardError as SealyardError  # noqa: PLC0414 - re-exported
from sealyard.model.hints import Hint


class InvalidInputError(SealyardError):
    """A file or value from the user cannot be used: missing, unreadable, empty, too large or malformed."""

    code = "input"
    is_audited = False


class InputMismatchError(InvalidInputError):
    """The content of an input is not the expected one: wrong digest or size, truncated, or changed after it was chosen.

    Unlike a mistake in the choice of a file, this can be a sign of manipulation.
    """

    code = "input-mismatch"
    is_audited = True


class UsageError(SealyardError):
    """A command or request is not valid as written."""

    code = "usage"
    is_audited = False


class PermissionDeniedError(SealyardError):
    """The subject lacks a permission. The refusal is recorded in the audit log."""

    code = "not-allowed"


class NotFoundError(SealyardError):
    """The task, device configuration, key, subject or rule does not exist, or the subject may not see it.

    ``hidden``: the object exists but the subject may not see it. The message is the same in both cases; the audit log
    records the difference.
    """

    code = "not-found"

    def __init__(self, message: str, hint: str | Hint = "", *, hidden: bool = False) -> None:
        super().__init__(message, hint)
        self.hidden = hidden
        self.is_audited = hidden


class ConflictError(SealyardError):
    """The action is not possible in the current state of the object (already decided, still in use, …)."""

    code = "conflict"


class AlreadyExistsError(ConflictError):
    """The object to create exists already, or its name is in use."""

    code = "already-exists"
    is_audited = False


class AuthenticationError(SealyardError):
    """The request is not authenticated: its token is missing, unknown, expired, revoked or of another tenant."""

    code = "unauthenticated"


class OneTimePasswordError(SealyardError):
    """The one-time password of an approval is missing, wrong or already used, or too many wrong ones were tried."""

    code = "one-time-password"


class TooLargeError(SealyardError):
    """The request contains more bytes than are accepted."""

    code = "too-large"


class TooManyRequestsError(SealyardError):
    """Too many requests were made with a token. ``retry_after``: seconds until the next request is accepted."""

    code = "too-many-requests"

    def __init__(self, message: str, hint: str | Hint = "", *, retry_after: float = 1.0) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class DeliveryCertainty(StrEnum):
    """Whether a request that was not answered may have been processed."""

    NOT_SENT = "not sent"  # no server listens at the address: not processed
    BUSY = "busy"  # the request was still waiting for a free connection: not processed
    UNTRUSTED = "untrusted"  # the server could not be authenticated, a retry will not help: not processed
    NOT_POSSIBLE = "not possible"  # the settings allow no connection, a retry will not help: not processed
    UNKNOWN = "unknown"  # the request may have been processed


class ServerUnreachableError(SealyardError):
    """The server does not answer: not running, disconnected, too slow, or not the expected server.

    ``reach``: whether the request may have been processed.
    """

    code = "connection"

    def __init__(
        self, message: str, hint: str | Hint = "", *, reach: DeliveryCertainty = DeliveryCertainty.UNKNOWN
    ) -> None:
        super().__init__(message, hint)
        self.reach = reach

    @property
    def is_permanent(self) -> bool:
        """Whether a retry is useless."""
        return self.reach in (DeliveryCertainty.UNTRUSTED, DeliveryCertainty.NOT_POSSIBLE)


class IssuerUnreachableError(ServerUnreachableError):
    """The issuer of a token is unreachable, so that the token cannot be verified or refreshed now.

    The token may be valid, and the request was not processed. ``retry_after``: seconds until it can be repeated.
    """

    code = "issuer-unreachable"

    def __init__(self, message: str, hint: str | Hint = "", *, retry_after: float = 1.0) -> None:
        super().__init__(message, hint, reach=DeliveryCertainty.NOT_SENT)
        self.retry_after = retry_after


class OutcomeUnknownError(ServerUnreachableError):
    """A request was interrupted while another server took over the workspace. It may have been processed."""

    code = "outcome-unknown"


class TakingOverError(SealyardError):
    """No server has the workspace open, because another one is taking over. The request was not processed.

    ``retry_after``: seconds until it can be repeated.
    """

    code = "taking-over"
    is_audited = False
    retry_after: ClassVar[float] = 1.0


class InvalidTransitionError(ConflictError):
    """The task does not accept the trigger: its status, fencing token or recorded intent does not allow it."""

    code = "transition"


class StaleTaskError(ConflictError):
    """Another request changed the task while this request was being processed; nothing was stored."""

    code = "stale-task"


class InvariantError(SealyardError):
    """A change of a task would violate an invariant of the life cycle; nothing was stored. Always a bug in Sealyard."""

    code = "invariant"


class ConfirmationRequiredError(SealyardError):
    """The action has a consequence, named in the message, that the user must confirm first."""

    code = "confirmation-needed"
    is_audited = False


class WaitTimeoutError(SealyardError):
    """The timeout expired before the task finished."""

    code = "still-waiting"


class WorkspaceLockedError(SealyardError):
    """Another process has the workspace open for writing."""

    code = "workspace-held"


class WorkspaceError(SealyardError):
    """The workspace does not exist, has a newer format, or exists already."""

    code = "workspace"


class KeyStoreLockedError(SealyardError):
    """The key store cannot be opened: the passphrase is missing or wrong, or the OS keyring does not answer."""

    code = "key-store-locked"


class KeyStoreCorruptedError(SealyardError):
    """A file of the key store is damaged: it differs from what Sealyard wrote."""

    code = "key-store-damaged"


class InvalidKeyError(SealyardError):
    """A key has the wrong kind, purpose or size for the operation, or a key file cannot be read."""

    code = "key-refused"


class KeyProviderError(SealyardError):
    """A key provider is not configured correctly, or failed. A retry without a change does not help."""

    code = "key-provider"


class KeyProviderUnavailableError(KeyProviderError):
    """A key provider cannot be used at the moment: its process has ended or does not answer. A retry can help."""

    code = "key-provider-unavailable"


class StoreCorruptedError(SealyardError):
    """The journal contains an invalid frame that is followed by valid ones. Nothing was changed."""

    code = "store-damaged"


class ConcurrentWriterError(SealyardError):
    """Another process changed a file of this workspace. The process that notices writes nothing more to it."""

    code = "concurrent-writer"


class FencedError(ConcurrentWriterError):
    """Another engine has taken over the workspace, or its database lost commits. This engine writes nothing more.

    ``started``: whether the request had started, so that it may have taken effect.
    """

    code = "fenced"

    def __init__(self, message: str, hint: str | Hint = "", *, started: bool = True) -> None:
        super().__init__(message, hint)
        self.started = started


class IntegrityError(SealyardError):
    """A stored file is not the one that was approved or written.

    Its contents have changed, or its name refers to another file.
    """

    code = "integrity"


class StorageError(SealyardError):
    """Writing failed because the disk is full, read-only or faulty. The operation was not performed."""

    code = "storage"


class DiskFullError(StorageError):
    """Writing failed because the disk is full."""

    code = "disk-full"


class ArtifactStoreError(StorageError):
    """The object store of inputs and results cannot be used: it does not answer, is full, or refuses the request.

    The operation was not performed. A retry can help, without a change or after one by an administrator of the store.
    """

    code = "artifact-store"


class WorkspaceReadOnlyError(StorageError):
    """The workspace cannot be changed: it is open read-only, on a read-only disk, or not writable for this account."""

    code = "workspace-read-only"


class ClockError(SealyardError):
    """The system clock is ahead of the expected time, so that nothing irreversible is done because of it."""

    code = "clock"


class FormatLimitError(SealyardError):
    """The request exceeds the limits of the container format."""

    code = "format-limit"
    is_audited = False


class ContainerError(SealyardError):
    """A container cannot be parsed, verified or decrypted.

    ``part``: the affected part of the container (``header``, ``segment 2``, …).
    """

    code = "container"

    def __init__(self, message: str, hint: str | Hint = "", *, part: str = "") -> None:
        super().__init__(message, hint)
        self.part = part


class AuditVerificationError(SealyardError):
    """The audit log is inconsistent. The message and ``seq`` identify the first entry that does not match."""

    code = "audit"

    def __init__(self, message: str, hint: str | Hint = "", *, seq: int | None = None) -> None:
        super().__init__(message, hint)
        self.seq = seq


class ResultExpiredError(SealyardError):
    """The link of a result has expired. It can be renewed until the artifact is removed."""

    code = "result-expired"


class ResultGoneError(SealyardError):
    """The artifact of a result was removed, either at the end of its retention period or by a user."""

    code = "result-gone"


class DownloadError(SealyardError):
    """The downloaded data is incomplete or differs from the result of the task."""

    code = "download"


class TaskFailedError(SealyardError):
    """The task ended as FAILED or CANCELLED; the message is the reason."""

    code = "task-failed"


class WorkerError(SealyardError):
    """The crypto worker could not be started, died, or did not answer in time."""

    code = "worker"


class ZoneUnavailableError(SealyardError):
    """The crypto zone cannot be used: it is not admitted, its bus database does not answer, or no host is running."""

    code = "zone-unavailable"


class WorkerStateError(SealyardError):
    """The worker state, which records what was signed, is missing, damaged or was changed. Nothing is signed."""

    code = "worker-state"


class AnchorError(SealyardError):
    """The workspace does not match its freshness anchor: an older or another copy, or no anchor. Nothing is signed."""

    code = "anchor"


def _subclasses_by_code(base: type[SealyardError]) -> dict[str, type[SealyardError]]:
    """Return the classes by code. A class that has the code of its base class is left out."""
    classes = {base.code: base}
    for subclass in base.__subclasses__():
        classes = _subclasses_by_code(subclass) | classes
    return classes


def error_from_info(info: ErrorInfo) -> SealyardError:
    """Return the exception for an error that another process or a server sent.

    If the code is unknown, the exception is a plain :class:`SealyardError`.
    """
    return _subclasses_by_code(SealyardError).get(info.code, SealyardError)(info.message, info.structured_hint)
