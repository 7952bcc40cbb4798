"""Tests of one-time passwords with random sequences of events, against a model."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sealyard.model.errors import OneTimePasswordError
from tests.support.authenticator import Authenticator
from tests.support.engine_harness import EngineHarness
from tests.support.extent import choose_count
from tests.support.otp import confirm_enrollment, start_enrollment, use_code

pytestmark = pytest.mark.anyio

MAX_ATTEMPTS = 5
LOCK_DURATION = timedelta(minutes=15)

NUMBERS = count()

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("shown"), st.sampled_from([0, 0, 0, -1, 1, -2, 2])),
        st.tuples(st.just("wrong"), st.integers(1, 5)),
        st.tuples(st.just("again"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.sampled_from([1, 29, 30, 90, 870, 899, 900])),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=30,
)


class OtpModel:
    """A model of the verification, which checks the outcome of every password that was entered."""

    def __init__(self, authenticator: Authenticator, confirmed: int) -> None:
        self._authenticator = authenticator
        self._last_step = confirmed
        self._failures = 0
        self._locked_until: datetime | None = None
        self.passwords: list[str] = []

    def check_outcome(self, password: str, now: datetime, accepted: bool) -> None:
        self.passwords.append(password)
        if self._locked_until is not None and now < self._locked_until:
            assert not accepted, "a password was accepted during the lock"
            return
        current = self._authenticator.step(now)
        valid_steps = [
            step for step in range(current - 1, current + 2) if self._authenticator.code_at_step(step) == password
        ]
        unused_steps = [step for step in valid_steps if step > self._last_step]
        assert accepted is bool(unused_steps), (valid_steps, self._last_step)
        if unused_steps:
            self._last_step, self._failures = unused_steps[0], 0
            return
        self._failures += 1
        if self._failures == MAX_ATTEMPTS:
            self._failures, self._locked_until = 0, now + LOCK_DURATION


@settings(
    max_examples=choose_count(share=40, full=3000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(events=EVENTS)
@example(events=[("wait", 90), ("wrong", 4), ("shown", 0), ("wrong", 4), ("wait", 90), ("shown", 0)])
@example(events=[("wait", 90), ("wrong", 5), ("wait", 899), ("shown", 0), ("wait", 1), ("shown", 0)])
async def test_random_event_sequence_matches_model(harness: EngineHarness, events: list[tuple[str, int]]) -> None:
    subject = f"USER:person{next(NUMBERS)}"
    await harness.add_subject(subject)
    authenticator = await start_enrollment(harness, subject)
    await confirm_enrollment(harness, subject, authenticator.code(harness.clock.now()))
    model = OtpModel(authenticator, authenticator.step(harness.clock.now()))
    for event, number in events:
        match event:
            case "wait":
                harness.clock.advance(seconds=number)
            case "restart":
                await harness.reopen(work=False)
            case "shown":
                await enter_password(harness, subject, authenticator.code(harness.clock.now(), steps_off=number), model)
            case "wrong":
                for _ in range(number):
                    await enter_password(harness, subject, authenticator.invalid_code(harness.clock.now()), model)
            case "again" if number < len(model.passwords):
                await enter_password(harness, subject, model.passwords[-1 - number], model)


async def enter_password(harness: EngineHarness, subject: str, password: str, model: OtpModel) -> None:
    try:
        await use_code(harness, subject, password)
        accepted = True
    except OneTimePasswordError:
        accepted = False
    model.check_outcome(password, harness.clock.now(), accepted)
