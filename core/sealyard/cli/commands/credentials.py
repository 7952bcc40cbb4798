"""``sealyard token`` and ``otp``: access tokens and one-time passwords."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from sealyard.cli.arguments import Commands, add_command, add_command_group, duration
from sealyard.cli.commands import decisions
from sealyard.cli.context import Context, is_interactive
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields, format_table
from sealyard.model.access import parse_subject
from sealyard.model.credentials import AccessToken, OtpEnrollment, TokenRequest
from sealyard.model.formatting import format_time, format_time_left

QR_COLORS, RESET_COLORS = "\x1b[38;5;231;48;5;16m", "\x1b[0m"
"""Escape sequences that switch to white on black and back to the colors of the terminal.

In the colors of the terminal, the QR code could be inverted, and not all authenticators can read inverted codes.
"""

QR_BORDER = 2
"""Width of the QR code's border in modules. Four are recommended, but two suffice and save space."""


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(commands, "token", "Manage access tokens for a server")
    create_parser = add_command(subcommands, "create", _create, "Create a token (shown only once)")
    create_parser.add_argument("name", metavar="NAME", help="purpose of the token, for example laptop or ci")
    create_parser.add_argument(
        "--subject", metavar="SUBJECT", help="subject that the token authenticates; by default you"
    )
    create_parser.add_argument(
        "--expires",
        metavar="TIME",
        type=duration,
        help="lifetime from 1m to 365d; by default 90d, limited by the expiry of the token you use",
    )
    create_parser.add_argument("--machine", action="store_true", help="token of a machine client; cannot approve")
    add_command(subcommands, "list", _list_tokens, "List your tokens, or all tokens if you may add subjects")
    revoke_parser = add_command(subcommands, "revoke", _revoke, "Revoke a token")
    revoke_parser.add_argument("token", metavar="ID", help="id of the token, see `sealyard token list`")

    subcommands = add_command_group(commands, "otp", "Manage one-time passwords for approvals")
    enroll_parser = add_command(
        subcommands, "enroll", _enroll, "Enroll an authenticator with a QR code or a secret", aliases=("enrol",)
    )
    decisions.add_otp_option(enroll_parser)
    confirm_parser = add_command(subcommands, "confirm", _confirm, "Confirm an enrollment with a one-time password")
    confirm_parser.add_argument("code", metavar="CODE", help="one-time password of the new authenticator")
    add_command(subcommands, "status", _show_status, "Show whether you are enrolled")
    reset_parser = add_command(subcommands, "reset", _reset, "Remove the authenticator of another user")
    reset_parser.add_argument("subject", metavar="SUBJECT", help="the user, for example USER:anna")


# ---- tokens


async def _create(ctx: Context) -> int:
    args = ctx.args
    request = TokenRequest(name=args.name, subject=args.subject, is_machine=args.machine, seconds=args.expires)
    async with ctx.open_writer("token create", run_tasks=False) as client:
        issued_token = await client.create_token(request)
    token = issued_token.token
    expires = format_time(token.expires_at)
    ctx.out.warn(f"Created token {token.name!r} for {token.subject}, expires {expires}. It is shown only once.")
    ctx.out.result(issued_token, (issued_token.secret,))
    return ExitCode.OK


async def _list_tokens(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        tokens = await client.tokens()
    now = datetime.now(UTC)
    rows = (
        (
            token.id,
            token.name,
            token.subject,
            "machine" if token.is_machine else "user",
            format_time(token.created_at),
            _format_token_status(token, now),
        )
        for token in tokens
    )
    headers = ("ID", "NAME", "SUBJECT", "TYPE", "CREATED", "STATUS")
    ctx.out.result(tokens, format_table(headers, rows, "No tokens."))
    return ExitCode.OK


def _format_token_status(token: AccessToken, now: datetime) -> str:
    if token.revoked_at is not None:
        return f"revoked {format_time(token.revoked_at)}"
    return f"expires {format_time_left(token.expires_at, now)}"


async def _revoke(ctx: Context) -> int:
    async with ctx.open_writer("token revoke", run_tasks=False) as client:
        await client.revoke_token(ctx.args.token)
    ctx.out.result({"revoked": ctx.args.token}, (f"Revoked token {ctx.args.token}.",))
    return ExitCode.OK


# ---- one-time passwords


async def _enroll(ctx: Context) -> int:
    can_prompt = is_interactive() and sys.stdout.isatty() and not ctx.out.as_json
    current_password = decisions.otp_from_options(ctx)
    async with ctx.open_writer("otp enroll", run_tasks=False) as client:
        if can_prompt and current_password is None and (await client.one_time_password()).enrolled:
            current_password = decisions.prompt_otp("One-time password of the current authenticator: ")
        enrollment = await client.enroll_otp(current_password)
        if not can_prompt:
            ctx.out.result(
                enrollment, (*_format_enrollment(enrollment), "Confirm it with `sealyard otp confirm CODE`.")
            )
            return ExitCode.OK
        instruction = "Enter the secret in an authenticator."
        if not ctx.out.uses_ascii:
            print("\n".join(_render_qr_code(enrollment.uri)))
            instruction = "Scan the QR code with an authenticator."
        ctx.out.result(enrollment, (*_format_enrollment(enrollment), instruction))
        await client.confirm_one_time_password(decisions.prompt_otp("One-time password of the new authenticator: "))
    ctx.out.status("Enrolled.")
    return ExitCode.OK


def _format_enrollment(enrollment: OtpEnrollment) -> Iterator[str]:
    secret = enrollment.secret
    groups_of_four = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
    return format_fields((("uri", enrollment.uri), ("secret", groups_of_four)))


def _render_qr_code(text: str) -> list[str]:
    """Return the lines of a QR code, which consist of block characters."""
    import segno

    buffer = io.StringIO()
    segno.make(text, micro=False).terminal(buffer, border=QR_BORDER, compact=True)
    lines = buffer.getvalue().splitlines()
    return lines if os.environ.get("NO_COLOR") else [f"{QR_COLORS}{line}{RESET_COLORS}" for line in lines]


async def _confirm(ctx: Context) -> int:
    async with ctx.open_writer("otp confirm", run_tasks=False) as client:
        await client.confirm_one_time_password(ctx.args.code)
        status = await client.one_time_password()
    ctx.out.result(status, ("Enrolled.",))
    return ExitCode.OK


async def _show_status(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        status = await client.one_time_password()
    lines = ["Enrolled." if status.enrolled else "Not enrolled. Enroll with `sealyard otp enroll`."]
    if status.locked_until is not None:
        lines.append(f"Locked after wrong one-time passwords until {format_time(status.locked_until)}.")
    ctx.out.result(status, lines)
    return ExitCode.OK


async def _reset(ctx: Context) -> int:
    subject = parse_subject(ctx.args.subject)
    async with ctx.open_writer("otp reset", run_tasks=False) as client:
        await client.reset_one_time_password(subject)
    ctx.out.result({"reset": subject}, (f"Removed the authenticator of {subject}, who can enroll again.",))
    return ExitCode.OK
