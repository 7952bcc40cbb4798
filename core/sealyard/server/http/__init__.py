"""HTTP infrastructure below the API: listeners, limits, request bodies, errors, request log."""
