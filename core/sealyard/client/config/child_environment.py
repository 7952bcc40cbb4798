"""The environment of programs that the user configured, for example an editor: everything except Sealyard's secrets."""

from __future__ import annotations

from collections.abc import Mapping

SECRET_PREFIXES = ("SEALYARD_PASSPHRASE", "SEALYARD_TOKEN", "SEALYARD_OTP", "SEALYARD_MAIL_PASSWORD")
"""Beginnings of the names of variables that contain secrets; a server has one passphrase variable per tenant."""


def remove_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``environ`` without passphrases, passwords and tokens."""
    return {name: value for name, value in environ.items() if not name.startswith(SECRET_PREFIXES)}
