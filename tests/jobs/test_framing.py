"""Tests of the framing of worker messages as JSON lines."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.jobs.framing import decode_report, decode_request, encode_line
from sealyard.model.errors import ErrorInfo, InvalidInputError
from sealyard.model.key_commands import ExportKey, RotateKey
from sealyard.model.key_holder_messages import OpenKeys
from sealyard.model.worker_messages import (
    FromWorker,
    Heartbeat,
    JobFailed,
    KeyRequest,
    KeyResponse,
    SigningPermissionRequested,
    SigningPermitted,
    StopJob,
    ToWorker,
)

TEXT = st.text()
NUMBER = st.integers(0, 2**63 - 1)
ERRORS = st.builds(ErrorInfo, code=TEXT, message=TEXT, hint=TEXT)
FROM_WORKER = st.one_of(
    st.builds(Heartbeat, task_id=TEXT, fencing_token=NUMBER, done=NUMBER, total=NUMBER),
    st.builds(SigningPermissionRequested, task_id=TEXT, fencing_token=NUMBER, sha256=TEXT, header=st.none() | TEXT),
    st.builds(JobFailed, task_id=TEXT, fencing_token=NUMBER, error=ERRORS),
    st.builds(KeyResponse, request_id=NUMBER, text=st.none() | TEXT, error=st.none() | ERRORS),
)
COMMANDS = st.builds(RotateKey, uri=TEXT) | st.builds(ExportKey, uri=TEXT, version=NUMBER)
TO_WORKER = st.one_of(
    st.builds(SigningPermitted, task_id=TEXT, fencing_token=NUMBER),
    st.builds(StopJob, task_id=TEXT),
    st.builds(KeyRequest, request_id=NUMBER, command=COMMANDS),
)


@given(FROM_WORKER)
def test_report_round_trips_in_one_line(message: FromWorker) -> None:
    text = encode_line(message)
    assert text.index(b"\n") == len(text) - 1
    assert decode_report.decode(text) == message


@given(TO_WORKER)
def test_request_round_trips_in_one_line(message: ToWorker) -> None:
    text = encode_line(message)
    assert text.index(b"\n") == len(text) - 1
    assert decode_request.decode(text) == message


@given(st.lists(FROM_WORKER))
def test_concatenated_messages_are_separable(messages: list[FromWorker]) -> None:
    data = b"".join(map(encode_line, messages))
    assert [decode_report.decode(each) for each in data.splitlines()] == messages


@given(st.binary() | FROM_WORKER.map(lambda message: encode_line(message)[:-2]))
def test_arbitrary_bytes_decode_or_raise(text: bytes) -> None:
    for decoder in (decode_report, decode_request):
        try:
            decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue


def test_invalid_unicode_is_rejected() -> None:
    with pytest.raises(InvalidInputError):
        encode_line(RotateKey(uri="\udcff"))


def test_master_key_is_sent_but_not_printed() -> None:
    message = OpenKeys(workspace="/w", workspace_id="w1", master_key=b"open sesame")
    assert b"b3BlbiBzZXNhbWU=" in encode_line(message)
    assert "open sesame" not in f"{message!r} {message}"
