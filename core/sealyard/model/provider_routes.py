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


class ProviderRoute(FrozenStruct, frozen=True, kw_only=True):
    """The keys that a section serves: those of its scheme whose URIs do not contradict ``attributes``."""

    section: str
    scheme: str
    attributes: Mapping[str, str] = {}

    @classmethod
    def of(cls, settings: ProviderSettings) -> ProviderRoute:
        """Return the route of a section. Its attributes are the options that can also be part of a key URI.

        ``settings``: with the defaults of options that the section does not set.
        """
        names = _ATTRIBUTE_NAMES.get(settings.provider, ())
        attributes = {name: value for name in names if isinstance(value := settings.options.get(name), str) and value}
        return cls(section=settings.name, scheme=settings.provider, attributes=attributes)

    @property
    def key_prefix(self) -> str:
        """What the URIs of new keys of the section begin with, followed by a name; empty for unknown schemes."""
        template = _KEY_PREFIXES.get(self.scheme)
        return "" if template is None else template(self.attributes)

    def serves(self, uri: KeyUri) -> bool:
        attributes = _parse_attributes(uri)
        return uri.scheme == self.scheme and all(
            attributes.get(name, value) == value for name, value in self.attributes.items()
        )

    def count_matches(self, uri: KeyUri) -> int:
        """Return how many attributes of the section the URI names."""
        return len(self.attributes.keys() & _parse_attributes(uri).keys())


def find_route(routes: Iterable[ProviderRoute], uri: KeyUri) -> ProviderRoute:
    """Return the route of the section that serves the key: the one of which the URI names the most attributes.

    Raises :class:`KeyProviderError` if there is none, or if several serve it equally well.
    """
    candidates = [route for route in routes if route.serves(uri)]
    if not candidates:
        raise KeyProviderError(
            f"No section of the worker settings serves the key {uri}.",
            "Add a section [keys.NAME] for its token or key service; see worker.example.toml.",
        )
    most_matches = max(route.count_matches(uri) for route in candidates)
    best = [route for route in candidates if route.count_matches(uri) == most_matches]
    if len(best) > 1:
        sections = ", ".join(f"keys.{route.section}" for route in best)
        raise KeyProviderError(
            f"Several sections of the worker settings serve the key {uri}: {sections}.",
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
        "pkcs11": lambda attributes: f"pkcs11:{Pkcs11Name(token=attributes['token'], object='')}",
        "awskms": lambda _: "awskms:alias/",
        "vault": lambda attributes: f"vault:{attributes['mount']}/",
    }
)
_PARSERS: Mapping[str, Callable[[str], Mapping[str, str]]] = MappingProxyType(
    {
        "pkcs11": lambda name: {"token": parse_pkcs11_name(name).token},
        "awskms": _parse_arn,
        "vault": lambda name: {"mount": name.rpartition("/")[0]},
    }
)
