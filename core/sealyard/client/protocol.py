"""The Client: everything a front end can ask for, whether the engine is in this process or on a server.

Promises that hold for every method: it may be called from any asyncio loop; it raises errors of
:mod:`sealyard.model.errors` only; rights are judged by the engine for the client's subject. Cancelling a call
that changes something leaves the change either whole or not made: ask again with the same client token to learn
which. Cancelling an upload or a download leaves nothing half-done that a later one would trip over.
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
"""Told bytes done and bytes in all, at most ten times a second, and once at the end; from any thread."""


class TaskClient(Protocol):
    """Asking for tasks, following and deciding on them."""

    async def upload(
        self, path: Path, *, expected_sha256: str | None = None, progress: ProgressCallback | None = None
    ) -> InputFile:
        """Hands a file in: hashed once, kept by its digest. Raises :class:`InvalidInputError`,
        :class:`StorageError`.
        """
        ...

    async def discard_uploads(self, files: tuple[InputFile, ...]) -> None:
        """Gives back uploads that no task came of; those in use stay."""
        ...

    async def create_package(self, request: PackageRequest) -> Task: ...
    async def create_encryption(self, request: EncryptionRequest) -> Task: ...
    async def create_signing(self, request: SigningRequest) -> Task: ...

    async def task(self, task_id: str) -> Task:
        """The task by its id, or by a beginning of it that only one task has."""
        ...

    async def tasks(self, filters: TaskFilter, *, after: str | None = None, limit: int = 100) -> TaskPage:
        """``total`` is told unless the filter has ``text`` or ``awaiting_my_approval``, or who only reads asks for a
        state.
        """
        ...

    async def counts(self) -> TaskCounts:
        """How many tasks this subject sees: exact, and cheap however many there are."""
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
        """``digest``: the approval digest that was seen; refused where the task's is another.

        ``origin`` is recorded. Raises :class:`OneTimePasswordError` where the policy wants one for an approval.
        """
        ...

    async def withdraw(self, task_id: str, reason: str) -> Task: ...
    async def cancel(self, task_id: str) -> Task: ...
    async def wait(self, task_id: str, *, within: float | None = None, settled: bool = False) -> Task:
        """The task once it has ended; with ``settled`` also once it waits for people.

        Raises :class:`WaitTimeoutError` when ``within`` (seconds) is over.
        """
        ...


class ResultClient(Protocol):
    """Getting results."""

    async def renew(self, task_id: str) -> Task:
        """A new link for an expired result whose artifact is still kept."""
        ...

    def download(self, task_id: str, *, offset: int = 0) -> AsyncIterator[bytes]:
        """The artifact's bytes from ``offset`` on. Raises :class:`ResultExpiredError`, :class:`ResultGoneError`."""
        ...

    async def report_downloaded(self, task_id: str) -> None:
        """Says that the artifact came down whole and was checked, for the audit log."""
        ...

    async def certificate(self, task_id: str) -> str:
        """The signing certificate (PEM) that the task's result is to be checked with."""
        ...


class AdministrationClient(Protocol):
    """Device configurations, keys, people, rules and the policy."""

    async def devices(self) -> tuple[DeviceConfig, ...]:
        """The newest version of each configuration this subject may see."""
        ...

    async def device(self, config: str, version: int | None = None) -> DeviceConfig: ...
    async def create_device(self, request: DeviceRequest) -> DeviceConfig: ...
    async def update_device(self, request: DeviceUpdate) -> DeviceConfig: ...
    async def device_certificates(self, config: str) -> tuple[tuple[str, str], ...]:
        """Name and PEM of each signing certificate of the configuration."""
        ...

    async def export_device_key(self, config: str, path: Path, *, confirmed: bool = False) -> Path:
        """Writes the symmetric key for provisioning devices: privileged, confirmed, audited."""
        ...

    async def keys(self) -> tuple[KeyInfo, ...]: ...
    async def import_key(self, request: KeyImport) -> KeyInfo: ...
    async def rotate_key(self, uri: str) -> KeyInfo:
        """Makes the next version; every configuration that uses the key gets a new version of its own."""
        ...

    async def access(self) -> AccessControlList: ...
    async def add_subject(self, subject: str, display_name: str = "") -> Subject: ...
    async def unlink_subject(self, subject: str) -> None:
        """Lets go of the issuer's account that it is bound to; its tokens end.

        Raises :class:`ConflictError` as long as it has to do with a task that still waits for approvals.
        """
        ...

    async def add_member(self, group: str, member: str, *, confirmed: bool = False) -> Membership: ...
    async def remove_member(self, group: str, member: str, *, confirmed: bool = False) -> None: ...
    async def add_rule(self, subject: str, resource: str, action: Action, *, confirmed: bool = False) -> AclRule:
        """Like every change here, raises :class:`ConfirmationRequiredError` where a quorum would break."""
        ...

    async def remove_rule(self, rule_id: str, *, confirmed: bool = False) -> None:
        """The initial administrator's rules stay: :class:`PermissionDeniedError`."""
        ...

    async def policy(self) -> Policy: ...
    async def set_policy(self, policy: Policy) -> Policy: ...


class AuditClient(Protocol):
    async def audit(self, filters: AuditFilter, *, below: int | None = None, limit: int = 100) -> AuditPage: ...
    async def verify_audit(
        self, *, checkpoint: str | None = None, progress: ProgressCallback | None = None
    ) -> AuditReport:
        """Recomputes everything; ``checkpoint`` is a signed note kept elsewhere. Raises
        :class:`AuditVerificationError`.
        """
        ...

    def export_audit(self, kind: str) -> AsyncIterator[str]:
        """Lines of ``jsonl`` or ``csv``, oldest first."""
        ...


class CredentialClient(Protocol):
    """Tokens for the server, and one-time passwords for approvals."""

    async def tokens(self) -> tuple[AccessToken, ...]:
        """One's own; all of them for whoever may add subjects. Newest first, those that ended too."""
        ...

    async def create_token(self, request: TokenRequest) -> IssuedToken:
        """Through a token of ours, none of one's own lasts longer than it, but for whoever may add subjects.

        Through an issuer's token, none for oneself at all. Raises :class:`PermissionDeniedError`.
        """
        ...

    async def revoke_token(self, token_id: str) -> None:
        """One's own, or anybody's for whoever may add subjects. A token that was revoked stays so."""
        ...

    async def one_time_password(self) -> OtpStatus:
        """One's own."""
        ...

    async def enroll_otp(self, current: str | None = None) -> OtpEnrollment:
        """Begins it; it counts once confirmed. Who is enrolled already gives a ``current`` password."""
        ...

    async def confirm_one_time_password(self, password: str) -> None:
        """Ends the enrolment with a first password. Raises :class:`OneTimePasswordError`."""
        ...

    async def reset_one_time_password(self, subject: str) -> None:
        """Forgets somebody's enrolment, for whoever may add subjects; never one's own."""
        ...


class WebhookClient(Protocol):
    """Those outside who are told of results and approvals; for whoever may update the policy."""

    async def webhooks(self) -> tuple[Webhook, ...]: ...
    async def add_webhook(self, request: WebhookRequest) -> IssuedWebhook: ...
    async def remove_webhook(self, webhook_id: str) -> None: ...
    async def dead_letters(self, webhook_id: str) -> tuple[DeadLetter, ...]:
        """Oldest first."""
        ...

    async def redeliver(self, letter_id: str) -> None:
        """Takes a dead letter up again."""
        ...


class Client(TaskClient, ResultClient, AdministrationClient, AuditClient, CredentialClient, WebhookClient, Protocol):
    """All of it, for one subject."""

    async def workspace(self) -> WorkspaceInfo: ...

    async def cursor(self) -> int:
        """Of the newest event: what is read from now on holds it, and :meth:`events` goes on behind it."""
        ...

    def events(self, after: int | None = None) -> AsyncIterator[Event]:
        """Events from the cursor ``after`` on (None: from now), bounded, with a :class:`EventsMissed` where some are
        missing.
        """
        ...

    async def close(self) -> None: ...
