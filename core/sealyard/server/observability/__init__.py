"""Health, metrics and logs of a server."""
