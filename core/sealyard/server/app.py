"""The Litestar application: routes, authentication and error handling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Litestar, Request, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, ControllerRouterHandler, ExceptionHandlersMap, Receive, Scope, Send

from sealyard.model.errors import SealyardError
from sealyard.server.api.routes.access import AccessController, PolicyController
from sealyard.server.api.routes.audit import AuditController, AuditListController
from sealyard.server.api.routes.create_tasks import (
    EncryptionTaskController,
    PackagingTaskController,
    SigningTaskController,
)
from sealyard.server.api.routes.credentials import OtpController, TokenController
from sealyard.server.api.routes.devices import AlgorithmController, DeviceController
from sealyard.server.api.routes.docs import HANDLERS
from sealyard.server.api.routes.events import EventController
from sealyard.server.api.routes.keys import KeyController, KeyProviderController
from sealyard.server.api.routes.links import LinkController
from sealyard.server.api.routes.notifications import NotificationController
from sealyard.server.api.routes.protected_resource import protected_resource
from sealyard.server.api.routes.tasks import AllTasksController
from sealyard.server.api.routes.uploads import UploadController
from sealyard.server.api.routes.webhooks import DeadLetterController, WebhookController
from sealyard.server.api.routes.workspace import WorkspaceController
from sealyard.server.api.routes.zone import ZoneController
from sealyard.server.api.wire import API
from sealyard.server.auth.authentication import Authenticator
from sealyard.server.auth.caller import Caller
from sealyard.server.auth.issuers import IssuerRegistry
from sealyard.server.auth.tenants import TenantRegistry
from sealyard.server.http.head import HeadMiddleware
from sealyard.server.http.json_bodies import ApiRequest
from sealyard.server.http.problems import handle_error, handle_http_exception, handle_unexpected
from sealyard.server.observability.health import HealthController, StandbyStatus

MAX_JSON_BYTES = 4 * 1024 * 1024
"""Maximum size of a request body that contains no files."""

ROUTE_HANDLERS = (
    WorkspaceController,
    PackagingTaskController,
    EncryptionTaskController,
    SigningTaskController,
    AllTasksController,
    UploadController,
    DeviceController,
    AlgorithmController,
    KeyController,
    KeyProviderController,
    AccessController,
    PolicyController,
    AuditListController,
    AuditController,
    TokenController,
    OtpController,
    WebhookController,
    DeadLetterController,
    NotificationController,
    ZoneController,
    EventController,
)
"""Handlers that require authentication, in the order in which the OpenAPI document lists them."""


class AuthenticationMiddleware(ASGIMiddleware):
    """Middleware that authenticates the caller before the request body is read."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        authenticator: Authenticator = scope["litestar_app"].state.authenticator
        scope["state"]["caller"] = await authenticator.authenticate(scope)
        await next_app(scope, receive, send)


def get_caller(request: Request[Any, Any, Any]) -> Caller:
    caller: Caller = request.scope["state"]["caller"]
    return caller


def api_routes() -> list[ControllerRouterHandler]:
    """Return the routes that the OpenAPI document describes."""
    authenticated = Router(
        API,
        route_handlers=ROUTE_HANDLERS,
        middleware=[AuthenticationMiddleware()],
        dependencies={"caller": Provide(get_caller, sync_to_thread=False)},
    )
    return [authenticated, Router(API, route_handlers=[LinkController]), HealthController, protected_resource]


def build_app(
    tenants: TenantRegistry,
    authenticator: Authenticator,
    issuers: IssuerRegistry | None = None,
    *,
    public_url: str = "",
    extra_handlers: Sequence[HTTPRouteHandler] = (),
    standby_status: StandbyStatus | None = None,
    exception_handlers: ExceptionHandlersMap | None = None,
) -> Litestar:
    """Build the Litestar application for the given tenants.

    ``issuers``: OpenID Connect issuers whose tokens ``authenticator`` accepts. ``public_url``: base URL of links to the
    API; if empty, the base URL of the current request is used. ``extra_handlers``: handlers of additional routes, which
    require no authentication. ``standby_status``: status of a server that may be a standby; None if it is the only
    server of its workspaces. ``exception_handlers``: additional handlers, which take precedence.
    """
    app = Litestar(
        route_handlers=[*api_routes(), *HANDLERS, *extra_handlers],
        exception_handlers={
            SealyardError: handle_error,
            HTTPException: handle_http_exception,
            Exception: handle_unexpected,
            **(exception_handlers or {}),
        },
        # Litestar's own API pages would load scripts from other hosts.
        openapi_config=None,
        request_class=ApiRequest,
        request_max_body_size=MAX_JSON_BYTES,
        state=State(
            {
                "tenants": tenants,
                "authenticator": authenticator,
                "issuers": issuers or IssuerRegistry(()),
                "public_url": public_url.rstrip("/"),
                "standby_status": standby_status,
            },
            deep_copy=False,
        ),
        logging_config=None,
    )
    app.asgi_handler = HeadMiddleware(app.asgi_handler)
    return app
