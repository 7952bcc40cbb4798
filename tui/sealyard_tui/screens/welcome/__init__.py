"""The welcome screen, for the first start without a workspace."""
