"""Tests that programs which the application starts receive no secrets of Sealyard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from sealyard_tui.terminal.editor import edit_text, view_in_pager
from sealyard_tui.terminal.file_manager import open_in_file_manager

SECRETS = ("SEALYARD_PASSPHRASE", "SEALYARD_PASSPHRASE_ACME", "SEALYARD_TOKEN", "SEALYARD_OTP")


class SuspendableApp:
    @contextmanager
    def suspend(self) -> Iterator[None]:
        yield


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a program that writes its environment to a file next to it; secrets are in the environment."""
    for name in SECRETS:
        monkeypatch.setenv(name, f"value of {name}")
    monkeypatch.setenv("EDITOR_OPTION", "kept")
    path = tmp_path / "xdg-open"
    path.write_text(f"#!/bin/sh\nenv > {tmp_path}/environment\n")
    path.chmod(0o755)
    return path


def check_environment(program: Path) -> None:
    environment = program.with_name("environment").read_text()
    assert "EDITOR_OPTION=kept" in environment
    assert not [name for name in SECRETS if name in environment]


def test_editor_receives_no_secret(program: Path) -> None:
    edit_text(cast(Any, SuspendableApp()), [str(program)], "text")
    check_environment(program)


def test_pager_receives_no_secret(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", str(program))
    view_in_pager(cast(Any, SuspendableApp()), "text")
    check_environment(program)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_file_manager_receives_no_secret(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealyard_tui.terminal.file_manager._open_command", lambda _environ: str(program))
    await open_in_file_manager(program.parent)
    check_environment(program)
