"""The commands of `sealyard`, by group."""
