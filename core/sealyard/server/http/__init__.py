"""HTTP infrastructure for the API: listeners, limits, request bodies, errors, and the request log."""
