"""What every part of the client stands on."""

from __future__ import annotations

from sealyard.client.http.calls import RequestSender


class ApiCalls:
    def __init__(self, calls: RequestSender) -> None:
        self._calls = calls
