"""``sealyard approve``, ``reject``, ``withdraw`` and ``cancel``: decide on tasks, or stop them."""

from __future__ import annotations

import argparse
import os

from sealyard.cli.arguments import Commands, add_command, add_task_id
from sealyard.cli.context import Context, ask_passphrase, is_interactive
from sealyard.cli.exit_codes import ExitCode, exit_code_for_task
from sealyard.cli.task_format import format_task, task_value
from sealyard.model.tasks import DecisionOrigin, Task, Verdict


def add_commands(commands: Commands) -> None:
    approve_parser = add_command(commands, "approve", _approve, "Approve a task (the final approval also runs it)")
    add_task_id(approve_parser)
    approve_parser.add_argument("--reason", metavar="TEXT", default="", help="reason, for the audit log")
    approve_parser.add_argument(
        "--digest", metavar="SHA256", help="fail unless the approval digest (from `show`) matches"
    )
    add_otp_option(approve_parser)
    approve_parser.add_argument("--no-wait", action="store_true", help="do not wait for the task to run")

    for name, handler, description in (
        ("reject", _reject, "Reject a task that waits for approval"),
        ("withdraw", _withdraw, "Withdraw your own task before it runs"),
    ):
        parser = add_command(commands, name, handler, description)
        add_task_id(parser)
        parser.add_argument("--reason", metavar="TEXT", required=True, help="reason, for the audit log")

    add_task_id(add_command(commands, "cancel", _cancel, "Cancel a task that has not ended"))


async def _approve(ctx: Context) -> int:
    wait = not ctx.args.no_wait
    password = await _get_one_time_password(ctx)
    async with ctx.open_writer("approve", run_tasks=wait) as client:
        for warning in (await client.task(ctx.args.id)).warnings:
            ctx.out.warn(f"warning: {warning}")
        task = await client.decide(
            ctx.args.id,
            Verdict.APPROVED,
            ctx.args.reason,
            digest=ctx.args.digest,
            origin=_decision_origin(),
            one_time_password=password,
        )
        if wait:
            await ctx.run_to_completion(client, task.id)
        task = await client.task(task.id)
    ctx.out.result(task_value(task), format_task(task))
    return exit_code_for_task(task)


async def _get_one_time_password(ctx: Context) -> str | None:
    """Return the one-time password from the option or environment, or prompt for it if the policy requires one.

    Called before this process locks the workspace, so that other processes need not wait for the user's input.
    """
    password = otp_from_options(ctx)
    if password is not None or not is_interactive():
        return password
    async with ctx.open_reader() as client:
        policy = await client.policy()
    return prompt_otp() if policy.require_otp else None


def _decision_origin() -> DecisionOrigin:
    return DecisionOrigin.TERMINAL if is_interactive() else DecisionOrigin.MACHINE


# The following commands open the workspace without running pending tasks: otherwise, the task to be stopped could
# start first.


async def _reject(ctx: Context) -> int:
    async with ctx.open_writer("reject", run_tasks=False) as client:
        return _print_result(
            ctx, await client.decide(ctx.args.id, Verdict.REJECTED, ctx.args.reason, origin=_decision_origin())
        )


async def _withdraw(ctx: Context) -> int:
    async with ctx.open_writer("withdraw", run_tasks=False) as client:
        return _print_result(ctx, await client.withdraw(ctx.args.id, ctx.args.reason))


async def _cancel(ctx: Context) -> int:
    async with ctx.open_writer("cancel", run_tasks=False) as client:
        return _print_result(ctx, await client.cancel(ctx.args.id))


def _print_result(ctx: Context, task: Task) -> int:
    ctx.out.result(task_value(task), format_task(task))
    return ExitCode.OK


OTP_VARIABLE = "SEALYARD_OTP"


def add_otp_option(parser: argparse.ArgumentParser) -> None:
    description = f"one-time password; by default {OTP_VARIABLE}, or a prompt"
    parser.add_argument("--otp", metavar="CODE", help=description)


def otp_from_options(ctx: Context) -> str | None:
    """Return the one-time password from ``--otp`` or, by default, from the environment; None if neither is set.

    Removes the environment variable, so that child processes do not inherit it.
    """
    from_environment = os.environ.pop(OTP_VARIABLE, None)
    return ctx.args.otp or from_environment


def prompt_otp(prompt: str = "One-time password: ") -> str:
    """Prompt for a one-time password without echo, and return it."""
    return ask_passphrase(prompt)
