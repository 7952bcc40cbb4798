"""Tests of the download manager: faults, stopping and retries."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealyard.client.downloads.downloader import DownloadEvent, DownloadResult, DownloadsInterrupted
from sealyard.model.errors import SealyardError
from sealyard_tui.session.download_manager import DownloadManager
from sealyard_tui.session.messages import ConnectionMode, DownloadUpdate, EngineState
from sealyard_tui.session.state import SessionState
from tests.support.fake_client import FakeClient
from tests.support.limits import TIMEOUT
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text
from tests.tui.workspace import TuiWorkspace

STATE = SessionState(
    profile="ann", identity="USER:ann", engine=EngineState.READY, mode=ConnectionMode.OWNER, workspace_id="w-1"
)


class MessageSink:
    """Replaces the application: receives the messages of the manager, on any thread."""

    def __init__(self, on_event: Callable[[DownloadEvent], None]) -> None:
        self._on_event = on_event

    def post_message(self, message: DownloadUpdate) -> bool:
        self._on_event(message.event)
        return True


def make_manager(folder: Path, on_event: Callable[[DownloadEvent], None]) -> DownloadManager:
    app: Any = MessageSink(on_event)
    return DownloadManager(
        app, folder, automatic=True, state=lambda: STATE, on_change=lambda: None, on_result=lambda _: None
    )


class FaultyClient(FakeClient):
    """Raises an exception that is not a SealyardError."""

    async def workspace(self) -> Any:
        raise ZeroDivisionError


async def test_unexpected_fault_is_reported_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    events: list[DownloadEvent] = []
    received = asyncio.Event()

    def on_event(event: DownloadEvent) -> None:
        events.append(event)
        received.set()

    downloads = make_manager(tmp_path / "down", on_event)
    await downloads.start(FaultyClient().as_client)
    try:
        await asyncio.wait_for(received.wait(), TIMEOUT)
        (event,) = events
        assert isinstance(event, DownloadsInterrupted)
        assert event.retry_in is None
        assert "stopped" in event.error.message
        assert [each.levelno for each in caplog.records] == [logging.CRITICAL]
    finally:
        await downloads.stop()


async def test_stop_reports_no_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    events: list[DownloadEvent] = []
    completed = threading.Event()

    def on_event(event: DownloadEvent) -> None:
        events.append(event)
        if isinstance(event, DownloadResult):
            completed.set()

    client = FakeClient()
    client.add(b"firmware")
    downloads = make_manager(tmp_path / "down", on_event)
    await downloads.start(client.as_client)
    assert await asyncio.to_thread(completed.wait, TIMEOUT)
    await downloads.stop()
    assert not any(isinstance(each, DownloadsInterrupted) for each in events)
    assert caplog.records == []


async def test_final_interruption_shows_no_retry(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        app.download_manager.on_event(DownloadsInterrupted(error=SealyardError("It is over.").to_info(), retry_in=None))
        await assert_visible(pilot, "It is over.")
        assert "Retrying in" not in screen_text(app)
