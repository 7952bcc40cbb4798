"""Write a complete audit log to an empty folder, as a copy of another one."""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path

from sealyard.audit.segment_files import CHECKPOINTS, PUBLIC_KEY, SEGMENT_ENTRIES, segment_path
from sealyard.audit.source import AuditSource
from sealyard.fs import atomic
from sealyard.fs.private import make_private_dir


def write_audit_log(folder: Path, source: AuditSource) -> None:
    """Write entries, checkpoints and key of ``source``, byte for byte and durably, reading the entries one by one.

    Raises ``OSError`` if the disk refuses an operation.
    """
    make_private_dir(folder)
    lines = (line.data + b"\n" for line in source.lines())
    for number, first_line in enumerate(lines):
        segment = chain((first_line,), islice(lines, SEGMENT_ENTRIES - 1))
        atomic.write_synced(segment_path(folder, number), segment)
    atomic.write_synced(folder / CHECKPOINTS, (note.encode() for note in source.notes()))
    atomic.write_synced(folder / PUBLIC_KEY, [source.read_public_key()])
    atomic.sync_folder(folder)
