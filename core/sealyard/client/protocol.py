"""The client protocol: every operation a front end can request, from an engine in this process or from a server.

Every method can be called from any asyncio loop and raises only errors of :mod:`sealyard.model.errors`. The engine
checks permissions for the client's subject. Cancelling a call that modifies the workspace leaves the change either
complete or not made; repeat the request with the same client token to find out which. Cancelling an upload or a
download leaves no partial state that would break a later one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

from sealyard.model.access import AclRule, Action, Membership, Subject
from sealyard.model.audit import AuditFilter, AuditReport
from sealyard.model.credentials import (
    AccessToken,
    IssuedToken,
    OtpEnrollment,
    OtpStatus,
    TokenRequest,
)
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.events import Event
from sealyard.model.keys import KeyInfo
from sealyard.model.policy import Policy
from sealyard.model.requests import (
    AccessControlList,
    ApprovalReview,
    AuditPage,
    DeviceRequest,
    DeviceUpdate,
    EncryptionRequest,
    KeyImport,
    PackageRequest,
    SigningRequest,
    TaskCounts,
    TaskFilter,
    TaskPage,
    WorkspaceInfo,
)
from sealyard.model.tasks import DecisionOrigin, InputFile, Task, Verdict
from sealyard.model.webhooks import DeadLetter, IssuedWebhook, Webhook, WebhookRequest

ProgressCallback = Callable[[int, int], None]
"""Receives the bytes done and the total, at most ten times a second and once at the end; called from any thread."""


class TaskClient(Protocol):
    """Create tasks, follow them and decide on them."""

    async def upload(
        self, path: Path, *, expected_sha256: str | None = None, progress: ProgressCallback | None = None
    ) -> InputFile:
        """Upload a file, which is hashed once and stored under its digest.

        ``expected_sha256`` is in hex. Raises :class:`InvalidInputError`, :class:`StorageError`.
        """
        ...

    async def discard_uploads(self, files: tuple[InputFile, ...]) -> None:
        """Delete uploads that no task was created from; uploads in use are kept."""
        ...

    async def create_package(self, request: PackageRequest) -> Task: ...
    async def create_encryption(self, request: EncryptionRequest) -> Task: ...
    async def create_signing(self, request: SigningRequest) -> Task: ...

    async def task(self, task_id: str) -> Task:
        """Return the task with this id, or with this prefix of an id if it is unique."""
        ...

    async def tasks(self, filters: TaskFilter, *, after: str | None = None, limit: int = 100) -> TaskPage:
        """Return a page of at most ``limit`` tasks that match ``filters``, starting at the cursor ``after``.

        ``total`` is set unless the filter has ``text`` or ``awaiting_my_approval``, or a read-only client filters by
        result state.
        """
        ...

    async def counts(self) -> TaskCounts:
        """Return how many tasks this subject may view: exact, and cheap for any number of tasks."""
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
        differs. ``origin`` is recorded. Raises :class:`OneTimePasswordError` if the policy requires a one-time
        password for an approval.
        """
        ...

    async def withdraw(self, task_id: str, reason: str) -> Task: ...
    async def cancel(self, task_id: str) -> Task: ...
    async def wait(self, task_id: str, *, within: float | None = None, or_waiting: bool = False) -> Task:
        """Wait until the task is final and return it; with ``or_waiting``, also return once it waits for approvals.

        Raises :class:`WaitTimeoutError` after ``within`` seconds.
        """
        ...


class ResultClient(Protocol):
    """Download results and their certificates."""

    async def renew(self, task_id: str) -> Task:
        """Create a new link for an expired result whose artifact is still retained."""
        ...

    def download(self, task_id: str, *, offset: int = 0) -> AsyncIterator[bytes]:
        """Return the artifact's bytes from ``offset`` on.

        Raises :class:`ResultExpiredError`, :class:`ResultGoneError`.
        """
        ...

    async def report_downloaded(self, task_id: str) -> None:
        """Record in the audit log that the artifact was downloaded completely and verified."""
        ...

    async def certificate(self, task_id: str) -> str:
        """Return the signing certificate (PEM) that verifies the task's result."""
        ...


class AdministrationClient(Protocol):
    """Manage device configurations, keys, subjects, access rules and the policy."""

    async def devices(self) -> tuple[DeviceConfig, ...]:
        """Return the newest version of each configuration that this subject may view."""
        ...

    async def device(self, config: str, version: int | None = None) -> DeviceConfig: ...
    async def create_device(self, request: DeviceRequest) -> DeviceConfig: ...
    async def update_device(self, request: DeviceUpdate) -> DeviceConfig: ...
    async def device_certificates(self, config: str) -> tuple[tuple[str, str], ...]:
        """Return the name and PEM text of each signing certificate of the configuration."""
        ...

    async def export_device_key(self, config: str, path: Path, *, confirmed: bool = False) -> Path:
        """Write the symmetric key for provisioning devices to ``path``: privileged, needs confirmation, audited."""
        ...

    async def keys(self) -> tuple[KeyInfo, ...]: ...
    async def import_key(self, request: KeyImport) -> KeyInfo: ...
    async def rotate_key(self, uri: str) -> KeyInfo:
        """Create the next version of a key; every configuration that uses the key gets a new version too."""
        ...

    async def access(self) -> AccessControlList: ...
    async def add_subject(self, subject: str, display_name: str = "") -> Subject: ...
    async def unlink_subject(self, subject: str) -> None:
        """Remove the subject's link to an issuer's account and revoke its tokens.

        Raises :class:`ConflictError` while the subject is involved in a task that waits for approvals.
        """
        ...

    async def add_member(self, group: str, member: str, *, confirmed: bool = False) -> Membership: ...
    async def remove_member(self, group: str, member: str, *, confirmed: bool = False) -> None: ...
    async def add_rule(self, subject: str, resource: str, action: Action, *, confirmed: bool = False) -> AclRule:
        """Add an access rule.

        Like every change to members and rules, raises :class:`ConfirmationRequiredError` if the change would break a
        quorum and ``confirmed`` is false.
        """
        ...

    async def remove_rule(self, rule_id: str, *, confirmed: bool = False) -> None:
        """Remove an access rule. Raises :class:`PermissionDeniedError` for the initial administrator's rules."""
        ...

    async def policy(self) -> Policy: ...
    async def set_policy(self, policy: Policy) -> Policy: ...


class AuditClient(Protocol):
    """Read, verify and export the audit log."""

    async def audit(self, filters: AuditFilter, *, below: int | None = None, limit: int = 100) -> AuditPage: ...
    async def verify_audit(
        self, *, checkpoint: str | None = None, progress: ProgressCallback | None = None
    ) -> AuditReport:
        """Verify the audit log by recomputing all of it.

        ``checkpoint`` is a signed note that was stored elsewhere. Raises :class:`AuditVerificationError`.
        """
        ...

    def export_audit(self, kind: str) -> AsyncIterator[str]:
        """Return the log as lines, oldest first; ``kind`` is ``jsonl`` or ``csv``."""
        ...


class CredentialClient(Protocol):
    """Manage access tokens for the server and one-time passwords for approvals."""

    async def tokens(self) -> tuple[AccessToken, ...]:
        """Return the subject's own tokens, or all tokens if the subject may add subjects.

        Newest first, including expired and revoked tokens.
        """
        ...

    async def create_token(self, request: TokenRequest) -> IssuedToken:
        """Create an access token.

        A subject authenticated with an access token of this server cannot create a token for itself that expires
        later, unless it may add subjects. A subject authenticated with an issuer's token cannot create a token for
        itself at all. Raises :class:`PermissionDeniedError`.
        """
        ...

    async def revoke_token(self, token_id: str) -> None:
        """Revoke a token of the subject, or any token if the subject may add subjects. Revocation is permanent."""
        ...

    async def one_time_password(self) -> OtpStatus:
        """Return the state of the subject's own enrollment."""
        ...

    async def enroll_otp(self, current: str | None = None) -> OtpEnrollment:
        """Start an enrollment, which takes effect once it is confirmed.

        ``current`` is a current one-time password, required if the subject is already enrolled.
        """
        ...

    async def confirm_one_time_password(self, password: str) -> None:
        """Complete the enrollment with a first one-time password. Raises :class:`OneTimePasswordError`."""
        ...

    async def reset_one_time_password(self, subject: str) -> None:
        """Delete another subject's enrollment. Requires permission to add subjects; never applies to one's own."""
        ...


class WebhookClient(Protocol):
    """Manage the webhooks that notify external systems of results and approvals.

    Requires permission to update the policy.
    """

    async def webhooks(self) -> tuple[Webhook, ...]: ...
    async def add_webhook(self, request: WebhookRequest) -> IssuedWebhook: ...
    async def remove_webhook(self, webhook_id: str) -> None: ...
    async def dead_letters(self, webhook_id: str) -> tuple[DeadLetter, ...]:
        """Return the webhook's undeliverable messages, oldest first."""
        ...

    async def redeliver(self, letter_id: str) -> None:
        """Queue a dead letter for delivery again."""
        ...


class Client(TaskClient, ResultClient, AdministrationClient, AuditClient, CredentialClient, WebhookClient, Protocol):
    """All operations, on behalf of one subject."""

    async def workspace(self) -> WorkspaceInfo: ...

    async def cursor(self) -> int:
        """Return the cursor of the newest event.

        Reads from now on include that event; pass the cursor to :meth:`events` to receive the events after it.
        """
        ...

    def events(self, after: int | None = None) -> AsyncIterator[Event]:
        """Return the events after the cursor ``after``; None starts from now.

        Buffering is bounded: an :class:`EventsMissed` marks every gap.
        """
        ...

    async def close(self) -> None:
        """Close the client's own connections. An engine in this process is closed by its handle instead."""
        ...
