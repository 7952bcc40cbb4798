"""The first start, without a workspace."""
