"""Uploaded files and what keeps them stored."""
