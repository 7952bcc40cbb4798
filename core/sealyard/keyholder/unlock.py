"""Find the passphrase, and open the key store of a workspace with it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from sealyard.keyholder.prompt import TerminalPrompt
from sealyard.keys.master_key import PASSPHRASE, OpenedKeyStore, open_key_store
from sealyard.keys.passphrase import find_passphrase
from sealyard.model.errors import KeyStoreLockedError, SealyardError, UsageError
from sealyard.model.key_holder_messages import OpenKeyHolder, PassphraseSource

MAX_PASSPHRASE_BYTES = 64 * 1024
RANDOM_PASSPHRASE_BYTES = 24


def unlock_key_store(
    request: OpenKeyHolder, passphrase_fd: int | None, prompt: TerminalPrompt | None
) -> OpenedKeyStore:
    """Open the key store. ``prompt``: asks the user, if no other source has the passphrase.

    Raises :class:`KeyStoreLockedError` if the passphrase is missing or wrong, :class:`UsageError` if the user enters
    two different new passphrases, and the other errors of :func:`sealyard.keys.master_key.open_key_store`.
    """
    location = request.location
    if location.key_store != PASSPHRASE:
        return _open_key_store(request, None)
    if request.source is PassphraseSource.RANDOM:
        return _open_key_store(request, secrets.token_urlsafe(RANDOM_PASSPHRASE_BYTES))
    if request.source is PassphraseSource.DESCRIPTOR:
        return _open_key_store(request, _read_passphrase(passphrase_fd))
    environ = {**_parent_environ(), **os.environ} if request.reopen else os.environ
    dialog = _PassphraseDialog(request, prompt) if prompt is not None else None
    for attempt in range(1, request.attempts + 1):
        try:
            passphrase = find_passphrase(environ, dialog.ask if dialog is not None else None, request.tenant)
            return _open_key_store(request, passphrase)
        except KeyStoreLockedError as error:
            if request.reopen:
                raise _reopen_error(error) from None
            if dialog is None or not dialog.answer or attempt == request.attempts:
                raise
            dialog.show_error(error)
    raise AssertionError


class _PassphraseDialog:
    """Asks for the passphrase or, for a new key store, twice for a new one. ``answer``: the last answer."""

    def __init__(self, request: OpenKeyHolder, prompt: TerminalPrompt) -> None:
        self._request = request
        self._prompt = prompt
        self.answer = ""

    def ask(self) -> str:
        if self._request.location.create:
            self.answer = self._ask_new()
        else:
            self.answer = self._prompt.ask(self._request.prompt or "Passphrase of the key store: ")
        return self.answer

    def show_error(self, error: SealyardError) -> None:
        self._prompt.show(f"✗ {error}")

    def _ask_new(self) -> str:
        self._prompt.show(
            "The master key is protected by a passphrase. It cannot be recovered: keep a copy in a safe place."
        )
        for attempt in range(1, self._request.attempts + 1):
            passphrase = self._prompt.ask("New passphrase for the key store: ")
            if not passphrase or self._prompt.ask("Repeat: ") == passphrase:
                return passphrase
            if attempt < self._request.attempts:
                self._prompt.show("✗ Passphrases do not match.")
        raise UsageError("The passphrases do not match.", "Start over.")


def _open_key_store(request: OpenKeyHolder, passphrase: str | None) -> OpenedKeyStore:
    location = request.location
    folder = Path(location.workspace) / "keys"
    return open_key_store(location.key_store, folder, location.workspace_id, passphrase, create=location.create)


def _read_passphrase(fd: int | None) -> str:
    """Read the passphrase from the inherited descriptor, up to its end or a line feed."""
    if fd is None:
        return ""
    with os.fdopen(fd, "rb") as file:
        line = file.read(MAX_PASSPHRASE_BYTES).split(b"\n", 1)[0]
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise KeyStoreLockedError(
            "The passphrase on the inherited descriptor is not valid UTF-8.", "Write it as UTF-8 text."
        ) from None


def _parent_environ() -> Mapping[str, str]:
    """Return the environment with which the parent process was started, where the system shows it.

    The parent removes the passphrase from its own variables once the first key holder has started.
    """
    try:
        content = Path(f"/proc/{os.getppid()}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (os.fsdecode(entry).partition("=") for entry in content.split(b"\0") if entry)
    return {name: value for name, _, value in pairs}


def _reopen_error(error: KeyStoreLockedError) -> KeyStoreLockedError:
    return KeyStoreLockedError(
        f"The process that held the keys has ended, and the key store cannot be opened again: {error.message}",
        "Restart Sealyard to open the key store. See worker.log in the workspace for why the process ended.",
    )
