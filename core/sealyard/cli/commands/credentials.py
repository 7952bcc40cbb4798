"""`sealyard token` and `otp`: access tokens and one-time passwords."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from sealyard.cli.arguments import Commands, command, duration, group
from sealyard.cli.commands import decisions
from sealyard.cli.context import Context, is_interactive
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields, format_table
from sealyard.model.access import parse_subject
from sealyard.model.credentials import AccessToken, OtpEnrollment, TokenRequest
from sealyard.model.formatting import format_time, format_time_left

QR_COLORS, RESET_COLORS = "\x1b[38;5;231;48;5;16m", "\x1b[0m"
"""White on black independent of the terminal's colors: not all authenticators read an inverted code."""

QR_BORDER = 2
"""Modules. Four are recommended, but two are sufficient and fit a terminal."""


def add(commands: Commands) -> None:
    family = group(commands, "token", "Manage access tokens for a server")
    creating = command(family, "create", _create, "Create a token (shown only once)")
    creating.add_argument("name", metavar="NAME", help="purpose of the token, for example laptop or ci")
    creating.add_argument("--subject", metavar="SUBJECT", help="subject that the token authenticates; by default you")
    creating.add_argument(
        "--expires",
        metavar="TIME",
        type=duration,
        help="lifetime from 1m to 365d; by default 90d, limited by the expiry of the token you use",
    )
    creating.add_argument(
        "--machine", action="store_true", help="token of a machine client; cannot approve as a person"
    )
    command(family, "list", _tokens, "List your tokens, or all tokens if you may add subjects")
    revoking = command(family, "revoke", _revoke, "Revoke a token")
    revoking.add_argument("token", metavar="ID", help="id of the token, see `sealyard token list`")

    family = group(commands, "otp", "Manage one-time passwords for approvals")
    enrolling = command(
        family, "enroll", _enroll, "Enroll an authenticator with a QR code or a secret", aliases=("enrol",)
    )
    decisions.add_otp_option(enrolling)
    confirming = command(family, "confirm", _confirm, "Confirm an enrollment with a one-time password")
    confirming.add_argument("code", metavar="CODE", help="one-time password of the new authenticator")
    command(family, "status", _status, "Show whether you are enrolled")
    resetting = command(family, "reset", _reset, "Remove the authenticator of another person")
    resetting.add_argument("subject", metavar="SUBJECT", help="the person, for example USER:anna")


# ---- tokens


async def _create(ctx: Context) -> int:
    args = ctx.args
    request = TokenRequest(name=args.name, subject=args.subject, is_machine=args.machine, seconds=args.expires)
    async with ctx.open_writer("token create", work=False) as client:
        issued = await client.create_token(request)
    token = issued.token
    expires = format_time(token.expires_at)
    ctx.out.warn(f"Created token {token.name!r} for {token.subject}, expires {expires}. It is shown only once.")
    ctx.out.result(issued, (issued.secret,))
    return ExitCode.OK


async def _tokens(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        tokens = await client.tokens()
    now = datetime.now(UTC)
    rows = (
        (
            token.id,
            token.name,
            token.subject,
            "machine" if token.is_machine else "person",
            format_time(token.created_at),
            _token_status(token, now),
        )
        for token in tokens
    )
    heads = ("ID", "NAME", "SUBJECT", "TYPE", "CREATED", "STATUS")
    ctx.out.result(tokens, format_table(heads, rows, "No tokens."))
    return ExitCode.OK


def _token_status(token: AccessToken, now: datetime) -> str:
    if token.revoked_at is not None:
        return f"revoked {format_time(token.revoked_at)}"
    return f"expires {format_time_left(token.expires_at, now)}"


async def _revoke(ctx: Context) -> int:
    async with ctx.open_writer("token revoke", work=False) as client:
        await client.revoke_token(ctx.args.token)
    ctx.out.result({"revoked": ctx.args.token}, (f"Revoked token {ctx.args.token}.",))
    return ExitCode.OK


# ---- one-time passwords


async def _enroll(ctx: Context) -> int:
    prompts = is_interactive() and sys.stdout.isatty() and not ctx.out.as_json
    current = decisions.otp_from_options(ctx)
    async with ctx.open_writer("otp enroll", work=False) as client:
        if prompts and current is None and (await client.one_time_password()).enrolled:
            current = decisions.prompt_otp("One-time password of the current authenticator: ")
        enrollment = await client.enroll_otp(current)
        if not prompts:
            ctx.out.result(enrollment, (*_enrollment_lines(enrollment), "Confirm it with `sealyard otp confirm CODE`."))
            return ExitCode.OK
        print("\n".join(_qr_lines(enrollment.uri)))
        ctx.out.result(enrollment, (*_enrollment_lines(enrollment), "Scan the QR code with an authenticator."))
        await client.confirm_one_time_password(decisions.prompt_otp("One-time password of the new authenticator: "))
    ctx.out.status("Enrolled.")
    return ExitCode.OK


def _enrollment_lines(enrollment: OtpEnrollment) -> Iterator[str]:
    secret = enrollment.secret
    groups_of_four = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
    return format_fields((("uri", enrollment.uri), ("secret", groups_of_four)))


def _qr_lines(text: str) -> list[str]:
    import segno

    buffer = io.StringIO()
    segno.make(text, micro=False).terminal(buffer, border=QR_BORDER, compact=True)
    return [f"{QR_COLORS}{line}{RESET_COLORS}" for line in buffer.getvalue().splitlines()]


async def _confirm(ctx: Context) -> int:
    async with ctx.open_writer("otp confirm", work=False) as client:
        await client.confirm_one_time_password(ctx.args.code)
        status = await client.one_time_password()
    ctx.out.result(status, ("Enrolled.",))
    return ExitCode.OK


async def _status(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        status = await client.one_time_password()
    lines = ["Enrolled." if status.enrolled else "Not enrolled. Enroll with `sealyard otp enroll`."]
    if status.locked_until is not None:
        lines.append(f"Locked after wrong one-time passwords until {format_time(status.locked_until)}.")
    ctx.out.result(status, lines)
    return ExitCode.OK


async def _reset(ctx: Context) -> int:
    subject = parse_subject(ctx.args.subject)
    async with ctx.open_writer("otp reset", work=False) as client:
        await client.reset_one_time_password(subject)
    ctx.out.result({"reset": subject}, (f"Removed the authenticator of {subject}, who can enroll again.",))
    return ExitCode.OK
