"""Certificates of this machine, made by OpenSSL for a test."""

from __future__ import annotations

import subprocess
from pathlib import Path


def create_cert_pair(folder: Path, name: str, *options: str) -> tuple[Path, Path]:
    """A certificate of this machine that vouches for itself, and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", *(options or ("-nodes",))),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key
