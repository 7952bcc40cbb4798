"""``sealyard bus``: create, migrate and check the bus database of a crypto zone."""

from __future__ import annotations

import argparse

from sealyard.cli.arguments import Commands, add_command, add_command_group
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode

_DATABASE_HELP = "connection string of libpq without a password, such as service=sealyard-bus"


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(commands, "bus", "Manage the database that connects servers and crypto hosts")
    upgrade_parser = add_command(
        subcommands, "upgrade", _upgrade, "Create or migrate the tables, and grant the privileges, as the owner"
    )
    check_parser = add_command(
        subcommands, "check", _check, "Check the tables, the settings, and the privileges of the roles"
    )
    show_parser = add_command(subcommands, "show-sql", _show_sql, "Print the SQL that creates the tables")
    for parser in (upgrade_parser, check_parser):
        parser.add_argument("database", metavar="DATABASE", help=_DATABASE_HELP)
    for parser in (upgrade_parser, show_parser):
        _add_settings(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--zone", required=True, metavar="NAME", help="name of the zone, which has no other database")
    parser.add_argument("--engine-role", required=True, metavar="ROLE", help="role of the servers")
    parser.add_argument("--agent-role", required=True, metavar="ROLE", help="role of the crypto hosts")


async def _upgrade(ctx: Context) -> int:
    import asyncio

    from sealyard.engine.state.open_state import require_postgres_packages

    with require_postgres_packages():
        from sealyard.jobs.zone.migrations import REVISION
        from sealyard.jobs.zone.schema import BusSettings, upgrade_bus
        from sealyard.model.zones import check_zone_name
        from sealyard.storage.postgres.connection import Database

        args = ctx.args
        settings = BusSettings(
            zone=check_zone_name(args.zone), engine_role=args.engine_role, agent_role=args.agent_role
        )
        await asyncio.to_thread(upgrade_bus, Database(args.database), settings)
    ctx.out.result({"revision": REVISION}, (f"The bus database has revision {REVISION}.",))
    return ExitCode.OK


async def _check(ctx: Context) -> int:
    import asyncio

    from sealyard.engine.state.open_state import require_postgres_packages

    with require_postgres_packages():
        from sealyard.jobs.zone.privileges import BusRole
        from sealyard.jobs.zone.schema import check_bus
        from sealyard.storage.postgres.connection import Database

        report = await asyncio.to_thread(check_bus, Database(ctx.args.database))
    lines = [f"The bus database of the zone {report.zone} has revision {report.revision}, and suitable settings."]
    if report.connected_as:
        users = "servers" if report.connected_as == BusRole.ENGINE else "crypto hosts"
        lines.append(f"This connection has the role of the {users}.")
    for role in report.roles:
        if not role.missing and not role.excessive:
            lines.append(f"The role {role.role} has the privileges that it needs.")
        lines += [f"The role {role.role} lacks a privilege: {privilege}." for privilege in role.missing]
        lines += [f"The role {role.role} has a privilege too many: {privilege}." for privilege in role.excessive]
    ctx.out.result(report, lines)
    return ExitCode.OK if report.is_suitable else ExitCode.FAILED


async def _show_sql(ctx: Context) -> int:
    from sealyard.engine.state.open_state import require_postgres_packages

    with require_postgres_packages():
        from sealyard.jobs.zone.schema import BusSettings, format_bus_schema
        from sealyard.model.zones import check_zone_name

        args = ctx.args
        sql = format_bus_schema(
            BusSettings(zone=check_zone_name(args.zone), engine_role=args.engine_role, agent_role=args.agent_role)
        )
    if ctx.out.as_json:
        ctx.out.result({"sql": sql}, ())
    else:
        ctx.out.document(sql)
    return ExitCode.OK
