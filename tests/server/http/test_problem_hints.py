"""Problem documents carry the code of a hint, and what a client of the API can do."""

from __future__ import annotations

import pytest

from sealyard.model.errors import NotFoundError
from sealyard.model.hints import Hint, HintCode
from sealyard.server.http.problems import to_problem


def test_problem_has_code_arguments_and_request() -> None:
    problem = to_problem(NotFoundError("It is missing.", Hint.of(HintCode.ADD_SUBJECT, subject="USER:new")))
    assert problem.hint == "Add USER:new first."
    assert (problem.hint_code, problem.hint_args) == ("add-subject", {"subject": "USER:new"})
    assert problem.api_hint == "POST /api/v1/acl/subjects adds USER:new."


@pytest.mark.parametrize(
    "hint", [Hint("Do this."), Hint.of(HintCode.LIST_PROFILES)], ids=["no code", "not possible in the API"]
)
def test_problem_without_a_request_has_no_api_hint(hint: Hint) -> None:
    problem = to_problem(NotFoundError("It is missing.", hint))
    assert (problem.hint, problem.hint_code, problem.api_hint) == (hint.text, hint.code, "")


def test_placeholders_of_paths_are_kept() -> None:
    problem = to_problem(NotFoundError("It is missing.", Hint.of(HintCode.LIST_FAILED_DELIVERIES)))
    assert problem.api_hint == "GET /api/v1/webhook/{webhook_id}/deadLetter lists failed deliveries."
