"""Untrusted metadata files: their formats, their fields, and the changes between two versions of a file."""
