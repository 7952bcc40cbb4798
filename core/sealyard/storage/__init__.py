"""Storage of documents (TinyDB on top of a journal) and artifacts (files)."""
