"""New files for their owner alone."""

from __future__ import annotations

import os
from pathlib import Path

from sealyard.model.errors import InvalidInputError
from sealyard.model.safe_text import escape_text


def create_private_file(path: Path) -> int:
    """A descriptor to write a new file of mode 0600. Raises :class:`InvalidInputError`, also where one is there
    already.
    """
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInputError(
            f"{escape_text(str(path))} cannot be written: {error.strerror}.", "Name a new file in a folder of yours."
        ) from error
