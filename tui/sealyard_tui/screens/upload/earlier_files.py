"""The files of an earlier task that is submitted again: where they are on this machine, if they still are."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sealyard.client.capabilities import signs_digest
from sealyard.client.source_paths import SourcePaths
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile, Task, TaskKind
from sealyard_tui.screens.upload.form_model import FileRole


class EarlierFile(NamedTuple):
    """A file of an earlier task. ``name``: as safe text. ``path``: None if it is not known on this machine any more.

    ``sha256`` (hex): the digest that the file must still have.
    """

    name: str
    role: FileRole
    path: Path | None
    sha256: str


def find_sources(task: Task) -> list[EarlierFile]:
    """Return the files of the task, with their paths on this machine. Reads a file, so it must not run on the loop."""
    return list(_iterate_sources(task, SourcePaths()))


def _iterate_sources(task: Task, source_paths: SourcePaths) -> Iterator[EarlierFile]:
    for role, files in ((FileRole.FIRMWARE, task.inputs), (FileRole.METADATA, task.metadata)):
        for file in files:
            # The input of a signing task can be the digest of the file, instead of its content.
            sha256, size = _signed_digest(task, file) or file.sha256, file.size
            path = source_paths.find(sha256, size if sha256 == file.sha256 else None)
            yield EarlierFile(escape_text(file.name, 100), role, path, sha256)


def _signed_digest(task: Task, file: InputFile) -> str:
    """Return the digest (hex) that a signing task signs; empty if it signs a message, or for other tasks."""
    key = task.signing_key
    if task.kind is not TaskKind.SIGNING or key is None or file.inline is None or not signs_digest(key.algorithm):
        return ""
    try:
        return base64.b64decode(file.inline, validate=True).hex()
    except binascii.Error:
        return ""
