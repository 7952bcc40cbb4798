"""Let a workspace that was created with a folder keep its inputs and results in a bucket."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sealyard.engine.workspace import load_metadata, save_metadata
from sealyard.model.workspace import WorkspacePaths


def use_bucket(folder: Path, url: str) -> None:
    """Change the workspace, which must not have artifacts yet. ``url``: that of the artifacts."""
    paths = WorkspacePaths(folder)
    save_metadata(paths, msgspec.structs.replace(load_metadata(paths), artifacts=url))
