"""``sealyard db``: create, migrate and check the tables of workspaces whose store is in PostgreSQL."""

from __future__ import annotations

from sealyard.cli.arguments import Commands, add_command, add_command_group
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.model.formatting import format_count

_DATABASE_HELP = "connection string of libpq without a password, such as service=sealyard"


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(commands, "db", "Manage the tables of workspaces in PostgreSQL")
    upgrade_parser = add_command(subcommands, "upgrade", _upgrade, "Create or migrate the tables, as their owner")
    check_parser = add_command(
        subcommands, "check", _check, "Check that the database has the tables and settings that this version needs"
    )
    raise_parser = add_command(
        subcommands,
        "raise-format",
        _raise_format,
        "Let the servers write the newest format of documents, once all of them know it, as the owner of the tables",
    )
    add_command(subcommands, "show-sql", _show_sql, "Print the SQL that creates the tables")
    for parser in (upgrade_parser, check_parser, raise_parser):
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
        from sealyard.storage.postgres.document_format import KNOWN_FORMAT
        from sealyard.storage.postgres.schema import REVISION, check_database

        versions = await asyncio.to_thread(check_database, Database(ctx.args.database))
    ctx.out.result(
        {
            "revision": versions.revision,
            "oldestRevision": versions.oldest_revision,
            "knownRevision": REVISION,
            "formats": versions.formats,
            "knownFormat": KNOWN_FORMAT,
        },
        (
            f"The database has revision {versions.revision}, and suitable settings.",
            f"Versions of Sealyard from revision {versions.oldest_revision} on can use it; this one has {REVISION}.",
            f"This version knows formats of documents up to {KNOWN_FORMAT}.",
            *(f"The workspace {name} has format {number}." for name, number in versions.formats.items()),
        ),
    )
    return ExitCode.OK


async def _raise_format(ctx: Context) -> int:
    import asyncio

    from sealyard.engine.state.open_state import require_postgres_packages

    with require_postgres_packages():
        from sealyard.storage.postgres.connection import Database
        from sealyard.storage.postgres.document_format import KNOWN_FORMAT, raise_format

        raised = await asyncio.to_thread(raise_format, Database(ctx.args.database))
    count = format_count(len(raised), "workspace")
    ctx.out.result({"format": KNOWN_FORMAT, "raised": raised}, (f"Raised the format of {count} to {KNOWN_FORMAT}.",))
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
