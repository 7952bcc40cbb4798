"""The `sealyard` command."""
