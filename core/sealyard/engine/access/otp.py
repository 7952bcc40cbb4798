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
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text

MAX_FAILURES = 5
LOCKOUT = timedelta(minutes=15)
MAX_WORKSPACE_NAME_LENGTH = 32
"""Maximum length of the workspace name in the enrollment QR code, in characters: the code must fit on a terminal."""


class OtpService:
    """Enrolls people for one-time passwords, and verifies the passwords.

    ``workspace_name`` is what authenticator apps show next to the name of the person.
    """

    def __init__(
        self, repository: Repository, permissions: Permissions, secret_box: SecretBox, workspace_name: str
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self._secret_box = secret_box
        self._workspace_name = workspace_name

    def state(self, subject: str) -> OtpStatus:
        otp_record = self._load_record(subject)
        locked_until = otp_record.locked_until
        if locked_until is not None and self._repository.clock.now() >= locked_until:
            locked_until = None
        return OtpStatus(subject=subject, enrolled=otp_record.secret is not None, locked_until=locked_until)

    async def enroll(self, subject: str, current_password: str | None) -> OtpEnrollment:
        """Start the enrollment of an authenticator app, and return the new secret.

        The secret takes effect when :meth:`confirm` receives a password generated with it; until then the previous
        secret stays valid. ``current_password`` is a password generated with the previous secret; it is required if the
        person has already enrolled.

        Raises :class:`PermissionDeniedError` if ``subject`` is not a USER, and :class:`OneTimePasswordError` if
        ``current_password`` is required and not accepted.
        """
        from sealyard.crypto import totp

        if subject_kind(subject) is not SubjectKind.USER:
            raise PermissionDeniedError("Only users can have one-time passwords.", "Enroll as a USER.")
        otp_record = self._load_record(subject)
        if otp_record.secret is not None:
            step = await self._find_matching_step(
                subject, otp_record, otp_record.secret, current_password, after_step=otp_record.last_step
            )
            otp_record = msgspec.structs.replace(otp_record, last_step=step, wrong=0)
        secret = totp.new_secret()
        pending_record = msgspec.structs.replace(
            otp_record, pending=self._secret_box.encrypt(secret, otp_context(subject))
        )
        await self._commit_record(
            subject, subject, pending_record, AuditAction.CREATED, "started to enroll for one-time passwords"
        )
        account = f"{subject.partition(':')[2]}@{escape_text(self._workspace_name, MAX_WORKSPACE_NAME_LENGTH)}"
        return OtpEnrollment(
            subject=subject, secret=totp.base32(secret), uri=totp.provisioning_uri(secret, account, "Sealyard")
        )

    async def confirm(self, subject: str, password: str) -> None:
        """Complete the enrollment with a first password generated with the new secret.

        Raises :class:`ConflictError` if no enrollment is pending, and :class:`OneTimePasswordError` if the password is
        not accepted.
        """
        otp_record = self._load_record(subject)
        if otp_record.pending is None:
            raise ConflictError("There is no enrollment to confirm.", Hint.of(HintCode.ENROLL_OTP))
        step = await self._find_matching_step(subject, otp_record, otp_record.pending, password, after_step=NO_STEP)
        enrolled_record = msgspec.structs.replace(
            otp_record, secret=otp_record.pending, pending=None, last_step=step, wrong=0
        )
        await self._commit_record(
            subject, subject, enrolled_record, AuditAction.UPDATED, "enrolled for one-time passwords"
        )

    async def reset(self, subject: str, owner: str) -> None:
        """Delete the enrollment of ``owner`` for one-time passwords.

        Raises :class:`PermissionDeniedError` if ``subject`` may not add subjects or is ``owner`` itself, and
        :class:`NotFoundError` if ``owner`` has not enrolled. To replace their own secret, people use :meth:`enroll`
        with a password, or ask another administrator.
        """
        self._permissions.require_type(subject, Action.CREATE, ResourceType.SUBJECT)
        owner = parse_subject(owner)
        if owner == subject:
            raise PermissionDeniedError("You cannot reset your own one-time password.", "Ask another administrator.")
        if self._repository.get(ONE_TIME_PASSWORDS, owner) is None:
            raise NotFoundError(f"{owner} has not enrolled for one-time passwords.", "There is nothing to reset.")
        await self._commit_record(
            subject, owner, None, AuditAction.DELETED, "is no longer enrolled for one-time passwords"
        )

    def is_enrolled(self, owner: str) -> bool:
        """Return whether the person has enrolled for one-time passwords, or has started to."""
        return self._repository.get(ONE_TIME_PASSWORDS, owner) is not None

    def delete(self, unit_of_work: UnitOfWork, author: str, owner: str) -> None:
        """Add the deletion of the enrollment of ``owner`` to the unit of work, if there is one."""
        if self.is_enrolled(owner):
            unit_of_work.delete(ONE_TIME_PASSWORDS, owner)
            message = f"{owner} is no longer enrolled for one-time passwords"
            unit_of_work.audit(author, AuditAction.DELETED, f"SUBJECT:{owner}", message)

    async def verify_and_consume(self, unit_of_work: UnitOfWork, subject: str, password: str | None) -> None:
        """Verify a password, and add the record of its use to ``unit_of_work``.

        Does not suspend if the password is correct. Raises :class:`OneTimePasswordError` if the subject has not
        enrolled or the password is not accepted; a failed attempt is committed before the error is raised.
        """
        otp_record = self._load_record(subject)
        if otp_record.secret is None:
            raise OneTimePasswordError(
                "Approvals require a one-time password, and you have not enrolled.",
                Hint.of(HintCode.ENROLL_OTP),
            )
        step = await self._find_matching_step(
            subject, otp_record, otp_record.secret, password, after_step=otp_record.last_step
        )
        unit_of_work.put(ONE_TIME_PASSWORDS, subject, msgspec.structs.replace(otp_record, last_step=step, wrong=0))

    def warnings(self, subject: str) -> tuple[str, ...]:
        """Return a warning that names the configurations visible to ``subject`` with too few enrolled approvers.

        Returns an empty tuple if the policy does not require one-time passwords or every configuration has enough.
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
            " one-time passwords. Each approver must enroll an authenticator.",
        )

    # ---- helpers

    def _load_record(self, subject: str) -> StoredOneTimePassword:
        return self._repository.get(ONE_TIME_PASSWORDS, subject) or StoredOneTimePassword()

    def _can_reach_quorum(self, device: DeviceConfig) -> bool:
        permissions = self._permissions.current
        enrolled_approvers = frozenset(
            approver for approver in permissions.approvers(device.id) if self._load_record(approver).secret is not None
        )
        return can_reach_quorum(device.approvals_required, enrolled_approvers, permissions.requesters(device.id))

    async def _find_matching_step(
        self,
        subject: str,
        otp_record: StoredOneTimePassword,
        encrypted_secret: str,
        password: str | None,
        *,
        after_step: int,
    ) -> int:
        """Return the TOTP time step of a password, which must be later than ``after_step``.

        Raises :class:`OneTimePasswordError` if the password is wrong or was already used, after recording the failure,
        and if the subject is locked out.
        """
        from sealyard.crypto import totp

        self._require_unlocked(otp_record)
        digits = _parse_digits(password)
        steps = list(
            totp.matching_steps(
                self._secret_box.decrypt(encrypted_secret, otp_context(subject)),
                digits,
                self._repository.clock.now(),
            )
        )
        unused_steps = [step for step in steps if step > after_step]
        if unused_steps:
            return unused_steps[0]
        problem = "was already used" if steps else "is wrong"
        await self._record_failure(subject, otp_record, problem)
        raise OneTimePasswordError(f"The one-time password {problem}.", "Wait for the next one, then try again.")

    def _require_unlocked(self, otp_record: StoredOneTimePassword) -> None:
        now = self._repository.clock.now()
        if otp_record.locked_until is None or now >= otp_record.locked_until:
            return
        remaining_time = format_duration(math.ceil((otp_record.locked_until - now).total_seconds()))
        raise OneTimePasswordError(
            f"Too many wrong one-time passwords: locked for {remaining_time}.",
            Hint.of(HintCode.RESET_OTP),
        )

    async def _record_failure(self, subject: str, otp_record: StoredOneTimePassword, problem: str) -> None:
        wrong_count = otp_record.wrong + 1
        if wrong_count < MAX_FAILURES:
            updated_record = msgspec.structs.replace(otp_record, wrong=wrong_count)
            message = f"entered a one-time password that {problem} (failure {wrong_count} of {MAX_FAILURES})"
        else:
            locked_until = self._repository.clock.now() + LOCKOUT
            updated_record = msgspec.structs.replace(otp_record, wrong=0, locked_until=locked_until)
            message = f"entered a one-time password that {problem}: locked until {locked_until:%Y-%m-%d %H:%M:%S} UTC"
        await self._commit_record(subject, subject, updated_record, AuditAction.REFUSED, message)

    async def _commit_record(
        self, author: str, owner: str, otp_record: StoredOneTimePassword | None, change: AuditAction, message: str
    ) -> None:
        unit_of_work = self._repository.begin()
        if otp_record is None:
            unit_of_work.delete(ONE_TIME_PASSWORDS, owner)
        else:
            unit_of_work.put(ONE_TIME_PASSWORDS, owner, otp_record)
        code = OneTimePasswordError.code if change is AuditAction.REFUSED else ""
        unit_of_work.audit(author, change, f"SUBJECT:{owner}", f"{owner} {message}", None, code)
        unit_of_work.notify(f"SUBJECT:{owner}")
        await unit_of_work.commit()


def _parse_digits(password: str | None) -> str:
    """Return the six digits of a password, without the space that authenticator apps show in the middle.

    Raises :class:`OneTimePasswordError` if the password does not consist of six digits.
    """
    digits = "".join((password or "").split())
    if re.fullmatch(r"[0-9]{6}", digits):
        return digits
    raise OneTimePasswordError("A one-time password of six digits is required.", Hint.of(HintCode.ENTER_OTP))


def otp_context(subject: str) -> str:
    return f"one-time passwords of {subject}"
