"""Key providers, selected by the scheme of a key's URI (entry point group ``sealyard.keys``)."""
