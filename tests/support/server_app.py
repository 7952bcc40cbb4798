"""The application of a server, with routes that all tests of a process share: building them takes half a second."""

from __future__ import annotations

import copy
from functools import cache

from litestar import Litestar
from litestar.datastructures import State

from sealyard.server.app import build_app
from sealyard.server.auth.authentication import Authenticator
from sealyard.server.auth.rate_limit import TokenBucketLimiter
from sealyard.server.auth.tenants import TenantRegistry
from sealyard.server.settings import S3Settings


def create_app(tenants: TenantRegistry, authenticator: Authenticator, s3: S3Settings | None = None) -> Litestar:
    """Return an application as :func:`build_app` does. The routes keep no state: they read that of the application."""
    template = _build_template()
    app = copy.copy(template)
    own_state = {"tenants": tenants, "authenticator": authenticator, "s3": s3 or S3Settings()}
    app.state = State({**template.state.dict(), **own_state}, deep_copy=False)
    return app


@cache
def _build_template() -> Litestar:
    tenants = TenantRegistry({})
    return build_app(tenants, Authenticator(tenants, TokenBucketLimiter(0), None, 0))
