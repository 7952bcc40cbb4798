"""The keys among which the form for a new device configuration lets the user choose."""

from __future__ import annotations

from collections.abc import Iterator

from textual.content import Content

from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.backend_keys import ListedKey, ProviderKeys
from sealyard.model.capability_format import format_capabilities
from sealyard.model.errors import SealyardError, error_from_info
from sealyard.model.keys import KeyInfo
from sealyard.model.requests import EncryptionKeyRequest, SigningKeyRequest
from sealyard.model.safe_text import escape_text
from sealyard_tui.dialogs.fields import Choices
from sealyard_tui.screens.devices.format import DeviceContext, can_wrap, is_local

NEW_KEY = ""
"""Value of the choice that creates a new local key."""

PROVIDER_PREFIX = "new-in:"
"""Prefix of the choices that create a key in a token or key service, followed by the name of its provider."""

WRAPPING_PREFIX = "wrapped-by:"
"""Prefix of the choices that create a local key and wrap it, followed by the URI of the wrapping key."""


class KeyChoices:
    """The keys of the workspace, and those of tokens and key services, which are loaded while the form is open."""

    def __init__(self, context: DeviceContext) -> None:
        self._keys = context.keys or ()
        self.providers: tuple[ProviderKeys, ...] = ()
        self.error: SealyardError | None = None
        """Why the keys of tokens and key services cannot be listed."""

    def list_signing_keys(self, kinds: tuple[KeyType, ...]) -> Choices:
        return (
            (NEW_KEY, _format_new_key(kinds)),
            *((key.uri, _format_key(key)) for key in self._keys if key.kind in kinds),
            *((uri, _format_listed_key(uri, key)) for uri, key in self._list_unregistered() if key.kind in kinds),
            *((f"{PROVIDER_PREFIX}{each.section}", _format_provider(each)) for each in self._list_generators()),
        )

    def list_encryption_keys(self, kinds: tuple[KeyType, ...]) -> Choices:
        """Return the local keys, because others cannot encrypt firmware, and the keys that can wrap a new local key."""
        wrapping_uris = [
            *(key.uri for key in self._keys if can_wrap(key)),
            *(uri for uri, key in self._list_unregistered() if key.kind.symmetric),
        ]
        return (
            (NEW_KEY, _format_new_key(kinds)),
            *((key.uri, _format_key(key)) for key in self._keys if key.kind in kinds and is_local(key.uri)),
            *((f"{WRAPPING_PREFIX}{uri}", f"{_format_new_key(kinds)}, wrapped by {uri}") for uri in wrapping_uris),
        )

    def format_note(self, value: str) -> Content:
        """Return what the chosen key can do and its limits, or why its provider does not work."""
        if value.startswith(PROVIDER_PREFIX):
            section = value.removeprefix(PROVIDER_PREFIX)
            errors = [each.error for each in self.providers if each.section == section and each.error is not None]
            return _format_error(error_from_info(errors[0])) if errors else Content("")
        key = next((each for each in self._keys if each.uri == value), None)
        if key is None or is_local(key.uri):
            return Content("")
        return Content.styled(escape_text("; ".join(format_capabilities(key))), "$text-muted")

    def format_errors(self) -> Content:
        """Return why keys of tokens and key services cannot be chosen; empty if all of them work."""
        if self.error is not None:
            return _format_error(self.error)
        lines = [
            Content.styled(f"! {escape_text(f'{each.section}: {error_from_info(each.error)}')}", "$warning")
            for each in self.providers
            if each.error is not None
        ]
        return Content("\n").join(lines)

    def _list_unregistered(self) -> Iterator[tuple[str, ListedKey]]:
        for provider in self.providers:
            for key in provider.keys:
                if not key.is_registered:
                    yield f"{provider.scheme}:{key.name}", key

    def _list_generators(self) -> list[ProviderKeys]:
        """Return the providers in which a new key can be named automatically."""
        return [provider for provider in self.providers if provider.key_prefix]


def build_encryption_key(algorithm: EncryptionAlgorithm, choice: str) -> EncryptionKeyRequest:
    if choice.startswith(WRAPPING_PREFIX):
        return EncryptionKeyRequest(algorithm=algorithm, wrapping_key=choice.removeprefix(WRAPPING_PREFIX))
    return EncryptionKeyRequest(algorithm=algorithm, uri=choice or None)


def build_signing_key(algorithm: SigningAlgorithm, choice: str) -> SigningKeyRequest:
    if choice.startswith(PROVIDER_PREFIX):
        return SigningKeyRequest(algorithm=algorithm, provider=choice.removeprefix(PROVIDER_PREFIX))
    return SigningKeyRequest(algorithm=algorithm, uri=choice or None)


def _format_new_key(kinds: tuple[KeyType, ...]) -> str:
    return f"a new key ({kinds[0]})" if kinds else "a new key"


def _format_key(key: KeyInfo) -> str:
    return f"{key.uri} ({key.kind}, for {key.purpose})"


def _format_listed_key(uri: str, key: ListedKey) -> str:
    label = f"{key.label}, " if key.label and key.label not in uri else ""
    return f"{uri} ({label}{key.kind}, to be registered)"


def _format_provider(provider: ProviderKeys) -> str:
    problem = "" if provider.error is None else ", which does not work"
    return f"a new key in {provider.section} ({provider.scheme}){problem}"


def _format_error(error: SealyardError) -> Content:
    return Content.styled(f"✗ {escape_text(str(error))}", "$error")
