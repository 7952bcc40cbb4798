"""Workspaces that are created once and copied for each test."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest


def create_template(factory: pytest.TempPathFactory, create: Callable[[Path], Coroutine[Any, Any, None]]) -> Path:
    """Create a workspace with ``create``, and return its folder."""
    folder = factory.mktemp("template") / "workspace"
    asyncio.run(create(folder))
    return folder


def copy_workspace(template: Path, target: Path) -> Path:
    """Copy the workspace of a template, and return the folder of the copy."""
    return Path(shutil.copytree(template, target))
