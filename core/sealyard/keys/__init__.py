"""Local keys, and key backends by the scheme of a key's URI (entry point group ``sealyard.key_backends``)."""
