"""The API reference: the OpenAPI document, and an HTML page that loads no external resources."""

from __future__ import annotations

from functools import cache
from html import escape
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get

from sealyard.server.api.openapi import build_document

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"

STYLE = """\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1f24;background:#fff}
summary{cursor:pointer;padding:.3rem 0}code,pre{font:13px ui-monospace,monospace}pre{overflow:auto;padding:.6rem;
background:#f3f5f7}.verb{display:inline-block;width:5rem;font-weight:700}table{border-collapse:collapse}
td,th{text-align:left;padding:.15rem .8rem .15rem 0;vertical-align:top}h2{margin-top:2rem}
@media(prefers-color-scheme:dark){body{color:#dde3ea;background:#12161b}pre{background:#1d232b}}"""


@get("/openapi.json", include_in_schema=False, opt={"open": True})
async def openapi_json(request: Request[Any, Any, Any]) -> Response[bytes]:
    return Response(_encode_document(request.app), media_type="application/json")


@get("/docs", include_in_schema=False, opt={"open": True})
async def docs(request: Request[Any, Any, Any]) -> Response[bytes]:
    return Response(
        _render_page(request.app), media_type="text/html", headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY}
    )


HANDLERS = (openapi_json, docs)


# The document and the page are cached, because anyone can request them: both routes have no authentication and no rate
# limit.
@cache
def _encode_document(app: Litestar) -> bytes:
    return msgspec.json.encode(build_document(app))


@cache
def _render_page(app: Litestar) -> bytes:
    document = build_document(app)
    info = document["info"]
    text = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(info['title'])}</title><style>{STYLE}</style>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"{''.join(f'<p>{escape(paragraph)}</p>' for paragraph in info['description'].split(chr(10) * 2))}"
        "<p><a href=openapi.json>openapi.json</a></p>"
        f"{''.join(_render_section(tag, operations) for tag, operations in _group_operations_by_tag(document).items())}"
        "<h2>Schemas</h2>"
        f"{''.join(_render_schema(*item) for item in sorted(document['components']['schemas'].items()))}"
    )
    return text.encode()


def _group_operations_by_tag(document: dict[str, Any]) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
    """Return the method, path and OpenAPI object of each operation, grouped by its first tag."""
    operations: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            tag = next(iter(operation.get("tags", ())), "server")
            operations.setdefault(tag, []).append((method, path, operation))
    return operations


def _render_section(tag: str, operations: list[tuple[str, str, dict[str, Any]]]) -> str:
    return f"<h2>{escape(tag)}</h2>{''.join(_render_operation(*operation) for operation in operations)}"


def _render_operation(method: str, path: str, operation: dict[str, Any]) -> str:
    method_and_path = f"<code><span class=verb>{escape(method.upper())}</span> {escape(path)}</code>"
    return (
        f"<details><summary>{method_and_path} {escape(operation.get('summary') or '')}</summary>"
        f"{_render_parameters(operation.get('parameters', []))}{_render_body(operation.get('requestBody'))}"
        f"<table><tr><th>response<th></tr>{''.join(_render_response(*item) for item in operation['responses'].items())}"
        "</table></details>"
    )


def _render_parameters(parameters: list[dict[str, Any]]) -> str:
    rows = (
        f"<tr><td><code>{escape(parameter['name'])}</code><td>{escape(parameter['in'])}"
        f"<td>{escape(parameter.get('description') or '')}</tr>"
        for parameter in parameters
    )
    return f"<table>{''.join(rows)}</table>" if parameters else ""


def _render_body(body: dict[str, Any] | None) -> str:
    if body is None:
        return ""
    contents = body.get("content", {}).items()
    return "".join(
        f"<p>{escape(media_type)}</p>{_render_json(content.get('schema'))}" for media_type, content in contents
    )


def _render_response(status: str, response: dict[str, Any]) -> str:
    media_types = ", ".join(response.get("content", {}))
    return f"<tr><td><code>{escape(status)}</code><td>{escape(response['description'])} {escape(media_types)}</tr>"


def _render_schema(name: str, schema: dict[str, Any]) -> str:
    return f"<details><summary><code>{escape(name)}</code></summary>{_render_json(schema)}</details>"


def _render_json(value: Any) -> str:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return f"<pre>{escape(text)}</pre>"
