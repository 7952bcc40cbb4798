"""Test the key holder that is started when it is first needed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from sealyard.client.config.deferred_key_holder import DeferredKeyHolder
from sealyard.client.config.workspaces import create_workspace
from sealyard.keys.passphrase import needs_prompt
from sealyard.model.errors import WorkspaceError
from sealyard.model.workspace import KeyStore
from tests.support.key_holders import unlock
from tests.support.processes import is_running

PASSPHRASE = "a passphrase for this test alone"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("SEALYARD_PASSPHRASE", raising=False)
    path = tmp_path / "workspace"
    asyncio.run(
        create_workspace(
            path, name="Plant 1", administrator="olga", key_store=KeyStore.PASSPHRASE, key_holder=unlock(PASSPHRASE)
        )
    )
    return path


def test_key_holder_is_started_once_and_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_PASSPHRASE", PASSPHRASE)
    deferred = DeferredKeyHolder(folder)
    assert not deferred.must_prompt()
    key_holder = deferred.get()
    assert deferred.get() is key_holder
    assert "SEALYARD_PASSPHRASE" not in os.environ
    asyncio.run(key_holder.wait_until_open())
    deferred.close()
    assert not is_running(key_holder.pid)


def test_close_without_use_starts_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_PASSPHRASE", PASSPHRASE)
    DeferredKeyHolder(folder).close()
    assert os.environ["SEALYARD_PASSPHRASE"] == PASSPHRASE


def test_missing_passphrase_must_be_prompted(folder: Path) -> None:
    assert DeferredKeyHolder(folder).must_prompt()


def test_missing_workspace_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError):
        DeferredKeyHolder(tmp_path).must_prompt()


def test_keyring_needs_no_prompt() -> None:
    assert not needs_prompt(KeyStore.OS_KEYRING, {})
    assert needs_prompt(KeyStore.PASSPHRASE, {})
