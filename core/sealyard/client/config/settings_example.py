"""A complete example of the settings file: every key with its default and description."""

from __future__ import annotations

import json

import msgspec

from sealyard.client.config.settings import Settings
from sealyard.model.base import FrozenStruct

_HEADER = """\
# Settings of Sealyard. All keys are listed with their defaults; omitted keys keep them.
# Environment variables SEALYARD_<KEY> take precedence: SEALYARD_THEME, SEALYARD_WATCH_FOLDER, SEALYARD_MOUSE=0
"""


def render_example() -> str:
    """Return a TOML document that contains every setting with its default and description."""
    return render_toml(Settings(), _HEADER)


def render_toml(settings: FrozenStruct, header: str) -> str:
    """Return ``settings`` as TOML, each key below a comment with its description. ``header`` comes first."""
    return f"{header}\n" + "\n".join(_format_lines(settings, ""))


def _format_lines(settings: FrozenStruct, table: str) -> list[str]:
    lines: list[str] = []
    tables: list[str] = []
    for field in msgspec.structs.fields(settings):
        comment = f"# {field.type.__metadata__[0].description}"
        value = getattr(settings, field.name)
        if isinstance(value, FrozenStruct):
            tables += [comment, f"[{table}{field.name}]", *_format_lines(value, f"{table}{field.name}.")]
        elif isinstance(value, dict):
            tables += [comment, f"[{table}{field.name}]", ""]
        else:
            lines += [comment, f"{field.name} = {_format_toml_value(value)}", ""]
    return lines + tables


def _format_toml_value(value: object) -> str:
    """Return ``value`` as TOML. Strings, numbers and booleans are written the same way in JSON and TOML."""
    return json.dumps(value)
