"""The ways to log in to a server, as the server publishes them."""

from __future__ import annotations

from sealyard.client.config.profiles import Profile
from sealyard.client.config.servers import is_secure_url
from sealyard.client.oauth.issuer import get_document
from sealyard.model.login import METADATA_PATH, LoginMethod, ProtectedResource


def fetch_login_methods(profile: Profile) -> tuple[LoginMethod, ...]:
    """Return the login methods of the server of ``profile``: none if it accepts only its own tokens.

    Methods of issuers without encryption are left out. Blocks. Raises :class:`ServerUnreachableError` if the server
    does not respond.
    """
    resource = get_document(f"{profile.server}{METADATA_PATH}", ProtectedResource, profile.ca)
    methods = resource.sealyard_login if resource is not None else ()
    return tuple(method for method in methods if is_secure_url(method.issuer))
