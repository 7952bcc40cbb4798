"""``sealyard recover``: continue with an older or copied workspace folder, or an older database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sealyard.cli.arguments import Commands, add_command
from sealyard.cli.context import Context, is_interactive, select_folder
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields
from sealyard.model.errors import ConfirmationRequiredError
from sealyard.model.formatting import format_count
from sealyard.model.hints import Hint, HintCode
from sealyard.model.workspace import WorkspacePaths

if TYPE_CHECKING:
    from sealyard.client.config.key_holder import KeyHolder
    from sealyard.model.key_holder_messages import StatePosition
    from sealyard.model.recovery import RecoveryPlan


def add_commands(commands: Commands) -> None:
    parser = add_command(
        commands, "recover", _recover, "Continue with a folder or database that is an older or another copy"
    )
    parser.add_argument(
        "--adopt", action="store_true", help="accept a copied folder, which has no freshness anchor on this machine"
    )
    parser.add_argument("--yes", action="store_true", help="recover; without it, only show what would be done")


async def _recover(ctx: Context) -> int:
    import os

    from sealyard.client.config.key_holder import forget_passphrases, start_key_holder

    folder = select_folder(ctx)
    key_holder = start_key_holder(folder, may_prompt=is_interactive(), may_recover=True)
    forget_passphrases(os.environ)
    try:
        return await _recover_with(ctx, WorkspacePaths(folder.absolute()), key_holder)
    finally:
        key_holder.close()


async def _recover_with(ctx: Context, paths: WorkspacePaths, key_holder: KeyHolder) -> int:
    from sealyard.engine.recover_workspace import plan_recovery, recover_workspace, require_recoverable

    adopt = ctx.args.adopt
    if ctx.args.yes:
        plan = await recover_workspace(paths, key_holder, adopt=adopt)
        ctx.out.result(plan, (*_format_plan(plan), f"Recovered. {_cancelled(plan)}"))
        return ExitCode.OK
    plan = await plan_recovery(paths, key_holder)
    require_recoverable(plan, adopt=adopt)
    if not ctx.out.as_json:
        ctx.out.result(plan, _format_plan(plan))
    raise ConfirmationRequiredError(
        f"{' '.join(plan.problems)} A recovery continues the audit log from its checkpoint of size {plan.audit_size},"
        f" cancels {format_count(plan.unfinished_tasks, 'unfinished task')}, and writes a new freshness anchor. What"
        " happened in newer copies is lost.",
        Hint.of(HintCode.CONFIRM),
    )


def _cancelled(plan: RecoveryPlan) -> str:
    return f"{format_count(plan.unfinished_tasks, 'unfinished task')} cancelled."


def _format_plan(plan: RecoveryPlan) -> Iterator[str]:
    state = plan.worker_state
    uncovered = format_count(plan.unsigned_entries, "entry", "entries")
    yield from format_fields(
        (
            *(("problem", problem) for problem in plan.problems),
            ("worker state", _format_position(state.state)),
            ("freshness anchor", "none" if state.anchor is None else _format_position(state.anchor)),
            ("anchor kept in", state.location),
            ("store", f"generation {plan.generation}"),
            ("audit log", format_count(plan.audit_entries, "entry", "entries")),
            ("newest checkpoint", f"size {plan.audit_size}, root {plan.audit_root}; {uncovered} after it"),
            ("unfinished tasks", plan.unfinished_tasks),
            ("lost", _format_losses(plan)),
        )
    )


def _format_losses(plan: RecoveryPlan) -> str:
    """Format what was recorded after the state that the recovery continues, as far as worker state and anchor know."""
    losses = (
        (plan.lost_generations, "generation of the store", "generations of the store"),
        (plan.lost_entries, "signed audit entry", "signed audit entries"),
    )
    texts = [format_count(*loss) for loss in losses if loss[0]]
    if plan.worker_state.newer_intents:
        intents = format_count(plan.worker_state.newer_intents, "signature")
        texts.append(f"what belongs to {intents} after the newest checkpoint, unless the audit log has it")
    return "; ".join(texts) or "nothing that is known"


def _format_position(position: StatePosition) -> str:
    signed = f"{format_count(position.audit_size, 'signed audit entry', 'signed audit entries')}"
    root = f", root {position.audit_root}" if position.audit_root else ""
    return f"epoch {position.epoch[:8]}, {format_count(position.records, 'record')}, {signed}{root}"
