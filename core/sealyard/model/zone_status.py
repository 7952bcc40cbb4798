"""The state of a crypto zone and of its hosts."""

from __future__ import annotations

from datetime import datetime

from sealyard.model.base import FrozenStruct
from sealyard.model.worker_messages import RefusedMeasure


class CryptoHostStatus(FrozenStruct, frozen=True, kw_only=True):
    """A running agent of a zone, as the bus database describes it.

    ``name``: unique for each start of an agent. ``silent_seconds``: time since its last heartbeat, by the clock of the
    database. ``slots``: number of workers. ``refused``: measures of confinement that the kernel of the host refused.
    """

    name: str
    hostname: str
    version: str
    slots: int
    running_jobs: int
    started_at: datetime
    silent_seconds: float
    draining: bool = False
    refused: tuple[RefusedMeasure, ...] = ()


class ZoneStatus(FrozenStruct, frozen=True, kw_only=True):
    """The state of the zone of a workspace.

    ``reachable``: whether the bus database can be used. ``queued``: tasks that wait for a host. ``report_lag``: age in
    seconds of the oldest report that the engine has not handled.
    """

    name: str
    reachable: bool
    hosts: tuple[CryptoHostStatus, ...] = ()
    queued: int = 0
    report_lag: float = 0.0
