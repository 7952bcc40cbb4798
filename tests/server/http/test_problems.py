"""Problem documents: every error of the family has a place, and nothing secret is in it."""

from __future__ import annotations

from sealyard.model.errors import (
    ErrorInfo,
    ResultExpiredError,
    ResultGoneError,
    SealyardError,
    TooManyRequestsError,
    error_from_info,
)
from sealyard.server.http.problems import STATUS, headers_of, to_problem

OURS = {
    "internal",
    "invariant",
    "store-damaged",
    "key-store-damaged",
    "download",
    "task-failed",
    "workspace",
    "still-waiting",
}
"""What is no fault of who asks: a server cannot go on with it."""


def family(base: type[SealyardError]) -> set[str]:
    return {base.code}.union(*(family(each) for each in base.__subclasses__()))


def test_every_error_of_the_family_has_a_status_of_its_own_or_is_a_fault_of_ours() -> None:
    assert {each for each in family(SealyardError) if each.isascii()} - set(STATUS) - OURS <= {"interrupted", "later"}


def test_an_expired_link_says_that_it_can_be_renewed_and_a_removed_one_that_it_cannot() -> None:
    expired, gone = to_problem(ResultExpiredError("over")), to_problem(ResultGoneError("gone"))
    assert (expired.status, expired.renewable) == (410, True)
    assert (gone.status, gone.renewable) == (410, False)
    assert expired.type != gone.type


def test_too_many_requests_say_when_to_come_again() -> None:
    error = TooManyRequestsError("often", retry_after=2.4)
    assert headers_of(error) == {"Retry-After": "2"}
    assert to_problem(error).retry_after == 2.4


def test_a_problem_becomes_the_same_error_again() -> None:
    for code in STATUS:
        problem = to_problem(_made(code))
        again = error_from_info(_value(problem.code, problem.detail, problem.hint))
        assert (again.message, again.hint) == ("what happened", "what to do")


def _made(code: str) -> SealyardError:
    return error_from_info(_value(code, "what happened", "what to do"))


def _value(code: str, message: str, advice: str) -> ErrorInfo:
    return ErrorInfo(code=code, message=message, hint=advice)
