"""Hints of problem documents: unknown codes are accepted, and untrusted text is escaped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sealyard.model.errors import NotFoundError, SealyardError
from sealyard.model.hints import Hint
from tests.support.scripted_server import Exchange, serving


def receive_error(**members: Any) -> SealyardError:
    """Return the error that a client raises for a problem document with these members."""

    async def handler(exchange: Exchange) -> None:
        await exchange.answer({"status": 404, "code": "not-found", "detail": "No.", **members}, 404)

    async def run() -> SealyardError:
        async with serving(handler) as (_, client):
            with pytest.raises(NotFoundError) as caught:
                await client.task("t1")
            return caught.value

    return asyncio.run(run())


def test_unknown_code_keeps_text_code_and_arguments() -> None:
    error = receive_error(hint="Do this.", hintCode="from-the-future", hintArgs={"a": "b"}, unknownMember=1)
    assert error.structured_hint == Hint("Do this.", "from-the-future", {"a": "b"})


def test_problem_without_a_code_has_a_plain_hint() -> None:
    assert receive_error(hint="Do this.").structured_hint == Hint("Do this.")


def test_problem_without_a_hint_is_accepted() -> None:
    assert receive_error().structured_hint == Hint()


def test_arguments_and_text_are_escaped() -> None:
    error = receive_error(hint="a\x1b", hintCode="renew-link", hintArgs={"task_id": "b\x07\u202e"})
    assert error.structured_hint == Hint("a\\x1b", "renew-link", {"task_id": "b\\x07\\u202e"})
