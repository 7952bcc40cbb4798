"""Tests of problem documents: status codes, members and conversion back to errors."""

from __future__ import annotations

from typing import Any

from litestar import Request

from sealyard.model.errors import (
    ErrorInfo,
    FencedError,
    ResultExpiredError,
    ResultGoneError,
    SealyardError,
    TooManyRequestsError,
    error_from_info,
)
from sealyard.server.http.problems import STATUS, handle_fenced, headers_of, to_problem

SERVER_FAULTS = {
    "internal",
    "invariant",
    "store-damaged",
    "worker-state",
    "anchor",
    "key-store-damaged",
    "download",
    "task-failed",
    "workspace",
    "still-waiting",
}
"""Codes without a status of their own: they are not caused by the request and are returned as 500."""


def error_codes(base: type[SealyardError]) -> set[str]:
    return {base.code}.union(*(error_codes(each) for each in base.__subclasses__()))


def test_every_error_code_has_a_status() -> None:
    assert {each for each in error_codes(SealyardError) if each.isascii()} - set(STATUS) - SERVER_FAULTS <= {
        "change-cancelled",
        "interrupted",
        "later",
        "output",
    }


def test_only_expired_result_is_renewable() -> None:
    expired, gone = to_problem(ResultExpiredError("expired")), to_problem(ResultGoneError("gone"))
    assert (expired.status, expired.renewable) == (410, True)
    assert (gone.status, gone.renewable) == (410, False)
    assert expired.type != gone.type


def test_too_many_requests_has_retry_after() -> None:
    error = TooManyRequestsError("often", retry_after=2.4)
    assert headers_of(error) == {"Retry-After": "2"}
    assert to_problem(error).retry_after == 2.4


def test_fenced_server_distinguishes_requests_that_had_started() -> None:
    request: Request[Any, Any, Any] = Request({"type": "http"})  # type: ignore[arg-type]
    rejected = handle_fenced(request, FencedError("taken over", started=False))
    assert (rejected.status_code, rejected.content.code) == (503, "taking-over")
    assert rejected.headers["Retry-After"] == "1"
    started = handle_fenced(request, FencedError("taken over"))
    assert (started.status_code, started.content.code) == (502, "outcome-unknown")
    assert "Retry-After" not in started.headers


def test_problem_converts_back_to_error() -> None:
    for code in STATUS:
        problem = to_problem(_create_error(code))
        error = error_from_info(_create_info(problem.code, problem.detail, problem.hint))
        assert (error.message, error.hint) == ("what happened", "what to do")


def _create_error(code: str) -> SealyardError:
    return error_from_info(_create_info(code, "what happened", "what to do"))


def _create_info(code: str, message: str, hint: str) -> ErrorInfo:
    return ErrorInfo(code=code, message=message, hint=hint)
