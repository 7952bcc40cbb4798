"""One-time passwords for approvals: enrolling an authenticator, and taking each of its passwords at most once.

After five wrong ones in a row none is taken for 15 minutes. A password that was used is as wrong as any other.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta

import msgspec

from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository, UnitOfWork
from sealyard.engine.state.secret_box import SecretBox
from sealyard.engine.state.tables import DEVICES, NO_STEP, ONE_TIME_PASSWORDS, StoredOneTimePassword
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
LONGEST_WORKSPACE_NAME = 32
"""In the QR code, which must fit a terminal."""


class OtpService:
    """``workspace``: its name, as authenticators show it beside the person's."""

    def __init__(self, ledger: Repository, rights: Permissions, sealed: SecretBox, workspace: str) -> None:
        self._ledger = ledger
        self._rights = rights
        self._sealed = sealed
        self._workspace = workspace

    def state(self, subject: str) -> OtpStatus:
        stored = self._stored(subject)
        until = stored.locked_until
        locked = until is not None and self._ledger.clock.now() < until
        return OtpStatus(subject=subject, enrolled=stored.secret is not None, locked_until=until if locked else None)

    async def enroll(self, subject: str, current: str | None) -> OtpEnrollment:
        """A new secret, which counts once :meth:`confirm` has a password made with it; until then the old one does."""
        from sealyard.crypto import totp

        if subject_kind(subject) is not SubjectKind.USER:
            raise PermissionDeniedError("Only a person has one-time passwords.", "Enrol as a USER.")
        stored = self._stored(subject)
        if stored.secret is not None:
            step = await self._matching_step(subject, stored, stored.secret, current, after=stored.last_step)
            stored = msgspec.structs.replace(stored, last_step=step, wrong=0)
        secret = totp.new_secret()
        pending = msgspec.structs.replace(stored, pending=self._sealed.encrypt(secret, _subject_resource(subject)))
        await self._commit(subject, subject, pending, AuditAction.CREATED, "begins to enrol for one-time passwords")
        account = f"{subject.partition(':')[2]}@{escape_text(self._workspace, LONGEST_WORKSPACE_NAME)}"
        return OtpEnrollment(
            subject=subject, secret=totp.base32(secret), uri=totp.provisioning_uri(secret, account, "Sealyard")
        )

    async def confirm(self, subject: str, password: str) -> None:
        """Raises :class:`ConflictError` where no enrolment was begun, :class:`OneTimePasswordError`."""
        stored = self._stored(subject)
        if stored.pending is None:
            raise ConflictError("There is no enrolment to confirm.", "Begin one: sealyard otp enrol")
        step = await self._matching_step(subject, stored, stored.pending, password, after=NO_STEP)
        enrolled = msgspec.structs.replace(stored, secret=stored.pending, pending=None, last_step=step, wrong=0)
        await self._commit(subject, subject, enrolled, AuditAction.UPDATED, "is enrolled for one-time passwords")

    async def reset(self, subject: str, whose: str) -> None:
        """Raises :class:`PermissionDeniedError`, also for one's own: that wants a current password, or somebody
        else.
        """
        self._rights.require_type(subject, Action.CREATE, ResourceType.SUBJECT)
        whose = parse_subject(whose)
        if whose == subject:
            raise PermissionDeniedError("Nobody resets their own one-time password.", "Ask another administrator.")
        if self._ledger.get(ONE_TIME_PASSWORDS, whose) is None:
            raise NotFoundError(f"{whose} has not enrolled for one-time passwords.", "There is nothing to reset.")
        await self._commit(subject, whose, None, AuditAction.DELETED, "is not enrolled for one-time passwords any more")

    async def verify_and_consume(self, draft: UnitOfWork, subject: str, password: str | None) -> None:
        """Takes a password together with what ``draft`` does: both are kept or neither.

        Nothing is awaited where it is right. Raises :class:`OneTimePasswordError`.
        """
        stored = self._stored(subject)
        if stored.secret is None:
            raise OneTimePasswordError(
                "An approval wants a one-time password here, and you have not enrolled for them.",
                "Enrol an authenticator first: sealyard otp enrol",
            )
        step = await self._matching_step(subject, stored, stored.secret, password, after=stored.last_step)
        draft.put(ONE_TIME_PASSWORDS, subject, msgspec.structs.replace(stored, last_step=step, wrong=0))

    def warnings(self, subject: str) -> tuple[str, ...]:
        """Where the policy wants one-time passwords and too few have enrolled, of what the subject may see."""
        if not self._ledger.policy().require_otp:
            return ()
        names = sorted(
            each.name
            for each in self._ledger.list_all(DEVICES)
            if self._rights.is_allowed(subject, Action.VIEW, device_resource(each.id))
            and not self._quorum_possible(each)
        )
        if not names:
            return ()
        return (
            f"Nobody can complete an approval for {', '.join(names)} yet: too few of those who may approve have"
            " enrolled for one-time passwords. Each of them enrols alone: sealyard otp enrol",
        )

    # ---- parts

    def _stored(self, subject: str) -> StoredOneTimePassword:
        return self._ledger.get(ONE_TIME_PASSWORDS, subject) or StoredOneTimePassword()

    def _quorum_possible(self, device: DeviceConfig) -> bool:
        access = self._rights.current
        enrolled = frozenset(each for each in access.approvers(device.id) if self._stored(each).secret is not None)
        return can_reach_quorum(device.approvals_required, enrolled, access.requesters(device.id))

    async def _matching_step(
        self, subject: str, stored: StoredOneTimePassword, sealed: str, password: str | None, *, after: int
    ) -> int:
        """The step whose password it is; one that is wrong or used is counted before it is refused."""
        from sealyard.crypto import totp

        self._require_open(stored)
        digits = _digits(password)
        steps = list(
            totp.matching_steps(
                self._sealed.decrypt(sealed, _subject_resource(subject)), digits, self._ledger.clock.now()
            )
        )
        fresh = [each for each in steps if each > after]
        if fresh:
            return fresh[0]
        what = "was used already" if steps else "is wrong"
        await self._record_failure(subject, stored, what)
        raise OneTimePasswordError(f"The one-time password {what}.", "Wait for the next one, and give that.")

    def _require_open(self, stored: StoredOneTimePassword) -> None:
        now = self._ledger.clock.now()
        if stored.locked_until is None or now >= stored.locked_until:
            return
        left = format_duration(math.ceil((stored.locked_until - now).total_seconds()))
        raise OneTimePasswordError(
            f"Too many one-time passwords were wrong: none is taken for {left}.",
            "Wait, or ask an administrator to reset it (sealyard otp reset).",
        )

    async def _record_failure(self, subject: str, stored: StoredOneTimePassword, what: str) -> None:
        wrong = stored.wrong + 1
        if wrong < MAX_FAILURES:
            counted = msgspec.structs.replace(stored, wrong=wrong)
            message = f"gives a one-time password that {what}, {wrong} of {MAX_FAILURES}"
        else:
            until = self._ledger.clock.now() + LOCKOUT
            counted = msgspec.structs.replace(stored, wrong=0, locked_until=until)
            message = f"gives a one-time password that {what}: none is taken until {until:%Y-%m-%d %H:%M:%S} UTC"
        await self._commit(subject, subject, counted, AuditAction.REFUSED, message)

    async def _commit(
        self, author: str, whose: str, stored: StoredOneTimePassword | None, change: AuditAction, message: str
    ) -> None:
        draft = self._ledger.begin()
        if stored is None:
            draft.delete(ONE_TIME_PASSWORDS, whose)
        else:
            draft.put(ONE_TIME_PASSWORDS, whose, stored)
        code = OneTimePasswordError.code if change is AuditAction.REFUSED else ""
        draft.audit(author, change, f"SUBJECT:{whose}", f"{whose} {message}", None, code)
        draft.notify(f"SUBJECT:{whose}")
        await draft.commit()


def _digits(password: str | None) -> str:
    """As authenticators show it, perhaps with a space in the middle."""
    digits = "".join((password or "").split())
    if re.fullmatch(r"[0-9]{6}", digits):
        return digits
    raise OneTimePasswordError(
        "A one-time password of six digits is needed.", "Give the one that your authenticator shows now (--otp)."
    )


def _subject_resource(subject: str) -> str:
    return f"one-time passwords of {subject}"
