"""Webhooks and the outbox with their messages."""
