"""The `sealyard` command: everything the application does, headless."""
