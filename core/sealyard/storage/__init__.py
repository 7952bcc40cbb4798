"""Documents (TinyDB on a journal) and artifacts (files)."""
