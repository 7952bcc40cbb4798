"""`sealyard subject`, `acl` and `policy`: people, groups, rules, and what needs approval."""

from __future__ import annotations

import argparse

import msgspec

from sealyard.cli.arguments import Commands, choice, command, duration, group, on_off
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields, format_table
from sealyard.model.access import Action, parse_subject
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

YES = "even where a configuration is left with too few approvers"


def add(commands: Commands) -> None:
    family = group(commands, "subject", "People (USER:), groups (GROUP:) and machine clients (CLIENT:).")
    command(family, "list", _subjects, "Lists them, with the groups they are in.")
    adding = command(family, "add", _add_subject, "Makes one known.")
    adding.add_argument("subject", metavar="ID", help="USER:anna, GROUP:owners, CLIENT:ci; a bare name is a USER")
    adding.add_argument("--display-name", metavar="NAME", default="")
    unbinding = command(
        family, "unlink", _unlink_subject, "Lets go of the issuer's account that one is bound to, and ends its tokens."
    )
    unbinding.add_argument("subject", metavar="ID", help="whose name the issuer changed, or gave to somebody else")

    family = group(commands, "group", "Members of groups.")
    for name, handler, about in (
        ("add-member", _add_member, "Add a person, group or machine client to a group."),
        ("remove-member", _remove_member, "Remove a member from a group."),
    ):
        parser = command(family, name, handler, about)
        parser.add_argument("group", metavar="GROUP", help="the group")
        parser.add_argument("member", metavar="MEMBER", help="the member")
        parser.add_argument("--yes", action="store_true", help=YES)

    family = group(commands, "acl", "The rules of who may do what.")
    command(family, "list", _rules, "Lists the rules.")
    adding = command(family, "add", _add_rule, "Allows somebody something.")
    adding.add_argument("subject", metavar="SUBJECT")
    adding.add_argument("resource", metavar="RESOURCE", help="DEVICE_CONFIG:<name or id> or RESOURCE_TYPE:<type>")
    adding.add_argument("action", metavar="ACTION", type=choice(Action), help=", ".join(Action))
    adding.add_argument("--yes", action="store_true", help=YES)
    removing = command(family, "remove", _remove_rule, "Takes a rule away.")
    removing.add_argument("rule", metavar="RULE", help="its id: sealyard acl list")
    removing.add_argument("--yes", action="store_true", help=YES)

    family = group(commands, "policy", "What needs approval, and within which periods a task must move.")
    command(family, "show", _policy, "Shows the policy.")
    setting = command(family, "set", _set_policy, "Changes what is given; the rest stays.")
    setting.add_argument(
        "--approval",
        dest="requires_approval",
        metavar="KINDS",
        type=_parse_kinds,
        help="such as packaging,signing; or none",
    )
    setting.add_argument(
        "--approval-timeout",
        dest="approval_timeout",
        metavar="TIME",
        type=duration,
        help="how long a task waits for people",
    )
    setting.add_argument(
        "--execution-timeout",
        dest="execution_timeout",
        metavar="TIME",
        type=duration,
        help="how long it then waits for a worker",
    )
    setting.add_argument("--time-limit", metavar="TIME", type=duration, help="how long it may run")
    setting.add_argument(
        "--allow-self-approval",
        dest="allow_self_approval",
        metavar="on|off",
        type=on_off,
        help="in a demo workspace: requesters approve alone",
    )
    setting.add_argument(
        "--require-otp",
        dest="require_otp",
        metavar="on|off",
        type=on_off,
        help="whether each approval wants one: sealyard otp enroll",
    )


async def _subjects(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        access = await client.access()
    shown = [
        {**msgspec.to_builtins(each), "groups": _groups(access, each.id), "members": _members(access, each.id)}
        for each in access.subjects
    ]
    rows = [(each["id"], each["displayName"], ", ".join(each["groups"])) for each in shown]
    ctx.out.result(shown, format_table(("ID", "NAME", "GROUPS"), rows, "There is nobody."))
    return ExitCode.OK


def _groups(access: AccessControlList, subject: str) -> list[str]:
    return [each.group for each in access.memberships if each.member == subject]


def _members(access: AccessControlList, subject: str) -> list[str]:
    return [each.member for each in access.memberships if each.group == subject]


async def _add_subject(ctx: Context) -> int:
    async with ctx.open_writer("subject add") as client:
        made = await client.add_subject(ctx.args.subject, ctx.args.display_name)
    ctx.out.result(made, (f"{made.id} is known now.",))
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
    removed = {"removed": {"group": args.group, "member": args.member}}
    ctx.out.result(removed, (f"Removed {args.member} from {args.group}.",))
    return ExitCode.OK


async def _rules(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        rules = (await client.access()).rules
    rows = [(each.id, each.subject, each.action, each.resource, "stays" if each.permanent else "") for each in rules]
    ctx.out.result(rules, format_table(("ID", "SUBJECT", "ACTION", "RESOURCE", ""), rows, "There are no rules."))
    return ExitCode.OK


async def _add_rule(ctx: Context) -> int:
    async with ctx.open_writer("acl add") as client:
        args = ctx.args
        rule = await client.add_rule(args.subject, args.resource, args.action, confirmed=args.yes)
    ctx.out.result(rule, (f"{rule.id}: {rule.subject} may {rule.action} {rule.resource}.",))
    return ExitCode.OK


async def _remove_rule(ctx: Context) -> int:
    async with ctx.open_writer("acl remove") as client:
        await client.remove_rule(ctx.args.rule, confirmed=ctx.args.yes)
    ctx.out.result({"removed": ctx.args.rule}, (f"The rule {ctx.args.rule} is removed.",))
    return ExitCode.OK


async def _policy(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        policy = await client.policy()
    ctx.out.result(policy, _policy_lines(policy))
    return ExitCode.OK


async def _set_policy(ctx: Context) -> int:
    changes = {name: value for name in _POLICY_FIELDS if (value := getattr(ctx.args, name)) is not None}
    async with ctx.open_writer("policy set") as client:
        policy = await client.set_policy(msgspec.structs.replace(await client.policy(), **changes))
        warnings = (await client.workspace()).warnings if ctx.args.require_otp else ()
    for each in warnings:
        ctx.out.warn(f"warning: {each}")
    ctx.out.result(policy, _policy_lines(policy))
    return ExitCode.OK


def _policy_lines(policy: Policy) -> list[str]:
    return list(
        format_fields(
            (
                ("approval needed for", ", ".join(policy.requires_approval) or "nothing"),
                ("approval period", format_duration(policy.approval_timeout)),
                ("execution period", format_duration(policy.execution_timeout)),
                ("time limit", format_duration(policy.time_limit)),
                ("self-approval trial", "on: results are not to be released" if policy.allow_self_approval else "off"),
                ("one-time password", "on: each approval wants one" if policy.require_otp else "off"),
            )
        )
    )


def _parse_kinds(text: str) -> tuple[TaskKind, ...]:
    if text in ("", "none"):
        return ()
    try:
        return tuple(dict.fromkeys(TaskKind(each.strip()) for each in text.split(",")))
    except ValueError:
        known = ", ".join(TaskKind)
        raise argparse.ArgumentTypeError(f"{text!r} names no kinds of task; there is {known}, none") from None
