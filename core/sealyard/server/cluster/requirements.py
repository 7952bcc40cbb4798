"""What a workspace and its settings need so that several servers can serve it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from sealyard.client.config.workspaces import has_database
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text
from sealyard.server.http.listeners import parse_address
from sealyard.server.settings import ClusterSettings, ServerSettings

ANCHORS_VARIABLE = "SEALYARD_ANCHORS"

REQUIRED_KEYS = ("url", "listen", "certificate", "key", "ca")


def check_cluster(settings: ServerSettings, folders: Mapping[str, Path], environ: Mapping[str, str]) -> None:
    """Check that the workspaces can be served by several servers.

    ``folders``: the workspace folder of each tenant. ``environ``: the variables of the process. Raises
    :class:`UsageError` if a setting is missing or invalid, and :class:`WorkspaceError` if the workspace cannot be read.
    """
    _check_settings(settings.cluster)
    if len(folders) != 1:
        raise UsageError(
            f"The settings have a section cluster, but {len(folders)} tenants. A cluster serves one workspace.",
            "Start other servers for the other tenants.",
        )
    (tenant, folder) = next(iter(folders.items()))
    if not has_database(folder):
        raise UsageError(
            "Several servers need a workspace whose store is in a database.",
            "Remove the section cluster, or use a workspace with a database.",
        )
    if not settings.anchors.get(tenant) and not environ.get(ANCHORS_VARIABLE):
        raise UsageError(
            "Several servers need one folder for the freshness anchor; the default is a different one on each machine.",
            f"Set a shared folder for {escape_text(tenant)} in the section anchors.",
        )


def _check_settings(cluster: ClusterSettings) -> None:
    missing = next((name for name in REQUIRED_KEYS if not getattr(cluster, name)), None)
    if missing is not None:
        raise UsageError(f"Missing setting cluster.{missing}.", "Add it to the section cluster.")
    if not 3 <= cluster.lease_seconds <= 120:  # noqa: PLR2004 - the range that the settings file allows
        raise UsageError("cluster.lease_seconds must be from 3 to 120.", "Correct it.")
    parse_address(cluster.listen)
    if not _is_base_url(cluster.url):
        raise UsageError(
            f"Invalid cluster.url {escape_text(cluster.url)!r}.",
            "Use https, a host and a port, for example https://seal1.internal:8751.",
        )


def _is_base_url(url: str) -> bool:
    parts = urlsplit(url)
    try:
        has_valid_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    is_base = not (parts.query or parts.fragment or parts.username) and parts.path in ("", "/")
    return parts.scheme == "https" and bool(parts.hostname) and has_valid_port and is_base
