"""Webhooks, and the outbox of the messages that are sent to them."""
