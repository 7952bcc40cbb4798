"""``sealyard workspace move``: move a workspace between its folder, a database and a bucket."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sealyard.cli.arguments import Commands, add_command, add_command_group
from sealyard.cli.context import Context, is_interactive, select_folder
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields
from sealyard.model.errors import ConfirmationRequiredError, UsageError
from sealyard.model.formatting import format_count, format_size_exact
from sealyard.model.hints import Hint, HintCode
from sealyard.model.workspace import WorkspacePaths

if TYPE_CHECKING:
    from sealyard.client.config.key_holder import KeyHolder
    from sealyard.model.moves import ArtifactsPlan, MovePlan, MoveStep


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(
        commands, "workspace", "Move a workspace between its folder, a database and an object store"
    )
    parser = add_command(
        subcommands,
        "move",
        _move,
        "Move store and audit log of a workspace into PostgreSQL, inputs and results into S3, or both back into its"
        " folder",
    )
    _add_targets(parser)
    parser.add_argument("--dry-run", action="store_true", help="check workspace and target, and move nothing")
    parser.add_argument(
        "--repair", action="store_true", help="replace the character U+0000 in names, which PostgreSQL does not support"
    )
    parser.add_argument(
        "--skip-damaged", action="store_true", help="leave inputs and results behind that are missing or damaged"
    )
    parser.add_argument("--yes", action="store_true", help="move; without it, only show what would be moved")


def _add_targets(parser: argparse.ArgumentParser) -> None:
    store_targets = parser.add_mutually_exclusive_group()
    store_targets.add_argument(
        "--database", metavar="DATABASE", help="to PostgreSQL: a connection string of libpq without a password"
    )
    store_targets.add_argument(
        "--to-folder", action="store_true", help="from PostgreSQL back to the folder of the workspace"
    )
    artifact_targets = parser.add_mutually_exclusive_group()
    artifact_targets.add_argument(
        "--artifacts",
        metavar="URL",
        help="inputs and results to S3: s3://BUCKET/PREFIX, with ?region=REGION if necessary",
    )
    artifact_targets.add_argument(
        "--artifacts-to-folder", action="store_true", help="inputs and results from S3 back to the folder"
    )


async def _move(ctx: Context) -> int:
    import os

    from sealyard.client.config.key_holder import forget_passphrases, start_key_holder

    if not any((ctx.args.database, ctx.args.to_folder, ctx.args.artifacts, ctx.args.artifacts_to_folder)):
        raise UsageError("The target is missing.", "Use --database, --to-folder, --artifacts or --artifacts-to-folder.")
    folder = select_folder(ctx)
    key_holder = start_key_holder(folder, may_prompt=is_interactive())
    forget_passphrases(os.environ)
    try:
        return await _move_with(ctx, WorkspacePaths(folder.absolute()), key_holder)
    finally:
        key_holder.close()


async def _move_with(ctx: Context, paths: WorkspacePaths, key_holder: KeyHolder) -> int:
    from sealyard.engine.move_artifacts import require_complete
    from sealyard.engine.move_places import require_supported
    from sealyard.engine.move_workspace import move_workspace, plan_move
    from sealyard.model.moves import FOLDER

    target = FOLDER if ctx.args.to_folder else ctx.args.database
    artifacts = FOLDER if ctx.args.artifacts_to_folder else ctx.args.artifacts
    if ctx.args.yes and not ctx.args.dry_run:
        plan = await move_workspace(
            paths,
            key_holder,
            target,
            artifacts=artifacts,
            repair=ctx.args.repair,
            skip_damaged=ctx.args.skip_damaged,
            on_step=lambda step: _show_step(ctx, step),
            on_progress=ctx.out.progress.for_file("copied") or _ignore_progress,
        )
        ctx.out.result(plan, (*_format_plan(plan), "Moved."))
        return ExitCode.OK
    plan = await plan_move(paths, key_holder, target, artifacts=artifacts, repair=ctx.args.repair)
    is_blocked = plan.unsupported or (plan.artifacts and plan.artifacts.problems and not ctx.args.skip_damaged)
    if ctx.args.dry_run:
        ctx.out.result(plan, _format_plan(plan))
        return ExitCode.FAILED if is_blocked else ExitCode.OK
    if not ctx.out.as_json:
        ctx.out.result(plan, _format_plan(plan))
    require_supported(plan)
    if plan.artifacts is not None and not ctx.args.skip_damaged:
        require_complete(plan.artifacts)
    raise ConfirmationRequiredError(_format_consequence(plan), Hint.of(HintCode.CONFIRM))


def _ignore_progress(_: int, __: int) -> None:
    """Do nothing: there is no terminal to show the progress."""


def _format_consequence(plan: MovePlan) -> str:
    store = "Store and audit log are moved, and the old ones cannot be opened any more." if plan.moves_store else ""
    artifacts = "Inputs and results are moved; the old ones are kept, but not used any more." if plan.artifacts else ""
    remaining_parts = (
        "Keys, worker state and settings" if plan.artifacts else "Keys, worker state, artifacts and settings"
    )
    remaining = f"{remaining_parts} stay in the folder. Back up the workspace first."
    return " ".join(filter(None, (store, artifacts, remaining)))


def _show_step(ctx: Context, step: MoveStep) -> None:
    from sealyard.model.moves import MoveStep

    texts = {
        MoveStep.ARTIFACTS_COPIED: "Copied inputs and results.",
        MoveStep.COPIED: "Copied; comparing the copy with the workspace.",
        MoveStep.SWITCHED: "The copy is the workspace now.",
    }
    if step in texts:
        ctx.out.status(texts[step])


def _format_plan(plan: MovePlan) -> Iterator[str]:
    if plan.moves_store:
        yield from _format_store(plan)
    if plan.artifacts is not None:
        yield from _format_artifacts(plan.artifacts)


def _format_store(plan: MovePlan) -> Iterator[str]:
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


def _format_artifacts(plan: ArtifactsPlan) -> Iterator[str]:
    from sealyard.engine.move_artifacts import format_problem

    yield from format_fields(
        (
            ("artifacts from", plan.source),
            ("artifacts to", plan.target),
            ("inputs", plan.inputs),
            ("results", plan.results),
            ("size", format_size_exact(plan.size)),
            *(("cannot move", format_problem(problem)) for problem in plan.problems),
        )
    )
