"""The OpenAPI document: generated from the routes and completed with the parts that all operations share.

``python -m tests.support.update_openapi`` saves it as ``sealyard/server/openapi.json``, which the server serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.types import ControllerRouterHandler

from sealyard.server.api.wire import API
from sealyard.server.http.problems import PROBLEM_JSON, ProblemDetails

DESCRIPTION = """\
Signs and encrypts firmware under dual control. Operations documented by the Sign & Encrypt service use its paths,
methods, field names and status codes; additional operations and fields are specific to Sealyard.

Lists are arrays; `X-SE-CURSOR` and `Link` refer to the next page. Errors are RFC 9457 problem documents with stable
values of `type` and `code`. Requests with the same `Idempotency-Key` return the same task."""

CONFIG = OpenAPIConfig(title="Sealyard", version="1")

PROBLEMS = {
    "400": "invalid request, or a file in it cannot be used",
    "401": "authentication required, or invalid token",
    "403": "permission denied",
    "404": "not found, or not visible to the caller",
    "409": "not possible in the current state",
    "408": "the request body was sent too slowly",
    "413": "too large",
    "415": "unsupported media type",
    "422": "a key or format cannot be used",
    "429": "too many requests; see Retry-After",
    "431": "the header fields are too large",
    "503": "temporarily unavailable: key store locked, disk full, or server stopping",
}
DOWNLOAD_RESPONSES = {
    "410": "the link has expired (renewable), or the result was removed",
    "416": "the range is outside of the result",
}

TENANT_HEADER = {
    "name": "X-SE-TENANT",
    "in": "header",
    "required": False,
    "description": "the tenant; optional if the server has only one",
    "schema": {"type": "string"},
}


def build_document(routes: Sequence[ControllerRouterHandler]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document for ``routes`` as a JSON-serializable dictionary."""
    app = Litestar(route_handlers=routes, openapi_config=CONFIG, logging_config=None)
    document: dict[str, Any] = app.openapi_schema.to_schema()
    document["openapi"] = "3.1.0"
    document["info"] = {"title": "Sealyard", "version": version("sealyard"), "description": DESCRIPTION}
    document["servers"] = [{"url": "/"}]
    components = document.setdefault("components", {})
    _, schemas = msgspec.json.schema_components([ProblemDetails], ref_template="#/components/schemas/{name}")
    components.setdefault("schemas", {}).update(schemas)
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"bearer": []}]
    for path, item in document["paths"].items():
        for operation in item.values():
            _complete_operation(path, operation)
    simplified: dict[str, Any] = _simplify(document)
    return simplified


def _complete_operation(path: str, operation: dict[str, Any]) -> None:
    """Complete an operation with its security requirements, the tenant header and the error responses."""
    if not path.startswith(API):
        operation["security"] = []
        operation["responses"]["431"] = _problem_response(PROBLEMS["431"])
        return
    problems = dict(PROBLEMS)
    if path.startswith(f"{API}/link/"):
        operation["security"] = []
        problems.pop("401")
    else:
        operation.setdefault("parameters", []).append(TENANT_HEADER)
    if path.endswith("/download") or path.startswith(f"{API}/link/"):
        problems.update(DOWNLOAD_RESPONSES)
        _set_download_responses(operation)
    responses = {code: _fix_response(response) for code, response in operation["responses"].items() if code < "400"}
    operation["responses"] = {
        **responses,
        **{code: _problem_response(description) for code, description in problems.items()},
    }


def _simplify(value: Any) -> Any:
    """Unwrap each ``oneOf`` that contains only one schema; the framework generates these for optional fields."""
    if isinstance(value, list):
        return [_simplify(item) for item in value]
    if not isinstance(value, dict):
        return value
    simplified = {name: _simplify(item) for name, item in value.items()}
    schemas = simplified.get("oneOf")
    if isinstance(schemas, list) and len(schemas) == 1:
        del simplified["oneOf"]
        return {**schemas[0], **simplified}
    return simplified


def _fix_response(response: dict[str, Any]) -> dict[str, Any]:
    """Return a response without the JSON null content that the framework generates for responses without a body.

    Also adds schemas to the headers and sorts them, because their order would otherwise differ between processes.
    """
    headers = {
        name: {"schema": {"type": "integer"} if name.endswith(("Offset", "Length")) else {"type": "string"}, **header}
        for name, header in sorted(response.get("headers", {}).items())
    }
    fixed_response = {**response, "headers": headers} if "headers" in response else response
    content = fixed_response.get("content", {})
    if any(media_type.get("schema") == {"type": "null"} for media_type in content.values()):
        return {name: value for name, value in fixed_response.items() if name != "content"}
    return fixed_response


def _problem_response(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {"description": description, "content": {PROBLEM_JSON: {"schema": schema}}}


def _set_download_responses(operation: dict[str, Any]) -> None:
    binary_content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    operation["responses"] = {
        "200": {"description": "the complete result", "content": binary_content},
        "206": {"description": "the requested range", "content": binary_content},
        "304": {"description": "the result matches If-None-Match"},
        "307": {"description": "the same content at the object store; follow the redirect without the access token"},
    }
