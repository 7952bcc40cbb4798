"""The key providers of a workspace's worker settings."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sealyard.keys.worker_settings import ProviderSection, load_worker_settings
from sealyard.model.errors import ErrorInfo, KeyProviderError
from sealyard.model.workspace import WorkspacePaths

if TYPE_CHECKING:
    from sealyard.keyholder.provider_supervisor import ProviderSupervisor


class ProviderGroup:
    """Connects each worker with the processes of all providers.

    Settings that cannot be used make no difference to the local keys: there are no providers then, and ``error`` says
    why. ``routes``: the keys that each provider serves.
    """

    def __init__(
        self, sections: Sequence[ProviderSection], paths: WorkspacePaths, error: ErrorInfo | None = None
    ) -> None:
        self.error = error
        self.routes = tuple(section.route for section in sections)
        self._supervisors = _start_supervisors(sections, paths) if sections else []

    @classmethod
    def load(cls, paths: WorkspacePaths, tenant: str) -> ProviderGroup:
        """Load the worker settings. Starts no process before a worker needs it."""
        try:
            sections = load_worker_settings(paths, os.environ, tenant)
            if sections and sys.platform != "linux":
                raise KeyProviderError(
                    "Keys in tokens and key services can only be used on Linux.",
                    "Remove them from the worker settings.",
                )
        except KeyProviderError as error:
            return cls((), paths, error.to_info())
        return cls(sections, paths)

    def connect(self, provider_ends: Sequence[socket.socket]) -> None:
        """Serve a worker. ``provider_ends``: the other end of its socket for each provider, in the order of the routes.

        The sockets belong to this object afterwards.
        """
        for supervisor, provider_end in zip(self._supervisors, provider_ends, strict=True):
            supervisor.connect(provider_end)

    def disconnect(self, provider_ends: Sequence[socket.socket]) -> None:
        """Close the sockets of a worker that has ended."""
        for supervisor, provider_end in zip(self._supervisors, provider_ends, strict=True):
            supervisor.disconnect(provider_end)

    def close(self) -> None:
        """End all provider processes."""
        for supervisor in self._supervisors:
            supervisor.close()


def _start_supervisors(sections: Sequence[ProviderSection], paths: WorkspacePaths) -> list[ProviderSupervisor]:
    # Imported here, so that workspaces without providers open faster.
    from sealyard.keyholder.provider_supervisor import ProviderSupervisor

    return [ProviderSupervisor(section, paths.root, paths.worker_log) for section in sections]
