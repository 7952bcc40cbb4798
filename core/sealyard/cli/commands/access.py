"""``sealyard subject``, ``group``, ``acl`` and ``policy``: subjects, groups, rules, and the approval policy."""

from __future__ import annotations

import argparse

import msgspec

from sealyard.cli.arguments import CommandParser, Commands, add_command, add_command_group, choice, duration, on_off
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields, format_table
from sealyard.model.access import Action, SubjectState, parse_subject
from sealyard.model.formatting import format_duration
from sealyard.model.policy import Policy
from sealyard.model.requests import AccessControlList
from sealyard.model.tasks import TaskKind

_POLICY_FIELDS = (
    "requires_approval",
    "approval_timeout",
    "execution_timeout",
    "time_limit",
    "allow_self_approval",
    "require_otp",
)
_STATE_MESSAGES = {
    SubjectState.ACTIVE: "Enabled {subject}.",
    SubjectState.DISABLED: "Disabled {subject}. Enable it again with `sealyard subject enable`.",
    SubjectState.REMOVED: "Removed {subject}. Its name stays in tasks and the audit log.",
}
_SUBJECT_HELP = "USER:name, GROUP:name or CLIENT:name; a name without a kind is a USER"


def add_commands(commands: Commands) -> None:
    _add_subject_commands(
        add_command_group(commands, "subject", "Manage users (USER:), groups (GROUP:) and machine clients (CLIENT:)")
    )
    _add_group_commands(add_command_group(commands, "group", "Manage the members of groups"))
    _add_acl_commands(add_command_group(commands, "acl", "Manage access rules"))
    _add_policy_commands(add_command_group(commands, "policy", "Manage the approval policy and timeouts"))


def _add_subject_commands(subcommands: Commands) -> None:
    list_parser = add_command(subcommands, "list", _list_subjects, "List subjects, their states and groups")
    list_parser.add_argument("--removed", action="store_true", help="list removed subjects instead")
    add_parser = add_command(subcommands, "add", _add_subject, "Add a user, group or machine client")
    add_parser.add_argument("subject", metavar="SUBJECT", help=_SUBJECT_HELP)
    add_parser.add_argument("--display-name", metavar="NAME", default="", help="name to show instead of the subject")
    for name, handler, description, confirmation in (
        (
            "disable",
            _disable_subject,
            "Disable a subject: it is refused everywhere until it is enabled",
            "confirm effects on approvals",
        ),
        (
            "enable",
            _enable_subject,
            "Enable a disabled subject, or a removed one without its permissions",
            "accepted as for disable and remove; enabling needs no confirmation",
        ),
        (
            "remove",
            _remove_subject,
            "Remove a subject with its rules, group memberships, tokens and one-time password",
            "confirm the removal, and its effects on tasks and approvals",
        ),
    ):
        parser = add_command(subcommands, name, handler, description)
        parser.add_argument("subject", metavar="SUBJECT", help=_SUBJECT_HELP)
        parser.add_argument(
            "--reason", metavar="TEXT", default="", required=name != "enable", help="reason, for the audit log"
        )
        parser.add_argument("--yes", action="store_true", help=confirmation)
    unlink_parser = add_command(
        subcommands,
        "unlink",
        _unlink_subject,
        "Unlink a subject from its identity-provider account and revoke its tokens",
    )
    unlink_parser.add_argument(
        "subject", metavar="SUBJECT", help="subject whose account was renamed, or whose name was reassigned"
    )


def _add_group_commands(subcommands: Commands) -> None:
    for name, handler, description in (
        ("add-member", _add_member, "Add a member to a group"),
        ("remove-member", _remove_member, "Remove a member from a group"),
    ):
        parser = add_command(subcommands, name, handler, description)
        parser.add_argument("group", metavar="GROUP", help="GROUP:name")
        parser.add_argument("member", metavar="MEMBER", help=_SUBJECT_HELP)
        _add_confirmation_option(parser)


def _add_acl_commands(subcommands: Commands) -> None:
    add_command(subcommands, "list", _list_rules, "List rules")
    add_parser = add_command(subcommands, "add", _add_rule, "Grant a permission")
    add_parser.add_argument("subject", metavar="SUBJECT", help=_SUBJECT_HELP)
    add_parser.add_argument("resource", metavar="RESOURCE", help="DEVICE_CONFIG:<name or id> or RESOURCE_TYPE:<type>")
    add_parser.add_argument("action", metavar="ACTION", type=choice(Action), help=", ".join(Action))
    _add_confirmation_option(add_parser)
    remove_parser = add_command(subcommands, "remove", _remove_rule, "Remove a rule")
    remove_parser.add_argument("rule", metavar="RULE", help="id of the rule, see `sealyard acl list`")
    _add_confirmation_option(remove_parser)


def _add_confirmation_option(parser: CommandParser) -> None:
    parser.add_argument("--yes", action="store_true", help="confirm a change that leaves a device too few approvers")


def _add_policy_commands(subcommands: Commands) -> None:
    add_command(subcommands, "show", _show_policy, "Show the policy")
    set_parser = add_command(subcommands, "set", _set_policy, "Change the given policy settings")
    set_parser.add_argument(
        "--approval",
        dest="requires_approval",
        metavar="KINDS",
        type=_parse_kinds,
        help="kinds of tasks that need approval, such as packaging,signing; or none",
    )
    set_parser.add_argument(
        "--approval-timeout", metavar="TIME", type=duration, help="how long a task can wait for approval"
    )
    set_parser.add_argument(
        "--execution-timeout", metavar="TIME", type=duration, help="how long an approved task can wait for a worker"
    )
    set_parser.add_argument("--time-limit", metavar="TIME", type=duration, help="how long a task can run")
    set_parser.add_argument(
        "--allow-self-approval",
        metavar="on|off",
        type=on_off,
        help="let requesters approve their own tasks (demo workspaces only; marks the results)",
    )
    set_parser.add_argument(
        "--require-otp", metavar="on|off", type=on_off, help="require a one-time password for each approval"
    )


async def _list_subjects(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        access = await client.access()
    subjects = [
        {
            **msgspec.to_builtins(subject),
            "groups": _find_groups(access, subject.id),
            "members": _find_members(access, subject.id),
        }
        for subject in (access.removed if ctx.args.removed else access.subjects)
    ]
    rows = [
        (subject["id"], subject["displayName"], subject["state"].lower(), ", ".join(subject["groups"]))
        for subject in subjects
    ]
    empty_text = "No removed subjects." if ctx.args.removed else "No subjects."
    ctx.out.result(subjects, format_table(("ID", "NAME", "STATE", "GROUPS"), rows, empty_text))
    return ExitCode.OK


def _find_groups(access: AccessControlList, subject: str) -> list[str]:
    return [membership.group for membership in access.memberships if membership.member == subject]


def _find_members(access: AccessControlList, subject: str) -> list[str]:
    return [membership.member for membership in access.memberships if membership.group == subject]


async def _add_subject(ctx: Context) -> int:
    async with ctx.open_writer("subject add") as client:
        subject = await client.add_subject(ctx.args.subject, ctx.args.display_name)
    ctx.out.result(subject, (f"Added {subject.id}. Grant permissions with `sealyard acl add`.",))
    return ExitCode.OK


async def _disable_subject(ctx: Context) -> int:
    return await _set_state(ctx, SubjectState.DISABLED)


async def _enable_subject(ctx: Context) -> int:
    return await _set_state(ctx, SubjectState.ACTIVE)


async def _remove_subject(ctx: Context) -> int:
    return await _set_state(ctx, SubjectState.REMOVED)


async def _set_state(ctx: Context, state: SubjectState) -> int:
    args = ctx.args
    async with ctx.open_writer(f"subject {args.subcommand}") as client:
        subject = await client.set_subject_state(parse_subject(args.subject), state, args.reason, confirmed=args.yes)
    ctx.out.result(subject, (_STATE_MESSAGES[state].format(subject=subject.id),))
    return ExitCode.OK


async def _unlink_subject(ctx: Context) -> int:
    subject = parse_subject(ctx.args.subject)
    async with ctx.open_writer("subject unlink") as client:
        await client.unlink_subject(subject)
    ctx.out.result({"unlinked": subject}, (f"Unlinked {subject} from its identity-provider account.",))
    return ExitCode.OK


async def _add_member(ctx: Context) -> int:
    args = ctx.args
    async with ctx.open_writer("group add-member") as client:
        membership = await client.add_member(args.group, args.member, confirmed=args.yes)
    ctx.out.result(membership, (f"Added {membership.member} to {membership.group}.",))
    return ExitCode.OK


async def _remove_member(ctx: Context) -> int:
    args = ctx.args
    async with ctx.open_writer("group remove-member") as client:
        await client.remove_member(args.group, args.member, confirmed=args.yes)
    removed_membership = {"removed": {"group": args.group, "member": args.member}}
    ctx.out.result(removed_membership, (f"Removed {args.member} from {args.group}.",))
    return ExitCode.OK


async def _list_rules(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        rules = (await client.access()).rules
    rows = [(rule.id, rule.subject, rule.action, rule.resource, "yes" if rule.permanent else "") for rule in rules]
    ctx.out.result(rules, format_table(("ID", "SUBJECT", "ACTION", "RESOURCE", "LOCKED"), rows, "No rules."))
    return ExitCode.OK


async def _add_rule(ctx: Context) -> int:
    async with ctx.open_writer("acl add") as client:
        args = ctx.args
        rule = await client.add_rule(args.subject, args.resource, args.action, confirmed=args.yes)
    ctx.out.result(rule, (f"Added rule {rule.id}: {rule.subject} has permission to {rule.action} {rule.resource}.",))
    return ExitCode.OK


async def _remove_rule(ctx: Context) -> int:
    async with ctx.open_writer("acl remove") as client:
        await client.remove_rule(ctx.args.rule, confirmed=ctx.args.yes)
    ctx.out.result({"removed": ctx.args.rule}, (f"Removed rule {ctx.args.rule}.",))
    return ExitCode.OK


async def _show_policy(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        policy = await client.policy()
    ctx.out.result(policy, _format_policy(policy))
    return ExitCode.OK


async def _set_policy(ctx: Context) -> int:
    changes = {name: value for name in _POLICY_FIELDS if (value := getattr(ctx.args, name)) is not None}
    async with ctx.open_writer("policy set") as client:
        policy = await client.set_policy(msgspec.structs.replace(await client.policy(), **changes))
        warnings = (await client.workspace()).warnings if ctx.args.require_otp else ()
    for warning in warnings:
        ctx.out.warn(f"warning: {warning}")
    if warnings:
        ctx.out.warn("Approvers enroll with `sealyard otp enroll`.")
    ctx.out.result(policy, _format_policy(policy))
    return ExitCode.OK


def _format_policy(policy: Policy) -> list[str]:
    return list(
        format_fields(
            (
                ("approval required for", ", ".join(policy.requires_approval) or "nothing"),
                ("approval timeout", format_duration(policy.approval_timeout)),
                ("execution timeout", format_duration(policy.execution_timeout)),
                ("time limit", format_duration(policy.time_limit)),
                ("self-approval", "allowed; do not release the results" if policy.allow_self_approval else "off"),
                ("one-time password", "required for each approval" if policy.require_otp else "off"),
            )
        )
    )


def _parse_kinds(text: str) -> tuple[TaskKind, ...]:
    if text in ("", "none"):
        return ()
    try:
        return tuple(dict.fromkeys(TaskKind(kind.strip()) for kind in text.split(",")))
    except ValueError:
        kinds = ", ".join(TaskKind)
        raise argparse.ArgumentTypeError(f"invalid kinds {text!r}; use some of {kinds}, or none") from None
