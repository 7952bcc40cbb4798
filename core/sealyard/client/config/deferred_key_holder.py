"""The key holder of a local workspace, started when it is first needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.engine.workspace import load_metadata
from sealyard.keys.passphrase import needs_prompt
from sealyard.model.workspace import WorkspacePaths

if TYPE_CHECKING:
    from sealyard.jobs.key_holder import KeyHolder


class DeferredKeyHolder:
    """The key holder of the workspace in ``folder``, which :meth:`get` starts. Close it with :meth:`close`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key_holder: KeyHolder | None = None

    def must_prompt(self) -> bool:
        """Return whether the passphrase has no other source than a prompt.

        Raises :class:`WorkspaceError` if the workspace cannot be read.
        """
        metadata = load_metadata(WorkspacePaths(self._folder))
        return needs_prompt(metadata.key_store, os.environ)

    def get(self, *, may_prompt: bool = False, attempts: int = 1) -> KeyHolder:
        """Return the key holder. The first call starts it, and removes the passphrase from the environment.

        See :func:`sealyard.client.config.key_holder.start_key_holder` for the parameters and errors.
        """
        if self._key_holder is None:
            # Imported here, because the import would delay the first paint of the application.
            from sealyard.client.config.key_holder import forget_passphrases, start_key_holder

            self._key_holder = start_key_holder(self._folder, may_prompt=may_prompt, attempts=attempts)
            forget_passphrases(os.environ)
        return self._key_holder

    def close(self) -> None:
        """Close the key holder, if it was started."""
        if self._key_holder is not None:
            self._key_holder.close()
