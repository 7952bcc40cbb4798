"""Starts the application, found by its entry point; the core never imports it."""

from __future__ import annotations

import os
from importlib.metadata import entry_points

from sealyard.cli.context import Context
from sealyard.client.profiles import PROFILE_VARIABLE, WORKSPACE_VARIABLE
from sealyard.model.errors import NotFoundError

GROUP = "sealyard.front"


def start(ctx: Context) -> int:
    """`sealyard` without a command: the application learns workspace and profile from the environment."""
    if (workspace := getattr(ctx.args, "workspace", None)) is not None:
        os.environ[WORKSPACE_VARIABLE] = str(workspace.absolute())
    if (profile := getattr(ctx.args, "profile", None)) is not None:
        os.environ[PROFILE_VARIABLE] = profile
    return run_front()


def run_front() -> int:
    """Raises :class:`NotFoundError` where no application is installed."""
    for found in entry_points(group=GROUP):
        return int(found.load()())
    raise NotFoundError("No application is installed.", "`sealyard --help` shows what works without one.")
