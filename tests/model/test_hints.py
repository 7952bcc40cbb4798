"""Hints with a code: neutral texts, wordings of front ends, and the way to another process."""

from __future__ import annotations

from string import Formatter

import msgspec
import pytest

from sealyard.model.errors import ErrorInfo, NotFoundError, SealyardError, error_from_info
from sealyard.model.hints import NEUTRAL_TEXTS, Hint, HintCode

RENEW = Hint.of(HintCode.RENEW_LINK, task_id="t1")


@pytest.mark.parametrize("code", HintCode)
def test_every_code_has_a_neutral_text(code: HintCode) -> None:
    text = NEUTRAL_TEXTS[code]
    args = {name: f"<{name}>" for _, name, _, _ in Formatter().parse(text) if name}
    hint = Hint.of(code, **args)
    assert (hint.code, hint.args) == (code, args)
    assert all(value in hint.text for value in args.values())
    assert "{" not in hint.text


def test_neutral_texts_have_known_codes_only() -> None:
    assert set(NEUTRAL_TEXTS) == set(HintCode)


def test_front_end_words_a_known_code() -> None:
    assert RENEW.word({HintCode.RENEW_LINK: "Press {key} for {task_id}."}, key="e") == "Press e for t1."


@pytest.mark.parametrize(
    "wordings",
    [{}, {HintCode.LIST_TASKS: "List tasks."}, {HintCode.RENEW_LINK: "Renew {task_id} of {subject}."}],
    ids=["no wordings", "unknown code", "missing argument"],
)
def test_neutral_text_is_used_without_a_usable_wording(wordings: dict[str, str]) -> None:
    assert RENEW.word(wordings) == "Renew the link of task t1."


@pytest.mark.parametrize("value", ["{key}", "{task_id.__class__}", "{", "{}", "%s"])
def test_arguments_are_not_formatted_again(value: str) -> None:
    hint = Hint("text", HintCode.RENEW_LINK, {"task_id": value})
    assert hint.word({HintCode.RENEW_LINK: "Renew {task_id}."}, key="e") == f"Renew {value}."


def test_arguments_do_not_replace_fields_of_the_front_end() -> None:
    hint = Hint("text", HintCode.RENEW_LINK, {"task_id": "t1", "key": "q"})
    assert hint.word({HintCode.RENEW_LINK: "Press {key}."}, key="e") == "Press e."


def test_hint_of_an_error_survives_the_way_to_another_process() -> None:
    error = NotFoundError("It is missing.", RENEW)
    sent = msgspec.json.encode(error.to_info())
    received = msgspec.json.decode(sent, type=ErrorInfo)
    assert received.structured_hint == RENEW
    rebuilt = error_from_info(received)
    assert (type(rebuilt), rebuilt.structured_hint, rebuilt.hint) == (NotFoundError, RENEW, RENEW.text)
    assert rebuilt.to_info() == error.to_info()


def test_unknown_code_keeps_its_text() -> None:
    sent = b'{"code":"not-found","message":"No.","hint":"Do this.","hintCode":"from-the-future","hintArgs":{"a":"b"}}'
    error = error_from_info(msgspec.json.decode(sent, type=ErrorInfo))
    assert error.structured_hint == Hint("Do this.", "from-the-future", {"a": "b"})
    assert error.structured_hint.word({HintCode.RENEW_LINK: "Renew it."}) == "Do this."


def test_error_info_without_a_code_is_accepted() -> None:
    info = msgspec.json.decode(b'{"code":"usage","message":"No.","hint":"Do this."}', type=ErrorInfo)
    assert info.structured_hint == Hint("Do this.")


def test_plain_text_is_a_hint_without_a_code() -> None:
    error = SealyardError("It failed.", "Try again.")
    assert (error.hint, error.structured_hint) == ("Try again.", Hint("Try again."))
    assert str(error) == "It failed. Try again."
