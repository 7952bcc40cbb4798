"""``sealyard config``: show and check the settings of the application, and print example settings files."""

from __future__ import annotations

import json

import msgspec

from sealyard.cli.arguments import Commands, add_command, add_command_group
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
from sealyard.model.errors import UsageError

_SERVER_HEADER = """\
# Settings of `sealyard serve --config FILE`. Omitted keys keep their defaults; command-line options take precedence.
"""


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(commands, "config", "Show and check the settings of the application")
    add_command(subcommands, "path", _show_path, "Show the path of the settings file")
    add_command(subcommands, "show", _show, "Show the current settings and their origin")
    add_command(subcommands, "check", _check, "Check the settings file")
    add_command(subcommands, "schema", _print_schema, "Print the JSON Schema of the settings file")
    example_parser = add_command(subcommands, "example", _print_example, "Print a complete settings file with comments")
    example_parser.add_argument("--server", action="store_true", help="print the settings of `sealyard serve` instead")


def _show_path(ctx: Context) -> int:
    path = settings_path()
    ctx.out.result({"path": str(path), "exists": path.is_file()}, (str(path),))
    return ExitCode.OK


def _show(ctx: Context) -> int:
    effective_config = effective_settings(settings_path())
    settings = [
        {
            "key": key,
            "value": msgspec.to_builtins(value_at(effective_config.settings, key)),
            "origin": effective_config.origins[key],
        }
        for key in setting_keys()
    ]
    rows = [
        (setting["key"], json.dumps(setting["value"], ensure_ascii=False), setting["origin"]) for setting in settings
    ]
    warnings = tuple(f"! Ignored: {error.message}" for error in effective_config.ignored)
    lines = (
        f"Settings file: {effective_config.path}",
        *warnings,
        "",
        *format_table(("KEY", "VALUE", "ORIGIN"), rows, ""),
    )
    ignored = msgspec.to_builtins(effective_config.ignored)
    ctx.out.result({"path": effective_config.path, "settings": settings, "ignored": ignored}, lines)
    return ExitCode.OK


def _check(ctx: Context) -> int:
    effective_config = effective_settings(settings_path())
    if effective_config.ignored:
        messages = " ".join(error.message for error in effective_config.ignored)
        raise UsageError(messages, effective_config.ignored[0].structured_hint)
    ctx.out.result({"path": effective_config.path, "ok": True}, (f"{effective_config.path}: valid.",))
    return ExitCode.OK


def _print_schema(ctx: Context) -> int:
    schema = settings_schema()
    ctx.out.result(schema, json.dumps(schema, indent=2).splitlines())
    return ExitCode.OK


def _print_example(ctx: Context) -> int:
    text = _render_server_example() if ctx.args.server else render_example()
    ctx.out.result({"toml": text}, text.splitlines())
    return ExitCode.OK


def _render_server_example() -> str:
    from sealyard.server.settings import ServerSettings

    return render_toml(ServerSettings(), _SERVER_HEADER)
