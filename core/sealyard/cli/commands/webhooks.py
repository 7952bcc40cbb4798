"""`sealyard webhook`: those outside who are told of results and approvals."""

from __future__ import annotations

from sealyard.cli.arguments import Commands, choice, command, group
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_table
from sealyard.model.formatting import format_time
from sealyard.model.webhooks import WebhookEvent, WebhookRequest


def add(commands: Commands) -> None:
    family = group(commands, "webhook", "Those outside who are told of results and approvals.")
    adding = command(family, "add", _add, "Adds one, and prints the secret its messages are signed with: this once.")
    adding.add_argument("url", metavar="URL", help="such as https://hooks.example.org/sealyard")
    adding.add_argument(
        "--event",
        dest="events",
        metavar="EVENT",
        type=choice(WebhookEvent),
        action="append",
        default=[],
        help="only of this, may be given again: " + ", ".join(WebhookEvent),
    )
    command(family, "list", _list, "Lists them, and how they are doing.")
    removing = command(family, "remove", _remove, "Removes one, with all it was still to be told.")
    removing.add_argument("id", metavar="ID")
    dead = command(family, "dead-letters", _dead_letters, "Lists what was given up.")
    dead.add_argument("id", metavar="ID", nargs="?", help="of this webhook only")
    again = command(family, "redeliver", _redeliver, "Takes up again what was given up.")
    again.add_argument("id", metavar="ID", help="its id: sealyard webhook dead-letters")


async def _add(ctx: Context) -> int:
    request = WebhookRequest(url=ctx.args.url, events=tuple(ctx.args.events))
    async with ctx.open_writer("webhook add", work=False) as client:
        made = await client.add_webhook(request)
    lines = (f"{made.webhook.id} is told from now on. Its secret, shown this once:", made.secret)
    ctx.out.result(made, lines)
    return ExitCode.OK


async def _list(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        webhooks = await client.webhooks()
    heads = ("ID", "URL", "EVENTS", "WAITING", "DEAD", "FAILING")
    rows = [
        (each.id, each.url, ", ".join(each.events) or "all", each.pending_count, each.dead_letters, each.last_error)
        for each in webhooks
    ]
    ctx.out.result(webhooks, format_table(heads, rows, "There are no webhooks."))
    return ExitCode.OK


async def _remove(ctx: Context) -> int:
    async with ctx.open_writer("webhook remove", work=False) as client:
        await client.remove_webhook(ctx.args.id)
    ctx.out.result({"removed": ctx.args.id}, (f"The webhook {ctx.args.id} is removed.",))
    return ExitCode.OK


async def _dead_letters(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        ids = [ctx.args.id] if ctx.args.id else [each.id for each in await client.webhooks()]
        letters = [letter for each in ids for letter in await client.dead_letters(each)]
    heads = ("LETTER", "EVENT", "TASK", "TRIES", "GIVEN UP", "ERROR")
    rows = [
        (each.id, each.event, each.task_id, each.attempts, format_time(each.failed_at), each.error) for each in letters
    ]
    ctx.out.result(letters, format_table(heads, rows, "Nothing was given up."))
    return ExitCode.OK


async def _redeliver(ctx: Context) -> int:
    async with ctx.open_writer("webhook redeliver", work=False) as client:
        await client.redeliver(ctx.args.id)
    ctx.out.result({"redelivered": ctx.args.id}, (f"{ctx.args.id} is taken up again.",))
    return ExitCode.OK
