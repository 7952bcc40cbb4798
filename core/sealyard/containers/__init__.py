"""Container formats, looked up by name (entry point group ``sealyard.containers``)."""
