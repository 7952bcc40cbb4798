"""The server: REST API, authentication, listeners, webhook delivery, and monitoring."""
