"""One workspace used by several processes."""
