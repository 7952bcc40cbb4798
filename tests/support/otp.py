"""Helpers for engine tests with one-time passwords."""

from __future__ import annotations

from sealyard.model.tasks import DecisionOrigin, Task, Verdict
from tests.support.authenticator import Authenticator
from tests.support.engine_harness import EngineHarness


async def start_enrollment(harness: EngineHarness, subject: str, current: str | None = None) -> Authenticator:
    """Start an enrollment that is not confirmed yet, and return the authenticator."""
    enrollment = await harness.execute(subject, harness.engine.otp.enroll(subject, current))
    return Authenticator(enrollment.uri)


async def confirm_enrollment(harness: EngineHarness, subject: str, password: str) -> None:
    await harness.execute(subject, harness.engine.otp.confirm(subject, password))


async def enroll(harness: EngineHarness, subject: str) -> Authenticator:
    """Enroll the subject, and advance the clock so that the next code is a new one."""
    app = await start_enrollment(harness, subject)
    await confirm_enrollment(harness, subject, app.code(harness.clock.now()))
    harness.clock.advance(minutes=5)
    return app


async def reset_authenticator(harness: EngineHarness, by: str, subject: str) -> None:
    await harness.execute(by, harness.engine.otp.reset(by, subject))


async def use_code(harness: EngineHarness, subject: str, password: str | None) -> None:
    """Verify and consume a code like an approval does."""
    unit = harness.engine.repository.begin()
    await harness.engine.otp.verify_and_consume(unit, subject, password)
    await unit.commit()


async def approve(
    harness: EngineHarness,
    task: Task,
    subject: str,
    password: str | None = None,
    origin: DecisionOrigin = DecisionOrigin.TERMINAL,
) -> Task:
    decision = harness.engine.decisions.decide(subject, task.id, Verdict.APPROVED, "", None, origin, password)
    return await harness.execute(subject, decision)
