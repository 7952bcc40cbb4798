"""The states of a result, on both sides of each edge."""

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
KEPT = DONE + timedelta(days=30)
MOMENT = timedelta(microseconds=1)

RESULT = Result(state=ResultState.AVAILABLE, link="sealyard:x", expires_at=EXPIRES, retained_until=KEPT)
SIGNATURE = Result(state=ResultState.AVAILABLE, signature="AAAA")
AVAILABLE, EXPIRED, GONE = ResultState.AVAILABLE, ResultState.EXPIRED, ResultState.GONE


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (DONE, AVAILABLE),
        (EXPIRES - MOMENT, AVAILABLE),
        (EXPIRES, EXPIRED),
        (KEPT - MOMENT, EXPIRED),
        (KEPT, GONE),
        (KEPT + timedelta(days=999), GONE),
    ],
)
def test_the_state_follows_the_clock_whether_recorded_or_not(now: datetime, state: ResultState) -> None:
    assert state_at(RESULT, now) is state
    assert refreshed(RESULT, now).state is state


def test_a_link_that_leads_nowhere_is_not_shown() -> None:
    assert refreshed(RESULT, EXPIRES - MOMENT).link == "sealyard:x"
    assert refreshed(RESULT, EXPIRES).link is None
    assert refreshed(RESULT, KEPT).link is None


def test_a_removed_artifact_stays_gone() -> None:
    gone = refreshed(RESULT, KEPT)
    assert state_at(gone, DONE) is GONE


def test_a_signature_never_expires() -> None:
    assert state_at(SIGNATURE, KEPT + timedelta(days=9999)) is AVAILABLE


def test_an_expired_result_is_there_again_behind_a_new_link() -> None:
    fresh = with_new_link(refreshed(RESULT, EXPIRES), "sealyard:y", EXPIRES + timedelta(hours=1), EXPIRES)
    assert (fresh.state, fresh.link, fresh.expires_at) == (AVAILABLE, "sealyard:y", EXPIRES + timedelta(hours=1))
    assert fresh.retained_until == KEPT


def test_what_is_gone_cannot_be_renewed() -> None:
    with pytest.raises(ResultGoneError):
        with_new_link(RESULT, "sealyard:y", KEPT + timedelta(hours=1), KEPT)
    with pytest.raises(ResultGoneError):
        with_new_link(refreshed(RESULT, KEPT), "sealyard:y", EXPIRES, DONE)


def test_a_signature_cannot_be_renewed() -> None:
    with pytest.raises(ConflictError):
        with_new_link(SIGNATURE, "sealyard:y", EXPIRES, DONE)


seconds = st.integers(0, 90 * 24 * 3600).map(lambda number: timedelta(seconds=number))


@given(seconds, seconds)
def test_a_link_never_outlives_its_artifact(when: timedelta, length: timedelta) -> None:
    now = DONE + when
    assert link_expiry(now, int(length.total_seconds()), KEPT) <= KEPT
    try:
        fresh = with_new_link(RESULT, "sealyard:y", now + length, now)
    except ResultGoneError:
        assert now >= KEPT
        return
    assert fresh.expires_at is not None
    assert fresh.expires_at == min(now + length, KEPT)


def test_require_artifact_returns_only_the_result_of_a_done_task_with_an_artifact() -> None:
    artifact = msgspec.structs.replace(RESULT, sha256="00" * 32, size=4)
    done = msgspec.structs.replace(package(), status=TaskStatus.DONE, result=artifact)
    assert require_artifact(done) is artifact
    for result in (SIGNATURE, msgspec.structs.replace(artifact, size=None)):
        with pytest.raises(ConflictError, match="Signing tasks have no file"):
            require_artifact(msgspec.structs.replace(done, result=result))
    failed = msgspec.structs.replace(done, status=TaskStatus.FAILED, result=None, reason="The disk is full.")
    with pytest.raises(ConflictError, match=r"is FAILED: it has no result\. The disk is full\."):
        require_artifact(failed)
