"""Container formats, found by name (entry point group ``sealyard.containers``)."""
