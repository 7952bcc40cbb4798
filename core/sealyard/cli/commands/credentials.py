"""`sealyard token` and `otp`: what proves who one is."""

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

QR_COLOURS, NO_COLOURS = "\x1b[38;5;231;48;5;16m", "\x1b[0m"
"""White on black whatever the terminal's own are: a code with its colours swapped is not read everywhere."""

QR_BORDER = 2
"""Modules; four are recommended, two are enough, and it has to fit a terminal."""


def add(commands: Commands) -> None:
    family = group(commands, "token", "Access tokens, for those who reach the workspace through a server.")
    creating = command(family, "create", _create, "Makes a token, and shows it this once.")
    creating.add_argument("name", metavar="NAME", help="what it is for, such as laptop or ci")
    creating.add_argument("--subject", metavar="ID", help="whose it is; by default yours")
    creating.add_argument(
        "--expires",
        metavar="TIME",
        type=duration,
        help="1m to 365d; by default 90d, or until the token you ask with ends",
    )
    creating.add_argument("--machine", action="store_true", help="for a program: nobody approves through it in person")
    command(family, "list", _tokens, "Lists your tokens; all of them where you may add subjects.")
    revoking = command(family, "revoke", _revoke, "Ends a token at once.")
    revoking.add_argument("token", metavar="ID", help="sealyard token list")

    family = group(commands, "otp", "One-time passwords for approvals, from an authenticator.")
    enrolling = command(
        family, "enroll", _enroll, "Enroll an authenticator with a QR code or a secret.", aliases=("enrol",)
    )
    decisions.add_otp_option(enrolling)
    confirming = command(family, "confirm", _confirm, "Ends an enrolment with a first one-time password.")
    confirming.add_argument("code", metavar="CODE")
    command(family, "status", _status, "Tells whether you are enrolled.")
    resetting = command(family, "reset", _reset, "Forgets the authenticator of somebody else.")
    resetting.add_argument("subject", metavar="SUBJECT")


# ---- tokens


async def _create(ctx: Context) -> int:
    args = ctx.args
    request = TokenRequest(name=args.name, subject=args.subject, is_machine=args.machine, seconds=args.expires)
    async with ctx.open_writer("token create", work=False) as client:
        issued = await client.create_token(request)
    token = issued.token
    until = format_time(token.expires_at)
    ctx.out.warn(f"Token {token.id} of {token.subject}, until {until}. It is shown this once: keep it safe.")
    ctx.out.result(issued, (issued.secret,))
    return ExitCode.OK


async def _tokens(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        tokens = await client.tokens()
    now = datetime.now(UTC)
    rows = (
        (
            each.id,
            each.name,
            each.subject,
            "machine" if each.is_machine else "",
            format_time(each.created_at),
            _token_status(each, now),
        )
        for each in tokens
    )
    heads = ("ID", "NAME", "SUBJECT", "", "CREATED", "STATE")
    ctx.out.result(tokens, format_table(heads, rows, "There are no tokens."))
    return ExitCode.OK


def _token_status(token: AccessToken, now: datetime) -> str:
    if token.revoked_at is not None:
        return f"revoked {format_time(token.revoked_at)}"
    return f"until {format_time_left(token.expires_at, now)}"


async def _revoke(ctx: Context) -> int:
    async with ctx.open_writer("token revoke", work=False) as client:
        await client.revoke_token(ctx.args.token)
    ctx.out.result({"revoked": ctx.args.token}, (f"The token {ctx.args.token} is revoked.",))
    return ExitCode.OK


# ---- one-time passwords


async def _enroll(ctx: Context) -> int:
    by_person = is_interactive() and sys.stdout.isatty() and not ctx.out.as_json
    current = decisions.otp_from_options(ctx)
    async with ctx.open_writer("otp enroll", work=False) as client:
        if by_person and current is None and (await client.one_time_password()).enrolled:
            current = decisions.prompt_otp("One-time password of the authenticator you have: ")
        enrolment = await client.enroll_otp(current)
        if not by_person:
            ctx.out.result(enrolment, (*_enrolment_lines(enrolment), "Confirm it: sealyard otp confirm CODE"))
            return ExitCode.OK
        print("\n".join(_qr_lines(enrolment.uri)))
        ctx.out.result(enrolment, (*_enrolment_lines(enrolment), "Scan it with an authenticator."))
        await client.confirm_one_time_password(decisions.prompt_otp("The one-time password that it shows: "))
    ctx.out.status("You are enrolled.")
    return ExitCode.OK


def _enrolment_lines(enrolment: OtpEnrollment) -> Iterator[str]:
    secret = enrolment.secret
    by_four = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
    return format_fields((("uri", enrolment.uri), ("secret", by_four)))


def _qr_lines(text: str) -> list[str]:
    import segno

    drawn = io.StringIO()
    segno.make(text, micro=False).terminal(drawn, border=QR_BORDER, compact=True)
    return [f"{QR_COLOURS}{line}{NO_COLOURS}" for line in drawn.getvalue().splitlines()]


async def _confirm(ctx: Context) -> int:
    async with ctx.open_writer("otp confirm", work=False) as client:
        await client.confirm_one_time_password(ctx.args.code)
        state = await client.one_time_password()
    ctx.out.result(state, ("You are enrolled.",))
    return ExitCode.OK


async def _status(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        state = await client.one_time_password()
    lines = ["You are enrolled." if state.enrolled else "You are not enrolled: sealyard otp enroll"]
    if state.locked_until is not None:
        lines.append(
            f"Too many were wrong: none is taken until {format_time_left(state.locked_until, datetime.now(UTC))}."
        )
    ctx.out.result(state, lines)
    return ExitCode.OK


async def _reset(ctx: Context) -> int:
    subject = parse_subject(ctx.args.subject)
    async with ctx.open_writer("otp reset", work=False) as client:
        await client.reset_one_time_password(subject)
    ctx.out.result({"reset": subject}, (f"{subject} is not enrolled any more, and can enrol again.",))
    return ExitCode.OK
