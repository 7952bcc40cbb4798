"""A whole settings file to begin with: every key with its default and what it is for."""

from __future__ import annotations

import json

import msgspec

from sealyard.client.config.settings import Settings
from sealyard.model.base import FrozenStruct

_HEAD = """\
# Settings of Sealyard. Every key is here with its default; what you leave out keeps it.
# SEALYARD_<KEY> in the environment counts more: SEALYARD_THEME, SEALYARD_WATCH_FOLDER, SEALYARD_MOUSE=0
"""


def render_example() -> str:
    """A TOML text that reads as the defaults."""
    return render_toml(Settings(), _HEAD)


def render_toml(settings: FrozenStruct, head: str) -> str:
    """Every key with its value and, from its description, what it is for; ``head``: comment lines."""
    return f"{head}\n" + "\n".join(_lines(settings, ""))


def _lines(settings: FrozenStruct, table: str) -> list[str]:
    lines: list[str] = []
    tables: list[str] = []
    for field in msgspec.structs.fields(settings):
        about = f"# {field.type.__metadata__[0].description}"
        value = getattr(settings, field.name)
        if isinstance(value, FrozenStruct):
            tables += [about, f"[{table}{field.name}]", *_lines(value, f"{table}{field.name}.")]
        elif isinstance(value, dict):
            tables += [about, f"[{table}{field.name}]", ""]
        else:
            lines += [about, f"{field.name} = {_toml(value)}", ""]
    return lines + tables


def _toml(value: object) -> str:
    """JSON writes plain texts, numbers and truth values as TOML does."""
    return json.dumps(value)
