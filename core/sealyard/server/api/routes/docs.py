"""Routes for the API reference: the OpenAPI document, and an HTML page that can send requests."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import msgspec
from litestar import Response, get
from litestar.params import FromPath

from sealyard.model.errors import NotFoundError
from sealyard.server.api.docs_page import render_page

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "X-Content-Type-Options": "nosniff"}

STATIC_FILES = {"docs.js": "text/javascript", "docs.css": "text/css"}


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def openapi_json() -> Response[bytes]:
    return Response(_read_document(), media_type="application/json")


@get("/docs", include_in_schema=False, sync_to_thread=False)
def docs() -> Response[bytes]:
    return Response(_render_page(), media_type="text/html", headers=HEADERS)


@get("/docs/{name:str}", include_in_schema=False, sync_to_thread=False)
def static_file(name: FromPath[str]) -> Response[bytes]:
    if name not in STATIC_FILES:
        raise NotFoundError("Path not found.", "See /docs for the API reference.")
    return Response(_read_static_file(name), media_type=STATIC_FILES[name], headers=HEADERS)


HANDLERS = (openapi_json, docs, static_file)


# The content is cached because anyone can request it: the routes have no authentication and no rate limit.
@cache
def _read_document() -> bytes:
    return msgspec.json.format(files("sealyard.server").joinpath("openapi.json").read_bytes(), indent=-1)


@cache
def _render_page() -> bytes:
    return render_page(msgspec.json.decode(_read_document())).encode()


@cache
def _read_static_file(name: str) -> bytes:
    return files("sealyard.server.api").joinpath("static", name).read_bytes()
