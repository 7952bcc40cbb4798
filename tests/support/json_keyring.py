"""A backend of the keyring library that stores passwords in a file, for processes without a desktop.

Select it with PYTHON_KEYRING_BACKEND=tests.support.json_keyring.JsonKeyring. It claims to be a backend that the product
trusts. The file is ``keyring.json`` in XDG_DATA_HOME.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.compat import properties
from keyring.errors import PasswordDeleteError

BACKEND = "tests.support.json_keyring.JsonKeyring"


class JsonKeyring(KeyringBackend):
    @properties.classproperty
    def priority(self) -> float:
        """Make the backend available only where it is selected: the import alone registers it."""
        if os.environ.get("PYTHON_KEYRING_BACKEND") != BACKEND:
            raise RuntimeError("not selected")
        return 1

    def get_password(self, service: str, username: str) -> str | None:
        return _load().get(f"{service} {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        _path().write_text(json.dumps({**_load(), f"{service} {username}": password}))

    def delete_password(self, service: str, username: str) -> None:
        passwords = _load()
        if passwords.pop(f"{service} {username}", None) is None:
            raise PasswordDeleteError
        _path().write_text(json.dumps(passwords))


JsonKeyring.__module__ = "keyring.backends.SecretService"


def _path() -> Path:
    return Path(os.environ["XDG_DATA_HOME"]) / "keyring.json"


def _load() -> dict[str, str]:
    path = _path()
    return json.loads(path.read_text()) if path.exists() else {}
