"""Liveness and readiness checks. They require no token and disclose nothing about tenants, tasks or keys."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Any

from litestar import Controller, Request, Response, get
from litestar.openapi.datastructures import ResponseSpec

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
    async def ready(self, request: Request[Any, Any, Any]) -> Response[ReadinessResponse]:
        state = request.app.state
        readiness = await check_readiness((engine_handle for _, engine_handle in state.tenants), state.issuers)
        return Response(readiness, status_code=200 if readiness.ready else 503)


async def check_readiness(engine_handles: Iterable[EngineHandle], issuers: IssuerRegistry) -> ReadinessResponse:
    """Run all health checks concurrently and count the results by check name."""
    *engine_checks, issuer_checks = await asyncio.gather(*map(_run_checks, engine_handles), _check_issuers(issuers))
    checks = list(chain(*engine_checks, issuer_checks))
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
