"""The application: calls, who asks, and errors, put together over the tenants it serves."""

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
from litestar.types import ASGIApp, Receive, Scope, Send

from sealyard.model.errors import SealyardError
from sealyard.server import openapi
from sealyard.server.caller import Caller
from sealyard.server.health import HealthCalls
from sealyard.server.identity import Identity
from sealyard.server.problems import answer_error, answer_fault, answer_http
from sealyard.server.routes.access import AccessControl, PolicyCalls
from sealyard.server.routes.audit import AuditCalls
from sealyard.server.routes.creating import EncryptionTasks, PackagingTasks, SigningTasks
from sealyard.server.routes.credentials import OneTimePasswords, Tokens
from sealyard.server.routes.devices import Algorithms, DeviceConfigurations
from sealyard.server.routes.documents import HANDLERS
from sealyard.server.routes.events import EventCalls
from sealyard.server.routes.keys import Keys
from sealyard.server.routes.links import LinkCalls
from sealyard.server.routes.tasks import AllTasks
from sealyard.server.routes.uploads import UploadCalls
from sealyard.server.routes.webhooks import DeadLetters, Webhooks
from sealyard.server.routes.workspace import WorkspaceCalls
from sealyard.server.tenants import Tenants
from sealyard.server.wire import API

LARGEST_JSON = 4 * 1024 * 1024
"""Of a body that is no upload, in bytes."""

CALLS = (
    WorkspaceCalls,
    PackagingTasks,
    EncryptionTasks,
    SigningTasks,
    AllTasks,
    UploadCalls,
    DeviceConfigurations,
    Algorithms,
    Keys,
    AccessControl,
    PolicyCalls,
    AuditCalls,
    Tokens,
    OneTimePasswords,
    Webhooks,
    DeadLetters,
    EventCalls,
)
"""What wants a caller, in the order of the document."""


class KnownCaller(ASGIMiddleware):
    """Nothing of a request is read before it is known who asks."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        identity: Identity = scope["litestar_app"].state.identity
        scope["state"]["caller"] = await identity.caller(scope)
        await next_app(scope, receive, send)


def caller_of(request: Request[Any, Any, Any]) -> Caller:
    found: Caller = request.scope["state"]["caller"]
    return found


def build_app(
    tenants: Tenants, identity: Identity, *, public_url: str = "", more: Sequence[HTTPRouteHandler] = ()
) -> Litestar:
    """``publicUrl``: how clients reach the API from outside, without a slash at the end; empty: as they ask.

    ``more``: calls beside the API.
    """
    api = Router(
        API,
        route_handlers=CALLS,
        middleware=[KnownCaller()],
        dependencies={"caller": Provide(caller_of, sync_to_thread=False)},
    )
    return Litestar(
        route_handlers=[api, Router(API, route_handlers=[LinkCalls]), HealthCalls, *HANDLERS, *more],
        exception_handlers={SealyardError: answer_error, HTTPException: answer_http, Exception: answer_fault},
        openapi_config=openapi.CONFIG,
        request_max_body_size=LARGEST_JSON,
        state=State({"tenants": tenants, "identity": identity, "public_url": public_url.rstrip("/")}, deep_copy=False),
        logging_config=None,
    )
