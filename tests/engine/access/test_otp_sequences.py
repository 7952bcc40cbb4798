"""Whatever is given in whatever order: no step is taken twice, five tries are the most, and a right one is taken."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sealyard.model.errors import OneTimePasswordError
from tests.support.authenticator import Authenticator
from tests.support.engine_harness import EngineHarness
from tests.support.otp import confirm_enrollment, start_enrollment, use_code

pytestmark = pytest.mark.anyio

MAX_TRIES = 5
LOCK = timedelta(minutes=15)

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


class Promises:
    """What must hold, worked out beside the engine from what was given and what came of it."""

    def __init__(self, app: Authenticator, confirmed: int) -> None:
        self._app = app
        self._last = confirmed
        self._wrong = 0
        self._locked_until: datetime | None = None
        self.given: list[str] = []

    def hold(self, password: str, now: datetime, taken: bool) -> None:
        self.given.append(password)
        if self._locked_until is not None and now < self._locked_until:
            assert not taken, "nothing is taken while it is locked"
            return
        current = self._app.step(now)
        good = [step for step in range(current - 1, current + 2) if self._app.code_at_step(step) == password]
        fresh = [step for step in good if step > self._last]
        assert taken is bool(fresh), (good, self._last)
        if fresh:
            self._last, self._wrong = fresh[0], 0
            return
        self._wrong += 1
        if self._wrong == MAX_TRIES:
            self._wrong, self._locked_until = 0, now + LOCK


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS)
@example(events=[("wait", 90), ("wrong", 4), ("shown", 0), ("wrong", 4), ("wait", 90), ("shown", 0)])
@example(events=[("wait", 90), ("wrong", 5), ("wait", 899), ("shown", 0), ("wait", 1), ("shown", 0)])
async def test_the_promises_hold_for_any_sequence(harness: EngineHarness, events: list[tuple[str, int]]) -> None:
    who = f"USER:person{next(NUMBERS)}"
    await harness.add_subject(who)
    app = await start_enrollment(harness, who)
    await confirm_enrollment(harness, who, app.code(harness.clock.now()))
    promises = Promises(app, app.step(harness.clock.now()))
    for event, number in events:
        match event:
            case "wait":
                harness.clock.advance(seconds=number)
            case "restart":
                await harness.reopen(work=False)
            case "shown":
                await give(harness, who, app.code(harness.clock.now(), steps_off=number), promises)
            case "wrong":
                for _ in range(number):
                    await give(harness, who, app.invalid_code(harness.clock.now()), promises)
            case "again" if number < len(promises.given):
                await give(harness, who, promises.given[-1 - number], promises)


async def give(harness: EngineHarness, who: str, password: str, promises: Promises) -> None:
    try:
        await use_code(harness, who, password)
        taken = True
    except OneTimePasswordError:
        taken = False
    promises.hold(password, harness.clock.now(), taken)
