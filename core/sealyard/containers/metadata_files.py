"""Names for the metadata files that a container holds, when it is extracted."""

from __future__ import annotations

from sealyard.containers import ustar
from sealyard.model.safe_text import escape_text

_LONGEST_NAME = 255


def metadata_file_names(metadata: bytes, split: bool) -> tuple[tuple[str, bytes], ...]:
    """Names and contents of the files that metadata becomes.

    Without ``split``, or where it is no bundle, ``metadata.bin``. A bundle's files keep their names where these
    are safe and unlike each other; the others are called ``metadata-000.bin``, ``metadata-001.bin``, …
    """
    if not metadata:
        return ()
    if not split or not ustar.is_archive(metadata):
        return (("metadata.bin", metadata),)
    files = ustar.unpack(metadata)
    folded = [name.casefold() for name, _ in files]
    return tuple(
        (
            name if _safe(name) and folded.count(name.casefold()) == 1 else f"metadata-{index:03}.bin",
            content,
        )
        for index, (name, content) in enumerate(files)
    )


def _safe(name: str) -> bool:
    """No path, nothing hidden, nothing that does not print, and no name that we give ourselves."""
    return (
        escape_text(name) == name
        and 0 < len(name.encode()) <= _LONGEST_NAME
        and not name.startswith((".", "segment-", "metadata-"))
        and not set(name) & set('/\\:*?"<>|')
        and name == name.strip()
    )
