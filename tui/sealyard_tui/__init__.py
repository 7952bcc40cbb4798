"""The terminal application. It uses a client and nothing else of the core below it."""
