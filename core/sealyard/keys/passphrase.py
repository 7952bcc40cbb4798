"""Find the passphrase of a key store that is not in the OS keyring."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from sealyard.model.errors import KeyStoreLockedError
from sealyard.model.workspace import KeyStore

VARIABLE = "SEALYARD_PASSPHRASE"
"""Name of the environment variable that contains the passphrase."""

CREDENTIAL = "sealyard-passphrase"
"""Name of the systemd credential that contains the passphrase."""


def find_passphrase(environ: Mapping[str, str], prompt: Callable[[], str] | None = None, tenant: str = "") -> str:
    """Return the passphrase from the environment variable, the systemd credential or ``prompt``, in this order.

    For a ``tenant``, the variable and the credential of the tenant are tried first, for example
    ``SEALYARD_PASSPHRASE_ACME`` and ``sealyard-passphrase-acme``. Pass ``prompt`` only if a user is at a terminal.

    Raises :class:`KeyStoreLockedError` if no source has a passphrase (the hint names all three), or if a systemd
    credential cannot be read.
    """
    passphrase = (
        (_find_for_tenant(environ, tenant) if tenant else "")
        or environ.get(VARIABLE)
        or _read_credential(environ, CREDENTIAL)
    )
    passphrase = passphrase or (prompt() if prompt else "")
    if not passphrase:
        raise KeyStoreLockedError(
            "The key store requires its passphrase.",
            f"Set {VARIABLE}, provide the systemd credential {CREDENTIAL}, or start at a terminal to be asked.",
        )
    return passphrase


def needs_prompt(key_store: str, environ: Mapping[str, str], tenant: str = "") -> bool:
    """Return whether the key store can be opened only with a passphrase that the user enters."""
    return key_store == KeyStore.PASSPHRASE and not has_passphrase(environ, tenant)


def has_passphrase(environ: Mapping[str, str], tenant: str = "") -> bool:
    """Return whether the environment variable or the systemd credential has a passphrase."""
    if any(environ.get(name) for name in variable_names(tenant)):
        return True
    folder = environ.get("CREDENTIALS_DIRECTORY")
    return folder is not None and any((Path(folder) / name).exists() for name in _credential_names(tenant))


def variable_names(tenant: str = "") -> tuple[str, ...]:
    """Return the names of the environment variables for ``tenant``, in the order in which they are tried."""
    return (_tenant_variable(tenant), VARIABLE) if tenant else (VARIABLE,)


def _credential_names(tenant: str) -> tuple[str, ...]:
    return (_tenant_credential(tenant), CREDENTIAL) if tenant else (CREDENTIAL,)


def _tenant_variable(tenant: str) -> str:
    return f"{VARIABLE}_{re.sub('[^A-Z0-9]', '_', tenant.upper())}"


def _tenant_credential(tenant: str) -> str:
    return f"{CREDENTIAL}-{re.sub('[^A-Za-z0-9_.-]', '_', tenant)}"


def _find_for_tenant(environ: Mapping[str, str], tenant: str) -> str:
    return environ.get(_tenant_variable(tenant)) or _read_credential(environ, _tenant_credential(tenant))


def _read_credential(environ: Mapping[str, str], name: str) -> str:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return ""
    try:
        return (Path(folder) / name).read_text(encoding="utf-8").rstrip("\r\n")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError):
        raise KeyStoreLockedError(
            f"Cannot read the systemd credential {name}.", "Use a text file with the passphrase."
        ) from None
