"""The OpenAPI document: generated from the routes, completed with the parts that all operations share."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Litestar
from litestar.openapi import OpenAPIConfig

from sealyard.server.api.wire import API
from sealyard.server.http.problems import PROBLEM_JSON, ProblemDetails

DESCRIPTION = """\
Signs and encrypts firmware under dual control. Calls documented by the Sign & Encrypt service have its paths, methods,
field names and status codes; additional calls and members are Sealyard's own.

Lists are arrays; `X-SE-CURSOR` and `Link` refer to the next page. Errors are RFC 9457 problem documents with stable
values of `type` and `code`. Requests with the same `Idempotency-Key` return the same task."""

CONFIG = OpenAPIConfig(title="Sealyard", version="1", path="/schema", render_plugins=[])

PROBLEMS = {
    "400": "invalid request, or a file in it cannot be used",
    "401": "authentication required, or invalid token",
    "403": "permission denied",
    "404": "not found, or not visible to the caller",
    "409": "not possible in the current state",
    "413": "too large",
    "415": "unsupported media type",
    "422": "a key or format cannot be used",
    "429": "too many requests; see Retry-After",
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


@cache
def build_document(app: Litestar) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document as a dictionary that can be encoded as JSON."""
    document: dict[str, Any] = app.openapi_schema.to_schema()
    document["openapi"] = "3.1.0"
    document["info"] = {"title": "Sealyard", "version": version("sealyard"), "description": DESCRIPTION}
    document["servers"] = [{"url": "/"}]
    components = document.setdefault("components", {})
    _, schemas = msgspec.json.schema_components([ProblemDetails], ref_template="#/components/schemas/{name}")
    components.setdefault("schemas", {}).update(schemas)
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    for path, item in document["paths"].items():
        for operation in item.values():
            _complete_operation(path, operation)
    return document


def _complete_operation(path: str, operation: dict[str, Any]) -> None:
    """Add security, the tenant header and error responses to an operation of the API."""
    if not path.startswith(API):
        return
    problems = dict(PROBLEMS)
    if path.startswith(f"{API}/link/"):
        problems.pop("401")
    else:
        operation["security"] = [{"bearer": []}]
        operation.setdefault("parameters", []).append(TENANT_HEADER)
    if path.endswith("/download") or path.startswith(f"{API}/link/"):
        problems.update(DOWNLOAD_RESPONSES)
        _set_download_responses(operation)
    responses = {
        code: _fix_empty_response(response) for code, response in operation["responses"].items() if code < "400"
    }
    operation["responses"] = {
        **responses,
        **{code: _problem_response(description) for code, description in problems.items()},
    }


def _fix_empty_response(response: dict[str, Any]) -> dict[str, Any]:
    """Remove the content of a response without a body, which the framework describes as JSON null.

    Also sorts the headers, because the framework's order differs between processes.
    """
    fixed_response = (
        {**response, "headers": dict(sorted(response["headers"].items()))} if "headers" in response else response
    )
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
    }
