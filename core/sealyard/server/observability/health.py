"""Liveness and readiness checks. They require no token and disclose nothing about tenants, tasks or keys."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Annotated, Any, Protocol

from litestar import Controller, Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from sealyard.client.engine_handle import EngineHandle
from sealyard.model.base import FrozenStruct
from sealyard.model.health import HealthCheck
from sealyard.server.auth.issuers import IssuerRegistry

TIMEOUT = 15.0
"""Seconds to wait for the checks of an engine. An engine that responds reports slow checks as failed before that."""

log = logging.getLogger(__name__)


class LivenessResponse(FrozenStruct, frozen=True, kw_only=True):
    alive: bool = True


class CheckSummary(FrozenStruct, frozen=True, kw_only=True):
    """The numbers of passed and failed checks of one kind across all tenants.

    ``name``: the kind of check; never the name of a key. ``warnings``: the number of checks that need attention, for
    example because a certificate expires soon.
    """

    name: str
    passed: int
    failed: int
    warnings: int


class ReadinessResponse(FrozenStruct, frozen=True, kw_only=True):
    ready: bool
    checks: tuple[CheckSummary, ...]


class StandbyStatus(Protocol):
    """The status of a server that serves its workspace together with others."""

    @property
    def is_active(self) -> bool:
        """Whether this server has the workspace open."""
        ...

    def check(self) -> tuple[HealthCheck, ...]:
        """Return what a standby needs to answer requests. An active server ignores it."""
        ...


class HealthController(Controller):
    """Endpoints for the liveness and readiness checks. They read tenants and issuers from the application state."""

    tags = ("server",)

    @get("/healthz", sync_to_thread=False, summary="Check that the server is running")
    def alive(self) -> LivenessResponse:
        return LivenessResponse()

    @get(
        "/readyz",
        summary="Check that stores accept writes, workers respond, keys in use can sign, and issuers are reachable",
        responses={503: ResponseSpec(ReadinessResponse, description="not ready: a check failed")},
    )
    async def ready(
        self,
        request: Request[Any, Any, Any],
        active: Annotated[
            str | None, QueryParameter(description="if present, only a server that has its workspaces open is ready")
        ] = None,
    ) -> Response[ReadinessResponse]:
        state = request.app.state
        standby_status: StandbyStatus | None = state.standby_status
        if standby_status is None or standby_status.is_active:
            checks = await run_checks((engine_handle for _, engine_handle in state.tenants), state.issuers)
        elif active is None:
            checks = standby_status.check()
        else:
            checks = (HealthCheck(name="active", passed=False),)
        readiness = summarize_checks(checks)
        return Response(readiness, status_code=200 if readiness.ready else 503)


async def run_checks(engine_handles: Iterable[EngineHandle], issuers: IssuerRegistry) -> tuple[HealthCheck, ...]:
    """Run all health checks of the engines and issuers concurrently."""
    results = await asyncio.gather(*map(_run_checks, engine_handles), _check_issuers(issuers))
    return tuple(chain(*results))


def summarize_checks(checks: Sequence[HealthCheck]) -> ReadinessResponse:
    """Count the results by check name."""
    passed_counts = Counter(check.name for check in checks if check.passed)
    failed_counts = Counter(check.name for check in checks if not check.passed)
    warning_counts = Counter(check.name for check in checks if check.warning)
    names = dict.fromkeys(check.name for check in checks)
    return ReadinessResponse(
        ready=not failed_counts,
        checks=tuple(
            CheckSummary(
                name=name,
                passed=passed_counts[name],
                failed=failed_counts[name],
                warnings=warning_counts[name],
            )
            for name in names
        ),
    )


async def _check_issuers(issuers: IssuerRegistry) -> tuple[HealthCheck, ...]:
    return tuple(HealthCheck(name="oidc-issuer", passed=passed) for passed in await issuers.check_reachable())


async def _run_checks(engine_handle: EngineHandle) -> tuple[HealthCheck, ...]:
    if engine_handle.engine.scheduler.draining:
        return (HealthCheck(name="stopping", passed=False),)
    try:
        async with asyncio.timeout(TIMEOUT):
            return (await engine_handle.run(engine_handle.engine.health.health())).checks
    except Exception:
        # An engine that cannot run its checks is not ready, whatever the cause.
        log.exception("engine of %s does not respond", engine_handle.folder)
        return (HealthCheck(name="engine", passed=False),)
