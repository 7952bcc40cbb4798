"""Read the intents that an earlier version has logged in ``worker/intents.jsonl``."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sealyard.keyholder.state import Intent
from sealyard.model.base import JSON_ERRORS, FrozenStruct
from sealyard.model.errors import WorkerStateError


class _LegacyIntent(FrozenStruct, frozen=True, kw_only=True):
    task: str
    fencing_token: int
    sha256: str


def read_legacy_intents(path: Path) -> list[Intent]:
    """Return the intents in the file. A line without an end, which a crash has left, counts as none.

    Raises :class:`WorkerStateError` if another line is damaged, and ``OSError`` if the file cannot be read.
    """
    lines = [line for line in path.read_bytes().split(b"\n") if line.endswith(b"}")]
    try:
        intents = [msgspec.json.decode(line, type=_LegacyIntent) for line in lines]
    except JSON_ERRORS:
        raise WorkerStateError(
            "The worker's log of signatures, worker/intents.jsonl, is damaged. Nothing is signed.",
            "Restore it from a backup.",
        ) from None
    return [Intent(task_id=each.task, fencing_token=each.fencing_token, sha256=each.sha256) for each in intents]
