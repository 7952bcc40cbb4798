"""The downloads of one person: whatever ends them, it is told."""

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
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text
from tests.tui.workspace import TuiWorkspace

SECONDS = 30


STATE = SessionState(
    profile="ann", identity="USER:ann", engine=EngineState.READY, mode=ConnectionMode.OWNER, workspace_id="w-1"
)


class MessageSink:
    """Stands in for the application: receives what the manager posts, on any thread."""

    def __init__(self, on_event: Callable[[DownloadEvent], None]) -> None:
        self._on_event = on_event

    def post_message(self, message: DownloadUpdate) -> bool:
        self._on_event(message.event)
        return True


def manager(folder: Path, on_event: Callable[[DownloadEvent], None]) -> DownloadManager:
    app: Any = MessageSink(on_event)
    return DownloadManager(
        app, folder, automatic=True, state=lambda: STATE, on_change=lambda: None, on_result=lambda _: None
    )


class FaultyClient(FakeClient):
    """With a fault that is none of the family."""

    async def workspace(self) -> Any:
        raise ZeroDivisionError


async def test_a_fault_that_ends_the_downloads_is_told_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[DownloadEvent] = []
    heard = asyncio.Event()

    def tell(event: DownloadEvent) -> None:
        told.append(event)
        heard.set()

    downloads = manager(tmp_path / "down", tell)
    await downloads.start(FaultyClient().as_client)
    try:
        await asyncio.wait_for(heard.wait(), SECONDS)
        (event,) = told
        assert isinstance(event, DownloadsInterrupted)
        assert event.retry_in is None
        assert "stopped" in event.error.message
        assert [each.levelno for each in caplog.records] == [logging.CRITICAL]
    finally:
        await downloads.stop()


async def test_downloads_that_are_stopped_tell_of_no_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told: list[DownloadEvent] = []
    came = threading.Event()

    def tell(event: DownloadEvent) -> None:
        told.append(event)
        if isinstance(event, DownloadResult):
            came.set()

    client = FakeClient()
    client.add(b"firmware")
    downloads = manager(tmp_path / "down", tell)
    await downloads.start(client.as_client)
    assert await asyncio.to_thread(came.wait, SECONDS)
    await downloads.stop()
    assert not any(isinstance(each, DownloadsInterrupted) for each in told)
    assert caplog.records == []


async def test_downloads_that_have_ended_promise_no_other_try(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        app.download_manager.on_event(DownloadsInterrupted(error=SealyardError("It is over.").to_info(), retry_in=None))
        await assert_visible(pilot, "It is over.")
        assert "Retrying in" not in screen_text(app)
