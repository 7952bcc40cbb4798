"""Notifications of people by e-mail and chat: targets, recipients, texts, and the outbox."""
