"""The subcommands of ``sealyard``, one module for each group."""
