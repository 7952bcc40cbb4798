"""Where the passphrase of the key store comes from, when it is not in the OS keyring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from sealyard.model.errors import KeyStoreLockedError

VARIABLE = "SEALYARD_PASSPHRASE"
CREDENTIAL = "sealyard-passphrase"


def find_passphrase(environ: Mapping[str, str], prompt: Callable[[], str] | None = None) -> str:
    """The environment variable, then the systemd credential, then what ``prompt`` answers, if one is given.

    Give ``prompt`` only where a person sits at a terminal. Raises :class:`KeyStoreLockedError` naming the
    three ways.
    """
    found = environ.get(VARIABLE) or _credential(environ) or (prompt() if prompt else "")
    if not found:
        raise KeyStoreLockedError(
            "The key store needs its passphrase.",
            f"Set {VARIABLE}, give the systemd credential {CREDENTIAL}, or start at a terminal to be asked.",
        )
    return found


def _credential(environ: Mapping[str, str]) -> str:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return ""
    try:
        return (Path(folder) / CREDENTIAL).read_text(encoding="utf-8").rstrip("\r\n")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError):
        raise KeyStoreLockedError(
            f"The systemd credential {CREDENTIAL} cannot be read.", "It is a text file with the passphrase."
        ) from None
