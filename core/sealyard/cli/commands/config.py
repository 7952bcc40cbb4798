"""`sealyard config path`, `show`, `check`, `schema` and `example`: the settings of the application."""

from __future__ import annotations

import json

import msgspec

from sealyard.cli.arguments import Commands, command, group
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_table
from sealyard.client.config.settings_example import render_example, render_toml
from sealyard.client.config.settings_loader import (
    effective_settings,
    setting_keys,
    settings_path,
    settings_schema,
    value_at,
)

_SERVER_HEADER = """\
# Settings of `sealyard serve --config FILE`. Omitted keys keep their defaults; command-line options take precedence.
"""


def add(commands: Commands) -> None:
    family = group(commands, "config", "The settings of the application: a TOML file and the environment.")
    command(family, "path", _path, "Says where the settings are.")
    command(family, "show", _show, "Shows the settings in force, and where each comes from.")
    command(family, "check", _check, "Reads the settings and says what is wrong with them.")
    command(family, "schema", _schema, "Prints the JSON Schema of the file.")
    example = command(family, "example", _example, "Print a complete settings file with comments.")
    example.add_argument("--server", action="store_true", help="the settings of `sealyard serve`")


def _path(ctx: Context) -> int:
    path = settings_path()
    ctx.out.result({"path": str(path), "exists": path.is_file()}, (str(path),))
    return ExitCode.OK


def _show(ctx: Context) -> int:
    found = effective_settings(settings_path())
    shown = [
        {"key": key, "value": msgspec.to_builtins(value_at(found.settings, key)), "origin": found.origins[key]}
        for key in setting_keys()
    ]
    rows = [(each["key"], json.dumps(each["value"], ensure_ascii=False), each["origin"]) for each in shown]
    lines = (f"The file is {found.path}.", "", *format_table(("KEY", "VALUE", "FROM"), rows, ""))
    ctx.out.result({"path": found.path, "settings": shown}, lines)
    return ExitCode.OK


def _check(ctx: Context) -> int:
    found = effective_settings(settings_path())
    ctx.out.result({"path": found.path, "ok": True}, (f"{found.path}: nothing is wrong.",))
    return ExitCode.OK


def _schema(ctx: Context) -> int:
    schema = settings_schema()
    ctx.out.result(schema, json.dumps(schema, indent=2).splitlines())
    return ExitCode.OK


def _example(ctx: Context) -> int:
    text = _server_example() if ctx.args.server else render_example()
    ctx.out.result({"toml": text}, text.splitlines())
    return ExitCode.OK


def _server_example() -> str:
    from sealyard.server.settings import ServerSettings

    return render_toml(ServerSettings(), _SERVER_HEADER)
