"""Settings and secrets of one key provider, and of its process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from msgspec import Meta

from sealyard.model.base import FrozenStruct, SecretStruct
from sealyard.model.errors import KeyProviderError

OptionsType = TypeVar("OptionsType")


class ProviderSettings(FrozenStruct, frozen=True, kw_only=True):
    """The settings of a key provider. ``name``: the name of its section. ``provider``: the scheme of its key URIs.

    ``options``: what the provider defines itself; see :meth:`parse_options`.
    """

    name: str
    provider: str
    options: Mapping[str, Any] = {}

    def parse_options(self, options_type: type[OptionsType]) -> OptionsType:
        """Return the options as ``options_type``. Raises :class:`KeyProviderError`, which names the wrong option."""
        try:
            return msgspec.convert(self.options, options_type)
        except msgspec.ValidationError as error:
            raise KeyProviderError(
                f"The settings of the key provider {self.name} are not valid: {error}.",
                "Correct its section in the worker settings.",
            ) from None


class ProcessSettings(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """What the process of a key provider can reach besides the libraries of the system."""

    paths: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^/[^\x00]*$")], ...],
        Meta(description="Files and folders that the provider reads and writes, such as the folder of a token."),
    ] = ()
    environment: Annotated[
        Mapping[Annotated[str, Meta(pattern=r"^[A-Za-z_]\w*$")], Annotated[str, Meta(pattern=r"^[^\x00]*$")]],
        Meta(description="Environment variables of the provider, such as SOFTHSM2_CONF. No secrets."),
    ] = {}
    network: Annotated[
        bool | None, Meta(description="Whether the provider uses the network. By default only key services do.")
    ] = None
    unix_sockets: Annotated[
        bool, Meta(description="Whether the provider connects to local services, such as p11-kit server or pcscd.")
    ] = False


class Secrets(SecretStruct, frozen=True, kw_only=True):
    """The secrets of a key provider by name. They are never part of its settings."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ()

    values: Mapping[str, bytes] = {}

    def require(self, name: str, settings: ProviderSettings) -> bytes:
        """Return the secret ``name``. Raises :class:`KeyProviderError` if the provider has no such secret."""
        value = self.values.get(name)
        if value is None:
            raise KeyProviderError(
                f"The key provider {settings.name} has no secret named {name}.", "Add it to the worker settings."
            )
        return value
