"""Use cases for the crypto zone of a workspace: return its state, and drain one of its hosts."""

from __future__ import annotations

import msgspec

from sealyard.engine.execution.scheduler import Scheduler
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.jobs.bus import JobBus
from sealyard.model.access import Action, ResourceType
from sealyard.model.audit import AuditAction
from sealyard.model.errors import ConflictError, NotFoundError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text
from sealyard.model.zone_status import CryptoHostStatus, ZoneStatus


class ZoneHosts:
    """Shows the hosts of the crypto zone to subjects that may view keys, and lets administrators drain them."""

    def __init__(
        self, repository: Repository, permissions: Permissions, bus: JobBus, scheduler: Scheduler, workspace_id: str
    ) -> None:
        self._repository = repository
        self._scheduler = scheduler
        self._permissions = permissions
        self._bus = bus
        self._resource = f"WORKSPACE:{workspace_id}"

    async def status(self, subject: str) -> ZoneStatus | None:
        """Return the state of the zone, None if workers on the engine's machine execute the tasks.

        Raises :class:`PermissionDeniedError` if the subject may not view keys.
        """
        self._permissions.require_type(subject, Action.VIEW, ResourceType.KEY)
        return await read_zone_status(self._bus, self._scheduler)

    async def drain(self, subject: str, name: str) -> CryptoHostStatus:
        """Ask a host to finish its jobs, take no others, and exit; return its state.

        ``name``: the name of the host, or its host name if only one host of the zone has it. The audit entry is durable
        before the host is asked. Raises :class:`PermissionDeniedError` if the subject is not an administrator,
        :class:`ConflictError` if the workspace has no zone or the host name is not unique, and :class:`NotFoundError`
        if the host is unknown.
        """
        self._permissions.require_type(subject, Action.UPDATE, ResourceType.POLICY)
        status = await self._bus.zone_status()
        if status is None:
            raise ConflictError(
                "The workspace has no crypto zone: workers on the engine's machine execute its tasks.",
                "Stop the server to stop its workers.",
            )
        host = _find_host(status, name)
        unit_of_work = self._repository.begin()
        unit_of_work.audit(
            subject,
            AuditAction.UPDATED,
            self._resource,
            f"crypto host {escape_text(host.hostname)} asked to finish its jobs and exit",
            {"zone": status.name, "cryptoHost": host.name, "draining": True},
        )
        await unit_of_work.commit()
        await self._bus.drain_host(host.name)
        return host


async def read_zone_status(bus: JobBus, scheduler: Scheduler) -> ZoneStatus | None:
    """Return the state of the zone. Its waiting tasks include those that the engine has not put into the bus yet."""
    status = await bus.zone_status()
    if status is None:
        return None
    return msgspec.structs.replace(status, queued=status.queued + scheduler.queue_length)


def _find_host(status: ZoneStatus, name: str) -> CryptoHostStatus:
    matches = [host for host in status.hosts if host.name == name] or [
        host for host in status.hosts if host.hostname == name
    ]
    if not matches:
        raise NotFoundError(f"Crypto host {escape_text(name, 100)} not found.", Hint.of(HintCode.LIST_CRYPTO_HOSTS))
    if len(matches) > 1:
        raise ConflictError(
            f"{len(matches)} crypto hosts have the host name {escape_text(name, 100)}.",
            Hint.of(HintCode.LIST_CRYPTO_HOSTS),
        )
    return matches[0]
