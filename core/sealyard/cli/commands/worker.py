"""``sealyard worker``: the crypto hosts of a workspace."""

from __future__ import annotations

from sealyard.cli.arguments import Commands, add_command_group
from sealyard.cli.commands import worker_enrollment, worker_hosts, worker_run


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(commands, "worker", "Manage the crypto hosts of a workspace")
    worker_enrollment.add_commands(subcommands)
    worker_run.add_commands(subcommands)
    worker_hosts.add_commands(subcommands)
