"""Storage of documents (TinyDB on a journal) and artifacts (files)."""
