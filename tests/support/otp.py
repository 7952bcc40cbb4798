"""People with an authenticator, for the tests of the engine."""

from __future__ import annotations

from sealyard.model.tasks import DecisionOrigin, Task, Verdict
from tests.support.authenticator import Authenticator
from tests.support.engine_harness import EngineHarness


async def start_enrollment(house: EngineHarness, who: str, current: str | None = None) -> Authenticator:
    """The authenticator has taken the QR code, and the enrolment is not confirmed yet."""
    enrolment = await house.execute(who, house.engine.otp.enroll(who, current))
    return Authenticator(enrolment.uri)


async def confirm_enrollment(house: EngineHarness, who: str, password: str) -> None:
    await house.execute(who, house.engine.otp.confirm(who, password))


async def enroll(house: EngineHarness, who: str) -> Authenticator:
    """As some time after the enrolment: the next password is a new one."""
    app = await start_enrollment(house, who)
    await confirm_enrollment(house, who, app.code(house.clock.now()))
    house.clock.advance(minutes=5)
    return app


async def reset_authenticator(house: EngineHarness, by: str, whose: str) -> None:
    await house.execute(by, house.engine.otp.reset(by, whose))


async def use_code(house: EngineHarness, who: str, password: str | None) -> None:
    """As an approval does, without one."""
    draft = house.engine.repository.begin()
    await house.engine.otp.verify_and_consume(draft, who, password)
    await draft.commit()


async def approve(
    house: EngineHarness,
    task: Task,
    who: str,
    password: str | None = None,
    origin: DecisionOrigin = DecisionOrigin.TERMINAL,
) -> Task:
    deciding = house.engine.decisions.decide(who, task.id, Verdict.APPROVED, "", None, origin, password)
    return await house.execute(who, deciding)
