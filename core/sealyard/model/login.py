"""How people log in to a server: the issuers that it trusts, as published by the server (RFC 9728).

The members have the names of the specification and not those of this API.
"""

from __future__ import annotations

import msgspec

METADATA_PATH = "/.well-known/oauth-protected-resource"
"""Path of the metadata of a protected resource (RFC 9728, section 3)."""


class LoginMethod(msgspec.Struct, frozen=True, kw_only=True):
    """A public OAuth client that is registered at ``issuer`` for `sealyard login`.

    ``scopes``: separated by spaces. ``parameters``: more parameters of authorization and token requests.
    """

    issuer: str
    client_id: str
    scopes: str = ""
    parameters: dict[str, str] = msgspec.field(default_factory=dict)


class ProtectedResource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The metadata of a server (RFC 9728, section 2), without a token.

    ``sealyard_login`` is an extension: RFC 9728 leaves it open which client to use at an issuer.
    """

    resource: str
    authorization_servers: tuple[str, ...] = ()
    bearer_methods_supported: tuple[str, ...] = ()
    resource_name: str = ""
    resource_documentation: str = ""
    sealyard_login: tuple[LoginMethod, ...] = ()
