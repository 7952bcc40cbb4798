"""``sealyard workspace move``: move store and audit log between the folder of a workspace and a database."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sealyard.cli.arguments import Commands, add_command, add_command_group
from sealyard.cli.context import Context, is_interactive, select_folder
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields
from sealyard.model.errors import ConfirmationRequiredError
from sealyard.model.formatting import format_count
from sealyard.model.hints import Hint, HintCode
from sealyard.model.workspace import WorkspacePaths

if TYPE_CHECKING:
    from sealyard.client.config.key_holder import KeyHolder
    from sealyard.model.moves import MovePlan, MoveStep


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(commands, "workspace", "Move a workspace between its folder and a database")
    parser = add_command(
        subcommands, "move", _move, "Move store and audit log of a workspace into PostgreSQL, or back into its folder"
    )
    _add_target(parser)
    parser.add_argument("--dry-run", action="store_true", help="check workspace and target, and move nothing")
    parser.add_argument(
        "--repair", action="store_true", help="replace the character U+0000 in names, which PostgreSQL does not support"
    )
    parser.add_argument("--yes", action="store_true", help="move; without it, only show what would be moved")


def _add_target(parser: argparse.ArgumentParser) -> None:
    targets = parser.add_mutually_exclusive_group(required=True)
    targets.add_argument(
        "--database", metavar="DATABASE", help="to PostgreSQL: a connection string of libpq without a password"
    )
    targets.add_argument("--to-folder", action="store_true", help="from PostgreSQL back to the folder of the workspace")


async def _move(ctx: Context) -> int:
    import os

    from sealyard.client.config.key_holder import forget_passphrases, start_key_holder

    folder = select_folder(ctx)
    key_holder = start_key_holder(folder, may_prompt=is_interactive())
    forget_passphrases(os.environ)
    try:
        return await _move_with(ctx, WorkspacePaths(folder.absolute()), key_holder)
    finally:
        key_holder.close()


async def _move_with(ctx: Context, paths: WorkspacePaths, key_holder: KeyHolder) -> int:
    from sealyard.engine.move_workspace import move_workspace, plan_move, require_supported
    from sealyard.model.moves import FOLDER

    target = FOLDER if ctx.args.to_folder else ctx.args.database
    if ctx.args.yes and not ctx.args.dry_run:
        plan = await move_workspace(
            paths, key_holder, target, repair=ctx.args.repair, on_step=lambda step: _show_step(ctx, step)
        )
        ctx.out.result(plan, (*_format_plan(plan), "Moved."))
        return ExitCode.OK
    plan = await plan_move(paths, key_holder, target, repair=ctx.args.repair)
    if ctx.args.dry_run:
        ctx.out.result(plan, _format_plan(plan))
        return ExitCode.FAILED if plan.unsupported else ExitCode.OK
    if not ctx.out.as_json:
        ctx.out.result(plan, _format_plan(plan))
    require_supported(plan)
    raise ConfirmationRequiredError(
        "Store and audit log are moved, and the old ones cannot be opened any more. Keys, worker state, artifacts and"
        " settings stay in the folder. Back up the workspace first.",
        Hint.of(HintCode.CONFIRM),
    )


def _show_step(ctx: Context, step: MoveStep) -> None:
    from sealyard.model.moves import MoveStep

    texts = {
        MoveStep.COPIED: "Copied; comparing the copy with the workspace.",
        MoveStep.SWITCHED: "The copy is the workspace now.",
    }
    if step in texts:
        ctx.out.status(texts[step])


def _format_plan(plan: MovePlan) -> Iterator[str]:
    repaired = (("repaired", format_count(plan.repaired, "text", "texts")),) if plan.repaired else ()
    yield from format_fields(
        (
            ("from", plan.source),
            ("to", plan.target),
            ("documents", f"{plan.documents}, SHA-256 {plan.documents_digest}"),
            ("events", plan.events),
            ("audit log", f"{format_count(plan.audit_entries, 'entry', 'entries')}, root {plan.audit_root}"),
            ("checkpoints", plan.checkpoints),
            *repaired,
            *(("contains U+0000", text) for text in plan.unsupported),
        )
    )
