"""Factories of opened key stores whose passwords are in memory."""

from __future__ import annotations

from sealyard.keys.master_key import OpenedKeyStore

MASTER_KEY = b"a canary among keys".ljust(32, b".")
WORKSPACE_ID = "w1"


class FakeKeyring:
    """Stores the passwords of one key store in memory."""

    def __init__(self) -> None:
        self.passwords: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.passwords.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.passwords[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.passwords[service, username]


def make_key_store(master_key: bytes = MASTER_KEY) -> OpenedKeyStore:
    keyring = FakeKeyring()
    return OpenedKeyStore(lambda operation: operation(keyring), WORKSPACE_ID, master_key)
