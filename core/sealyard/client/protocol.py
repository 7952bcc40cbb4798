"""The client protocol: every operation a front end can request, from an engine in this process or from a server.

Every method can be called from any asyncio loop and raises only errors of :mod:`sealyard.model.errors`. The engine
checks permissions for the client's subject. If a call that modifies the workspace is cancelled, the change is either
complete or not made; repeat the request with the same client token to find out which. A cancelled upload or download
leaves no partial state that would break a later one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Protocol

from sealyard.client.key_protocol import KeyClient
from sealyard.client.messaging_protocol import NotificationClient, WebhookClient
from sealyard.client.zone_protocol import ZoneClient
from sealyard.model.access import AclRule, Action, Membership, Subject, SubjectState
from sealyard.model.audit import AuditFilter, AuditReport
from sealyard.model.clock import ClockConfirmation
from sealyard.model.credentials import (
    AccessToken,
    IssuedToken,
    OtpEnrollment,
    OtpStatus,
    TokenRequest,
)
from sealyard.model.device_configs import DeviceCertificate, DeviceConfig
from sealyard.model.events import Event
from sealyard.model.policy import Policy
from sealyard.model.requests import (
    AccessControlList,
    ApprovalReview,
    AuditPage,
    DeviceRequest,
    DeviceUpdate,
    EncryptionRequest,
    PackageRequest,
    RequestCheck,
    SigningRequest,
    TaskCounts,
    TaskFilter,
    TaskPage,
    WorkspaceInfo,
)
from sealyard.model.tasks import DecisionOrigin, InputFile, Task, Verdict

ProgressCallback = Callable[[int, int], None]
"""Called with the number of bytes processed and the total, at most ten times a second and once at the end.

The call may come from any thread.
"""


class TaskClient(Protocol):
    """Operations to create tasks, follow them, and approve or reject them."""

    async def upload(
        self, path: Path, *, expected_sha256: str | None = None, progress: ProgressCallback | None = None
    ) -> InputFile:
        """Upload a file and return its name, size and digest. The file is stored under its digest.

        ``expected_sha256`` is in hex. Raises :class:`InvalidInputError` if the file cannot be read, changes while it is
        read or does not match ``expected_sha256``, and :class:`StorageError` if it cannot be stored.
        """
        ...

    async def discard_uploads(self, files: tuple[InputFile, ...]) -> None:
        """Delete those uploads of ``files`` that no task uses; keep the others."""
        ...

    async def create_package(self, request: PackageRequest) -> Task: ...
    async def create_encryption(self, request: EncryptionRequest) -> Task: ...
    async def create_signing(self, request: SigningRequest) -> Task: ...

    async def check_package(self, request: PackageRequest) -> RequestCheck:
        """Check a request without creating a task, and raise the error that :meth:`create_package` would raise.

        Nothing is stored, and the files need not be uploaded: :func:`sealyard.client.hashing_reader.hash_file` returns
        them as input files.
        """
        ...

    async def check_encryption(self, request: EncryptionRequest) -> RequestCheck:
        """Like :meth:`check_package`, for :meth:`create_encryption`."""
        ...

    async def check_signing(self, request: SigningRequest) -> RequestCheck:
        """Like :meth:`check_package`, for :meth:`create_signing`."""
        ...

    async def task(self, task_id: str) -> Task:
        """Return the task with this id, or with this prefix of an id if it is unique."""
        ...

    async def tasks(self, filters: TaskFilter, *, after: str | None = None, limit: int = 100) -> TaskPage:
        """Return a page of at most ``limit`` tasks that match ``filters``, starting at the cursor ``after``.

        The page's ``total`` is set unless the filter has ``text`` or ``awaiting_my_approval``, or a read-only client
        filters by result state.
        """
        ...

    async def counts(self) -> TaskCounts:
        """Return the exact number of tasks that this subject may view. Fast for any number of tasks."""
        ...

    async def review(self, task_id: str) -> ApprovalReview: ...
    async def decide(
        self,
        task_id: str,
        verdict: Verdict,
        reason: str = "",
        *,
        digest: str | None = None,
        origin: DecisionOrigin = DecisionOrigin.MACHINE,
        one_time_password: str | None = None,
    ) -> Task:
        """Approve or reject a task.

        ``digest`` is the approval digest that the approver reviewed; the decision is rejected if the task's digest
        differs. ``origin`` is recorded with the decision. Raises :class:`OneTimePasswordError` if the policy requires
        one-time passwords for approvals and ``one_time_password`` is missing or invalid.
        """
        ...

    async def withdraw(self, task_id: str, reason: str) -> Task: ...
    async def cancel(self, task_id: str) -> Task: ...
    async def wait(self, task_id: str, *, within: float | None = None, or_waiting: bool = False) -> Task:
        """Wait until the task has a final status (or, with ``or_waiting``, waits for approvals) and return the task.

        Raises :class:`WaitTimeoutError` if this takes longer than ``within`` seconds.
        """
        ...


class ResultClient(Protocol):
    """Operations to download results and certificates, and to renew download links."""

    async def renew(self, task_id: str) -> Task:
        """Create a new download link for a result whose link has expired, and return the task.

        Raises :class:`ResultGoneError` if the artifact was deleted.
        """
        ...

    def download(self, task_id: str, *, offset: int = 0) -> AsyncIterator[bytes]:
        """Yield the content of the task's artifact from byte ``offset`` on.

        Raises :class:`ResultExpiredError` if the link has expired, and :class:`ResultGoneError` if the artifact was
        deleted.
        """
        ...

    async def report_downloaded(self, task_id: str) -> None:
        """Report, for the audit log, that the artifact was downloaded completely and verified."""
        ...

    async def certificate(self, task_id: str) -> str:
        """Return the certificate (PEM) of the key that signed the task's result."""
        ...


class AdministrationClient(Protocol):
    """Operations to manage device configurations, subjects, access rules and the policy."""

    async def devices(self) -> tuple[DeviceConfig, ...]:
        """Return the newest version of each device configuration that this subject may view."""
        ...

    async def device(self, config: str, version: int | None = None) -> DeviceConfig: ...
    async def create_device(self, request: DeviceRequest) -> DeviceConfig: ...
    async def update_device(self, request: DeviceUpdate) -> DeviceConfig: ...
    async def device_certificates(self, config: str, version: int | None = None) -> tuple[DeviceCertificate, ...]:
        """Return the certificates of the keys of a device configuration, by default those of its newest version.

        Symmetric keys have no certificate.
        """
        ...

    async def export_device_key(
        self, config: str, path: Path, *, encryption_key: str | None = None, confirmed: bool = False
    ) -> Path:
        """Write a symmetric key for provisioning devices to the file ``path``, and return the path.

        ``encryption_key``: name or URI of the key; by default the first one. The export is audited. Raises
        :class:`ConfirmationRequiredError` unless ``confirmed`` is set.
        """
        ...

    async def access(self) -> AccessControlList: ...
    async def subject_names(self) -> Mapping[str, str]:
        """Return the display names of subjects, by subject; subjects without one are missing.

        Every subject of the workspace may read them. :class:`WorkspaceChanged` of a SUBJECT reports changes.
        """
        ...

    async def identities(self) -> tuple[str, ...]:
        """Return the users that the caller can act as without further authentication, sorted.

        These are all users in a workspace on this machine, and only the caller's own subject on a server.
        """
        ...

    async def add_subject(self, subject: str, display_name: str = "") -> Subject: ...
    async def set_subject_state(
        self, subject: str, state: SubjectState, reason: str = "", *, confirmed: bool = False
    ) -> Subject:
        """Disable, enable or remove a subject, and return it. Requires permission to add subjects.

        A subject that is not active is refused everywhere, and a group grants nothing; approvals of waiting tasks no
        longer count. ``reason`` is required to disable or remove a subject. Removal also deletes its rules,
        memberships, access tokens and one-time password. A removed subject is enabled again without them.

        Raises :class:`ConfirmationRequiredError` if ``confirmed`` is false and the change is a removal, revokes
        approvals or breaks a quorum; :class:`PermissionDeniedError` for the caller itself; and :class:`ConflictError`
        if no administrator would be left.
        """
        ...

    async def unlink_subject(self, subject: str) -> None:
        """Remove the link between the subject and its account at an identity provider, and revoke its access tokens.

        Raises :class:`ConflictError` while the subject is involved in a task that waits for approvals.
        """
        ...

    async def add_member(self, group: str, member: str, *, confirmed: bool = False) -> Membership: ...
    async def remove_member(self, group: str, member: str, *, confirmed: bool = False) -> None: ...
    async def add_rule(self, subject: str, resource: str, action: Action, *, confirmed: bool = False) -> AclRule:
        """Add an access rule.

        Raises :class:`ConfirmationRequiredError`, like every change to members and rules, if ``confirmed`` is false and
        too few approvers would remain for the quorum of a device configuration.
        """
        ...

    async def remove_rule(self, rule_id: str, *, confirmed: bool = False) -> None:
        """Remove an access rule. Raises :class:`PermissionDeniedError` for the initial administrator's rules."""
        ...

    async def policy(self) -> Policy: ...
    async def set_policy(self, policy: Policy) -> Policy: ...


class AuditClient(Protocol):
    """Operations to read, verify and export the audit log."""

    async def audit(self, filters: AuditFilter, *, below: int | None = None, limit: int = 100) -> AuditPage: ...
    async def verify_audit(
        self, *, checkpoint: str | None = None, progress: ProgressCallback | None = None
    ) -> AuditReport:
        """Verify the whole audit log against its checkpoints and return a report.

        ``checkpoint`` is an additional signed note, which was stored outside the workspace. Raises
        :class:`AuditVerificationError` if the log is inconsistent or does not match a checkpoint.
        """
        ...

    async def prove_audit_entry(self, seq: int) -> str:
        """Return the proof that the newest checkpoint covers an audit entry, as a C2SP ``tlog-proof``.

        Raises :class:`NotFoundError` if the entry does not exist, and :class:`ConflictError` if no checkpoint covers it
        yet.
        """
        ...

    async def prove_audit_consistency(self, old_size: int, size: int | None = None) -> str:
        """Return the proof that the log of a checkpoint starts with its first ``old_size`` entries.

        ``size`` is that of the checkpoint, None for the newest one. The result is the body of a C2SP ``add-checkpoint``
        request. Raises :class:`NotFoundError` if there is no such checkpoint, and :class:`UsageError` if ``old_size``
        is not between 1 and its size.
        """
        ...

    async def audit_key(self) -> str:
        """Return the public key (PEM, Ed25519) that verifies the checkpoints of the audit log."""
        ...

    def export_audit(self, kind: str, filters: AuditFilter | None = None) -> AsyncIterator[str]:
        """Yield audit entries as text, oldest entry first.

        ``kind`` is ``jsonl`` or ``csv``. ``filters`` selects the entries, by default all. The hash chain can be
        verified only in an export of all entries.
        """
        ...


class CredentialClient(Protocol):
    """Operations to manage access tokens for the server and one-time passwords for approvals."""

    async def tokens(self) -> tuple[AccessToken, ...]:
        """Return the subject's own access tokens, or all access tokens if the subject may add subjects.

        The newest token is first. Expired and revoked tokens are included.
        """
        ...

    async def create_token(self, request: TokenRequest) -> IssuedToken:
        """Create an access token.

        A subject authenticated with an access token of this server cannot create a token for itself that expires
        later, unless it may add subjects. A subject authenticated with an issuer's token cannot create a token for
        itself at all. Raises :class:`PermissionDeniedError` in these cases.
        """
        ...

    async def revoke_token(self, token_id: str) -> None:
        """Permanently revoke one of the subject's access tokens, or any token if the subject may add subjects."""
        ...

    async def one_time_password(self) -> OtpStatus:
        """Return whether the subject has enrolled for one-time passwords, and whether their use is locked."""
        ...

    async def enroll_otp(self, current: str | None = None) -> OtpEnrollment:
        """Start the subject's enrollment for one-time passwords.

        The enrollment takes effect with :meth:`confirm_one_time_password`.

        ``current`` is a valid one-time password, required if the subject is already enrolled.
        """
        ...

    async def confirm_one_time_password(self, password: str) -> None:
        """Complete the enrollment with a first one-time password.

        Raises :class:`OneTimePasswordError` if the password is wrong.
        """
        ...

    async def reset_one_time_password(self, subject: str) -> None:
        """Delete another subject's enrollment for one-time passwords. Requires permission to add subjects.

        Raises :class:`PermissionDeniedError` for the caller's own enrollment.
        """
        ...


class Client(
    TaskClient,
    ResultClient,
    AdministrationClient,
    KeyClient,
    AuditClient,
    CredentialClient,
    WebhookClient,
    NotificationClient,
    ZoneClient,
    Protocol,
):
    """All operations, on behalf of one subject."""

    async def workspace(self) -> WorkspaceInfo: ...

    async def confirm_clock(self, *, confirmed: bool = False) -> ClockConfirmation:
        """Confirm that the engine's system clock is right, so that changes no longer wait until it is trusted.

        Has no effect if the clock is trusted already. Requires permission to update the policy. Raises
        :class:`ConfirmationRequiredError`, whose message contains the system time, if the clock is not trusted and
        ``confirmed`` is false.
        """
        ...

    async def cursor(self) -> int:
        """Return the cursor of the newest event.

        Later reads reflect that event. Pass the cursor to :meth:`events` to receive all events after it.
        """
        ...

    def events(self, after: int | None = None) -> AsyncIterator[Event]:
        """Yield the events after the cursor ``after``, or future events if it is None.

        The event buffer is bounded: an :class:`EventsMissed` stands for each sequence of dropped events.
        """
        ...

    async def close(self) -> None:
        """Close the client's own connections. An engine in this process is closed by its :class:`EngineHandle`."""
        ...
