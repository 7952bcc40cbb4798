"""Route for the protected resource metadata (RFC 9728), from which clients learn where to get a token."""

from __future__ import annotations

from typing import Any

from litestar import Request, get

from sealyard.model.login import METADATA_PATH, LoginMethod, ProtectedResource
from sealyard.server.auth.issuers import IssuerRegistry
from sealyard.server.http.base_url import public_base_url


@get(
    METADATA_PATH,
    tags=["server"],
    operation_id="ProtectedResource",
    summary="List the issuers whose tokens the server accepts (RFC 9728)",
)
async def protected_resource(request: Request[Any, Any, Any]) -> ProtectedResource:
    issuers: IssuerRegistry = request.app.state.issuers
    base_url = public_base_url(request)
    return ProtectedResource(
        resource=base_url,
        authorization_servers=tuple(issuer.issuer for issuer in issuers.settings),
        bearer_methods_supported=("header",),
        resource_name="Sealyard",
        resource_documentation=f"{base_url}/docs",
        sealyard_login=tuple(
            LoginMethod(
                issuer=issuer.issuer,
                client_id=issuer.login_client_id,
                scopes=issuer.login_scopes,
                parameters=issuer.login_parameters,
            )
            for issuer in issuers.settings
            if issuer.login_client_id
        ),
    )
