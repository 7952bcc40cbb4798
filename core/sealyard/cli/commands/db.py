"""``sealyard db``: create, migrate and check the tables of workspaces whose store is in PostgreSQL."""

from __future__ import annotations

from sealyard.cli.arguments import Commands, add_command, add_command_group
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode

_DATABASE_HELP = "connection string of libpq without a password, such as service=sealyard"


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(commands, "db", "Manage the tables of workspaces in PostgreSQL")
    upgrade_parser = add_command(subcommands, "upgrade", _upgrade, "Create or migrate the tables, as their owner")
    check_parser = add_command(
        subcommands, "check", _check, "Check that the database has the tables and settings that this version needs"
    )
    add_command(subcommands, "show-sql", _show_sql, "Print the SQL that creates the tables")
    for parser in (upgrade_parser, check_parser):
        parser.add_argument("database", metavar="DATABASE", help=_DATABASE_HELP)


async def _upgrade(ctx: Context) -> int:
    import asyncio

    from sealyard.engine.state.open_state import require_postgres_packages

    with require_postgres_packages():
        from sealyard.storage.postgres.connection import Database
        from sealyard.storage.postgres.schema import REVISION, upgrade_schema

        await asyncio.to_thread(upgrade_schema, Database(ctx.args.database))
    ctx.out.result({"revision": REVISION}, (f"The database has revision {REVISION}.",))
    return ExitCode.OK


async def _check(ctx: Context) -> int:
    import asyncio

    from sealyard.engine.state.open_state import require_postgres_packages

    with require_postgres_packages():
        from sealyard.storage.postgres.connection import Database
        from sealyard.storage.postgres.schema import REVISION, check_database

        await asyncio.to_thread(check_database, Database(ctx.args.database))
    ctx.out.result({"revision": REVISION}, (f"The database has revision {REVISION}, and suitable settings.",))
    return ExitCode.OK


async def _show_sql(ctx: Context) -> int:
    from sealyard.engine.state.open_state import require_postgres_packages

    with require_postgres_packages():
        from sealyard.storage.postgres.schema import format_schema

        sql = format_schema()
    if ctx.out.as_json:
        ctx.out.result({"sql": sql}, ())
    else:
        ctx.out.document(sql)
    return ExitCode.OK
