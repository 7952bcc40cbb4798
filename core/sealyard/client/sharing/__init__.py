"""Shared access of several processes to one workspace."""
