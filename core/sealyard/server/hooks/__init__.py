"""Telling those outside: what the webhooks' outbox holds is sent, signed, to addresses that are allowed."""
