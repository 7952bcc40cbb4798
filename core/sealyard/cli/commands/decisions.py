"""`sealyard approve`, `reject`, `withdraw` and `cancel`."""

from __future__ import annotations

import argparse
import os

from sealyard.cli.arguments import Commands, command, task_id
from sealyard.cli.context import Context, ask_passphrase, is_interactive
from sealyard.cli.exit_codes import ExitCode, exit_code_for_task
from sealyard.cli.task_format import format_task
from sealyard.model.tasks import DecisionOrigin, Task, Verdict


def add(commands: Commands) -> None:
    approving = command(
        commands, "approve", _approve, "Approves a task; what completes the approvals runs it to its end."
    )
    task_id(approving)
    approving.add_argument("--reason", metavar="R", default="")
    approving.add_argument("--digest", metavar="SHA256", help="refuse unless this is the approval digest `show` told")
    add_otp_option(approving)
    approving.add_argument("--no-wait", action="store_true", help="leave the work to whoever comes next")

    for name, handler, about in (
        ("reject", _reject, "Rejects a task that waits for approval."),
        ("withdraw", _withdraw, "Takes back a task of one's own before a worker has it."),
    ):
        parser = command(commands, name, handler, about)
        task_id(parser)
        parser.add_argument("--reason", metavar="R", required=True)

    task_id(command(commands, "cancel", _cancel, "Cancels a task that has not ended."))


async def _approve(ctx: Context) -> int:
    wait = not ctx.args.no_wait
    password = await _one_time_password(ctx)
    async with ctx.open_writer("approve", work=wait) as client:
        task = await client.decide(
            ctx.args.id,
            Verdict.APPROVED,
            ctx.args.reason,
            digest=ctx.args.digest,
            origin=_origin(),
            one_time_password=password,
        )
        if wait:
            await ctx.run_to_completion(client, task.id)
        task = await client.task(task.id)
    ctx.out.result(task, format_task(task))
    return exit_code_for_task(task)


async def _one_time_password(ctx: Context) -> str | None:
    """What was given; else, where the policy wants one, what the person at the terminal says.

    Asked for before the workspace is held: nobody else has to wait while somebody looks for a telephone.
    """
    given = otp_from_options(ctx)
    if given is not None or not is_interactive():
        return given
    async with ctx.open_reader() as client:
        policy = await client.policy()
    return prompt_otp() if policy.require_otp else None


def _origin() -> DecisionOrigin:
    return DecisionOrigin.TERMINAL if is_interactive() else DecisionOrigin.MACHINE


# The following start no work: what is to be stopped must not be under way before it is.


async def _reject(ctx: Context) -> int:
    async with ctx.open_writer("reject", work=False) as client:
        return _print_result(ctx, await client.decide(ctx.args.id, Verdict.REJECTED, ctx.args.reason, origin=_origin()))


async def _withdraw(ctx: Context) -> int:
    async with ctx.open_writer("withdraw", work=False) as client:
        return _print_result(ctx, await client.withdraw(ctx.args.id, ctx.args.reason))


async def _cancel(ctx: Context) -> int:
    async with ctx.open_writer("cancel", work=False) as client:
        return _print_result(ctx, await client.cancel(ctx.args.id))


def _print_result(ctx: Context, task: Task) -> int:
    ctx.out.result(task, format_task(task))
    return ExitCode.OK


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
