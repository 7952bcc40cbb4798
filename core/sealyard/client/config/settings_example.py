"""A complete example of the settings file: every key with its default and description."""

from __future__ import annotations

import json

import msgspec

from sealyard.client.config.settings import Settings
from sealyard.model.base import FrozenStruct

_HEAD = """\
# Settings of Sealyard. All keys are listed with their defaults; omitted keys keep them.
# Environment variables SEALYARD_<KEY> take precedence: SEALYARD_THEME, SEALYARD_WATCH_FOLDER, SEALYARD_MOUSE=0
"""


def render_example() -> str:
    """Return a TOML document that contains the default settings."""
    return render_toml(Settings(), _HEAD)


def render_toml(settings: FrozenStruct, head: str) -> str:
    """Return ``settings`` as TOML, each key below a comment with its description. ``head`` is put at the top."""
    return f"{head}\n" + "\n".join(_lines(settings, ""))


def _lines(settings: FrozenStruct, table: str) -> list[str]:
    lines: list[str] = []
    tables: list[str] = []
    for field in msgspec.structs.fields(settings):
        comment = f"# {field.type.__metadata__[0].description}"
        value = getattr(settings, field.name)
        if isinstance(value, FrozenStruct):
            tables += [comment, f"[{table}{field.name}]", *_lines(value, f"{table}{field.name}.")]
        elif isinstance(value, dict):
            tables += [comment, f"[{table}{field.name}]", ""]
        else:
            lines += [comment, f"{field.name} = {_toml(value)}", ""]
    return lines + tables


def _toml(value: object) -> str:
    """Return ``value`` as TOML. Strings, numbers and booleans are written the same way in JSON and TOML."""
    return json.dumps(value)
