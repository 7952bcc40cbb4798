"""Whether the server lives and whether it can work, for whoever watches over it: no token, and nothing to learn."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any

from litestar import Controller, Request, Response, get
from litestar.openapi.datastructures import ResponseSpec

from sealyard.client.engine_handle import EngineHandle
from sealyard.model.base import FrozenStruct
from sealyard.model.health import HealthCheck

TIMEOUT = 15.0
"""With an engine; longer than a busy one takes to say that something of it is late."""

log = logging.getLogger(__name__)


class LivenessResponse(FrozenStruct, frozen=True, kw_only=True):
    alive: bool = True


class CheckSummary(FrozenStruct, frozen=True, kw_only=True):
    """How many checks of one kind passed, over all tenants. Which keys there are is nobody's business here."""

    name: str
    passed: int
    failed: int


class ReadinessResponse(FrozenStruct, frozen=True, kw_only=True):
    ready: bool
    checks: tuple[CheckSummary, ...]


class HealthController(Controller):
    """The application's state has the ``tenants``: names and hosts."""

    tags = ("server",)

    @get("/healthz", sync_to_thread=False, summary="Whether the server lives")
    def alive(self) -> LivenessResponse:
        return LivenessResponse()

    @get(
        "/readyz",
        summary="Whether stores take writes, workers answer, and every key in use can sign",
        responses={503: ResponseSpec(ReadinessResponse, description="not ready: some check failed")},
    )
    async def ready(self, request: Request[Any, Any, Any]) -> Response[ReadinessResponse]:
        found = await check_readiness(host for _, host in request.app.state.tenants)
        return Response(found, status_code=200 if found.ready else 503)


async def check_readiness(hosts: Iterable[EngineHandle]) -> ReadinessResponse:
    checks = [check for each in await asyncio.gather(*map(_checks, hosts)) for check in each]
    passed = Counter(each.name for each in checks if each.passed)
    failed = Counter(each.name for each in checks if not each.passed)
    names = dict.fromkeys(each.name for each in checks)
    return ReadinessResponse(
        ready=not failed,
        checks=tuple(CheckSummary(name=each, passed=passed[each], failed=failed[each]) for each in names),
    )


async def _checks(host: EngineHandle) -> tuple[HealthCheck, ...]:
    if host.engine.scheduler.draining:
        return (HealthCheck(name="stopping", passed=False),)
    try:
        async with asyncio.timeout(TIMEOUT):
            return (await host.run(host.engine.health.health())).checks
    except Exception:
        # An engine that cannot even say how it is: being watched must not depend on why.
        log.exception("the engine of %s does not answer", host.folder)
        return (HealthCheck(name="engine", passed=False),)
