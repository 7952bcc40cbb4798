"""Where the passphrase of the key store comes from, when it is not in the OS keyring."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from sealyard.model.errors import KeyStoreLockedError

VARIABLE = "SEALYARD_PASSPHRASE"
CREDENTIAL = "sealyard-passphrase"


def find_passphrase(environ: Mapping[str, str], prompt: Callable[[], str] | None = None, tenant: str = "") -> str:
    """The environment variable, then the systemd credential, then what ``prompt`` answers, if one is given.

    Of a ``tenant`` those of its own come first: ``SEALYARD_PASSPHRASE_ACME`` and ``sealyard-passphrase-acme``.
    Give ``prompt`` only where a person sits at a terminal. Raises :class:`KeyStoreLockedError` naming the
    three ways.
    """
    found = (
        (_for_tenant(environ, tenant) if tenant else "") or environ.get(VARIABLE) or _credential(environ, CREDENTIAL)
    )
    found = found or (prompt() if prompt else "")
    if not found:
        raise KeyStoreLockedError(
            "The key store needs its passphrase.",
            f"Set {VARIABLE}, give the systemd credential {CREDENTIAL}, or start at a terminal to be asked.",
        )
    return found


def _for_tenant(environ: Mapping[str, str], tenant: str) -> str:
    variable = f"{VARIABLE}_{re.sub('[^A-Z0-9]', '_', tenant.upper())}"
    return environ.get(variable) or _credential(environ, f"{CREDENTIAL}-{re.sub('[^A-Za-z0-9_.-]', '_', tenant)}")


def _credential(environ: Mapping[str, str], name: str) -> str:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return ""
    try:
        return (Path(folder) / name).read_text(encoding="utf-8").rstrip("\r\n")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError):
        raise KeyStoreLockedError(
            f"The systemd credential {name} cannot be read.", "It is a text file with the passphrase."
        ) from None
