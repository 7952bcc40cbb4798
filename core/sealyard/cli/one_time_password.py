"""Where a command gets a one-time password from: its option, the environment, or the person at the terminal."""

from __future__ import annotations

import argparse
import os

from sealyard.cli.context import Context, ask_passphrase

VARIABLE = "SEALYARD_OTP"


def add_otp_option(parser: argparse.ArgumentParser) -> None:
    about = f"a one-time password of your authenticator; else {VARIABLE} is read, or you are asked"
    parser.add_argument("--otp", metavar="CODE", help=about)


def otp_from_options(ctx: Context) -> str | None:
    """Taken out of the environment: no other program needs it."""
    from_environment = os.environ.pop(VARIABLE, None)
    return ctx.args.otp or from_environment


def prompt_otp(question: str = "One-time password: ") -> str:
    """It is not shown while it is typed."""
    return ask_passphrase(question)
