"""Messages as lines: one line each, whatever text is in them, and any bytes are a message or an error."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.jobs.framing import decode_report, decode_request, encode_line
from sealyard.model.errors import ErrorInfo, InvalidInputError
from sealyard.model.worker_messages import (
    ExportKey,
    FromWorker,
    Heartbeat,
    JobFailed,
    KeyRequest,
    KeyResponse,
    OpenKeyStore,
    RotateKey,
    SigningPermissionRequested,
    SigningPermitted,
    StopJob,
    ToWorker,
)

TEXT = st.text()
NUMBER = st.integers(0, 2**63 - 1)
ERRORS = st.builds(ErrorInfo, code=TEXT, message=TEXT, hint=TEXT)
UP = st.one_of(
    st.builds(Heartbeat, task_id=TEXT, fencing_token=NUMBER, done=NUMBER, total=NUMBER),
    st.builds(SigningPermissionRequested, task_id=TEXT, fencing_token=NUMBER, sha256=TEXT, header=st.none() | TEXT),
    st.builds(JobFailed, task_id=TEXT, fencing_token=NUMBER, error=ERRORS),
    st.builds(KeyResponse, request_id=NUMBER, text=st.none() | TEXT, error=st.none() | ERRORS),
)
QUESTIONS = st.builds(RotateKey, uri=TEXT) | st.builds(ExportKey, uri=TEXT, version=NUMBER, path=TEXT)
DOWN = st.one_of(
    st.builds(OpenKeyStore, workspace=TEXT, workspace_id=TEXT, key_store=TEXT, passphrase=st.none() | TEXT),
    st.builds(SigningPermitted, task_id=TEXT, fencing_token=NUMBER),
    st.builds(StopJob, task_id=TEXT),
    st.builds(KeyRequest, request_id=NUMBER, command=QUESTIONS),
)


@given(UP)
def test_what_a_worker_says_is_one_line_and_comes_back_the_same(message: FromWorker) -> None:
    text = encode_line(message)
    assert text.index(b"\n") == len(text) - 1
    assert decode_report.decode(text) == message


@given(DOWN)
def test_what_an_engine_says_is_one_line_and_comes_back_the_same(message: ToWorker) -> None:
    text = encode_line(message)
    assert text.index(b"\n") == len(text) - 1
    assert decode_request.decode(text) == message


@given(st.lists(UP))
def test_messages_one_after_another_stay_apart(messages: list[FromWorker]) -> None:
    together = b"".join(map(encode_line, messages))
    assert [decode_report.decode(each) for each in together.splitlines()] == messages


@given(st.binary() | UP.map(lambda message: encode_line(message)[:-2]))
def test_any_bytes_are_a_message_or_an_error(text: bytes) -> None:
    for decoder in (decode_report, decode_request):
        try:
            decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue


def test_text_that_is_no_unicode_is_an_error_of_ours() -> None:
    with pytest.raises(InvalidInputError):
        encode_line(RotateKey(uri="\udcff"))


def test_a_passphrase_crosses_the_pipe_and_shows_in_no_text() -> None:
    unlock = OpenKeyStore(workspace="/w", workspace_id="w1", key_store="passphrase", passphrase="open sesame")
    assert b"open sesame" in encode_line(unlock)
    assert "open sesame" not in f"{unlock!r} {unlock}"
