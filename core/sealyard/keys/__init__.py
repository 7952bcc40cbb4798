"""Key providers, found by the scheme of a key's URI (entry point group ``sealyard.keys``)."""
