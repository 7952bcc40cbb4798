"""Which section of the worker settings serves a key: decided by the URI of the key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import KeyProviderError
from sealyard.model.key_uris import KeyUri
from sealyard.model.pkcs11_uris import Pkcs11Name, parse_pkcs11_name
from sealyard.model.provider_settings import ProviderSettings

_ARN_PARTS = 6
_DEFAULT_MOUNT = "transit"


class ProviderRoute(FrozenStruct, frozen=True, kw_only=True):
    """The keys that a section serves: those of its scheme whose URIs do not contradict ``attributes``."""

    section: str
    scheme: str
    attributes: Mapping[str, str] = {}

    @classmethod
    def of(cls, settings: ProviderSettings) -> ProviderRoute:
        """Return the route of a section. Its attributes are the options that can also be part of a key URI."""
        names = _ATTRIBUTE_NAMES.get(settings.provider, ())
        attributes = {name: value for name in names if isinstance(value := settings.options.get(name), str) and value}
        return cls(section=settings.name, scheme=settings.provider, attributes=attributes)

    @property
    def key_prefix(self) -> str:
        """What the URIs of new keys of the section begin with, followed by a name; empty for unknown schemes."""
        template = _KEY_PREFIXES.get(self.scheme)
        return "" if template is None else template(self.attributes)

    def serves(self, uri: KeyUri) -> bool:
        if uri.scheme != self.scheme:
            return False
        attributes = _parse_attributes(uri)
        return all(attributes.get(name, value) == value for name, value in self.attributes.items())


def find_route(routes: Iterable[ProviderRoute], uri: KeyUri) -> ProviderRoute:
    """Return the route of the section that serves the key: the one with the most attributes.

    Raises :class:`KeyProviderError` if there is none, or if several serve it equally well.
    """
    candidates = sorted(
        (route for route in routes if route.serves(uri)), key=lambda route: len(route.attributes), reverse=True
    )
    if not candidates:
        raise KeyProviderError(
            f"No section of worker.toml serves the key {uri}.",
            "Add a section [keys.NAME] for its token or key service; see worker.example.toml.",
        )
    best = [route for route in candidates if len(route.attributes) == len(candidates[0].attributes)]
    if len(best) > 1:
        sections = ", ".join(f"keys.{route.section}" for route in best)
        raise KeyProviderError(
            f"Several sections of worker.toml serve the key {uri}: {sections}.",
            "Name the key by a URI that fits only one of them, or remove the others.",
        )
    return best[0]


def _parse_attributes(uri: KeyUri) -> Mapping[str, str]:
    return _PARSERS[uri.scheme](uri.name) if uri.scheme in _PARSERS else {}


def _parse_arn(name: str) -> Mapping[str, str]:
    """Return the region and the account of an ARN. The alias of a key has neither."""
    parts = name.split(":", _ARN_PARTS - 1)
    if len(parts) != _ARN_PARTS or parts[0] != "arn":
        return {}
    return {"region": parts[3], "account": parts[4]}


_ATTRIBUTE_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"pkcs11": ("token",), "awskms": ("region", "account"), "vault": ("mount",)}
)
_KEY_PREFIXES: Mapping[str, Callable[[Mapping[str, str]], str]] = MappingProxyType(
    {
        "pkcs11": lambda attributes: f"pkcs11:{Pkcs11Name(token=attributes.get('token', ''), object='')}",
        "awskms": lambda _: "awskms:alias/",
        "vault": lambda attributes: f"vault:{attributes.get('mount', _DEFAULT_MOUNT)}/",
    }
)
_PARSERS: Mapping[str, Callable[[str], Mapping[str, str]]] = MappingProxyType(
    {
        "pkcs11": lambda name: {"token": parse_pkcs11_name(name).token},
        "awskms": _parse_arn,
        "vault": lambda name: {"mount": name.rpartition("/")[0]},
    }
)
