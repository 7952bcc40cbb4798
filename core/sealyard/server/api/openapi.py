"""The OpenAPI document: what the calls themselves say, and what holds for all of them."""

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
Signs and encrypts firmware under four eyes. Calls that the Sign & Encrypt service documents have its paths, methods,
field names and status codes; what is ours stands beside them.

Lists are arrays; `X-SE-CURSOR` (and `Link`) lead to the next page. Errors are RFC 9457 problem documents whose `type`
and `code` are stable. The same `Idempotency-Key` gives the same task."""

CONFIG = OpenAPIConfig(title="Sealyard", version="1", path="/schema", render_plugins=[])

PROBLEMS = {
    "400": "the request makes no sense, or a file in it cannot be used",
    "401": "nobody who is known here asks",
    "403": "not allowed",
    "404": "not there, or not to be seen",
    "409": "in a state that does not admit it",
    "413": "too large",
    "415": "not of a media type that is taken",
    "422": "a key or format does not fit",
    "429": "too often; Retry-After says when again",
    "503": "for the moment: locked, full, or stopping",
}
DOWNLOAD_RESPONSES = {
    "410": "the link has expired (renewable), or the result is gone",
    "416": "the range lies outside the result",
}

TENANT = {
    "name": "X-SE-TENANT",
    "in": "header",
    "required": False,
    "description": "the tenant; may be left out where there is one only",
    "schema": {"type": "string"},
}


@cache
def build_document(app: Litestar) -> dict[str, Any]:
    """OpenAPI 3.1."""
    found: dict[str, Any] = app.openapi_schema.to_schema()
    found["openapi"] = "3.1.0"
    found["info"] = {"title": "Sealyard", "version": version("sealyard"), "description": DESCRIPTION}
    found["servers"] = [{"url": "/"}]
    components = found.setdefault("components", {})
    _, schemas = msgspec.json.schema_components([ProblemDetails], ref_template="#/components/schemas/{name}")
    components.setdefault("schemas", {}).update(schemas)
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    for path, item in found["paths"].items():
        for operation in item.values():
            _add_common(path, operation)
    return found


def _add_common(path: str, operation: dict[str, Any]) -> None:
    """What no handler says, for it holds everywhere."""
    if not path.startswith(API):
        return
    refused = dict(PROBLEMS)
    if path.startswith(f"{API}/link/"):
        refused.pop("401")
    else:
        operation["security"] = [{"bearer": []}]
        operation.setdefault("parameters", []).append(TENANT)
    if path.endswith("/download") or path.startswith(f"{API}/link/"):
        refused.update(DOWNLOAD_RESPONSES)
        _fetching(operation)
    answers = {code: _fix_empty_responses(answer) for code, answer in operation["responses"].items() if code < "400"}
    operation["responses"] = {**answers, **{code: _problem(words) for code, words in refused.items()}}


def _fix_empty_responses(answer: dict[str, Any]) -> dict[str, Any]:
    """The framework describes an answer that is nothing but headers as JSON's null; then nothing is sent.

    Its headers come in the order of a set: another one in each process.
    """
    said = {**answer, "headers": dict(sorted(answer["headers"].items()))} if "headers" in answer else answer
    content = said.get("content", {})
    if any(each.get("schema") == {"type": "null"} for each in content.values()):
        return {name: value for name, value in said.items() if name != "content"}
    return said


def _problem(words: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {"description": words, "content": {PROBLEM_JSON: {"schema": schema}}}


def _fetching(operation: dict[str, Any]) -> None:
    octets = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    operation["responses"] = {
        "200": {"description": "the whole", "content": octets},
        "206": {"description": "the range", "content": octets},
        "304": {"description": "it is what If-None-Match says"},
    }
