"""Read the worker state file without verifying it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sealyard.model.workspace import WorkspacePaths

MAC_DIGITS = 64


def read_records(root: Path) -> list[dict[str, Any]]:
    """Return the records of the worker state of a workspace; none if there is no state."""
    path = WorkspacePaths(root).worker_state
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [json.loads(line[MAC_DIGITS + 1 :]) for line in lines]


def read_intents(root: Path) -> list[dict[str, Any]]:
    return [record for record in read_records(root) if record["type"] == "intent"]
