"""Delivery of outbox messages: sending in order, retries, and the check of receivers' addresses."""
