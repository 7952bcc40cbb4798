"""The REST API over the engine: calls, who asks, and what leaves."""
