"""Choose the names of the metadata files that are written when a container is extracted."""

from __future__ import annotations

from sealyard.containers import ustar
from sealyard.model.safe_text import escape_text

_MAX_NAME_BYTES = 255


def metadata_file_names(metadata: bytes, split: bool) -> tuple[tuple[str, bytes], ...]:
    """Return the names and contents of the files to write for ``metadata``.

    Without ``split``, or if ``metadata`` is not an archive of several files, returns the single file
    ``metadata.bin``. Otherwise files keep their original names if these are safe and unique (ignoring case); all
    other files are named ``metadata-000.bin``, ``metadata-001.bin``, …
    """
    if not metadata:
        return ()
    if not split or not ustar.is_archive(metadata):
        return (("metadata.bin", metadata),)
    files = ustar.unpack(metadata)
    folded_names = [name.casefold() for name, _ in files]
    return tuple(
        (
            name if _is_safe(name) and folded_names.count(name.casefold()) == 1 else f"metadata-{index:03}.bin",
            content,
        )
        for index, (name, content) in enumerate(files)
    )


def _is_safe(name: str) -> bool:
    """Return whether ``name`` can be used as a file name.

    Rejects paths, hidden files, unprintable characters, and names that Sealyard assigns itself.
    """
    return (
        escape_text(name) == name
        and 0 < len(name.encode()) <= _MAX_NAME_BYTES
        and not name.startswith((".", "segment-", "metadata-"))
        and not set(name) & set('/\\:*?"<>|')
        and name == name.strip()
    )
