"""Settings and secrets of one key provider, and of its process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from msgspec import Meta

from sealyard.model.base import FrozenStruct, SecretStruct
from sealyard.model.errors import KeyProviderError

OptionsType = TypeVar("OptionsType")

_OPTION = re.compile(r"`\$\.(\w+)")
_TYPE = re.compile(r"`(\w+)`")
_TYPE_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "str": "a string",
        "int": "an integer",
        "float": "a number",
        "bool": "true or false",
        "array": "an array",
        "object": "a table",
    }
)


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
            raise self._option_error(options_type, str(error)) from None

    def _option_error(self, options_type: type[Any], reason: str) -> KeyProviderError:
        """Return the error for options that are refused. ``reason``: the words of msgspec."""
        schema = msgspec.json.schema_components([options_type])[1][options_type.__name__]
        known: Mapping[str, Any] = schema["properties"]
        unknown = sorted(self.options.keys() - known.keys())
        if unknown:
            return KeyProviderError(
                f"The key provider {self.name} has no option {unknown[0][:40]}.",
                f"Options of {self.provider}: {', '.join(known)}. Secrets are set in [keys.{self.name}.secrets].",
            )
        missing = [name for name in schema.get("required", ()) if name not in self.options]
        if missing:
            description = known[missing[0]].get("description", "")
            return KeyProviderError(
                f"The key provider {self.name} needs the option {missing[0]}.",
                f"Add it to [keys.{self.name}] of the worker settings. {description}".rstrip(),
            )
        option = _OPTION.search(reason)
        name = option[1] if option else ""
        description = known.get(name, {}).get("description", "")
        return KeyProviderError(
            f"The option {name} of the key provider {self.name} is not valid: {_describe_problem(reason)}.",
            f"Correct it in [keys.{self.name}] of the worker settings. {description}".rstrip(),
        )


def _describe_problem(reason: str) -> str:
    """Return the reason of a validation error in the terms of TOML, without its place."""
    problem = reason.partition(" - at ")[0]
    if "matching regex" in problem:
        return "it has another form"
    problem = _TYPE.sub(lambda match: _TYPE_NAMES.get(match[1], match[1]), problem)
    return f"{problem[:1].lower()}{problem[1:]}"


class ProcessSettings(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """What the process of a key provider can reach besides the libraries of the system."""

    paths: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^/[^\x00]*$")], ...],
        Meta(description="Absolute paths that the provider reads and writes, such as the folder of a token."),
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
                f"The key provider {settings.name} has no secret named {name}.",
                f"Add it to [keys.{settings.name}.secrets] of the worker settings: {name} = {{ file = PATH }}.",
            )
        return value
