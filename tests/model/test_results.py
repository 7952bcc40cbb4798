"""Tests of the states of a result before and after each time limit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.errors import ConflictError, ResultGoneError
from sealyard.model.results import link_expiry, refreshed, require_artifact, state_at, with_new_link
from sealyard.model.tasks import Result, ResultState, TaskStatus
from tests.support.factories.tasks import package

DONE = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
EXPIRES = DONE + timedelta(hours=24)
RETAINED = DONE + timedelta(days=30)
MOMENT = timedelta(microseconds=1)

RESULT = Result(state=ResultState.AVAILABLE, link="sealyard:x", expires_at=EXPIRES, retained_until=RETAINED)
SIGNATURE = Result(state=ResultState.AVAILABLE, signature="AAAA")
AVAILABLE, EXPIRED, GONE = ResultState.AVAILABLE, ResultState.EXPIRED, ResultState.GONE


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (DONE, AVAILABLE),
        (EXPIRES - MOMENT, AVAILABLE),
        (EXPIRES, EXPIRED),
        (RETAINED - MOMENT, EXPIRED),
        (RETAINED, GONE),
        (RETAINED + timedelta(days=999), GONE),
    ],
)
def test_state_follows_the_clock(now: datetime, state: ResultState) -> None:
    assert state_at(RESULT, now) is state
    assert refreshed(RESULT, now).state is state


def test_expired_result_has_no_link() -> None:
    assert refreshed(RESULT, EXPIRES - MOMENT).link == "sealyard:x"
    assert refreshed(RESULT, EXPIRES).link is None
    assert refreshed(RESULT, RETAINED).link is None


def test_gone_result_stays_gone() -> None:
    gone = refreshed(RESULT, RETAINED)
    assert state_at(gone, DONE) is GONE


def test_signature_never_expires() -> None:
    assert state_at(SIGNATURE, RETAINED + timedelta(days=9999)) is AVAILABLE


def test_new_link_makes_result_available() -> None:
    renewed = with_new_link(refreshed(RESULT, EXPIRES), "sealyard:y", EXPIRES + timedelta(hours=1), EXPIRES)
    assert (renewed.state, renewed.link, renewed.expires_at) == (AVAILABLE, "sealyard:y", EXPIRES + timedelta(hours=1))
    assert renewed.retained_until == RETAINED


def test_renewal_of_gone_result_raises() -> None:
    with pytest.raises(ResultGoneError):
        with_new_link(RESULT, "sealyard:y", RETAINED + timedelta(hours=1), RETAINED)
    with pytest.raises(ResultGoneError):
        with_new_link(refreshed(RESULT, RETAINED), "sealyard:y", EXPIRES, DONE)


def test_renewal_of_signature_raises() -> None:
    with pytest.raises(ConflictError):
        with_new_link(SIGNATURE, "sealyard:y", EXPIRES, DONE)


seconds = st.integers(0, 90 * 24 * 3600).map(lambda number: timedelta(seconds=number))


@given(seconds, seconds)
def test_link_expires_with_the_artifact(elapsed: timedelta, length: timedelta) -> None:
    now = DONE + elapsed
    assert link_expiry(now, int(length.total_seconds()), RETAINED) <= RETAINED
    try:
        renewed = with_new_link(RESULT, "sealyard:y", now + length, now)
    except ResultGoneError:
        assert now >= RETAINED
        return
    assert renewed.expires_at is not None
    assert renewed.expires_at == min(now + length, RETAINED)


def test_require_artifact_of_other_task_raises() -> None:
    artifact = msgspec.structs.replace(RESULT, sha256="00" * 32, size=4)
    done = msgspec.structs.replace(package(), status=TaskStatus.DONE, result=artifact)
    assert require_artifact(done) is artifact
    for result in (SIGNATURE, msgspec.structs.replace(artifact, size=None)):
        with pytest.raises(ConflictError, match="Signing tasks have no file"):
            require_artifact(msgspec.structs.replace(done, result=result))
    failed = msgspec.structs.replace(done, status=TaskStatus.FAILED, result=None, reason="The disk is full.")
    with pytest.raises(ConflictError, match=r"is FAILED: it has no result\. The disk is full\."):
        require_artifact(failed)
