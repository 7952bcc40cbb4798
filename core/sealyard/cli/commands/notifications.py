"""``sealyard notification``: e-mail and chat messages that tell people about requests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import msgspec

from sealyard.cli.arguments import Commands, add_command, add_command_group, choice
from sealyard.cli.commands.undeliverable import list_undeliverable
from sealyard.cli.context import SENDING_NOTE, Context, ask_passphrase, is_interactive
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields, format_table
from sealyard.model.errors import ServerUnreachableError, UsageError
from sealyard.model.notification_address import SERVICES
from sealyard.model.notifications import (
    DEFAULT_EVENTS,
    DEFAULT_MAIL_PORTS,
    MAX_ESCALATION_PERCENT,
    MIN_ESCALATION_PERCENT,
    MailSecurity,
    MailServer,
    NotificationEvent,
    NotificationSettings,
    NotificationSettingsRequest,
    NotificationTargetRequest,
)

PASSWORD_VARIABLE = "SEALYARD_MAIL_PASSWORD"  # noqa: S105 - the name of a variable


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(commands, "notification", "Notify people of requests by e-mail and chat")
    _add_add_command(subcommands)
    add_command(subcommands, "list", _list, "List notification targets and their delivery status")
    remove_parser = add_command(subcommands, "remove", _remove, "Remove a target and its pending messages")
    remove_parser.add_argument("id", metavar="ID", help="id of the target, see `sealyard notification list`")
    test_parser = add_command(subcommands, "test", _test, "Send a test message")
    test_parser.add_argument("id", metavar="ID", help="id of the target, see `sealyard notification list`")
    failed_parser = add_command(subcommands, "failed", _list_failed, "List undeliverable notifications")
    failed_parser.add_argument("id", metavar="ID", nargs="?", help="only notifications to this target")
    retry_parser = add_command(subcommands, "retry", _retry, "Send an undeliverable notification again")
    retry_parser.add_argument("id", metavar="ID", help="id of the notification, see `sealyard notification failed`")
    _add_settings_command(subcommands)


def _add_add_command(subcommands: Commands) -> None:
    parser = add_command(subcommands, "add", _add, "Add an e-mail address or chat channel that is notified")
    services = ", ".join(dict.fromkeys(SERVICES.values()))
    parser.add_argument(
        "address",
        metavar="ADDRESS",
        help="e-mail address, or Apprise URL of a chat channel, for example slack://TokenA/TokenB/TokenC/#channel; "
        f"- reads it from standard input. Chat services: {services}",
    )
    parser.add_argument("--device", metavar="CONFIG", help="notify of requests for this device configuration only")
    parser.add_argument(
        "--user",
        metavar="SUBJECT",
        help="person who is notified; by default you, or the team of the device configuration if --device is given",
    )
    parser.add_argument(
        "--event",
        dest="events",
        metavar="EVENT",
        type=choice(NotificationEvent),
        action="append",
        default=[],
        help=f"notify of this event; can be repeated: {', '.join(NotificationEvent)} "
        f"(by default {', '.join(DEFAULT_EVENTS)})",
    )


def _add_settings_command(subcommands: Commands) -> None:
    parser = add_command(subcommands, "settings", _change_settings, "Show the settings, or change those that are given")
    parser.add_argument("--mail-host", metavar="HOST", help="mail server (SMTP) that sends e-mails")
    parser.add_argument("--mail-port", metavar="PORT", type=int, help="port; by default 587, 465 or 25")
    parser.add_argument(
        "--mail-security",
        metavar="SECURITY",
        type=choice(MailSecurity),
        help=f"encryption of the connection: {', '.join(MailSecurity)} (by default starttls)",
    )
    parser.add_argument("--mail-from", metavar="ADDRESS", help="sender of the e-mails")
    parser.add_argument(
        "--mail-user",
        metavar="NAME",
        help=f"user of the mail server; the password is read from {PASSWORD_VARIABLE} or a prompt",
    )
    parser.add_argument("--no-mail", action="store_true", help="remove the mail server")
    parser.add_argument(
        "--show-names",
        metavar="yes|no",
        choices=("yes", "no"),
        help="whether messages contain the names of packages and people (by default no)",
    )
    parser.add_argument(
        "--escalate-at",
        metavar="PERCENT",
        type=int,
        choices=range(MIN_ESCALATION_PERCENT, MAX_ESCALATION_PERCENT + 1),
        help="share of the approval period after which administrators are notified (by default 90)",
    )


# ---- targets


async def _add(ctx: Context) -> int:
    args = ctx.args
    request = NotificationTargetRequest(
        address=sys.stdin.readline().strip() if args.address == "-" else args.address,
        device_config=args.device or "",
        subject=args.user or "",
        events=tuple(args.events),
    )
    async with ctx.open_writer("notification add", run_tasks=False) as client:
        target = await client.add_notification_target(request)
    lines = (f"Added target {target.id}. Send a test message with `sealyard notification test {target.id}`.",)
    ctx.out.result(target, lines)
    _report_sending(ctx)
    return ExitCode.OK


async def _list(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        targets = await client.notification_targets()
    headers = ("ID", "FOR", "DEVICE CONFIGURATION", "ADDRESS", "EVENTS", "PENDING", "UNDELIVERABLE", "LAST ERROR")
    rows = [
        (
            target.id,
            target.subject or "team",
            target.config_name or "all",
            target.address,
            ", ".join(target.events),
            target.pending_count,
            target.dead_letters,
            target.last_error,
        )
        for target in targets
    ]
    ctx.out.result(targets, format_table(headers, rows, "No notification targets."))
    _report_sending(ctx)
    return ExitCode.OK


def _report_sending(ctx: Context) -> None:
    """State when notifications are sent, unless a server does it."""
    if not ctx.profile.server and not ctx.out.as_json:
        ctx.out.warn(SENDING_NOTE)


async def _remove(ctx: Context) -> int:
    async with ctx.open_writer("notification remove", run_tasks=False) as client:
        await client.remove_notification_target(ctx.args.id)
    ctx.out.result({"removed": ctx.args.id}, (f"Removed target {ctx.args.id}.",))
    return ExitCode.OK


async def _test(ctx: Context) -> int:
    # This process accepts connections, because it then also sends notifications.
    async with ctx.open_writer("notification test", run_tasks=False, finish_tasks=False) as client:
        result = await client.test_notification_target(ctx.args.id)
    if result.error:
        raise ServerUnreachableError(result.error, "Check the address and the settings of notifications.")
    ctx.out.result({"sent": ctx.args.id}, ("Sent a test message.",))
    return ExitCode.OK


# ---- undeliverable notifications


async def _list_failed(ctx: Context) -> int:
    return await list_undeliverable(
        ctx,
        lambda client: client.notification_targets(),
        lambda client, target_id: client.failed_notifications(target_id),
        lambda notification: notification.task_id,
        "notifications",
    )


async def _retry(ctx: Context) -> int:
    async with ctx.open_writer("notification retry", run_tasks=False) as client:
        await client.retry_notification(ctx.args.id)
    ctx.out.result({"retried": ctx.args.id}, (f"Notification {ctx.args.id} will be sent again.",))
    return ExitCode.OK


# ---- settings


async def _change_settings(ctx: Context) -> int:
    if not _has_changes(ctx):
        async with ctx.open_reader() as client:
            settings = await client.notification_settings()
        ctx.out.result(settings, _format_settings(settings))
        return ExitCode.OK
    async with ctx.open_writer("notification settings", run_tasks=False) as client:
        request = _build_settings_request(ctx, await client.notification_settings())
        settings = await client.set_notification_settings(request)
    ctx.out.result(settings, _format_settings(settings))
    return ExitCode.OK


def _has_changes(ctx: Context) -> bool:
    args = ctx.args
    options = (args.mail_host, args.mail_port, args.mail_security, args.mail_from, args.mail_user)
    return args.no_mail or any(option is not None for option in (*options, args.show_names, args.escalate_at))


def _build_settings_request(ctx: Context, settings: NotificationSettings) -> NotificationSettingsRequest:
    """Return the current settings with the changes of the options."""
    args = ctx.args
    return NotificationSettingsRequest(
        mail_server=None if args.no_mail else _build_mail_server(ctx, settings.mail_server),
        show_names=settings.show_names if args.show_names is None else args.show_names == "yes",
        escalation_percent=settings.escalation_percent if args.escalate_at is None else args.escalate_at,
        password=_read_password() if args.mail_user else None,
    )


def _build_mail_server(ctx: Context, current: MailServer | None) -> MailServer | None:
    """Return the current mail server with the changes of the options; None if there is none and no host is given.

    Raises :class:`UsageError` if a new mail server has no host or sender.
    """
    args = ctx.args
    options = {
        "host": args.mail_host,
        "port": args.mail_port,
        "security": args.mail_security,
        "sender": args.mail_from,
        "user_name": args.mail_user,
    }
    changes = {name: value for name, value in options.items() if value is not None}
    if current is not None:
        return msgspec.structs.replace(current, **changes)
    if not changes:
        return None
    if "host" not in changes or "sender" not in changes:
        raise UsageError("A mail server needs a host and a sender.", "Add --mail-host and --mail-from.")
    changes.setdefault("port", DEFAULT_MAIL_PORTS[changes.get("security", MailSecurity.STARTTLS)])
    return MailServer(**changes)


def _read_password() -> str | None:
    """Return the password of the mail server's user, or None to keep the current one."""
    if (password := os.environ.get(PASSWORD_VARIABLE)) is not None:
        return password
    return ask_passphrase("Password of the mail server's user: ") if is_interactive() else None


def _format_settings(settings: NotificationSettings) -> Iterator[str]:
    mail_server = settings.mail_server
    fields = [("mail server", "none or not visible to you")]
    if mail_server is not None:
        fields = [
            ("mail server", f"{mail_server.host}:{mail_server.port} ({mail_server.security})"),
            ("sender", mail_server.sender),
            ("user", mail_server.user_name),
        ]
    return format_fields(
        [
            *fields,
            ("names in messages", "yes" if settings.show_names else "no"),
            ("escalation", f"after {settings.escalation_percent} % of the approval period"),
        ]
    )
