"""Settings and processes of several servers for one workspace in a database."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import trustme

LEASE_SECONDS = 3.0
SERVICE = "storm"
"""The service of libpq that names the database of the workspace. Each server has a service file of its own."""


class ClusterFiles:
    """The files that servers of one workspace need: certificates, anchors, and the settings of each server."""

    def __init__(self, folder: Path, tenant: str) -> None:
        folder.mkdir()
        self.folder = folder
        self._tenant = tenant
        self._ca = trustme.CA()
        self._ca.cert_pem.write_to_path(folder / "ca.pem")
        (folder / "anchors").mkdir()

    def write_settings(self, name: str, port: int, internal_port: int) -> Path:
        """Write the settings of a server, with a certificate for it, and return the path of the file."""
        issued = self._ca.issue_cert("localhost", "127.0.0.1")
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        path = self.folder / f"{name}.toml"
        path.write_text(f"""
listen = "127.0.0.1:{port}"

[anchors]
{self._tenant} = "{self.folder / "anchors"}"

[cluster]
url = "https://127.0.0.1:{internal_port}"
listen = "127.0.0.1:{internal_port}"
certificate = "{certificate}"
key = "{key}"
ca = "{self.folder / "ca.pem"}"
lease_seconds = {LEASE_SECONDS}
""")
        return path

    def write_services(self, name: str, connection_strings: Mapping[str, str]) -> Path:
        """Write a service file of libpq with a section for each connection string, and return its path."""
        path = self.folder / f"{name}.conf"
        lines = (line for service, text in connection_strings.items() for line in (f"[{service}]", *text.split(), ""))
        path.write_text("\n".join(lines))
        return path
