"""The start without a workspace."""
