"""Tests of the reports of a worker: signed on a crypto host, except for heartbeats."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import pytest

from sealyard.crypto.signed_messages import MessageLabel, verify_message
from sealyard.jobs.framing import decode_report
from sealyard.keys.derived_keys import derive_zone_keys
from sealyard.model.errors import IntegrityError
from sealyard.model.signed_message import SignedMessage
from sealyard.model.worker_messages import Heartbeat, JobFinished
from sealyard.worker.channel import Channel
from sealyard.worker.reports import ReportSender
from tests.support.zone_engine import ZoneEngine

FINISHED = JobFinished(task_id="t1", fencing_token=1, sha256="ab" * 32, size=4)
HEARTBEAT = Heartbeat(task_id="t1", fencing_token=1, done=1, total=2)
ZONE_KEYS = derive_zone_keys(b"m" * 32)


class Pipe:
    """A pipe to which a worker sends reports, and its other end."""

    def __init__(self, lines: BinaryIO, channel: Channel) -> None:
        self.lines = lines
        self.channel = channel

    def receive(self) -> Any:
        return decode_report.decode(self.lines.readline())


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    read_fd, write_fd = os.pipe()
    with os.fdopen(read_fd, "rb") as lines, os.fdopen(write_fd, "wb"), open(os.devnull, "rb") as no_input:  # noqa: PTH123
        yield Pipe(lines, Channel(os.dup(no_input.fileno()), write_fd))


def test_report_is_signed_with_zone_key(pipe: Pipe) -> None:
    engine = ZoneEngine()
    engine.zone_keys = ZONE_KEYS.public
    ReportSender(pipe.channel, "w1", ZONE_KEYS.report_key).send(FINISHED)
    assert engine.open_report(pipe.receive()) == FINISHED


def test_report_of_other_workspace_does_not_verify(pipe: Pipe) -> None:
    ReportSender(pipe.channel, "w2", derive_zone_keys(b"n" * 32).report_key).send(FINISHED)
    with pytest.raises(IntegrityError):
        verify_message(ZONE_KEYS.public.report_key, MessageLabel.REPORT, pipe.receive())


def test_report_is_no_order(pipe: Pipe) -> None:
    ReportSender(pipe.channel, "w1", ZONE_KEYS.report_key).send(FINISHED)
    report = pipe.receive()
    assert isinstance(report, SignedMessage)
    with pytest.raises(IntegrityError):
        verify_message(ZONE_KEYS.public.report_key, MessageLabel.ORDER, report)


def test_heartbeat_is_not_signed(pipe: Pipe) -> None:
    ReportSender(pipe.channel, "w1", ZONE_KEYS.report_key).send(HEARTBEAT)
    assert pipe.receive() == HEARTBEAT


def test_workspace_report_is_not_signed(pipe: Pipe) -> None:
    ReportSender(pipe.channel, "w1").send(FINISHED)
    assert pipe.receive() == FINISHED
