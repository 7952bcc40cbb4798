"""``sealyard webhook``: webhooks that notify other systems of results and approvals."""

from __future__ import annotations

from sealyard.cli.arguments import Commands, add_command, add_command_group, choice
from sealyard.cli.commands.undeliverable import list_undeliverable
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_table
from sealyard.model.webhooks import WebhookEvent, WebhookRequest


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(commands, "webhook", "Manage webhooks for results and approvals")
    add_parser = add_command(subcommands, "add", _add, "Add a webhook (its signing secret is shown only once)")
    add_parser.add_argument("url", metavar="URL", help="for example https://hooks.example.org/sealyard")
    add_parser.add_argument(
        "--event",
        dest="events",
        metavar="EVENT",
        type=choice(WebhookEvent),
        action="append",
        default=[],
        help=f"send only this event; can be repeated: {', '.join(WebhookEvent)}",
    )
    add_command(subcommands, "list", _list, "List webhooks and their delivery status")
    remove_parser = add_command(subcommands, "remove", _remove, "Remove a webhook and its pending messages")
    remove_parser.add_argument("id", metavar="ID", help="id of the webhook, see `sealyard webhook list`")
    list_parser = add_command(subcommands, "dead-letters", _list_dead_letters, "List undeliverable messages")
    list_parser.add_argument("id", metavar="ID", nargs="?", help="only messages of this webhook")
    redeliver_parser = add_command(subcommands, "redeliver", _redeliver, "Send an undeliverable message again")
    redeliver_parser.add_argument("id", metavar="ID", help="id of the message, see `sealyard webhook dead-letters`")


async def _add(ctx: Context) -> int:
    request = WebhookRequest(url=ctx.args.url, events=tuple(ctx.args.events))
    async with ctx.open_writer("webhook add", run_tasks=False) as client:
        issued_webhook = await client.add_webhook(request)
    lines = (f"Added webhook {issued_webhook.webhook.id}. Signing secret (shown only once):", issued_webhook.secret)
    ctx.out.result(issued_webhook, lines)
    return ExitCode.OK


async def _list(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        webhooks = await client.webhooks()
    headers = ("ID", "URL", "EVENTS", "PENDING", "UNDELIVERABLE", "LAST ERROR")
    rows = [
        (
            webhook.id,
            webhook.url,
            ", ".join(webhook.events) or "all",
            webhook.pending_count,
            webhook.dead_letters,
            webhook.last_error,
        )
        for webhook in webhooks
    ]
    ctx.out.result(webhooks, format_table(headers, rows, "No webhooks."))
    return ExitCode.OK


async def _remove(ctx: Context) -> int:
    async with ctx.open_writer("webhook remove", run_tasks=False) as client:
        await client.remove_webhook(ctx.args.id)
    ctx.out.result({"removed": ctx.args.id}, (f"Removed webhook {ctx.args.id}.",))
    return ExitCode.OK


async def _list_dead_letters(ctx: Context) -> int:
    return await list_undeliverable(
        ctx,
        lambda client: client.webhooks(),
        lambda client, webhook_id: client.dead_letters(webhook_id),
        lambda letter: letter.key or letter.task_id,
        "messages",
    )


async def _redeliver(ctx: Context) -> int:
    async with ctx.open_writer("webhook redeliver", run_tasks=False) as client:
        await client.redeliver(ctx.args.id)
    ctx.out.result({"redelivered": ctx.args.id}, (f"Message {ctx.args.id} will be sent again.",))
    return ExitCode.OK
