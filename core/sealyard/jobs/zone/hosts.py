"""The hosts of a crypto zone, as their heartbeats describe them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from sealyard.jobs.bus import LARGE_JOB_BYTES
from sealyard.jobs.zone.connection import Rows
from sealyard.model.base import JSON_ERRORS
from sealyard.model.worker_messages import RefusedMeasure
from sealyard.model.zone_status import CryptoHostStatus

HOST_LEASE_SECONDS = 8.0
"""Time without a heartbeat after which the jobs of a host are lost. The host has stopped them two seconds before."""

MAX_SMALL_JOBS = 32
"""Number of small jobs that one worker runs at a time."""

_refused_decoder = msgspec.json.Decoder(tuple[RefusedMeasure, ...])


class Capacity(NamedTuple):
    """Number of hosts that take jobs, and the sum of their slots. The first slot of a host never runs large jobs."""

    hosts: int = 0
    slots: int = 0

    def admits(self, size: int, sizes: Iterable[int], *, large_job_waiting: bool) -> bool:
        """Return whether the zone can take a job of ``size`` bytes while it has jobs with these ``sizes``."""
        large = small = 0
        for each in sizes:
            large, small = (large + 1, small) if each >= LARGE_JOB_BYTES else (large, small + 1)
        if size >= LARGE_JOB_BYTES:
            return large < self.slots - self.hosts
        slots = self.hosts if large_job_waiting else self.slots - large
        return small < slots * MAX_SMALL_JOBS


def read_hosts(rows: Rows) -> dict[str, CryptoHostStatus]:
    """Return the hosts by name, from the rows of :data:`sealyard.jobs.zone.statements.READ_HOSTS`."""
    return {
        name: CryptoHostStatus(
            name=name,
            hostname=hostname,
            version=version,
            slots=slots,
            running_jobs=running_jobs,
            started_at=started_at,
            silent_seconds=silent_seconds,
            draining=draining,
            refused=_decode_refused(refused),
        )
        for name, hostname, version, slots, running_jobs, started_at, silent_seconds, draining, refused in rows
    }


def is_alive(host: CryptoHostStatus) -> bool:
    return host.silent_seconds <= HOST_LEASE_SECONDS


def compute_capacity(hosts: Iterable[CryptoHostStatus]) -> Capacity:
    slots = [max(host.slots, 0) for host in hosts if is_alive(host) and not host.draining]
    return Capacity(hosts=len(slots), slots=sum(slots))


def _decode_refused(text: str) -> tuple[RefusedMeasure, ...]:
    try:
        return _refused_decoder.decode(text)
    except JSON_ERRORS:
        return ()
