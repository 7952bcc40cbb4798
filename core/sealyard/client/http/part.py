"""What every part of the client stands on."""

from __future__ import annotations

from sealyard.client.http.calls import Calls


class Part:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls
