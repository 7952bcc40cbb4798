"""Use case of an administrator who confirms that the system clock is right, so that changes no longer wait."""

from __future__ import annotations

from sealyard.engine.state.clock_guard import ClockGuard, ClockReading, format_lead
from sealyard.engine.state.clock_record import ClockRecord
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.tasks.expiry import ExpiryLoop
from sealyard.model.access import Action, ResourceType
from sealyard.model.audit import AuditAction
from sealyard.model.clock import ClockConfirmation
from sealyard.model.errors import ConfirmationRequiredError
from sealyard.model.formatting import format_time
from sealyard.model.hints import Hint, HintCode


class ClockConfirmations:
    """Lets administrators, who may update the policy, confirm the system clock."""

    def __init__(
        self,
        repository: Repository,
        permissions: Permissions,
        guard: ClockGuard,
        record: ClockRecord,
        expiry: ExpiryLoop,
        workspace_id: str,
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self._guard = guard
        self._record = record
        self._expiry = expiry
        self._resource = f"WORKSPACE:{workspace_id}"

    async def confirm(self, subject: str, *, confirmed: bool) -> ClockConfirmation:
        """Trust the clock, and apply the changes that wait for it. Changes nothing if the clock is already trusted.

        The audit entry is durable before a change is applied. Raises :class:`PermissionDeniedError` if the subject is
        not an administrator, and :class:`ConfirmationRequiredError` if the clock is not trusted and the call is not
        ``confirmed``.
        """
        self._permissions.require_type(subject, Action.UPDATE, ResourceType.POLICY)
        reading = self._guard.read()
        if self._guard.is_trusted():
            return ClockConfirmation(time=reading.time, already_trusted=True)
        lead = format_lead(self._guard.lead_of(reading))
        if not confirmed:
            raise ConfirmationRequiredError(
                f"The system time is {format_time(reading.time)}, {lead} ahead of the expected time. If you confirm it,"
                " results whose retention period has ended are removed and expired tasks are cancelled. This cannot be"
                " undone.",
                Hint.of(HintCode.CONFIRM),
            )
        await self._commit(subject, reading)
        self._guard.accept(reading)
        await self._record.save(reading)
        await self._expiry.apply_held()
        return ClockConfirmation(time=reading.time, already_trusted=False)

    async def _commit(self, subject: str, reading: ClockReading) -> None:
        """Audit the confirmation. The old value of the time is the expected time."""
        unit_of_work = self._repository.begin()
        lead = self._guard.lead_of(reading)
        new_value = {"time": reading.time.isoformat(), "leadSeconds": round(lead.total_seconds())}
        unit_of_work.audit(
            subject,
            AuditAction.UPDATED,
            self._resource,
            f"system clock confirmed, {format_lead(lead)} ahead of the expected time",
            new_value,
            old_value={**new_value, "time": (reading.time - lead).isoformat()},
        )
        unit_of_work.notify(self._resource)
        await unit_of_work.commit()
