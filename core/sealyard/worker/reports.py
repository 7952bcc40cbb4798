"""Sends the worker's messages about jobs and, on a crypto host, signs them."""

from __future__ import annotations

from sealyard.crypto.signed_messages import MessageLabel, sign_message
from sealyard.jobs.framing import encode_json
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    Heartbeat,
    JobFailed,
    JobFinished,
    JobStopped,
    SegmentEncrypted,
    SigningPermissionRequested,
)
from sealyard.model.zone_messages import SealedResponse, WorkerReport
from sealyard.worker.channel import Channel

JobReport = BuildSecretCreated | SegmentEncrypted | SigningPermissionRequested | JobFinished | JobFailed | JobStopped


class ReportSender:
    """Sends reports from any thread. ``report_key``: Ed25519, raw; None to send them without a signature."""

    def __init__(self, channel: Channel, workspace_id: str, report_key: bytes | None = None) -> None:
        self._channel = channel
        self._workspace_id = workspace_id
        self._report_key = report_key

    def send(self, message: JobReport | SealedResponse | Heartbeat) -> None:
        """Send a report. Heartbeats are never signed: they only renew a lease."""
        if self._report_key is None or isinstance(message, Heartbeat):
            self._channel.send(message)
            return
        body = encode_json(WorkerReport(workspace=self._workspace_id, message=message))
        self._channel.send(sign_message(self._report_key, MessageLabel.REPORT, body))
