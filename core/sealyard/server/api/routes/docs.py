"""The API's own description: as OpenAPI, and as a page that loads nothing from anywhere."""

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
    return Response(_json_document(request.app), media_type="application/json")


@get("/docs", include_in_schema=False, opt={"open": True})
async def docs(request: Request[Any, Any, Any]) -> Response[bytes]:
    return Response(
        _page(request.app), media_type="text/html", headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY}
    )


HANDLERS = (openapi_json, docs)


# Anybody may ask for either, as often as they like: nothing is made twice.
@cache
def _json_document(app: Litestar) -> bytes:
    return msgspec.json.encode(build_document(app))


@cache
def _page(app: Litestar) -> bytes:
    described = build_document(app)
    info = described["info"]
    text = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(info['title'])}</title><style>{STYLE}</style>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"{''.join(f'<p>{escape(each)}</p>' for each in info['description'].split(chr(10) * 2))}"
        "<p><a href=openapi.json>openapi.json</a></p>"
        f"{''.join(_group(name, calls) for name, calls in _grouped(described).items())}"
        f"<h2>Values</h2>{''.join(_schema(*each) for each in sorted(described['components']['schemas'].items()))}"
    )
    return text.encode()


def _grouped(described: dict[str, Any]) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
    """Calls by their first tag: verb, path and what is said of each."""
    found: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, item in described["paths"].items():
        for verb, operation in item.items():
            tag = next(iter(operation.get("tags", ())), "server")
            found.setdefault(tag, []).append((verb, path, operation))
    return found


def _group(name: str, calls: list[tuple[str, str, dict[str, Any]]]) -> str:
    return f"<h2>{escape(name)}</h2>{''.join(_call(*each) for each in calls)}"


def _call(verb: str, path: str, operation: dict[str, Any]) -> str:
    line = f"<code><span class=verb>{escape(verb.upper())}</span> {escape(path)}</code>"
    return (
        f"<details><summary>{line} {escape(operation.get('summary') or '')}</summary>"
        f"{_parameters(operation.get('parameters', []))}{_body(operation.get('requestBody'))}"
        f"<table><tr><th>answer<th></tr>{''.join(_answer(*each) for each in operation['responses'].items())}</table>"
        "</details>"
    )


def _parameters(parameters: list[dict[str, Any]]) -> str:
    rows = (
        f"<tr><td><code>{escape(each['name'])}</code><td>{escape(each['in'])}"
        f"<td>{escape(each.get('description') or '')}</tr>"
        for each in parameters
    )
    return f"<table>{''.join(rows)}</table>" if parameters else ""


def _body(body: dict[str, Any] | None) -> str:
    if body is None:
        return ""
    parts = (f"<p>{escape(kind)}</p>{_json(of.get('schema'))}" for kind, of in body.get("content", {}).items())
    return "".join(parts)


def _answer(status: str, answer: dict[str, Any]) -> str:
    kinds = ", ".join(answer.get("content", {}))
    return f"<tr><td><code>{escape(status)}</code><td>{escape(answer['description'])} {escape(kinds)}</tr>"


def _schema(name: str, schema: dict[str, Any]) -> str:
    return f"<details><summary><code>{escape(name)}</code></summary>{_json(schema)}</details>"


def _json(value: Any) -> str:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return f"<pre>{escape(text)}</pre>"
