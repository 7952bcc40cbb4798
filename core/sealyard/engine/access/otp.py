"""One-time passwords for approvals (TOTP, RFC 6238): enrollment of authenticators and verification.

Each password is accepted at most once. Five wrong passwords in a row lock the person out for 15 minutes; a password
that was already used counts as wrong.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta

import msgspec

from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.secret_box import SecretBox
from sealyard.engine.state.tables import DEVICES, NO_STEP, ONE_TIME_PASSWORDS, StoredOneTimePassword
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import Action, ResourceType, SubjectKind, device_resource, parse_subject, subject_kind
from sealyard.model.approval import can_reach_quorum
from sealyard.model.audit import AuditAction
from sealyard.model.credentials import OtpEnrollment, OtpStatus
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import ConflictError, NotFoundError, OneTimePasswordError, PermissionDeniedError
from sealyard.model.formatting import format_duration
from sealyard.model.safe_text import escape_text

MAX_FAILURES = 5
LOCKOUT = timedelta(minutes=15)
MAX_WORKSPACE_NAME_LENGTH = 32
"""Characters of the workspace name in the QR code, which must fit on a terminal."""


class OtpService:
    """Enrollment and verification of one-time passwords.

    ``workspace``: the name of the workspace, which authenticators show next to that of the person.
    """

    def __init__(self, repository: Repository, permissions: Permissions, secret_box: SecretBox, workspace: str) -> None:
        self._repository = repository
        self._permissions = permissions
        self._secret_box = secret_box
        self._workspace = workspace

    def state(self, subject: str) -> OtpStatus:
        stored = self._stored(subject)
        locked_until = stored.locked_until
        if locked_until is not None and self._repository.clock.now() >= locked_until:
            locked_until = None
        return OtpStatus(subject=subject, enrolled=stored.secret is not None, locked_until=locked_until)

    async def enroll(self, subject: str, current: str | None) -> OtpEnrollment:
        """Return a new secret for an authenticator.

        The secret takes effect when :meth:`confirm` receives a password generated with it; until then the previous
        one stays valid. ``current``: a password of the previous secret, required if there is one.

        Raises :class:`PermissionDeniedError` if ``subject`` is not a USER, and :class:`OneTimePasswordError` if
        ``current`` is required and not accepted.
        """
        from sealyard.crypto import totp

        if subject_kind(subject) is not SubjectKind.USER:
            raise PermissionDeniedError("Only users can have one-time passwords.", "Enroll as a USER.")
        stored = self._stored(subject)
        if stored.secret is not None:
            step = await self._matching_step(subject, stored, stored.secret, current, after=stored.last_step)
            stored = msgspec.structs.replace(stored, last_step=step, wrong=0)
        secret = totp.new_secret()
        pending = msgspec.structs.replace(stored, pending=self._secret_box.encrypt(secret, _subject_resource(subject)))
        await self._commit(subject, subject, pending, AuditAction.CREATED, "started to enroll for one-time passwords")
        account = f"{subject.partition(':')[2]}@{escape_text(self._workspace, MAX_WORKSPACE_NAME_LENGTH)}"
        return OtpEnrollment(
            subject=subject, secret=totp.base32(secret), uri=totp.provisioning_uri(secret, account, "Sealyard")
        )

    async def confirm(self, subject: str, password: str) -> None:
        """Complete the enrollment with a first password.

        Raises :class:`ConflictError` if no enrollment is pending, and :class:`OneTimePasswordError` if the password is
        not accepted.
        """
        stored = self._stored(subject)
        if stored.pending is None:
            raise ConflictError("There is no enrollment to confirm.", "Start one: sealyard otp enroll")
        step = await self._matching_step(subject, stored, stored.pending, password, after=NO_STEP)
        enrolled = msgspec.structs.replace(stored, secret=stored.pending, pending=None, last_step=step, wrong=0)
        await self._commit(subject, subject, enrolled, AuditAction.UPDATED, "enrolled for one-time passwords")

    async def reset(self, subject: str, owner: str) -> None:
        """Delete the enrollment of ``owner``.

        Raises :class:`PermissionDeniedError` if ``subject`` may not add subjects or is ``owner`` itself (a person
        replaces their own secret with :meth:`enroll` and a current password, or asks another administrator), and
        :class:`NotFoundError` if ``owner`` has not enrolled.
        """
        self._permissions.require_type(subject, Action.CREATE, ResourceType.SUBJECT)
        owner = parse_subject(owner)
        if owner == subject:
            raise PermissionDeniedError("You cannot reset your own one-time password.", "Ask another administrator.")
        if self._repository.get(ONE_TIME_PASSWORDS, owner) is None:
            raise NotFoundError(f"{owner} has not enrolled for one-time passwords.", "There is nothing to reset.")
        await self._commit(subject, owner, None, AuditAction.DELETED, "is no longer enrolled for one-time passwords")

    async def verify_and_consume(self, work: UnitOfWork, subject: str, password: str | None) -> None:
        """Verify a password and record its use in ``work``, so that both are committed or neither is.

        Does not await anything if the password is correct. Raises :class:`OneTimePasswordError` if the subject has not
        enrolled or the password is not accepted; a failed attempt is committed before the error is raised.
        """
        stored = self._stored(subject)
        if stored.secret is None:
            raise OneTimePasswordError(
                "Approvals require a one-time password, and you have not enrolled.",
                "Enroll an authenticator first: sealyard otp enroll",
            )
        step = await self._matching_step(subject, stored, stored.secret, password, after=stored.last_step)
        work.put(ONE_TIME_PASSWORDS, subject, msgspec.structs.replace(stored, last_step=step, wrong=0))

    def warnings(self, subject: str) -> tuple[str, ...]:
        """Return a warning that names the visible configurations for which too few approvers have enrolled.

        Empty if the policy does not require one-time passwords, or there are no such configurations.
        """
        if not self._repository.policy().require_otp:
            return ()
        names = sorted(
            device.name
            for device in self._repository.list_all(DEVICES)
            if self._permissions.is_allowed(subject, Action.VIEW, device_resource(device.id))
            and not self._can_reach_quorum(device)
        )
        if not names:
            return ()
        return (
            f"Approvals for {', '.join(names)} cannot be completed yet: too few approvers have enrolled for"
            " one-time passwords. Each approver must enroll: sealyard otp enroll",
        )

    # ---- helpers

    def _stored(self, subject: str) -> StoredOneTimePassword:
        return self._repository.get(ONE_TIME_PASSWORDS, subject) or StoredOneTimePassword()

    def _can_reach_quorum(self, device: DeviceConfig) -> bool:
        access = self._permissions.current
        enrolled = frozenset(
            approver for approver in access.approvers(device.id) if self._stored(approver).secret is not None
        )
        return can_reach_quorum(device.approvals_required, enrolled, access.requesters(device.id))

    async def _matching_step(
        self, subject: str, stored: StoredOneTimePassword, encrypted_secret: str, password: str | None, *, after: int
    ) -> int:
        """Return the TOTP time step of the password, which must be later than ``after``.

        A wrong or already used password is counted as a failure before :class:`OneTimePasswordError` is raised.
        """
        from sealyard.crypto import totp

        self._require_unlocked(stored)
        digits = _parse_digits(password)
        steps = list(
            totp.matching_steps(
                self._secret_box.decrypt(encrypted_secret, _subject_resource(subject)),
                digits,
                self._repository.clock.now(),
            )
        )
        unused_steps = [step for step in steps if step > after]
        if unused_steps:
            return unused_steps[0]
        problem = "was already used" if steps else "is wrong"
        await self._record_failure(subject, stored, problem)
        raise OneTimePasswordError(f"The one-time password {problem}.", "Wait for the next one, then try again.")

    def _require_unlocked(self, stored: StoredOneTimePassword) -> None:
        now = self._repository.clock.now()
        if stored.locked_until is None or now >= stored.locked_until:
            return
        remaining = format_duration(math.ceil((stored.locked_until - now).total_seconds()))
        raise OneTimePasswordError(
            f"Too many wrong one-time passwords: locked for {remaining}.",
            "Wait, or ask an administrator to reset it: sealyard otp reset",
        )

    async def _record_failure(self, subject: str, stored: StoredOneTimePassword, problem: str) -> None:
        wrong = stored.wrong + 1
        if wrong < MAX_FAILURES:
            updated = msgspec.structs.replace(stored, wrong=wrong)
            message = f"entered a one-time password that {problem} (failure {wrong} of {MAX_FAILURES})"
        else:
            locked_until = self._repository.clock.now() + LOCKOUT
            updated = msgspec.structs.replace(stored, wrong=0, locked_until=locked_until)
            message = f"entered a one-time password that {problem}: locked until {locked_until:%Y-%m-%d %H:%M:%S} UTC"
        await self._commit(subject, subject, updated, AuditAction.REFUSED, message)

    async def _commit(
        self, author: str, owner: str, stored: StoredOneTimePassword | None, change: AuditAction, message: str
    ) -> None:
        work = self._repository.begin()
        if stored is None:
            work.delete(ONE_TIME_PASSWORDS, owner)
        else:
            work.put(ONE_TIME_PASSWORDS, owner, stored)
        code = OneTimePasswordError.code if change is AuditAction.REFUSED else ""
        work.audit(author, change, f"SUBJECT:{owner}", f"{owner} {message}", None, code)
        work.notify(f"SUBJECT:{owner}")
        await work.commit()


def _parse_digits(password: str | None) -> str:
    """Return the six digits of a password, without the space that authenticators show in the middle."""
    digits = "".join((password or "").split())
    if re.fullmatch(r"[0-9]{6}", digits):
        return digits
    raise OneTimePasswordError(
        "A one-time password of six digits is required.", "Enter the one that your authenticator shows now (--otp)."
    )


def _subject_resource(subject: str) -> str:
    return f"one-time passwords of {subject}"
