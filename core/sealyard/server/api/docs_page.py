"""The HTML page of the API reference, with a form for sending a request to each operation."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import msgspec

TENANT_HEADER = "X-SE-TENANT"
MAX_EXAMPLE_DEPTH = 6

HEAD = """\
<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
<title>{title}</title><link rel=stylesheet href=docs/docs.css><script src=docs/docs.js defer></script>\
<h1>{title} {version}</h1>{description}<p><a href=openapi.json>openapi.json</a></p>\
<form id=access><label><code>token</code> <input name=token type=password autocomplete=off></label>\
<label><code>tenant</code> <input name=tenant autocomplete=off></label></form>"""


def render_page(document: dict[str, Any]) -> str:
    """Render an OpenAPI document as HTML. The page loads scripts and styles from ``docs/``, never from other hosts."""
    info = document["info"]
    paragraphs = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in info["description"].split("\n\n"))
    schemas = document["components"]["schemas"]
    return (
        HEAD.format(title=escape(info["title"]), version=escape(info["version"]), description=paragraphs)
        + "".join(
            f"<h2>{escape(tag)}</h2>{''.join(_render_operation(*operation, schemas) for operation in operations)}"
            for tag, operations in _operations_by_tag(document).items()
        )
        + "<h2>Schemas</h2>"
        + "".join(_render_schema(name, schema) for name, schema in sorted(schemas.items()))
    )


def _operations_by_tag(document: dict[str, Any]) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
    """Return the method, path and OpenAPI object of each operation, grouped by its first tag."""
    operations: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            tag = next(iter(operation.get("tags", ())), "server")
            operations.setdefault(tag, []).append((method, path, operation))
    return operations


def _render_operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    rows = "".join(_render_response(status, response) for status, response in operation["responses"].items())
    return (
        f"<details id={escape(operation['operationId'])}><summary><code><span class=method>{escape(method.upper())}"
        f"</span> {escape(path)}</code> {escape(operation.get('summary') or '')}</summary>"
        f"{_render_form(method, path, operation, schemas)}"
        f"<table><tr><th>response<th></tr>{rows}</table></details>"
    )


def _render_form(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    binary = " data-binary=true" if "application/octet-stream" in _response_types(operation) else ""
    parameters = [parameter for parameter in operation.get("parameters", ()) if parameter["name"] != TENANT_HEADER]
    return (
        f"<form data-method={escape(method.upper())} data-path='{escape(path, quote=True)}'{binary}>"
        f"{''.join(_render_parameter(parameter) for parameter in parameters)}"
        f"{_render_bodies(operation.get('requestBody'), schemas)}"
        "<button>Execute</button><pre><output></output></pre></form>"
    )


def _response_types(operation: dict[str, Any]) -> set[str]:
    return {media_type for response in operation["responses"].values() for media_type in response.get("content", {})}


def _render_parameter(parameter: dict[str, Any]) -> str:
    required = " required" if parameter.get("required") else ""
    field = f"<input name='{escape(parameter['name'], quote=True)}' data-in={escape(parameter['in'])}{required}>"
    return _render_field(parameter["name"], field, parameter.get("description") or "")


def _render_field(name: str, field: str, description: str) -> str:
    return f"<label><code>{escape(name)}</code> {field}<small>{escape(description)}</small></label>"


def _render_bodies(body: dict[str, Any] | None, schemas: dict[str, Any]) -> str:
    contents = body["content"] if body is not None else {}
    choice = ""
    if len(contents) > 1:
        options = "".join(f"<option>{escape(media_type)}</option>" for media_type in contents)
        choice = f"<label><code>media type</code> <select name=media-type>{options}</select></label>"
    return choice + "".join(
        f"<fieldset data-media-type='{escape(media_type, quote=True)}'><legend>{escape(media_type)}</legend>"
        f"{_render_body_fields(media_type, _resolve(content['schema'], schemas), schemas)}</fieldset>"
        for media_type, content in contents.items()
    )


def _render_body_fields(media_type: str, schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    if media_type == "multipart/form-data":
        return "".join(_render_form_field(name, member) for name, member in schema["properties"].items())
    if _is_file(schema):
        return "<input type=file>"
    example = msgspec.json.format(msgspec.json.encode(example_of(schema, schemas)), indent=2).decode()
    return f"<textarea>{escape(example)}</textarea>"


def _render_form_field(name: str, schema: dict[str, Any]) -> str:
    is_list = schema.get("type") == "array"
    quoted_name = f"name='{escape(name, quote=True)}'"
    if _is_file(schema["items"] if is_list else schema):
        field = f"<input type=file {quoted_name}{' multiple' if is_list else ''}>"
    else:
        field = f"<textarea {quoted_name} rows=2></textarea>" if is_list else f"<input {quoted_name}>"
    return _render_field(name, field, schema.get("description", ""))


def _is_file(schema: dict[str, Any]) -> bool:
    return schema.get("format") == "binary"


def example_of(schema: dict[str, Any], schemas: dict[str, Any], depth: int = 0) -> Any:
    """Return an example value for a JSON schema, with only the required members of objects, for the reader to edit.

    ``schemas``: the schemas to which ``$ref`` can refer, by name. ``depth``: current nesting depth of the value.
    """
    schema = _resolve(schema, schemas)
    if depth > MAX_EXAMPLE_DEPTH:
        return None
    if alternatives := schema.get("oneOf") or schema.get("anyOf"):
        return example_of(alternatives[0], schemas, depth + 1)
    if values := schema.get("enum"):
        return values[0]
    match schema.get("type"):
        case "object":
            required: Iterable[str] = schema.get("required", ())
            return {name: example_of(schema["properties"][name], schemas, depth + 1) for name in required}
        case "array":
            return [example_of(schema["items"], schemas, depth + 1)] if "items" in schema else []
        case "string":
            return ""
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
    return None


def _resolve(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return schema


def _render_response(status: str, response: dict[str, Any]) -> str:
    media_types = ", ".join(response.get("content", {}))
    return f"<tr><td><code>{escape(status)}</code><td>{escape(response['description'])} {escape(media_types)}</tr>"


def _render_schema(name: str, schema: dict[str, Any]) -> str:
    text = msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()
    return f"<details><summary><code>{escape(name)}</code></summary><pre>{escape(text)}</pre></details>"
