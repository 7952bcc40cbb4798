"""Health checks, metrics and logs of a server."""
